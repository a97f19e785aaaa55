"""What stock ART is given, and what it needs of the machine. Plain data: no torch, no art.

Kept as ART 0.5.18 has it: one optimiser step for each history, rows padded to the longest one (a multiple of 2,048),
gradients clipped to 0.1, weight decay 0.1, one vLLM server per run, which sleeps while the trainer works. Changed,
because the comparison or the machine needs it:

    load_in_4bit False      the trainer's policy is the one that is served (default: 4-bit base weights)
    optim adamw_8bit        the default, paged_adamw_8bit, needs CUDA's managed memory
    compilation_config      captured decoding, as our own server has it: with adapters eager decoding is 12 times slower
    random_state            the seed of the fresh adapter: runs of one seed start with the same one
    tool schema format      the key order of the tools, as the run's rendering has it
"""

import importlib.util
import math
import os
import shutil
import sys
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.config import SweepConfig
from harness.engine.server_process import graphs
from harness.errors import ConfigError
from harness.factors import derive_seed
from harness.machine.gpu import gpus
from harness.policy import Policy
from harness.seams import Rendering
from harness.sections import BackendConfig

# ART's names for the key order of the tools (`Rendering.tool_order`).
SCHEMA_FORMATS: dict[str, Literal["default", "vllm_openai"]] = {"served": "vllm_openai", "stock": "default"}
CHUNK = 1024  # tokens; ART computes log-probs in chunks of so many, and rows must be a multiple of it
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # the largest LoRA ranks that vLLM can be started for
NEEDED = ("unsloth", "trl", "peft", "bitsandbytes", "datasets", "torchao")
STAND_INS = Path(__file__).with_name("stand_ins")


@dataclass(frozen=True)
class Settings:
    """All that a run's LocalBackend is made from. memory: the server's share of a GPU."""

    policy: Policy
    lora_rank: int
    lora_alpha: int
    memory: float
    requests: int
    slots: int
    port: int | None
    gpu_ids: dict[str, list[int]]

    @classmethod
    def of(cls, config: SweepConfig, policy: Policy) -> "Settings":
        backend = config.backend
        return cls(
            policy,
            config.policy.lora_rank,
            config.policy.lora_alpha,
            backend.shares[0],
            backend.requests,
            backend.slots,
            backend.port,
            placement(os.environ.get("CUDA_VISIBLE_DEVICES"), len(gpus())),
        )

    @property
    def row_length(self) -> int:
        """Tokens of the longest row that can be trained."""
        return math.ceil(self.policy.max_model_len / CHUNK) * CHUNK


def placement(visible: str | None, count: int) -> dict[str, list[int]]:
    """Trainer and server on GPUs of their own where this process has the whole machine and two GPUs, else on one.

    ART counts GPUs from the machine's first one, whatever CUDA_VISIBLE_DEVICES says: a process that was given some of
    them (one engine per GPU) must keep to those.
    """
    if visible is not None or count < 2:
        return {}
    return {"trainer_gpu_ids": [0], "inference_gpu_ids": [1]}


def model_config(settings: Settings, seed: int, rendering: Rendering) -> dict[str, Any]:
    """ART's `_internal_config` of a run. Keys: art/dev/model.py; what is left out keeps ART's default."""
    return {
        "init_args": {"load_in_4bit": False, "max_seq_length": settings.row_length},
        "engine_args": {
            "dtype": "bfloat16",
            "max_model_len": settings.policy.max_model_len,
            "gpu_memory_utilization": settings.memory,
            "max_num_seqs": settings.requests,
            "max_loras": settings.slots,
            "max_cpu_loras": 4 * settings.slots,
            "max_lora_rank": next(rank for rank in RANKS if rank >= settings.lora_rank),
            "enable_prefix_caching": True,
            "compilation_config": graphs(settings.requests, mixed=False),  # not tried in one process with Unsloth
        },
        "peft_args": {
            "r": settings.lora_rank,
            "lora_alpha": settings.lora_alpha,
            "random_state": derive_seed(seed, "lora"),
        },
        "trainer_args": {"optim": "adamw_8bit"},
        "chat_template_tool_schema_format": SCHEMA_FORMATS[rendering.tool_order],
        **settings.gpu_ids,
    }


def server_args(settings: Settings) -> dict[str, Any]:
    """Arguments of the run's vLLM server. No API key: ART would put it into the command line, where all can read it."""
    args: dict[str, Any] = {"tool_call_parser": settings.policy.tool_parser}
    return args | ({"port": settings.port} if settings.port is not None else {})


def check_machine(config: BackendConfig) -> None:
    """Raises ConfigError, saying what is missing, where stock ART cannot run."""
    if not config.on_gpu:
        raise ConfigError(
            "backend=art_local is stock ART, whose trainer (Unsloth) needs an NVIDIA GPU; none is visible here, or "
            "backend.device is cpu. Use backend=shared, or run it on a machine with a GPU."
        )
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"backend=art_local needs {', '.join(missing)}, not installed for {sys.executable}. Install ART's own "
            "trainer: pip install 'openpipe-art[backend]==0.5.18'. Without a network: python -m harness --help"
        )
    if "ART_VLLM_RUNTIME_BIN" not in os.environ and shutil.which("uv") is None:
        raise ConfigError(
            "backend=art_local: ART installs its vLLM server with `uv`, which is not on the PATH. Install uv, or set "
            "ART_VLLM_RUNTIME_BIN to a command that starts `python -m art_vllm_runtime.dedicated_server`."
        )


def prepare_process(folder: Path, environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes this process, and the ones that ART starts from it, ready for ART. Before art is imported.

    folder: the sweep's; Unsloth writes its generated modules there instead of into the working folder
    """
    if importlib.util.find_spec("megatron") is None:
        sys.path.append(str(STAND_INS))  # a spawned process gets this path, too
    wanted = {
        "UNSLOTH_COMPILE_LOCATION": str(folder.absolute() / "unsloth_compiled"),
        "UNSLOTH_DISABLE_STATISTICS": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
    for name, value in wanted.items():
        environment.setdefault(name, value)
    # vLLM would ask for this key, and ART's own requests to its server do not carry it.
    environment.pop("VLLM_API_KEY", None)
