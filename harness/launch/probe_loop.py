"""This project's own loop, probed: is each fault there that a fix is about, and by what was that seen?

Each fix that is not on is looked at alone, in an arm that has all others on: some faults hide others, as a loop without
log-probs trains nothing whose context could be wrong. One update is made; for the fix that chooses the weights there
is a second step, since before the first update all weights are the same.
"""

import contextlib
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

from harness.config import RunConfig, SweepConfig, typed
from harness.errors import ConfigError, EngineError
from harness.factors import FIX, OFF, ON, Arm
from harness.launch.in_process import train_here
from harness.launch.one_run import untyped
from harness.launch.probe_replayed import by_reference
from harness.launch.quiet import quiet
from harness.levels import declared
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.records.layout import SweepFiles
from harness.records.schema import Record
from harness.seams import Strategy
from harness.sweep.plan import Sweep, prepare

# Beside what is asked for: two steps, little validation, nothing that is kept.
SMALL = {
    "train.steps": "2",
    "validation.max_tasks": "1",
    "tracking": "off",
    "sweep": "probe",
}
MOCK = {"env.tasks": "34"}  # 30 to train on and four held out, of which the arm's own validation asks each
SYMPTOM = re.compile(r"^symptom:\s+(.*?)^\w+:", re.MULTILINE | re.DOTALL)
EXPECTED = re.compile(r"\s*\(expected [^()]*\)")  # what a check says of its level: here there is no right one
MORE = "more rollouts (train.groups_per_step), tasks that are harder or easier, or another policy"

Train = Callable[[Sweep, Sequence[RunConfig]], None]


@dataclass(frozen=True)
class Looked:
    """A fix, the level that was asked for, and the checks of its switch in the arm where it was looked at."""

    strategy: Strategy
    checks: Sequence[Record]


def findings(options: Sequence[str], train: Train = train_here) -> list[Finding]:
    """One for each fix, in their order, and what the environment and the options tell. Starts an engine. Raises
    ConfigError, EngineError.

    options: as for a sweep; train: returns when every run has ended
    """
    quiet()
    folder = Path(tempfile.mkdtemp(prefix="harness-probe-"))
    try:
        with contextlib.redirect_stdout(sys.stderr):  # its progress; what is found goes to the other stream
            sweep = prepare(arms(options, folder))
    except ConfigError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    with contextlib.redirect_stdout(sys.stderr):
        train(sweep, sweep.config.runs)  # where that fails, the folder stays: its logs are named
    found = [*(found_in(looked) for looked in _looked(sweep)), *by_reference(sweep)]
    shutil.rmtree(folder, ignore_errors=True)
    return found


def arms(options: Sequence[str], results: Path) -> SweepConfig:
    """The arms that are looked at: all on, and all on but for each fix that is asked for at another level."""
    keys = {option.lstrip("+").partition("=")[0] for option in options}
    if fixed := sorted(keys & {"train.steps", "results", "sweep", "+ablation", "ablation"}):
        raise ConfigError(f"{fixed[0]} is the probe's own: it makes one update or two in a folder that goes.")
    asked = untyped([*options, "tracking=off"] if "tracking" not in keys else options)
    every = declared(asked, [str(name) for name in asked.fix if asked.fix[name] is not None])
    names = [factor.name for factor in every if factor.role == FIX]
    levels = {name: str(_level(asked, name)) for name in names}
    small = SMALL | (MOCK if asked.env.get("domain") == "mock" else {}) | {"results": str(results)}
    rest = [f"{key}={value}" for key, value in small.items() if key not in keys]
    chosen = [Arm.of(dict.fromkeys(names, ON))]
    chosen += [Arm.of(dict.fromkeys(names, ON) | {name: level}) for name, level in levels.items() if level != ON]
    composed = []
    for arm in chosen:
        cfg = untyped([*_options(options, arm, levels), *rest])
        cfg.factors = names
        composed.append(cfg)
    config = typed(*composed)
    return replace(config, runs=tuple(map(_short, config.runs)))


def _options(options: Sequence[str], arm: Arm, asked: Mapping[str, str]) -> Iterator[str]:
    """The options as this arm has them: its own levels, and a level's options where it has that level."""
    levels = arm.as_dict
    for option in options:
        name = option.lstrip("+").partition("=")[0]
        of_level = name.split(".")[1] if name.startswith("fix.") else ""
        if not name.startswith("fix/") and levels.get(of_level) == asked.get(of_level):
            yield option
    for factor, level in levels.items():
        if level != ON:
            yield f"fix/{factor}={level}"


def _level(cfg: object, name: str) -> str:
    target = str(cfg.fix[name]["_target_"])  # type: ignore[attr-defined]
    module, _, attribute = target.rpartition(".")
    return str(getattr(import_module(module), attribute).level)


def _short(run: RunConfig) -> RunConfig:
    """With one step, where the weights before the update tell all."""
    off = [s.factor for s in run.seams.all() if s.level != ON and s.factor.role == FIX]
    later = not off or any(factor.first_policy for factor in off)
    return run if later else replace(run, train=replace(run.train, steps=1))


def _looked(sweep: Sweep) -> Iterator[Looked]:
    """Raises EngineError for a run that has failed."""
    files = SweepFiles(sweep.folder)
    for each in sweep.config.runs:
        status = files.status(each.run.name)
        if status.get("state") != "completed":
            raise EngineError(f"{each.run.name} has failed: {status.get('error')} More is in {sweep.folder}/logs.")
    all_on, *others = sweep.config.runs
    apart = {name: run for run in others for name, level in run.run.arm.levels if level != ON}
    for name in sweep.config.factors.names:
        run = apart.get(name, all_on)
        strategy = next(s for s in run.seams.all() if s.factor.name == name)
        lines = files.content(run.run.name).checks
        yield Looked(strategy, [line for line in lines if line["factor"] == name])


def found_in(looked: Looked) -> Finding:
    """The fault is present where its level was shown to be at work, or where the fix was shown not to be."""
    strategy, factor = looked.strategy, looked.strategy.factor
    judged = [check for check in looked.checks if check["took_effect"] is not None]
    last = (judged or list(looked.checks) or [{}])[-1]
    reading = {key: float(value) for key, value in last.get("reading", {}).items() if _is_number(value)}
    text = EXPECTED.sub("", str(last.get("text", "nothing was measured")).removeprefix("not shown: "))
    level = f"{strategy.level}: {factor.levels.get(strategy.level) or 'no summary'}"
    about = f"{_symptom(strategy)} ({level})" if strategy.level in (OFF, ON) else level
    if not judged:
        found = cannot_tell(text, MORE, **reading)
    else:
        held = [bool(check["took_effect"]) for check in judged]
        works = any(held) if strategy.needs == "ever" else all(held)
        found = (absent if works == (strategy.level == ON) else present)(text, **reading)
    return replace(found, symptom=factor.name, about=about)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _symptom(strategy: Strategy) -> str:
    """As the fix's module says it, else its summary."""
    found = SYMPTOM.search((sys.modules[type(strategy).__module__].__doc__ or "") + "\nend:")
    return " ".join(found[1].split()) if found else strategy.factor.summary
