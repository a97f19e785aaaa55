"""The smallest effect that a design finds with 80 % power, before anything runs.

The error of a contrast follows from its weights and the variance components of one arm's reward:

    variance = Σ weight² × (run / N + task / T + rest / (N T))      paired: shared seed and task effects cancel
             + Σ weight² × (seed / N + shared_task / T)             only if arms meet seeds and tasks of their own

where the sum goes over the arms that learn (a sealed arm is the base policy: it repeats itself); arms that differ only
in what is reported are one. A fix moves the same tasks whatever the other fixes are, so the parts of the tasks do not
average out over arms: there the sums of the positive and of the negative weights are squared.

The test is that of intervals.py at 5 % / k, the first step of Holm's correction for the k effects of a kind. It rejects
where the estimate is larger than the half-width, which rests on the estimated A and B of intervals.py: they are (N − 1)
and (T − 1) degrees of freedom of χ² about their expectation, and independent of the estimate where everything is
normal. The power is the mean over both. `experiments/benchmarks/planned_power.py` plants effects of the planned size
and counts how often they are found.

Rewards are 0 or 1: an arm that a large effect takes from .9 to .5 varies more than those that the variances were
estimated from. So in a comparison of all_on with one arm, the parts that come from episodes and tasks are scaled by
p (1 − p) of these two arms over the mean p (1 − p) of the earlier ones.

Tasks that are variants of one another count as one (intervals.py): T is the number of their groups, and a group varies
as the earlier sweep's groups did, or as a single task.

Variances of an earlier sweep are estimates from few seeds (pilot.py): the plan says between what sizes the smallest
effect may lie. Those that are merely stated have no such interval; the plan says what half and twice of them give.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import gammaincinv, ndtr, stdtrit

from harness.factors import Arm, Factors
from harness.stats.contrasts import KINDS, Contrast, all_contrasts
from harness.stats.intervals import Spread
from harness.stats.outcomes import Outcomes
from harness.stats.pilot import Pilot, pilot_of
from harness.stats.verdicts import in_groups

POWER = 0.8
STATED = "stated defaults"
Array = np.ndarray


@dataclass(frozen=True)
class Variance:
    """Components of the final reward of one run on one task. Defaults: the mean of planted leave_one_out sweeps
    (experiments/benchmarks/calibration.py), whose curves are like those of policy=micro."""

    run: float = 0.01  # of a run, its own (arm × seed)
    task: float = 0.005  # of a task in an arm, its own (arm × task)
    rest: float = 0.1  # arm × seed × task: mostly the 0/1 of a single episode
    seed: float = 0.013  # of a seed, shared by its arms
    shared_task: float = 0.027  # of a task, shared by all arms
    best: float = 0.87  # reward of all_on
    binary: float = 0.172  # mean p (1 − p) of the arms that these are of, p being an arm's reward
    source: str = STATED
    pilot: Pilot | None = None  # what run, task and rest were estimated from

    def times(self, factor: float) -> "Variance":
        own = {name: factor * getattr(self, name) for name in ("run", "task", "rest", "seed", "shared_task")}
        return replace(self, **own)

    def where_lost(self, effect: float) -> "Variance":
        """Those of a comparison of all_on with an arm that loses so much."""
        ends = (self.best, max(self.best - effect, 0.0))
        more = sum(p * (1 - p) for p in ends) / (2 * self.binary) if self.binary else 1.0
        return replace(self, task=more * self.task, rest=more * self.rest)


@dataclass(frozen=True)
class Smallest:
    """The smallest detectable effect of a kind, for the factor that is hardest to answer.

    low, high: what `paired` may be; 95 % given the pilot, or at half and twice the variances where there is none
    """

    kind: str
    paired: float
    unpaired: float
    low: float
    high: float
    corrected_for: int  # effects of the kind


@dataclass(frozen=True)
class Comparison:
    """What the error of a contrast rests on.

    size, size_task, jump: Σ weight², (Σ weight⁺)² + (Σ weight⁻)² and the largest weight, over the policies that learn
    level: of the test
    loses: it compares all_on with an arm that loses the effect
    """

    size: float
    size_task: float
    jump: float
    seeds: int
    tasks: int
    level: float
    loses: bool = False

    def detectable(self, v: Variance, paired: bool = True) -> float:
        """The effect that is found with POWER."""
        effect = self._found_at(v, paired)
        for _ in range(3 if self.loses else 0):
            effect = self._found_at(v.where_lost(effect), paired)
        return effect

    def _found_at(self, v: Variance, paired: bool) -> float:
        halves, weights, error = self._test(
            v.run + (not paired) * v.seed, v.task + (not paired) * v.shared_task, v.rest
        )
        if error == 0:
            return float(halves.max())

        def short(effect: float) -> float:
            found = ndtr((effect - halves) / error) + ndtr((-effect - halves) / error)
            return float(weights @ found) - POWER

        return float(brentq(short, 0.0, float(halves.max()) + 10 * error, xtol=1e-6))

    def roughly(self, run: Array, task: Array, rest: Array) -> Array:
        """Detectable effects up to a common factor, to order them by: with Student's t at Satterthwaite's degrees of
        freedom."""
        by_seed, by_task, by_rest = self._parts(run, task, rest)
        variance, df = by_task, np.full_like(by_task, self.tasks - 1.0)
        if self.seeds > 1:
            variance = by_seed + by_task - by_rest
            df = variance**2 / (by_seed**2 / (self.seeds - 1) + by_task**2 / (self.tasks - 1))
        size: Array = (stdtrit(df, 0.5 + self.level / 2) + stdtrit(df, POWER)) * np.sqrt(variance)
        return size

    def _parts(self, run: Array, task: Array, rest: Array) -> tuple[Array, Array, Array]:
        """A, B and C of intervals.py as they are expected."""
        by_rest = self.size * rest / (self.seeds * self.tasks)
        return self.size * run / self.seeds + by_rest, self.size_task * task / self.tasks + by_rest, by_rest

    def _test(self, run: float, task: float, rest: float) -> tuple[Array, Array, float]:
        """Half-widths that the test may have, how probable each is, and the standard deviation of the estimate."""
        a, b, c = (float(part) for part in self._parts(*(np.array(x) for x in (run, task, rest))))
        of_task, task_weights = _chi2_ratio(self.tasks - 1, 3)
        least = 1.5 * self.jump / (self.seeds * self.tasks)
        if self.seeds == 1:  # the interval holds for that seed only
            spreads = [Spread(0.0, np.nan, b * y, np.nan, 1, self.tasks, least) for y in of_task]
            return np.array([s.half_width(self.level) for s in spreads]), task_weights, b**0.5
        resolved = (self.jump / self.tasks) ** 2 / (6 * self.seeds)
        of_seed, seed_weights = _chi2_ratio(self.seeds - 1, 8)
        spreads = [
            Spread(0.0, max(a * x, resolved), b * y, c, self.seeds, self.tasks, least) for x in of_seed for y in of_task
        ]
        halves = np.array([s.half_width(self.level) for s in spreads])
        return halves, np.outer(seed_weights, task_weights).ravel(), (a + b - c) ** 0.5


def _chi2_ratio(df: int, points: int) -> tuple[Array, Array]:
    """Values of χ²(df) / df with weights that sum to 1: Gauss-Legendre over the probability."""
    u, weights = np.polynomial.legendre.leggauss(points)
    return 2 * gammaincinv(df / 2, (u + 1) / 2) / df, weights / 2


def smallest_effect(
    factors: Factors, arms: Sequence[Arm], kind: str, seeds: int, tasks: int, variance: Variance | None = None
) -> Smallest | None:
    """None where the design does not answer this kind."""
    variance = variance or Variance()
    hardest = comparison(factors, arms, kind, seeds, tasks)
    if hardest is None:
        return None
    known, together = hardest
    if known.size == 0:
        return Smallest(kind, 0.0, 0.0, 0.0, 0.0, together)
    low, high = (known.detectable(v) for v in _others(known, variance))
    paired, unpaired = (known.detectable(variance, paired) for paired in (True, False))
    return Smallest(kind, paired, unpaired, min(low, paired), max(high, paired), together)


def comparison(
    factors: Factors, arms: Sequence[Arm], kind: str, seeds: int, tasks: int
) -> tuple[Comparison, int] | None:
    """The comparison of a kind that is hardest to answer, and how many are tested together; None where the design
    answers none."""
    still = [factors.no_update(arm) for arm in arms]
    answered = [c for c in all_contrasts(factors, arms, [True] * len(arms), still) if c.kind == kind and not c.problem]
    if not answered:
        return None
    weights = [_of_policies(factors, arms, c) for c in answered]
    sizes = max((float((w**2).sum()), _of_signs(w), float(np.abs(w).max(initial=0.0))) for w in weights)
    known = Comparison(*sizes, seeds, tasks, 1 - 0.05 / len(answered), kind == "leave_one_out")
    return known, len(answered)


def _of_policies(factors: Factors, arms: Sequence[Arm], contrast: Contrast) -> Array:
    """Weights of the policies that learn: arms that differ only in what is reported have the same one."""
    sums: dict[tuple[str, ...], float] = {}
    for arm, weight in zip(arms, contrast.weights_A, strict=True):
        if not factors.no_update(arm):
            policy = tuple(arm.level(f.name) for f in factors if not f.only_reported)
            sums[policy] = sums.get(policy, 0.0) + float(weight)
    return np.array([weight for weight in sums.values() if abs(weight) > 1e-12])


def _of_signs(weights: Array) -> float:
    return float(weights[weights > 0].sum() ** 2 + weights[weights < 0].sum() ** 2)


def _others(known: Comparison, variance: Variance) -> Iterator[Variance]:
    """Variances that give the ends of the interval of the smallest effect."""
    if variance.pilot is None:
        yield from (variance.times(0.5), variance.times(2.0))
        return
    plausible = variance.pilot.plausible()
    order = np.argsort(known.roughly(*plausible.T), kind="stable")
    for share in (0.025, 0.975):
        run, task, rest = plausible[order[round(share * (len(order) - 1))]].tolist()
        yield replace(variance, run=run, task=task, rest=rest)


def variance_of(outcomes: Outcomes) -> Variance | None:
    """Components from an earlier sweep; None where its arms cannot be compared (pilot.py)."""
    pilot = pilot_of(outcomes)
    if pilot is None:
        return None
    shared = (pilot.shared_seed, pilot.shared_task)
    return Variance(*pilot.components, *shared, pilot.best, pilot.binary, "an earlier sweep", pilot)


def power_lines(
    factors: Factors,
    arms: Sequence[Arm],
    seeds: int,
    tasks: int,
    variance: Variance | None = None,
    groups: int | None = None,
) -> list[str]:
    """What `plan_only=true` prints of a design's power: smallest effects on the final reference reward.

    groups: of the tasks, where they are variants of one another
    """
    variance = variance or Variance()
    words = {
        "main": "main effect",
        "leave_one_out": "leave-one-out effect",
        "added_alone": "effect of a fix alone",
        "interaction": "two-way interaction",
        "shapley": "Shapley share",
    }
    lines = []
    for kind in KINDS:
        found = smallest_effect(factors, arms, kind, seeds, groups or tasks, variance)
        if found is None:
            continue
        if found.paired == 0:
            lines.append(f"  {words[kind]}: every arm that it compares repeats the base policy; flat by construction")
        elif found.paired > 1:
            least = f" (by the interval's lower end: {found.low:.3f})" if found.low <= 1 else ""
            lines.append(
                f"  {words[kind]}: none, it would have to exceed 1, the reward's whole range{least}; add seeds"
            )
        else:
            high = f"{found.high:.3f}" if found.high <= 1 else "more than 1"
            lines.append(
                f"  {words[kind]}: {found.paired:.3f} [{found.low:.3f}, {high}], corrected for "
                f"{found.corrected_for} (without pairing {found.unpaired:.3f})"
            )
    if not lines:
        return ["power: this design answers the effect of no factor alone"]
    conditional = "; one seed: for that seed only" if seeds == 1 else ""
    head = (
        f"smallest effect on the final reference reward found with {POWER:.0%} power "
        f"({seeds} seed{'s' if seeds > 1 else ''} × {tasks} tasks{in_groups(groups)}, variances from {variance.source}"
        f"{conditional}):"
    )
    return [head, *lines, f"  {_rests_on(variance)}"]


def _rests_on(variance: Variance) -> str:
    if p := variance.pilot:
        return (
            f"brackets: 95 %, since the variances are estimates from {p.seeds} seeds × {p.tasks} "
            f"{'groups of tasks' if p.grouped else 'tasks'} of {p.arms} "
            "arms that learn"
        )
    return (
        "brackets: at half and at twice these variances, which are those of planted curves like policy=micro's and no "
        "measurement; a sweep of at least two seeds with two arms that learn replaces them"
    )
