"""How many more seeds an undecided effect needs: `harness seeds results/<sweep> [--json]`.

Prints each undecided effect as it is now, the seeds in all that decide it with 80 % power, what that costs in runs, the
arms to spend them on, and the commands that run them. It says why where that cannot be known.
"""

import shlex
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import pairwise

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from harness.errors import ConfigError
from harness.factors import OFF, ON
from harness.printed import printed
from harness.records.load import SweepRecords, load_sweep
from harness.records.looks import record_look
from harness.report import effect_text, formats
from harness.report.look_text import how_often, look_line
from harness.stats.effects import Effects, analyse
from harness.stats.more_seeds import MOST, Need, Needs, needs
from harness.stats.outcomes import outcomes_of
from harness.stats.power import POWER
from harness.stats.reward_range import CUT, is_cut

OF_THE_ARMS = ("+ablation=", "ablation=", "seed=", "factors=", "baseline=", "sweep=", "train.steps=", "plan_only=")
OF_THE_START = ("resume=", "placebo=", "controls=")  # a placebo is among the factors, and controls need no more seeds


def run(asked: Namespace) -> int:
    record_look(asked.sweep)
    sweep = load_sweep(asked.sweep).main
    effects = analyse(sweep)
    kind = effect_text.leading_kind(effects)
    if kind is None:
        raise ConfigError(f"{asked.sweep} compares no fix yet: no effect of it is answered. `harness report` says why.")
    found = needs(outcomes_of(sweep), kind, effects.effects)
    if asked.json:
        print(as_json(sweep, found))
        return 0
    console = Console(markup=False, emoji=False)
    console = console if console.is_terminal else Console(width=140, markup=False, emoji=False)
    for part in parts(sweep, effects, found):
        console.print(part, soft_wrap=isinstance(part, str), highlight=False)
    return 0


def as_json(sweep: SweepRecords, found: Needs) -> str:
    """The same text for the same records."""
    undecided = [
        asdict(need) | {"effect": {k: v for k, v in asdict(need.effect).items() if k not in ("kind", "outcome")}}
        for need in found.undecided
    ]
    decided = [{"factors": e.factors, "verdict": e.verdict} for e in found.decided]
    data = asdict(found) | {"power": POWER, "undecided": undecided, "decided": decided}
    return printed(data | {"commands": commands(sweep, found.more)})


def parts(sweep: SweepRecords, effects: Effects, found: Needs) -> Iterator[RenderableType]:
    seeds = formats.seeds(effects.seeds)
    yield f"{sweep.name}: {effect_text.KIND_TITLES[found.kind]}, final reward, seeds {seeds}"
    if how_often(effects.looks):
        yield look_line(effects.looks)
    if found.decided:
        decided = [f"{effect_text.name(e)} ({effect_text.verdict(e)})" for e in found.decided]
        yield f"Decided: {effect_text.listed(decided)}. Their arms need no more seeds."
    if not found.undecided:
        return
    yield ""
    yield _table(found)
    yield (
        f"Seeds in all, those that are there included, for a decision with {POWER:.0%} power at the level of the next "
        f"look. In brackets: if seeds differ as much as {len(effects.seeds)} of them allow with "
        f"{POWER:.0%} probability. Margin: {found.margin:g} reward (stats.margin)."
    )
    if any(is_cut(effect_text.final(need.effect)) for need in found.undecided):
        yield CUT
    yield from _spend(sweep, found)


def _table(found: Needs) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for name in ("undecided", "now", "if as estimated", "if as the margin", "more runs", "arms that it compares"):
        table.add_column(name)
    for need in found.undecided:
        table.add_row(
            Text(effect_text.short(need.effect)),
            Text(effect_text.final(need.effect)),
            _as_estimated(need),
            "" if need.why and need.as_margin is None and not _is_large(need) else _number(need.as_margin),
            str(need.runs) if need.as_estimated else formats.NONE,
            ", ".join(need.arms) if len(need.arms) <= 4 else f"{len(need.arms)} arms",
        )
    return table


def _is_large(need: Need) -> bool:
    """Whether it is known, and more seeds than can be had."""
    return need.why.startswith("more than")


def _number(seeds: int | None) -> str:
    return f"more than {MOST}" if seeds is None else str(seeds)


def _as_estimated(need: Need) -> str:
    if need.as_estimated is None:
        of = "groups of tasks" if need.in_groups else "tasks"
        tasks = f"; with twice the seeds {need.tasks} {of} would do" if need.tasks else ""
        return ("not known: " if not _is_large(need) else "") + need.why.removesuffix(", if it is as estimated") + tasks
    within = ", to be no effect" if need.shown_within else ""
    return f"{need.as_estimated} ({_number(need.at_most)}){within}"


def _spend(sweep: SweepRecords, found: Needs) -> Iterator[str]:
    if not found.more:
        return
    yield ""
    each = [f"{arm} {more}" for arm, more in found.more.items()]
    yield f"More seeds by arm: {', '.join(each)}; {found.runs} runs in all, {found.whole} with every arm of the sweep."
    for command in commands(sweep, found.more):
        yield f"    {command}"
    yield "Each report that follows is a look; what further looks cost is in the numbers above."


def commands(sweep: SweepRecords, more: Mapping[str, int]) -> list[str]:
    """That run the seeds which these arms lack: one for each number of them. None where an arm has a further level."""
    levels = {run.arm: run.levels for run in sweep.runs}
    if any({*levels[arm].values()} - {ON, OFF} for arm in more):
        return []
    first = max(run.seed for run in sweep.runs) + 1
    out = []
    for had, up_to in pairwise([0, *sorted(set(more.values()))]):
        arms = [[f for f, level in levels[arm].items() if level == ON] for arm, n in more.items() if n >= up_to]
        seeds = ",".join(str(seed) for seed in range(first + had, first + up_to))
        named = "[" + ",".join(f"[{','.join(on)}]" for on in arms) + "]"
        out.append(shlex.join([*_same(sweep), f"hydra.sweeper.arms={named}", f"seed={seeds}"]))
    return out


def _same(sweep: SweepRecords) -> list[str]:
    """`harness -m` and the options of the sweep, without what chose its arms and seeds."""
    given = shlex.split(str(sweep.manifest.get("command") or ""))[3:]  # python -m harness
    other = (*OF_THE_ARMS, *OF_THE_START, *(f"fix/{factor}=" for factor in sweep.factors))
    kept = [o for o in given if o not in ("-m", "--multirun") and not o.startswith(other)]
    steps = [f"train.steps={sweep.total_steps}"] if sweep.total_steps is not None else []
    factors = f"factors=[{','.join(sweep.factors)}]"
    return ["harness", "-m", *kept, f"sweep={sweep.name}", f"baseline={sweep.baseline}", factors, *steps]
