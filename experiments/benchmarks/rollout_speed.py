"""How fast episodes are rolled out, and what the client, the server and the GPU do meanwhile.

    python experiments/benchmarks/rollout_speed.py --policy smollm2_135m --env retail --concurrent 64 256 512 --out DIR
    python experiments/benchmarks/rollout_speed.py --concurrent 8 --seconds 5           # micro on mock, on a CPU
    python experiments/benchmarks/rollout_speed.py --answers --env retail --concurrent 64 --players 0 2

Starts the harness's own server for the policy on the device at hand, with one adapter that changes nothing (`--base`:
asks the bare base), and keeps `--concurrent` episodes going for `--seconds` after some to warm up and a ramp; then no
new one starts, and those under way are played to their end. What an episode did is credited to the seconds evenly, so
rates hold for the measured seconds alone. `--answers` puts a server without a model in vLLM's place: the client's own
ceiling. `--players N` plays in N processes (0: in this one); several values are measured one after another. Prompt
tokens count the cached ones and are interpolated between an episode's first turn and its last. Writes
rollout_speed.json and .md to --out, with the server's log.
"""

import argparse
import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")

import psutil

from harness.env import DOMAINS, load_domain
from harness.env.domain import Domain
from harness.episode import Episode
from harness.errors import EpisodeError
from harness.machine.gpu import gpus
from harness.policy import Policy, load_policy

ANSWERS = Path(__file__).with_name("answers.py")
LORA_RANK = 8
RAMP = 0.25  # of the measured seconds, before them
WARM_UP = 32  # episodes at most, before each level: what is used for the first time is compiled or read then


@dataclass(frozen=True)
class Endpoint:
    """What is asked, and the process that is the server's root."""

    base_url: str
    api_key: str
    model: str
    process: psutil.Process


@dataclass(frozen=True)
class Played:
    """A finished episode; begun and ended in seconds of time.perf_counter."""

    episode: Episode
    begun: float
    ended: float

    def share(self, begun: float, ended: float) -> float:
        """Of the episode's own time, how much lies between two moments."""
        within = min(self.ended, ended) - max(self.begun, begun)
        return max(0.0, within) / max(self.ended - self.begun, 1e-9)


@dataclass(frozen=True)
class Level:
    """One measurement. Rates are per second; *_cores: CPU seconds per second; gpu_busy: mean share of samples' time."""

    concurrent: int
    players: int
    seconds: float
    episodes: float
    calls: float
    generated_tokens: float
    prompt_tokens: float
    turns_per_episode: float
    tokens_per_call: float
    failed: int
    ends: dict[str, int]
    client_cores: float
    server_cores: dict[str, float]
    gpu_busy: float | None
    gpu_memory_gib: float | None


def zero_adapter(policy: Policy, folder: Path) -> Path:
    """A LoRA adapter on all projections of a Llama whose B is zero: it costs what one costs and changes nothing."""
    import numpy as np
    from safetensors.numpy import save_file

    config = json.loads((policy.path / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    head = config.get("head_dim") or hidden // config["num_attention_heads"]
    query, key = head * config["num_attention_heads"], head * config["num_key_value_heads"]
    attention = {"q_proj": (hidden, query), "k_proj": (hidden, key), "v_proj": (hidden, key), "o_proj": (query, hidden)}
    mlp = {"gate_proj": (hidden, inner), "up_proj": (hidden, inner), "down_proj": (inner, hidden)}
    rng = np.random.default_rng(0)
    tensors = {}
    for layer in range(config["num_hidden_layers"]):
        for block, modules in (("self_attn", attention), ("mlp", mlp)):
            for module, (rows_in, rows_out) in modules.items():
                name = f"base_model.model.model.layers.{layer}.{block}.{module}"
                tensors[f"{name}.lora_A.weight"] = rng.standard_normal((LORA_RANK, rows_in), dtype=np.float32) / 100
                tensors[f"{name}.lora_B.weight"] = np.zeros((rows_out, LORA_RANK), dtype=np.float32)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    described = {"r": LORA_RANK, "lora_alpha": 16, "target_modules": [*attention, *mlp]}
    described |= {"peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(policy.path)}
    (folder / "adapter_config.json").write_text(json.dumps(described))
    return folder


@asynccontextmanager
async def engine(policy: Policy, most: int, options: argparse.Namespace, folder: Path) -> AsyncIterator[Endpoint]:
    """The harness's server for this policy, on a GPU where there is one."""
    from harness.engine.server import Server, ServerConfig

    server = Server(
        ServerConfig(
            path=policy.path,
            name=policy.name,
            tool_parser=policy.tool_parser,
            max_model_len=policy.max_model_len,
            dtype=policy.dtype,
            lora_rank=LORA_RANK,
            max_loras=4,
            max_num_seqs=most,
            gpu_memory_utilization=0.5 if gpus() else None,
            mixed_graphs=not options.decode_graphs,
            batch_invariant=options.batch_invariant,
            log=folder / "vllm.log",
        )
    )
    before = {p.pid for p in psutil.Process().children()}
    async with server:
        print(f"the server is ready after {server.started_in:.0f} s", flush=True)
        (root,) = [p for p in psutil.Process().children() if p.pid not in before]
        if options.base:
            yield Endpoint(server.base_url, server.api_key, policy.name, root)
            return
        async with server.lease("zero@0", zero_adapter(policy, folder / "zero")):
            yield Endpoint(server.base_url, server.api_key, "zero@0", root)


@asynccontextmanager
async def answers() -> AsyncIterator[Endpoint]:
    """A server without a model, in a process of its own."""
    with subprocess.Popen([sys.executable, str(ANSWERS)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = process.stdout.readline().strip()
            yield Endpoint(f"http://127.0.0.1:{port}/v1", "none", "zero@0", psutil.Process(process.pid))
        finally:
            process.kill()


@contextmanager
def gpu_samples() -> Iterator[list[tuple[float, float, float]]]:
    """(moment, busy share, memory in GiB) of the first GPU twice a second; nothing where nvidia-smi is not there."""
    samples: list[tuple[float, float, float]] = []
    fields = "--query-gpu=utilization.gpu,memory.used"
    card = gpus()[0].uuid if gpus() else "0"
    query = ["nvidia-smi", "-i", card, fields, "--format=csv,noheader,nounits", "-lms", "500"]
    try:
        process = subprocess.Popen(query, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    except OSError:
        yield samples
        return

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            busy, _, memory = line.partition(",")
            try:
                samples.append((time.perf_counter(), float(busy) / 100, float(memory) / 1024))
            except ValueError:
                continue  # "[N/A]"

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield samples
    finally:
        process.terminate()
        process.wait()
        reader.join()


def cpu_seconds(root: psutil.Process) -> dict[str, float]:
    """CPU seconds so far of a process and its descendants, by the name that each one shows."""
    found: dict[str, float] = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            times = process.cpu_times()
            shown = process.cmdline()
        except psutil.Error:
            continue
        title = shown[0] if shown and shown[0].startswith("VLLM") else " ".join(Path(s).name for s in shown[:3])[:40]
        found[title] = found.get(title, 0.0) + times.user + times.system
    return found


def client_seconds(server: psutil.Process) -> float:
    """CPU seconds so far of this process and its children, the server's left out."""
    own = psutil.Process()
    total = sum(own.cpu_times()[:2])
    for child in own.children():
        if child.pid != server.pid:
            total += sum(child.cpu_times()[:2])
    return total


def prompt_tokens(episode: Episode) -> float:
    """Over all turns, between the first prompt's length and the last one's by a straight line."""
    first, last = (len(episode.turns[i].prompt_ids or ()) for i in (0, -1))
    return (first + last) / 2 * len(episode.turns)


async def measure(
    player: Any, endpoint: Endpoint, domain: Domain, options: argparse.Namespace, concurrent: int, players: int
) -> Level:
    """Keeps `concurrent` episodes going and reads the rates."""
    from harness.episode_player import PROVIDER, Job, Sampling

    sampling = Sampling(options.temperature, options.max_tokens, options.max_turns)
    tasks = itertools.cycle(domain.train_ids)
    seeds = itertools.count(1000 * concurrent)
    played: list[Played] = []
    failed = 0

    async def play_one() -> None:
        nonlocal failed
        begun = time.perf_counter()
        model = PROVIDER + endpoint.model
        job = Job(endpoint.base_url, endpoint.api_key, model, next(tasks), sampling, 100 * next(seeds), True)
        try:
            episode = await player.play(job)
        except EpisodeError as error:
            failed += 1
            print(f"  failed: {error}", flush=True)
            return
        played.append(Played(episode, begun, time.perf_counter()))

    async def keep_one_going() -> None:
        while time.perf_counter() < closes:
            await play_one()

    async def read_cpu() -> tuple[float, dict[str, float], float]:
        await asyncio.sleep(max(0.0, opens - time.perf_counter()))
        moment, mine, theirs = time.perf_counter(), client_seconds(endpoint.process), cpu_seconds(endpoint.process)
        await asyncio.sleep(max(0.0, closes - time.perf_counter()))
        spent = time.perf_counter() - moment
        after = cpu_seconds(endpoint.process)
        cores = {name: round((after[name] - theirs.get(name, 0.0)) / spent, 2) for name in after}
        busiest = dict(sorted(cores.items(), key=lambda item: -item[1])[:4])
        return (client_seconds(endpoint.process) - mine) / spent, busiest, spent

    await asyncio.gather(*(play_one() for _ in range(min(concurrent, WARM_UP))))
    played.clear()
    failed = 0
    start = time.perf_counter()
    opens, closes = start + RAMP * options.seconds, start + (1 + RAMP) * options.seconds
    with gpu_samples() as samples:
        cpu = asyncio.create_task(read_cpu())
        await asyncio.gather(*(keep_one_going() for _ in range(concurrent)))
        client, server, _ = await cpu
    window: float = closes - opens
    shares = [(p.episode, p.share(opens, closes)) for p in played]

    def per_second(amount: Callable[[Episode], float]) -> float:
        total: float = sum(share * amount(episode) for episode, share in shares)
        return total / window

    calls = per_second(lambda e: len(e.turns))
    tokens = per_second(lambda e: sum(len(t.output_ids) for t in e.turns))
    within = [(busy, memory) for moment, busy, memory in samples if opens <= moment <= closes]
    ends = [p.episode.end for p in played]
    return Level(
        concurrent,
        players,
        window,
        per_second(lambda e: 1),
        calls,
        tokens,
        per_second(prompt_tokens),
        sum(len(p.episode.turns) for p in played) / max(len(played), 1),
        tokens / max(calls, 1e-9),
        failed,
        {end: ends.count(end) for end in sorted(set(ends))},
        client,
        server,
        sum(busy for busy, _ in within) / len(within) if within else None,
        max(memory for _, memory in within) if within else None,
    )


@asynccontextmanager
async def playing(count: int, name: str, domain: Domain, in_flight: int, folder: Path) -> AsyncIterator[Any]:
    """A player in this process for 0, else so many in processes."""
    from harness.episode_player import EpisodePlayer
    from harness.player_pool import PlayerPool

    if count == 0:
        yield EpisodePlayer(domain, in_flight)
        return
    players = PlayerPool(count, partial(load_domain, name), domain.digest, in_flight, folder / "players.log")
    try:
        await players.start()
        yield players
    finally:
        await players.close()


def _engine(options: argparse.Namespace, most: int, folder: Path) -> Any:
    return engine(load_policy(options.policy), most, options, folder)


async def measure_all(options: argparse.Namespace, folder: Path) -> list[Level]:
    """Every level at every number of player processes; each is printed when it is known."""
    domain = load_domain(options.env)
    most = max(options.concurrent)
    serving = answers() if options.answers else _engine(options, most, folder)
    levels = []
    async with serving as endpoint:
        for players in options.players:
            begun = time.perf_counter()
            async with playing(players, options.env, domain, most, folder) as player:
                print(f"players={players}: ready after {time.perf_counter() - begun:.1f} s", flush=True)
                for concurrent in options.concurrent:
                    begun = time.perf_counter()
                    level = await measure(player, endpoint, domain, options, concurrent, players)
                    levels.append(level)
                    save(options, levels)  # after every level: one that is cut short loses no other
                    print(f"{row(level)}   ({time.perf_counter() - begun:.0f} s)", flush=True)
    return levels


HEAD = (
    "| concurrent | players | episodes/s | calls/s | generated tokens/s | prompt tokens/s | turns an episode "
    "| tokens a call | client cores | client ms a call | server cores | GPU busy | failed |\n" + "|---" * 13 + "|"
)


def row(level: Level) -> str:
    """A line of the Markdown table."""
    server = ", ".join(f"{name} {cores:.2f}" for name, cores in level.server_cores.items() if cores >= 0.05)
    busy = "-" if level.gpu_busy is None else f"{level.gpu_busy:.0%}"
    return (
        f"| {level.concurrent} | {level.players} | {level.episodes:.1f} | {level.calls:.0f} "
        f"| {level.generated_tokens:,.0f} | {level.prompt_tokens:,.0f} | {level.turns_per_episode:.1f} "
        f"| {level.tokens_per_call:.0f} | {level.client_cores:.2f} "
        f"| {1e3 * level.client_cores / max(level.calls, 1e-9):.1f} | {server} | {busy} | {level.failed} |"
    )


def table(levels: list[Level]) -> str:
    return "\n".join([HEAD, *(row(level) for level in levels)])


def save(options: argparse.Namespace, levels: list[Level]) -> None:
    """Writes what is known so far to --out."""
    if options.out is None:
        return
    asked = {name: value for name, value in vars(options).items() if name != "out"}
    device = [asdict(gpu) for gpu in gpus()] or f"{os.cpu_count()} CPU cores"
    content = {"options": asked, "device": device, "levels": [asdict(level) for level in levels]}
    (options.out / "rollout_speed.json").write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "rollout_speed.md").write_text(f"{json.dumps(asked)}\n\n{table(levels)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="micro")
    parser.add_argument("--env", choices=DOMAINS, default="mock")
    parser.add_argument("--concurrent", type=int, nargs="+", default=[16], help="episodes at once")
    parser.add_argument("--players", type=int, nargs="+", default=[0], help="player processes; 0: this process")
    parser.add_argument("--seconds", type=float, default=20.0, help="measured at each level")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--max-tokens", type=int, default=128, help="of a reply; a longer one ends its episode")
    parser.add_argument("--max-turns", type=int, default=10)
    parser.add_argument("--base", action="store_true", help="ask the bare base, no adapter (uncaptured on a GPU)")
    parser.add_argument("--answers", action="store_true", help="a server without a model: the client's ceiling")
    parser.add_argument("--decode-graphs", action="store_true", help="capture no steps with a prompt in them")
    parser.add_argument("--batch-invariant", action="store_true", help="as backend.batch_invariant=true; on a GPU")
    parser.add_argument("--out", type=Path, help="folder for rollout_speed.json and rollout_speed.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        levels = asyncio.run(measure_all(options, folder))
    print(table(levels))


if __name__ == "__main__":
    main()
