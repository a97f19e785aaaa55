"""Every effect at every validation: what the sweep would have measured had it stopped there.

At each step an effect is that of `final` on the sweep cut off after that step, with the same interval (intervals.py).
Its p-value is Holm-corrected over the effects of its kind at that step. Both pay for further looks at the sweep, as the
effect on the final reward does (looks.py), and hold whatever episodes that are missing at a step would have been
(worst_case.py).

The band over the steps holds at all validations together: each interval is one at level 1 − .05 / K, with K the number
of validations at which the effect can differ from zero (Bonferroni). `p_all` is K times `p_holm`: over all validations
and effects of a kind together no more than 5 % are wrongly below .05.

Why nothing narrower: the errors of N seeds at S validations have a covariance of rank N − 1 < S, so a band that takes
their correlation from the data takes it from 3 to 5 curves. Measured in experiments/benchmarks/band_coverage.py with
12 validations and 200 sweeps a world: where an effect is constant, a band from the largest |t| under a multiplier
bootstrap over seeds holds in 88 to 90 % of sweeps at 3 seeds and in 93 to 95 % at 5; this one in 98 % and in 95 to
97 %. No band sees what the seeds at hand do not show: where one arm breaks in three of ten runs, at steps of their
own, this one holds in 87 % of sweeps at 3 seeds and in 74 % at 5, and one step's interval at 90 % of the steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.stats.contrasts import Contrast
from harness.stats.intervals import LEVEL, holm
from harness.stats.looks import ALPHA
from harness.stats.measured import Measured, measure
from harness.stats.outcomes import Outcomes
from harness.stats.verdicts import LOWERS, NOT_ANSWERED, RAISES, UNDECIDED, margin_of

Array = np.ndarray


@dataclass(frozen=True)
class StepEffect:
    """One effect at one validation, in reward. Numbers are None where it is not answered."""

    step: int
    verdict: str = NOT_ANSWERED  # had one stopped there: raises, lowers or undecided, after Holm's correction
    value: float | None = None
    low: float | None = None  # 95 %, this validation alone
    high: float | None = None
    low_all: float | None = None  # 95 %, all validations of this effect together
    high_all: float | None = None
    p_holm: float | None = None  # over the effects of its kind at this step
    p_all: float | None = None  # over these and the steps
    seeds: int = 0
    tasks: int = 0
    identical: bool = False  # the same weights and the same episodes up to here


@dataclass(frozen=True)
class EffectCurve:
    """One effect over the steps.

    nothing: from the middle of the curve on it lies within ± the margin, with the interval of all effects of its kind
    """

    kind: str
    factors: tuple[str, ...]
    margin: float  # reward; within ± this it counts as none (a mean over the factorial is diluted)
    nothing: bool
    points: tuple[StepEffect, ...]
    places: tuple[int, ...] = ()  # the two steps between which its verdict turns round (depends.py)


def effect_curves(outcomes: Outcomes, contrasts: Sequence[Contrast], middle: int) -> tuple[EffectCurve, ...]:
    """Of the contrasts that have an answer at the last validation. middle: step from which on `nothing` has to hold."""
    out = []
    stopped = [stopped_after(outcomes, step) for step in outcomes.steps]  # each completes its missing episodes once
    for kind in dict.fromkeys(c.kind for c in contrasts):
        family = [c for c in contrasts if c.kind == kind and not c.problem]
        table = [[measure(each, c, "final") for each in stopped] for c in family]
        told = [(c, row) for c, row in zip(family, table, strict=True) if isinstance(row[-1], Measured)]
        margin = margin_of(kind, "final", outcomes.steps, len(outcomes.factors), outcomes.margin)
        adjusted = _holm_by_step(outcomes, [row for _, row in told])
        for (contrast, row), p_holm_S in zip(told, adjusted, strict=True):
            counted = [m for m, s in zip(row, outcomes.steps, strict=True) if s >= middle]
            nothing = all(isinstance(m, Measured) and _near(m, outcomes, len(told), margin) for m in counted)
            points = _points(outcomes, row, p_holm_S)
            out.append(EffectCurve(kind, contrast.factors, margin, nothing, points))
    return tuple(out)


def stopped_after(outcomes: Outcomes, step: int) -> Outcomes:
    """The sweep as it would be, had its last validation been the one at this step."""
    return at_steps(outcomes, range(outcomes.steps.index(step) + 1))


def at_steps(outcomes: Outcomes, kept: Sequence[int]) -> Outcomes:
    """With some of the validations alone; by position, in order."""
    positions = list(kept)
    weights = outcomes.weights_A_N_S
    return replace(
        outcomes,
        steps=tuple(outcomes.steps[i] for i in positions),
        rewards_A_N_S_T=outcomes.rewards_A_N_S_T[:, :, positions],
        weights_A_N_S=None if weights is None else weights[:, :, positions],
    )


def _holm_by_step(outcomes: Outcomes, table: Sequence[Sequence[Measured | str]]) -> list[list[float]]:
    """Like the table: p-values, Holm-corrected over the effects of each step; NaN where there is no answer."""
    p = np.array([[m.judged(outcomes).p_value if isinstance(m, Measured) else np.nan for m in row] for row in table])
    return [list(map(float, row)) for row in np.array([holm(column) for column in p.T]).T] if p.size else []


def _points(outcomes: Outcomes, row: Sequence[Measured | str], p_holm_S: Sequence[float]) -> tuple[StepEffect, ...]:
    validations = max(sum(isinstance(m, Measured) and not m.identical for m in row), 1)
    points = []
    for step, found, p_holm in zip(outcomes.steps, row, p_holm_S, strict=True):
        if isinstance(found, str):
            points.append(StepEffect(step))
            continue
        s, judged = found.spread, found.judged(outcomes)
        (low, high), (low_all, high_all) = judged.ends(), judged.ends(ALPHA / validations)
        decided = RAISES if s.mean > 0 else LOWERS
        points.append(
            StepEffect(
                step=step,
                verdict=decided if p_holm < 1 - LEVEL and not (found.lost and found.lost.turns) else UNDECIDED,
                value=s.mean,
                low=low,
                high=high,
                low_all=low_all,
                high_all=high_all,
                p_holm=p_holm,
                p_all=min(1.0, validations * p_holm),
                seeds=s.seeds,
                tasks=s.tasks,
                identical=found.identical,
            )
        )
    return tuple(points)


def _near(found: Measured, outcomes: Outcomes, effects: int, margin: float) -> bool:
    low, high = found.judged(outcomes).interval(ALPHA / max(effects, 1))
    return max(abs(low), abs(high)) <= margin and not (found.lost and found.lost.exceeds(margin))
