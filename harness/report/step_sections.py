"""The section of a report about effects over the steps, and over blocks where a sweep has them."""

from collections.abc import Sequence

from harness.report import effect_text, formats
from harness.report.sections import Grid, Section
from harness.report.step_text import leading_curves, settling_lines, short_cell
from harness.stats.by_step import StepEffect
from harness.stats.effects import Effects
from harness.stats.unseen_failures import unseen_failures
from harness.stats.verdicts import MOVES

STARS = (
    "* decided, had one stopped at that step (Holm over the fixes); ** also with all steps{blocks} taken together. "
    "0: the same weights and episodes so far. Blue raises, orange lowers."
)
MIDDLE = (
    "A verdict has to hold from the middle of the curve on, here step {step}: the first validation at which all_on has "
    "made half of its rise, or half of the steps where it never rises by {moves:g}. Before that an effect is small "
    "because little has been learned."
)
STABLE = (
    "Stability: share of the validations after the best one that lie within ± {margin:g} reward of it, of the arm's "
    "mean curve; in brackets its runs, each against its own best. The best is partly luck: compare arms."
)
UNSEEN = (
    "The bands, too, know nothing of failures that strike some runs of an arm and that no seed here has shown: what is "
    "said of the intervals above holds for them."
)


def steps_section(effects: Effects) -> Section | None:
    """None where there is one validation or no effect with an answer."""
    if len(effects.steps) < 2 or not effects.by_step:
        return None
    make = _maps if effects.map.rows else _by_fix
    first, *others = (make(effects, kind) for kind in dict.fromkeys(c.kind for c in effects.by_step))
    notes = [STARS.format(blocks=" and blocks" if effects.map.rows else "")]
    if effects.map.rows:
        notes.append("The figure is of the main block.")
    if effects.settled:
        notes.append(MIDDLE.format(step=effects.settled.middle, moves=MOVES))
    notes += settling_lines(effects)
    if any(unseen_failures(c.kind, "final", max(p.seeds for p in c.points)) for c in effects.by_step):
        notes.append(UNSEEN)
    return Section(
        "Effects over the steps",
        ("What each effect would have been, had the sweep stopped at that validation.",),
        figure="steps" if leading_curves(effects) else "",
        grids=first,
        folded=tuple(grid for grids in others for grid in grids),
        notes=tuple(notes),
    )


def _by_fix(effects: Effects, kind: str) -> tuple[tuple[str, Grid], ...]:
    """Fixes by steps."""
    rows = [(" × ".join(c.factors), c.points) for c in effects.by_step if c.kind == kind]
    return ((effect_text.KIND_TITLES[kind], _grid("fix", rows)),)


def _maps(effects: Effects, kind: str) -> tuple[tuple[str, Grid], ...]:
    """For each fix: blocks by steps."""
    found = dict.fromkeys(r.factors for r in effects.map.rows if r.kind == kind)
    rows = {f: [(r.block, r.points) for r in effects.map.rows if (r.kind, r.factors) == (kind, f)] for f in found}
    return tuple((f"{effect_text.KIND_TITLES[kind]}, {' × '.join(f)}", _grid("block", of)) for f, of in rows.items())


def _grid(head: str, rows: Sequence[tuple[str, Sequence[StepEffect]]]) -> Grid:
    """Blocks may have been validated at other steps: a dash there."""
    steps = sorted({p.step for _, points in rows for p in points})
    largest = max((abs(p.value or 0.0) for _, points in rows for p in points), default=0.0) or 1.0
    cells, shades = [], []
    for name, points in rows:
        at = {p.step: p for p in points}
        cells.append((name, *(short_cell(at[s]) if s in at else formats.NONE for s in steps)))
        shades.append((None, *(_shade(at.get(s), largest) for s in steps)))
    return Grid((head, *map(str, steps)), tuple(cells), "heat", tuple(shades))


def _shade(point: StepEffect | None, largest: float) -> float | None:
    return None if point is None or point.value is None else point.value / max(largest, 0.1)


def stability_cells(effects: Effects) -> dict[str, str]:
    """By arm: `1.00 (runs 0.49 [0.00, 1.00])`."""
    out = {}
    for s in effects.stability:
        share = formats.NONE if s.share is None else f"{s.share:.2f}"
        runs = formats.NONE if s.of_runs is None else f"{s.of_runs:.2f}"
        spread = "" if s.low is None or s.high is None else f" [{s.low:.2f}, {s.high:.2f}]"
        out[s.arm] = f"{share} (runs {runs}{spread})"
    return out
