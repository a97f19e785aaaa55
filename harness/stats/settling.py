"""Whether a sweep ran long enough: had the arm with all fixes on settled by its last step?

Settled: its change over the last third lies within ± δ (`stats.margin`) with its whole 90 % interval: both that it
rises by more and that it falls by more are rejected at 5 % (two one-sided tests: Schuirmann 1987, J. Pharmacokinet.
Biopharm. 15, 657-680). δ, because that is what the sweep calls next to nothing. The last third, because of what it says
about later steps: where a curve approaches its end exponentially with a time constant τ, what is still to come is its
change over the last third divided by e^(steps / 3τ) − 1. That is no more than the change itself from 2.08 τ on.

The change is that of the least-squares line over the validations from the last one at or before two thirds of the
steps, so over at least a third. A jump up and down again within it is the business of stability.py. Rising (falling):
the interval lies above (below) 0, and not within ± δ. Else it is not known. The interval pays for further looks
(looks.py), so settled is said wrongly in 5 % of cases over all of them, and holds whatever missing episodes would have
been (worst_case.py).

The middle of the curve: the first validation at which all_on has made half of its rise, from the first to its best
validation. Before that an effect is small because little has been learned. An arm that never rises by MOVES has its
middle at half of the steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.factors import ON
from harness.stats.looks import Judged, judge, over_fillings
from harness.stats.outcomes import Outcomes
from harness.stats.verdicts import MOVES
from harness.stats.worst_case import fillings

Array = np.ndarray
BOTH_SIDES = 0.9  # level of the interval whose ends are one-sided 95 % bounds
SETTLED, RISING, FALLING, UNKNOWN = "settled", "rising", "falling", "unknown"


@dataclass(frozen=True)
class Settling:
    """Of all_on. change: of its mean reward from step `since` to the last one, 90 % interval; None where it has no run
    with these validations, the interval also where there is none."""

    state: str
    middle: int  # step
    since: int  # step
    change: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int = 0


def settling(outcomes: Outcomes) -> Settling | None:
    """None where the sweep has fewer than two validations or no arm with all fixes on."""
    arm = next((i for i, a in enumerate(outcomes.arms) if a.at(ON) == a.factors), None)
    if arm is None or len(outcomes.steps) < 2:
        return None
    weights = last_third(outcomes.steps)
    used = np.flatnonzero(weights)
    middle, since = middle_of_curve(outcomes, arm), outcomes.steps[used[0]]
    change = _change(outcomes, arm, weights)
    if change is None:
        return Settling(UNKNOWN, middle, since)
    if outcomes.missing_A_N_S_T[arm][:, used].any():
        of_arm = np.arange(len(outcomes.arms)) == arm
        filled = fillings(outcomes, of_arm.astype(float), weights, outcomes.missing_A_N_S_T)
        change = over_fillings(change, [found for o in filled if (found := _change(o, arm, weights))])
    spread, (low, high) = change.spread, change.ends(1 - BOTH_SIDES)
    return Settling(_state(low, high, outcomes.margin), middle, since, spread.mean, low, high, spread.seeds)


def _change(outcomes: Outcomes, arm: int, weights_S: Array) -> Judged | None:
    """Of its reward over the last third, if episodes are missing at random; None where no run has these validations."""
    used = np.flatnonzero(weights_S)
    curves_N_S_T = outcomes.complete_A_N_S_T[arm][:, used]
    there = outcomes.counted_A_N[arm] & ~np.isnan(curves_N_S_T).all(axis=2).any(axis=1)
    curves_N_S_T = curves_N_S_T[there]
    tasks = ~np.isnan(curves_N_S_T).any(axis=(0, 1))
    if not there.any() or not tasks.any():
        return None
    values = np.einsum("nst,s->nt", curves_N_S_T[..., tasks], weights_S[used])
    jump = 0.0 if not values.any() else float(np.abs(weights_S).max())
    seeds = [outcomes.seeds[n] for n in np.flatnonzero(there)]
    return judge(values, seeds, jump, outcomes.looks, outcomes.groups_at(np.flatnonzero(tasks)))


def last_third(steps: Sequence[int]) -> Array:
    """(S,) weights that give the change of a curve over its last third, by least squares."""
    at = np.array(steps, dtype=float)
    used = at >= max(s for s in steps if s <= steps[0] + 2 / 3 * (steps[-1] - steps[0]) + 1e-9)
    centred = np.where(used, at - at[used].mean(), 0.0)
    weights: Array = centred / (centred @ centred) * (at[-1] - at[used][0])
    return weights


def middle_of_curve(outcomes: Outcomes, arm: int) -> int:
    """The step from which on verdicts have to hold."""
    runs = outcomes.rewards_A_N_S_T[arm][outcomes.counted_A_N[arm]]
    means = np.array([np.nanmean(v) if np.isfinite(v).any() else np.nan for v in runs.transpose(1, 0, 2)])
    rise = float(np.nanmax(means) - means[0]) if np.isfinite(means[0]) else 0.0
    if rise < MOVES - 1e-9:
        return half_of_steps(outcomes.steps)
    return outcomes.steps[int(np.argmax(means - means[0] >= rise / 2 - 1e-9))]


def half_of_steps(steps: Sequence[int]) -> int:
    """The first validation in the second half."""
    return next(s for s in steps if s >= (steps[0] + steps[-1]) / 2)


def _state(low: float | None, high: float | None, margin: float) -> str:
    if low is None or high is None:
        return UNKNOWN
    if -margin - 1e-9 <= low and high <= margin + 1e-9:
        return SETTLED
    return RISING if low > 0 else FALLING if high < 0 else UNKNOWN
