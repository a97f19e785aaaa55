"""Sweeps of different seeds or policies in one table: `harness combine results/A results/B … [--json]`."""

import math
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from harness.printed import printed
from harness.records.load import load_sweep
from harness.records.looks import record_look
from harness.stats.combine import Combined, CombinedEffect, Estimate, combine
from harness.stats.intervals import settled
from harness.stats.looks import ALPHA, LookedAt
from harness.stats.meta_analysis import Pooled
from harness.stats.reward_range import CUT, DIFFERENCE, cut, is_cut
from harness.stats.verdicts import no_interval

TITLES = {
    "leave_one_out": "Leave-one-out: what is lost when this fix alone is off",
    "main": "Main effect: what the fix adds on average over all combinations of the others",
    "added_alone": "Added alone: what the fix alone adds to the broken loop",
}
MEANS = (
    "Brackets: 95 %. fixed: the mean of these settings, and of no other. random: the mean over settings like these "
    "(Paule-Mandel; Hartung, Knapp, Sidik, Jonkman). tau: how much settings differ, in reward. I²: the share of what "
    "varies between them that their own errors do not explain. "
)
P_MEANS = "p: Holm-corrected over the fixes of its column. Beside a setting: of that setting alone."
ONE_SEED = "No fixed effect where a setting has one seed: nothing is known of its other seeds."
DASH = "–"


def run(asked: Namespace) -> int:
    for folder in asked.sweeps:
        record_look(folder)
    found = combine([load_sweep(folder) for folder in asked.sweeps])
    if asked.json:
        print(as_json(found))
        return 0
    console = Console(markup=False, emoji=False)
    console = console if console.is_terminal else Console(width=200, markup=False, emoji=False)
    for part in report(found):
        console.print(part)
    return 0


def report(found: Combined) -> Iterator[RenderableType]:
    letters = {s.label: chr(ord("A") + n) for n, s in enumerate(found.settings)}
    yield Text(f"baseline {found.baseline}, effects on the final reference reward", style="bold")
    for setting in found.settings:
        seeds = f"seed{'s' * (len(setting.seeds) > 1)} {', '.join(map(str, setting.seeds))}"
        problem = f"; not in the means: {setting.problem}" if setting.problem else ""
        yield Text(f"{letters[setting.label]}: {setting.label} ({seeds}{_looks(setting.looks)}{problem})")
    for key, values in found.differences:
        yield Text(f"   {key}: {' / '.join(values)}", style="dim")
    for kind, title in TITLES.items():
        effects = [e for e in found.effects if e.kind == kind and e.outcome == "final" and e.estimates]
        if effects:
            yield Text(f"\n{title}", style="bold")
            yield _table(effects, letters)
    shown = "".join(cell for e in found.effects for each in e.estimates for cell in _estimate(each))
    shown += "".join(cell for e in found.effects for cell in _meta(e))
    if is_cut(shown):
        yield Text(CUT, style="dim")
    yield Text((MEANS if len(found.settings) > 1 else "Brackets: 95 %. ") + P_MEANS, style="dim")
    if any(e.meta and not e.fixed_known for e in found.effects):
        yield Text(ONE_SEED, style="dim")


def _table(effects: list[CombinedEffect], letters: dict[str, str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    several = len(letters) > 1
    own_heads = (head for letter in letters.values() for head in (letter, "p"))
    for name in ("fix", *own_heads, *(("fixed", "p", "random", "p", "tau", "I²") if several else ())):
        table.add_column(name, justify="left" if name == "fix" else "right", no_wrap=True)
    for effect in effects:
        by_setting = {e.setting: e for e in effect.estimates}
        own = [cell for label in letters for cell in _estimate(by_setting.get(label))]
        table.add_row(*map(Text, (effect.factors[0], *own, *(_meta(effect) if several else ()))))
    return table


def _meta(effect: CombinedEffect) -> tuple[str, ...]:
    m = effect.meta
    if m is None:
        return (DASH,) * 6
    fixed = (_pooled(m.fixed), _p(effect.fixed_p_holm)) if effect.fixed_known else (DASH, DASH)
    return (*fixed, _pooled(m.random), _p(effect.random_p_holm), f"{m.tau:.3f}", f"{100 * m.i_squared:.0f} %")


def _looks(looks: LookedAt) -> str:
    """`; looked at 2 times (after 5 and 8 seeds), which brackets and p pay for`; nothing for one look as planned."""
    if looks.levels == (ALPHA,):
        return ""
    *first, last = map(str, looks.seeds)
    if first:
        often = f"looked at {len(looks.seeds)} times (after {', '.join(first)} and {last} seeds)"
    else:
        often = f"a look after {last} seeds, before all that was planned"
    error = f"; together these looks err in up to {100 * looks.error:.2g} %" if looks.error > ALPHA else ""
    return f"; {often}, which brackets and p pay for{error}"


def _estimate(e: Estimate | None) -> tuple[str, str]:
    """The estimate and its p-value."""
    if e is None:
        return DASH, DASH
    if e.low is None or e.high is None:
        return f"{_number(e.value, True)} [{no_interval(e.seeds)}]", _p(e.p_holm)
    one = ", one seed" if e.seeds == 1 else ""
    return f"{_number(e.value, True)} [{_ends(e.low, e.high)}{one}]", _p(e.p_holm)


def _pooled(p: Pooled) -> str:
    return f"{_number(p.value, True)} [{_ends(p.low, p.high)}]"


def _ends(low: float, high: float) -> str:
    low, high, before, after = cut(low, high, DIFFERENCE)
    return f"{before}{_number(low)}, {_number(high)}{after}"


def _number(value: float, sign: bool = False) -> str:
    return f"{settled(value):{'+' if sign else ''}.3f}".replace("-", "−")


def _p(value: float | None) -> str:
    return DASH if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def as_json(found: Combined) -> str:
    """The same text for the same records."""
    return printed(_rounded(asdict(found)))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) + 0.0 if math.isfinite(value) else None
    return value
