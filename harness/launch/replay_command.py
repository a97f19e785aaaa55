"""`harness replay SWEEP [share=.05] [seed=0] [steps=N]`: a third party computes a share of a sweep again.

With the sweep's store all its completed runs are walked, and drawn episodes and updates are computed again. Without it
(an archived sweep) drawn runs are made anew from their configuration. Nothing is written into the sweep's folder.
"""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.config import BLOCK, SweepConfig, typed
from harness.errors import ConfigError, Exit, closest, visible
from harness.launch.in_process import train_here
from harness.launch.quiet import quiet
from harness.machine.certificate import Certificate
from harness.printed import printed
from harness.records.layout import SweepFiles
from harness.records.schema import PlannedRun, Record
from harness.records.store import Store, digest
from harness.replay import findings as words
from harness.replay.again import Again
from harness.replay.episodes import compare_episodes
from harness.replay.findings import DIFFERS, EPISODES, OTHER_TOKENS, RUNS, UPDATES, Compared, Replay
from harness.replay.lines import compare_lines
from harness.replay.remade import compare_run, rewards
from harness.sweep.certified import known
from harness.sweep.plan import Sweep, prepare
from harness.sweep.source import differences, listed

OF_HERE = ("backend.", "policy.")  # options that may be given besides: how and from where it is computed here
CHANCE = 1e-3  # that sound episodes have more other tokens than are allowed
SHARED = "shared"


@dataclass(frozen=True)
class Wish:
    """share: of episodes and updates, or of the steps of all runs, in (0, 1]; steps: of each run, at most"""

    share: float = 0.05
    seed: int = 0
    steps: int | None = None
    options: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: Sequence[str]) -> Wish:
        """Raises ConfigError."""
        asked: dict[str, Any] = {}
        options = [each for each in given if each.startswith(OF_HERE) and "=" in each]
        kinds = {"share": float, "seed": int, "steps": int}
        for each in given:
            name, _, text = each.partition("=")
            if each in options:
                continue
            if name not in kinds:
                raise ConfigError(
                    f"No option of a replay is called {name!r}.{closest(name, kinds)} It takes share=, seed=, steps=, "
                    "and options of backend and policy: where it is computed."
                )
            try:
                asked[name] = kinds[name](text)
            except ValueError:
                raise ConfigError(f"{name} is {text!r}; expected a number, such as {name}={_EXAMPLES[name]}.") from None
        wish = cls(**asked, options=tuple(options))
        if not 0 < wish.share <= 1:
            raise ConfigError(f"share is {wish.share:g}; expected more than 0 and at most 1.")
        if wish.steps is not None and wish.steps < 1:
            raise ConfigError(f"steps is {wish.steps}; expected 1 or more.")
        return wish


_EXAMPLES = {"share": ".05", "seed": "0", "steps": "2"}


def run(asked: Namespace) -> int:
    quiet()
    found = replayed(asked.sweep, Wish.of(asked.options))
    if asked.json:
        data = asdict(found) | {"agrees": found.agrees, "drawn": {k: list(v) for k, v in found.drawn.items()}}
        print(printed(data))
    else:
        print("\n".join(visible(line) for line in words.lines(found)))
    return Exit.DONE if found.agrees else Exit.FAILED


def replayed(folder: Path, wish: Wish) -> Replay:
    """Raises ConfigError for what is no sweep that can be replayed here, EngineError where the engine fails."""
    files = SweepFiles(folder)
    if not files.is_begun():
        raise ConfigError(f"{folder} holds no sweep. Give the folder that holds its plan.jsonl and manifest.json.")
    completed = [each for each in files.plan().values() if files.is_completed(each.run)]
    if not completed:
        raise ConfigError(f"{folder} has no completed run, so there is nothing to replay.")
    manifest = files.manifest()
    stored = manifest.get("backend") == SHARED and any((files.store / UPDATES).glob("*/*"))
    runs = completed if stored else _drawn_runs(completed, files, wish)
    scratch = Path(tempfile.mkdtemp(prefix="harness-replay-"))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # its progress; what is found goes to the other stream
            sweep = prepare(recorded_config(files, runs, scratch, wish))
            _refuse_other_content(folder, manifest, SweepFiles(sweep.folder).manifest())
    except ConfigError:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    with contextlib.redirect_stdout(sys.stderr):
        found = _walked(files, sweep, wish) if stored else _remade(files, sweep, completed, wish)
    said = tuple(_said(manifest, SweepFiles(sweep.folder).manifest(), sweep))
    absent = len(files.plan()) - len(completed)
    left = [f"{absent} run{'s' * (absent > 1)} of the plan that did not complete"] if absent else []
    shutil.rmtree(scratch, ignore_errors=True)  # where an engine fails, the folder stays: its logs are named
    return replace(found, said=said, cannot=(*left, *found.cannot))


def recorded_config(files: SweepFiles, runs: Sequence[PlannedRun], results: Path, wish: Wish) -> SweepConfig:
    """The configuration of recorded runs, as they keep it, to be computed in another folder. Raises ConfigError."""
    manifest = files.manifest()
    first = files.config(runs[0].run)
    composed = []
    for each in runs:
        kept = files.config(each.run)
        if not kept:
            raise ConfigError(f"{files.folder} keeps no configuration of {each.run}, so it cannot be replayed.")
        composed.append(_composed(kept, first, manifest, results, wish))
    config = typed(*composed)
    for planned, made in zip(runs, config.runs, strict=True):
        if planned.run != made.run.name:
            raise ConfigError(
                f"{files.folder}: the configuration of {planned.run} is today that of {made.run.name}. Replay it with "
                f"the source that the sweep was made with{_commit(manifest)}."
            )
    return config


def _composed(kept: Record, first: Record, manifest: Record, results: Path, wish: Wish) -> DictConfig:
    # how a sweep was computed and shown may differ between the commands that made it
    own = {**kept, **{name: dict(first.get(name) or {}) for name in ("backend", "tracking", "reuse")}}
    own["tracking"]["mode"] = "off"
    own["reuse"] |= {"enabled": True, "audit": 0.0}
    own |= {"sweep": manifest["sweep"], "results": str(results), "plan_only": False}
    own |= {"baseline": manifest.get("baseline") or "note", BLOCK: kept.get(BLOCK) or {}}
    own["factors"] = [factor["name"] for factor in manifest.get("factors") or ()] or "note"
    train, validation = dict(own["train"]), dict(own["validation"])
    if wish.steps is not None and wish.steps < train["steps"]:
        every = validation["every"]
        train["steps"] = min(train["steps"], -(-wish.steps // every) * every)
        validation |= {"samples": 0, "also": []}  # they are asked at a run's own end
    cfg = OmegaConf.create(own | {"train": train, "validation": validation})
    try:
        for option in wish.options:
            name, _, value = option.partition("=")
            OmegaConf.update(cfg, name, OmegaConf.create({"value": OmegaConf.from_dotlist([f"v={value}"]).v}).value)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{option}: {str(error).splitlines()[0]}") from error
    return cfg


def _drawn_runs(completed: Sequence[PlannedRun], files: SweepFiles, wish: Wish) -> list[PlannedRun]:
    """Runs in an order that the seed decides, until the share of all steps is reached; in plan order."""
    steps = {each.run: max(1, len(files.content(each.run).steps)) for each in completed}
    order = sorted(completed, key=lambda each: digest("replay", wish.seed, RUNS, each.run))
    wanted, chosen = wish.share * sum(steps.values()), set[str]()
    for each in order:
        if sum(steps[name] for name in chosen) >= wanted:
            break
        chosen.add(each.run)
    return [each for each in completed if each.run in chosen]


def _walked(files: SweepFiles, sweep: Sweep, wish: Wish) -> Replay:
    """All completed runs, along what is stored."""
    exact = sweep.policy.dtype == "float32"
    certificate = known(sweep.config, sweep.policy, sweep.domain.name)
    rates = {each.run.name: each.train.learning_rate for each in sweep.config.runs}
    tolerance = _tolerance(certificate, exact)

    def compare(kind: str, run: str, stored: bytes, again: bytes) -> Compared:
        if kind == EPISODES:
            return compare_episodes(stored, again, tolerance)
        from harness.replay.updates import compare_updates  # torch loads with it

        return compare_updates(stored, again, rates[run], exact)

    replies = files.store / "user_replies"  # what users that are models said: asked again they say something else
    if replies.is_dir():
        shutil.copytree(replies, SweepFiles(sweep.folder).store / replies.name)
    store = Again(sweep.folder / "again", of=files.store, share=wish.share, seed=wish.seed, compare=compare)
    _train(sweep, store)
    here, compared, cannot = SweepFiles(sweep.folder), list(store.compared), []
    for each in sweep.config.runs:
        run, until = each.run.name, each.train.steps if wish.steps is not None else None
        again, status = here.content(run), here.status(run)
        if status.get("state") != "completed":
            until = _last(again)
            text = f"the replay stops after step {until}: {status.get('error')}"
            compared.append(Compared(RUNS, run, DIFFERS, text))
        compared += compare_lines(run, files.content(run), again, until)
    if wish.steps is not None:
        cannot.append(f"steps after {sweep.config.train.steps}")
    drawn = {kind: store.drawn(kind) for kind in (EPISODES, UPDATES)}
    compared = list(_within_chance(compared, certificate))
    return Replay(sweep.name, "store", wish.share, wish.seed, drawn, compared, (), cannot, {"log-probs": tolerance})


def _last(content: Any) -> int:
    return int(content.steps[-1]["step"]) if content.steps else 0


def _remade(files: SweepFiles, sweep: Sweep, completed: Sequence[PlannedRun], wish: Wish) -> Replay:
    """Some runs, from their first step on."""
    if sweep.config.user.kind == "llm":
        raise ConfigError(
            "The sweep's user is a model, which says something else each time, and its store is not here."
        )
    _train(sweep, None)
    exact = sweep.policy.dtype == "float32"
    here, compared = SweepFiles(sweep.folder), []
    for each in sweep.config.runs:
        run, status = each.run.name, here.status(each.run.name)
        if status.get("state") != "completed":
            compared.append(Compared(RUNS, run, DIFFERS, f"it cannot be made anew: {status.get('error')}"))
        arm = (each.run.arm.name, each.run.block)
        others = [
            rewards(files.content(other.run))
            for other in completed
            if (other.arm, other.block) == arm and other.run != run
        ]
        compared += compare_run(run, files.content(run), here.content(run), others, exact)
    steps = [len(files.content(each.run).steps) for each in completed]
    drawn = {RUNS: (len(sweep.config.runs), len(completed))}
    cannot = ["single episodes and updates: the sweep's store is not here, and its records hold only what they gave"]
    cannot += [f"steps after {sweep.config.train.steps}"] if sweep.config.train.steps < max(steps) else []
    return Replay(sweep.name, "remade", wish.share, wish.seed, drawn, compared, (), cannot)


def _train(sweep: Sweep, store: Store | None) -> None:
    for part, runs in sweep.parts(sweep.config.runs):
        train_here(part, runs, store)


def _tolerance(certificate: Certificate | None, exact: bool) -> float:
    """Mean |difference| of an episode's log-probs (nats): what rounding makes between two programs, or what company
    makes on this machine, where that was measured and is more."""
    from harness.answering import TOLERANCE_16_BIT, TOLERANCE_EXACT

    rounding = TOLERANCE_EXACT if exact else TOLERANCE_16_BIT
    return max(rounding, certificate.company.mean if certificate else 0.0)


def _within_chance(compared: Sequence[Compared], certificate: Certificate | None) -> Iterator[Compared]:
    """Episodes with other tokens differ where there are more of them than the certificate's share of replies with
    other tokens makes by chance; without a certificate, where there is one."""
    parted = [each for each in compared if each.verdict == OTHER_TOKENS]
    replies = sum(each.turns for each in compared if each.kind == EPISODES)
    allowed = 0
    if parted and certificate and certificate.company.rows:
        from scipy.stats import binom

        share = 1 - certificate.company.same / certificate.company.rows
        allowed = int(binom.ppf(1 - CHANCE, replies, share))
    for each in compared:
        more = each.verdict == OTHER_TOKENS and len(parted) > allowed
        yield replace(each, verdict=DIFFERS) if more else each


def _refuse_other_content(folder: Path, there: Record, here: Record) -> None:
    """Raises ConfigError where the policy's files or the tasks are not those of the sweep: it would be another one."""
    kept: Mapping[str, str] = there.get("content") or {}
    now: Mapping[str, str] = here.get("content") or {}
    if other := [name for name in kept if name in now and kept[name] != now[name]]:
        lines = [f"{name}: {kept[name]} there, {now[name]} here" for name in other]
        raise ConfigError(
            f"{folder} was computed with other files than are here:\n  {listed(lines)}\nA replay needs the same "
            "policy, tasks and version of what an episode is. Take the sweep's "
            f"source{_commit(there)}, or name the policy's files with policy.path=."
        )


def _commit(manifest: Record) -> str:
    found = (manifest.get("git") or {}).get("commit")
    return f" (commit {str(found)[:12]})" if found else ""


def _said(there: Record, here: Record, sweep: Sweep) -> Iterator[str]:
    """What is not as it was where the sweep ran; it is said, and nothing is refused for it."""
    one, other = (_machine(each.get("machine") or {}) for each in (there, here))
    yield f"machine: {one}" if one == other else f"another machine: {one} there, {other} here"
    kept = (there.get("sources") or {}).get(there.get("source"))
    lines = differences(kept, sweep.source) if kept and sweep.source else ["the sweep recorded none"]
    yield "source: the same" if not lines else f"another source:\n  {listed(lines)}"
    found = known(sweep.config, sweep.policy, sweep.domain.name)
    yield (
        found.text()
        if found
        else (
            "no certificate of this machine: an episode with other tokens counts as different. "
            "`harness certificate` with the sweep's options measures how often that happens here"
        )
    )


def _machine(machine: Record) -> str:
    return ", ".join(machine.get("gpus") or []) or f"{machine.get('cpu')} ({machine.get('cores')} cores)"
