"""Effects by block and step: the same arms and seeds at several learning rates (or whatever the blocks differ in).

Each row is an effect over the steps of one block (by_step.py), with `p_all` corrected for the blocks, too.

A verdict depends on the block where, at the last steps of two of them,
    in one    it matters, corrected over the effects of its kind and over the blocks
    in other  it matters with the other sign; or its 95 % interval lies within ± δ although all_on has learned there,
              and the difference of the two effects has a 95 % interval without 0
as depends.py has it for two steps. Blocks share seeds and tasks, so the difference is paired by both. A block in which
all_on rises by less than MOVES says nothing of this kind: no difference could have shown there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np

from harness.stats.by_step import EffectCurve, StepEffect
from harness.stats.contrasts import Contrast
from harness.stats.intervals import LEVEL
from harness.stats.measured import Measured, measure_difference
from harness.stats.outcomes import Outcomes
from harness.stats.reward_range import DIFFERENCE, brackets
from harness.stats.verdicts import LOWERS, MOVES, RAISES

Array = np.ndarray


@dataclass(frozen=True)
class MapRow:
    """One effect in one block, over its steps."""

    kind: str
    factors: tuple[str, ...]
    block: str
    points: tuple[StepEffect, ...]


@dataclass(frozen=True)
class Place:
    block: str
    step: int
    value: float
    low: float  # 95 %, this place alone
    high: float

    @property
    def text(self) -> str:
        return f"{self.value:+.3f} {brackets(self.low, self.high, DIFFERENCE)} at step {self.step} of {self.block}"


@dataclass(frozen=True)
class BlockTurn:
    """The two blocks between which a verdict turns round: it matters in the first."""

    kind: str
    factors: tuple[str, ...]
    matters: Place
    otherwise: Place

    @property
    def text(self) -> str:
        return f"{self.otherwise.text}, {self.matters.text}"


@dataclass(frozen=True)
class EffectMap:
    rows: tuple[MapRow, ...] = ()
    turns: tuple[BlockTurn, ...] = ()


def effect_map(
    blocks: Mapping[str, Outcomes],
    curves: Mapping[str, Sequence[EffectCurve]],
    contrasts: Mapping[str, Sequence[Contrast]],
) -> EffectMap:
    """curves, contrasts: by block; every curve has its contrast."""
    rows, turns = [], []
    for kind, factors in dict.fromkeys((c.kind, c.factors) for found in curves.values() for c in found):
        here = {b: c for b, found in curves.items() for c in found if (c.kind, c.factors) == (kind, factors)}
        rows += [MapRow(kind, factors, b, tuple(_corrected(p, len(blocks)) for p in c.points)) for b, c in here.items()]
        own = {b: next(c for c in contrasts[b] if (c.kind, c.factors) == (kind, factors)) for b in here}
        pairs = [
            (a, b)
            for a, b in permutations(here, 2)
            if _matters(here[b], len(blocks)) and _otherwise(here[a], here[b], blocks[a], len(blocks))
            if _differ(blocks[a], blocks[b], own[a], own[b])
        ]
        if pairs:  # where it matters most, against where there is least of it
            a, b = max(pairs, key=lambda ab: (abs(_last(here[ab[1]])), -abs(_last(here[ab[0]]))))
            turns.append(BlockTurn(kind, factors, _place(b, here[b]), _place(a, here[a])))
    return EffectMap(tuple(rows), tuple(turns))


def _corrected(point: StepEffect, blocks: int) -> StepEffect:
    return point if point.p_all is None else replace(point, p_all=min(1.0, blocks * point.p_all))


def _last(curve: EffectCurve) -> float:
    return curve.points[-1].value or 0.0


def _place(block: str, curve: EffectCurve) -> Place:
    p = curve.points[-1]
    assert p.value is not None and p.low is not None and p.high is not None
    return Place(block, p.step, p.value, p.low, p.high)


def _matters(curve: EffectCurve, blocks: int) -> bool:
    last = curve.points[-1]
    return last.p_holm is not None and blocks * last.p_holm < 1 - LEVEL and last.verdict in (RAISES, LOWERS)


def _otherwise(a: EffectCurve, b: EffectCurve, outcomes: Outcomes, blocks: int) -> bool:
    """outcomes: of the block of `a`"""
    point = a.points[-1]
    if point.low is None or point.high is None:
        return False
    if _matters(a, blocks) and _last(a) * _last(b) < 0:
        return True
    return -a.margin <= point.low and point.high <= a.margin and _learned(outcomes)


def _learned(outcomes: Outcomes) -> bool:
    """Whether all_on ends MOVES above its start."""
    first, last = outcomes.ends.get(outcomes.factors.with_off(), (0.0, 0.0))
    return last - first >= MOVES - 1e-9


def _differ(one: Outcomes, other: Outcomes, of_one: Contrast, of_other: Contrast) -> bool:
    """Whether the difference of an effect between two blocks has a 95 % interval without 0."""
    found = measure_difference(one, other, of_one, of_other, "final")
    return isinstance(found, Measured) and found.judged(one).p_value < 1 - LEVEL
