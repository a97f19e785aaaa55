"""Both backends keep one contract: shown on one GPU, where stock ART's half takes an H200 200 s.

    python experiments/benchmarks/contract.py --out /tmp/contract                    # both halves, one after the other
    python experiments/benchmarks/contract.py --out /tmp/contract --only art_local   # stock ART first: it leaves its
    python experiments/benchmarks/contract.py --out /tmp/contract --only shared      # trajectories and its adapter
    python experiments/benchmarks/contract.py --out /tmp/contract --only shared backend.device=cpu   # without a GPU

The first half's files may come from another machine: then the base's weights must be the same there. `--tasks` takes
fewer of its tasks, for a half on a CPU, where an update of a retail task takes a small model minutes.

Each half is a process: samples rollouts, takes a training step and a skipped one, samples again from the trained
adapter. The second half gets the first one's trajectories and its adapter, and compares:

    packing     the same trajectories give the same token ids, log-probs and advantages, however they are packed
    steps       names, checkpoints and weights: pinned stays, current moves, a skipped step keeps the weights
    log-probs   mean |trainer - sampler|, nats, for one adapter: each trainer against its own sampler, our trainer
                against stock ART's sampler, our sampler against stock ART's

Prints and writes JSON (contract.json); ends with 1 if a criterion fails. What was not asked for says why and is no
failure: without the other half's files nothing is compared, and Unsloth's own log-probs need its trainer in this
process; --child starts it as in production, without them.
Options after the arguments are Hydra's: policy=smollm2_135m, env=mock, train.learning_rate=1e-4, …
"""

import argparse
import asyncio
import importlib
import json
import math
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

HALVES = ("art_local", "shared")
TASKS, ROLLOUTS = 6, 4
REWARDS = (0.0, 1.0, 0.25, 0.5)  # by rollout number: every group has spread, whatever the policy does
LONGEST = 16384  # tokens; no rollout of the contract is longer
TINY = 1e-9  # a learning rate that changes nothing
TOLERANCE = {"float32": 1e-4, "bfloat16": 0.08}  # mean |difference| of log-probs, nats


@dataclass(frozen=True)
class History:
    """What is trained of one rollout, free of how rows are laid out. advantages: of the trained tokens."""

    ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]
    advantages: tuple[float, ...]

    @property
    def key(self) -> str:
        return json.dumps([self.ids, self.logprobs])


def histories(tensors: dict[str, Any]) -> list[History]:
    """The rollouts in packed tensors [rows, tokens], sorted; a group's shared prompt is put before each of its own."""
    out = []
    for groups, parents, tokens, logprobs, mask, advantages in zip(
        *(
            tensors[name].tolist()
            for name in ("group_ids", "parent_ids", "tokens", "logprobs", "assistant_mask", "advantages")
        ),
        strict=True,
    ):
        for group in dict.fromkeys(g for g, p in zip(groups, parents, strict=True) if g not in (p, -1)):
            parent = parents[groups.index(group)]
            places = [i for i, g in enumerate(groups) if g in (parent, group)]
            out.append(
                History(
                    tuple(tokens[i] for i in places),
                    tuple(None if math.isnan(logprobs[i]) else logprobs[i] for i in places),
                    tuple(advantages[i] for i in places if mask[i]),
                )
            )
    return sorted(out, key=lambda history: history.key)


def different(a: Iterable[History], b: Iterable[History]) -> tuple[int, float]:
    """Histories that are in one of both only, and the largest difference of advantages in the others."""
    ours, theirs = _by_key(a), _by_key(b)
    odd = sum(abs(len(ours.get(key, ())) - len(theirs.get(key, ()))) for key in ours.keys() | theirs.keys())
    gaps = [
        abs(x - y)
        for key in ours.keys() & theirs.keys()
        for one, other in zip(ours[key], theirs[key], strict=False)
        for x, y in zip(one, other, strict=True)
    ]
    return odd, max(gaps, default=0.0)


def _by_key(found: Iterable[History]) -> dict[str, list[tuple[float, ...]]]:
    """Sorted advantages of each history: the same tokens may be sampled twice and be rewarded differently."""
    out: dict[str, list[tuple[float, ...]]] = {}
    for history in found:
        out.setdefault(history.key, []).append(history.advantages)
    return {key: sorted(advantages) for key, advantages in out.items()}


@dataclass
class Report:
    """Criteria and facts of one half. value against limit; passed None: not measured, `why` says it."""

    half: str
    started: float = field(default_factory=time.perf_counter)
    criteria: list[dict[str, Any]] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def check(self, name: str, passed: bool | None, value: Any, limit: Any = None, why: str = "") -> None:
        word = {True: "ok  ", False: "MISS", None: "n/a "}[passed]
        self.criteria.append({"name": name, "passed": passed, "value": value, "limit": limit, "why": why})
        self.say(f"{word} {name}: {value}" + (f" (limit {limit})" if limit is not None else "") + (why and f" - {why}"))

    def near(self, name: str, gap: float, limit: float) -> None:
        self.check(name, bool(gap <= limit), gap, limit)

    def say(self, text: str) -> None:
        print(f"[{self.half} {time.perf_counter() - self.started:6.1f} s] {text}", flush=True)

    async def measured(self, name: str, measure: Callable[[], Awaitable[float]], limit: float) -> None:
        """A reading that breaks off misses its criterion; the others are still made."""
        try:
            self.near(name, await measure(), limit)
        except Exception as error:
            self.say(traceback.format_exc())
            self.check(name, False, None, limit, f"{type(error).__name__}: {error}")


class World:
    """One half's parts. The harness is imported inside: where Unsloth runs in this process, it must come before art."""

    def __init__(self, half: str, out: Path, overrides: list[str], child: bool, tasks: int = TASKS) -> None:
        from hydra import compose, initialize_config_dir

        from harness.config import typed
        from harness.env import load_environment
        from harness.paths import CONF
        from harness.policy import load_policy, ready

        with initialize_config_dir(str(CONF), version_base="1.3"):
            self.config = typed(
                compose("config", [f"backend={half}", "tracking=off", "reuse=off", *overrides, f"results={out}"])
            )
        self.half, self.out, self.child = half, out, child
        self.report = Report(half)
        self.domain = load_environment(self.config.env.source)
        self.policy = ready(load_policy(self.config.policy))
        self.tolerance = TOLERANCE[self.policy.dtype]  # the sampler's; our trainer has float32 on a CPU
        self.tasks = list(self.domain.train_ids[:tasks])

    @asynccontextmanager
    async def backend(self) -> AsyncIterator[Any]:
        from harness.backend import build, stock
        from harness.records.store import Store

        folder = self.out / "work" / self.half
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.store = Store(folder / "store", reuse=False)
        if self.half == "art_local" and not self.child:
            stock.check_machine(self.config.backend)
            stock.prepare_process(folder)
            art_local = importlib.import_module("harness.backend.art_local")
            settings = stock.Settings.of(self.config, self.policy)
            backend = art_local.ArtLocalBackend(settings, folder / "art", in_process=True)
            try:
                yield backend
            finally:
                await backend.stop()
            return
        async with build(self.config, self.policy, folder, self.store, folder / "logs", print) as backend:
            yield backend

    async def sample(self, backend: Any, model: Any, draw: str) -> list[dict[str, Any]]:
        """Episodes of the model's current adapter, as {"task", "number", "episode"}; draw: names the luck."""
        from harness.factors import derive_seed
        from harness.rollout import PROVIDER, Rollouts, Sampling

        rollouts = Rollouts(
            self.domain,
            self.policy.digest,
            self.store,
            endpoint=backend.endpoint,
            serve=backend.serve,
            weights=backend.weights,
            alive=backend.assert_alive,
            in_flight=self.config.backend.requests,
        )
        sampling = Sampling(1.0, self.config.rollout.max_tokens, self.config.rollout.max_turns)
        name = PROVIDER + model.get_inference_name()

        async def one(task: str, number: int) -> dict[str, Any]:
            seed = derive_seed(0, "contract", draw, task, number)
            asked = await rollouts.episode("contract", name, task, sampling, seed, True)
            return {"task": task, "number": number, "episode": asked.episode.to_bytes().decode()}

        return list(await asyncio.gather(*(one(task, i) for task in self.tasks for i in range(ROLLOUTS))))

    def groups(self, sampled: list[dict[str, Any]], rewards: tuple[float, ...] = REWARDS) -> list[Any]:
        """ART's groups of the episodes, with the contract's rewards."""
        import art

        from harness.episode import Episode
        from harness.rollout import SourcedEpisode, trajectory

        made: dict[str, list[Any]] = {}
        for each in sampled:
            asked = SourcedEpisode(
                Episode.from_bytes(each["episode"].encode()), f"{each['task']}/{each['number']}", None
            )
            one = trajectory(asked, each["number"], self.config.runs[0].seams, self.domain.tools)
            one.reward = rewards[each["number"]]
            made.setdefault(each["task"], []).append(one)
        return [art.TrajectoryGroup(trajectories) for trajectories in made.values()]

    def kept(self, name: str) -> Path:
        return self.out / f"{name}.json"

    def trained_adapter(self, backend: Any, model: Any) -> Path:
        """The current step's checkpoint folder."""
        from art.utils.output_dirs import get_model_dir, get_step_checkpoint_dir

        root = str(backend.path if self.half == "art_local" else backend._path)
        step = int(model.get_inference_name().rpartition("@")[2])
        return Path(get_step_checkpoint_dir(get_model_dir(model=model, art_path=root), step))


def first_prompt(episode: str) -> tuple[int, ...]:
    """Token ids of an episode's first prompt: the same for all rollouts of a task, and for no other's."""
    return tuple(json.loads(episode)["turns"][0]["prompt_ids"])


def served_ids(episode: str) -> tuple[int, ...]:
    """Token ids of an episode as stored, its last prompt and reply."""
    last = json.loads(episode)["turns"][-1]
    return (*last["prompt_ids"], *last["output_ids"])


def captured(backend: Any, model: Any) -> list[dict[str, Any]]:
    """Packed tensors of every training call from now on. ART's own object makes them, in both backends."""
    local = backend if hasattr(backend, "_get_packed_tensors") else backend._admitted[model.name].local
    packing, seen = local._get_packed_tensors, []

    def watched(*args: Any, **options: Any) -> Any:
        tensors = packing(*args, **options)
        seen.append(tensors)
        return tensors

    local._get_packed_tensors = watched
    return seen


async def cycle(world: World, backend: Any) -> tuple[Any, list[dict[str, Any]], Any]:
    """What both backends must do; the model, the episodes of its trained adapter, and the step's packed tensors."""
    from harness.seams import Rendering
    from harness.sweep.runner import Model

    report, train = world.report, world.config.train
    model = Model(  # type: ignore[call-arg]  # ART's own __init__ needs no config
        name="contract", project="contract", base_model=str(world.policy.path), report_metrics=[]
    )
    await backend.admit(model, "contract", 0, Rendering())
    report.say("admitted")
    pinned = model.inference_model_name
    report.check("the first name is pinned", pinned == model.get_inference_name() == "contract@0", pinned)
    weights = [backend.weights("contract@0")]
    report.check("a fresh adapter is the base policy", weights[0] == world.policy.digest, weights[0])
    if world.kept("first").exists():
        first = [each for each in json.loads(world.kept("first").read_text()) if each["task"] in world.tasks]
    else:
        first = await world.sample(backend, model, "first")
        world.kept("first").write_text(json.dumps(first))
    report.say(f"{len(first)} rollouts")
    fitting = backend.row_length(train.packed_sequence_length)
    longest = max(len(served_ids(each["episode"])) for each in first)
    if longest > fitting:
        raise ValueError(
            f"The longest rollout has {longest:,} tokens, a row {fitting:,}: it would not be trained. Give a larger "
            "train.packed_sequence_length, or train=smollm2."
        )

    packed = captured(backend, model)

    async def step(groups: list[Any], learning_rate: float) -> Any:
        begun = time.perf_counter()
        result = await backend.train(
            model, groups, learning_rate=learning_rate, packed_sequence_length=train.packed_sequence_length
        )
        weights.append(backend.weights(model.get_inference_name()))
        metrics = {name: round(float(value), 6) for name, value in result.metrics.items()}
        report.say(f"step {result.step} took {time.perf_counter() - begun:.1f} s: {json.dumps(metrics)}")
        report.facts[f"step {result.step}"] = {"seconds": time.perf_counter() - begun, "metrics": metrics}
        return result

    result = await step(world.groups(first), train.learning_rate)
    report.check("a step advances the step and the name", result.step == 1, model.get_inference_name())
    report.check("the pinned name stays", model.inference_model_name == "contract@0", model.inference_model_name)
    report.check("the weights have moved", weights[1] not in (weights[0], "unknown:contract@1"), weights[1])
    report.check("the update has a name", backend.trained(model).update is not None, backend.trained(model).update)
    folder = world.trained_adapter(backend, model)
    files = sorted(file.name for file in folder.iterdir())
    report.check(
        "the step has a checkpoint that PEFT reads",
        {"adapter_model.safetensors", "adapter_config.json"} <= set(files),
        folder.name,
    )
    metrics = result.metrics
    counts = {key: metrics.get(f"data/step_{key}", 0) for key in ("num_gradient_steps", "trainer_tokens")}
    report.check("gradient steps and trained tokens are counted", min(counts.values()) > 0, counts)

    result = await step(world.groups(first, (0.5,) * ROLLOUTS), train.learning_rate)
    report.check("a skipped step advances the step", result.step == 2, model.get_inference_name())
    report.check("a skipped step keeps the weights", weights[2] == weights[1], weights[2])
    skipped = backend.trained(model).update is None and result.metrics["data/step_num_gradient_steps"] == 0
    report.check("a skipped step says so", skipped, result.metrics["data/step_num_gradient_steps"])

    second = await world.sample(backend, model, f"second {world.half}")
    answered = {turn["answered_by"] for each in second for turn in json.loads(each["episode"])["turns"]}
    report.check("the trained adapter answers", answered == {weights[2]}, sorted(answered))
    from harness.errors import EngineError

    same = "the untrained policy answers as at the start"
    try:
        report.check(same, True, await backend.check_base())
    except EngineError as error:
        report.check(same, False, None, why=str(error))
    return model, second, packed[0]


async def art_local_half(world: World) -> None:
    async with world.backend() as backend:
        model, second, packed = await cycle(world, backend)
        found = [vars(history) for history in histories(packed)]
        world.kept("stock").write_text(json.dumps({"histories": found, "second": second}))
        shutil.copytree(world.trained_adapter(backend, model), world.out / "stock_adapter", dirs_exist_ok=True)
        name = "Unsloth's trainer and its sampler agree"
        if world.child:
            why = "its trainer is in another process (--child)"
            world.report.check(name, None, None, world.tolerance, why)
        else:
            groups = world.groups(second)
            await world.report.measured(name, lambda: unsloth_gap(backend, model, groups), world.tolerance)
        await backend.release(model)
        world.report.say("released")


async def unsloth_gap(backend: Any, model: Any, groups: list[Any]) -> float:
    """Mean |Unsloth's log-prob - the sampler's| over the trained tokens, for the adapter that was trained last."""
    import torch
    from art._backend_training import build_rl_train_configs
    from art.preprocessing.inputs import TrainInputs
    from art.unsloth.train import gc_and_empty_cuda_cache, get_compute_loss_fn

    local = backend._admitted[model.name].local
    service = local._services[model.name]
    packed = packed_by(local, model, groups, None)
    config, dev_config = build_rl_train_configs(learning_rate=0.0)
    await service._sleep_runtime()
    service._state.reload_to_gpu()
    try:
        compute = get_compute_loss_fn(service._state.trainer)
        gaps = []
        for row in range(packed["tokens"].shape[0]):
            of_row: Any = {k: v[row : row + 1] for k, v in packed.items() if isinstance(v, torch.Tensor)}
            inputs = TrainInputs(  # type: ignore[typeddict-item]  # the packed tensors have the rest
                **of_row,
                pixel_values=[None],
                image_grid_thw=[None],
                config=config,
                _config=dev_config,
                return_new_logprobs=True,
            )
            found = compute(service._state.peft_model, inputs)[0].float().cpu()
            trained = packed["assistant_mask"][row]
            gaps.append((found[trained] - packed["logprobs"][row][trained]).abs())
        return float(torch.cat(gaps).mean().item())
    finally:
        service._state.offload_to_cpu()
        gc_and_empty_cuda_cache()
        await service._wake_runtime()


async def shared_half(world: World) -> None:
    report = world.report
    async with world.backend() as backend:
        model, second, packed = await cycle(world, backend)
        # A third update's first gradient step: the trainer's log-probs of what the trained adapter has just sampled.
        result = await backend.train(
            model,
            world.groups(second),
            learning_rate=TINY,
            packed_sequence_length=world.config.train.packed_sequence_length,
        )
        report.near("our trainer and our sampler agree", result.metrics["first/logprob_gap"], world.tolerance)
        names = ("the same trajectories are packed", "our trainer and stock's sampler agree", "both samplers agree")
        if not world.kept("stock").exists():
            for name in names:
                report.check(name, None, None, None, "stock ART's half has not run with this --out")
            return
        kept = json.loads(world.kept("stock").read_text())
        first = [each for each in json.loads(world.kept("first").read_text()) if each["task"] in world.tasks]
        theirs = [History(*map(tuple, (h["ids"], h["logprobs"], h["advantages"]))) for h in kept["histories"]]
        prompts = {first_prompt(each["episode"]) for each in first}
        theirs = [history for history in theirs if any(history.ids[: len(p)] == p for p in prompts)]
        second = [each for each in kept["second"] if each["task"] in world.tasks]
        odd, gap = different(histories(packed), theirs)
        report.check(names[0], odd == 0 and gap < 1e-4, {"histories": len(theirs), "odd": odd, "advantage gap": gap})
        adapter, groups = world.out / "stock_adapter", world.groups(second)
        limit = TOLERANCE["bfloat16"]  # stock ART's half was on a GPU, wherever this one is
        row = world.config.train.packed_sequence_length
        await report.measured(names[1], lambda: cross_trainer_gap(backend, model, adapter, groups, row), limit)
        await report.measured(names[2], lambda: cross_sampler_gap(backend, model, adapter, groups), limit)


def packed_by(local: Any, model: Any, groups: list[Any], length: int | None) -> Any:
    """ART's packed tensors with its defaults; length None: rows as stock ART has them."""
    return local._get_packed_tensors(
        model,
        groups,
        advantage_balance=0.0,
        allow_training_without_logprobs=False,
        scale_rewards=True,
        plot_tensors=False,
        packed_sequence_length=length,
        logprob_calculation_chunk_size=1024,
    )


async def cross_trainer_gap(backend: Any, model: Any, adapter: Path, groups: list[Any], row: int) -> float:
    """Our trainer, holding stock ART's adapter, on what stock ART's server sampled with it, in rows of `row` tokens."""
    from art._backend_training import build_rl_train_configs
    from safetensors.torch import load_file

    from harness.engine.trainer import Execution, State

    order = backend.engine.trainer.order
    little_memory = replace(Execution.on(order.device), row_by_row=True, checkpoint=True)  # the same numbers
    trainer = replace(order, execution=little_memory).make()
    tensors = {name: tensor.float() for name, tensor in load_file(adapter / "adapter_model.safetensors").items()}
    longest = max(len(history.ids) for history in histories(packed_by(backend, model, groups, LONGEST)))
    length = max(row, math.ceil(longest / 512) * 512)
    _, dev_config = build_rl_train_configs(learning_rate=TINY)
    state = State.of(tensors, {}, trainer.base_digest)
    _, metrics = trainer.update(state, packed_by(backend, model, groups, length), TINY, dict(dev_config))
    return float(metrics[0]["first/logprob_gap"])


async def cross_sampler_gap(backend: Any, model: Any, adapter: Path, groups: list[Any]) -> float:
    """Our server, holding stock ART's adapter, scores the tokens that stock ART's server sampled with it."""
    import httpx

    found = histories(packed_by(backend, model, groups, LONGEST))
    url, key = backend.endpoint("contract-stock@2")
    gaps: list[float] = []
    async with (
        backend.engine.server.lease("contract-stock@2", adapter.absolute()),
        httpx.AsyncClient(timeout=120, headers={"Authorization": f"Bearer {key}"}) as client,
    ):
        for history in found:
            body = {"model": "contract-stock@2", "prompt": list(history.ids), "max_tokens": 1, "prompt_logprobs": 0}
            reply = await client.post(f"{url}/completions", json=body)
            reply.raise_for_status()
            scored = reply.json()["choices"][0]["prompt_logprobs"]
            for token, sampled, entry in zip(history.ids, history.logprobs, scored, strict=True):
                if sampled is not None and entry is not None:
                    gaps.append(abs(entry[str(token)]["logprob"] - sampled))
    return sum(gaps) / len(gaps)


def run_half(half: str, out: Path, overrides: list[str], child: bool, tasks: int) -> int:
    """One half in this process; writes <half>.report.json however it ends. 0 if every criterion holds."""
    world = World(half, out, overrides, child, tasks)
    failure = None
    try:
        asyncio.run({"art_local": art_local_half, "shared": shared_half}[half](world))
    except BaseException as error:
        failure = f"{type(error).__name__}: {error}"
        world.report.say(traceback.format_exc())
    good = failure is None and all(c["passed"] is not False for c in world.report.criteria)
    content = {
        "half": half,
        "policy": world.config.policy.name,
        "passed": good,
        "error": failure,
        "seconds": time.perf_counter() - world.report.started,
        "criteria": world.report.criteria,
        "facts": world.report.facts,
    }
    (out / f"{half}.report.json").write_text(json.dumps(content, indent=1) + "\n")
    return 0 if good else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=HALVES)
    parser.add_argument("--child", action="store_true", help="stock ART's trainer in a process of its own")
    parser.add_argument("--tasks", type=int, default=TASKS, help=f"of the training split (default: {TASKS})")
    parser.add_argument("overrides", nargs="*")
    options = parser.parse_args()
    out = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    if options.only:
        if options.only == "art_local":
            for name in ("first", "stock"):  # a new pair of halves begins
                (out / f"{name}.json").unlink(missing_ok=True)
        return run_half(options.only, out, options.overrides, options.child, options.tasks)
    codes = {}
    for half in HALVES:
        environment = dict(os.environ)
        if half == "art_local" and not options.child:
            environment["IMPORT_UNSLOTH"] = "1"  # art then imports it before transformers
        (out / f"{half}.report.json").unlink(missing_ok=True)
        command = [sys.executable, __file__, "--out", str(out), "--only", half, "--tasks", str(options.tasks)]
        command += ["--child"] * options.child
        codes[half] = subprocess.run([*command, *options.overrides], env=environment).returncode
    reports = [json.loads(file.read_text()) for half in HALVES if (file := out / f"{half}.report.json").exists()]
    result = {"passed": not any(codes.values()), "halves": reports}
    (out / "contract.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if result["passed"] else 1


if __name__ == "__main__":
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    os.environ.setdefault("TQDM_DISABLE", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if "--only" in sys.argv and "art_local" in sys.argv and "--child" not in sys.argv:
        os.environ["IMPORT_UNSLOTH"] = "1"
    sys.exit(main())
