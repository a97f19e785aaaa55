"""Does what cannot matter seem to matter, and does what cannot learn seem to learn?

A placebo is a factor of the sweep. Its effect is in the family of the fixes, with their interval, their correction and
their verdict, and it matters if that verdict says so. Holm's correction holds the whole family at 5 %, so in a sound
sweep this happens in at most 5 % of cases.

A negative control is all_on with something taken away without which nothing can be learned. It must not learn: its rise
from the first to the last validation must not be shown to lie above zero, by more than the margin. That alone would be
easy where seeds are few, so it must also lose: all_on must be shown to end above it. Both rest on paired means over
seeds and tasks as all effects do (intervals.py), pay for further looks (looks.py) and hold whatever missing episodes
would have been (worst_case.py). Over the controls of a sweep the intervals are simultaneous (Bonferroni), so that a
sound sweep fails one of them in at most 5 % of cases.

With one seed all of this holds for that seed alone. Blind updates are a random walk, and a walk may well go up once.

loses: False only where the lead of all_on surely lies within the margin or below. Where all_on itself is not shown to
learn, nobody can lose to it, and the controls say nothing of the sweep.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.factors import Arm
from harness.records.load import RecordedRun, SweepRecords
from harness.records.looks import looks_of
from harness.stats.contrasts import Contrast
from harness.stats.effects import Effect, Effects
from harness.stats.intervals import LEVEL
from harness.stats.looks import ALPHA
from harness.stats.measured import Measured, measure
from harness.stats.outcomes import Outcomes, outcomes_of
from harness.stats.verdicts import UNDECIDED

# The comparison that stands for a placebo: the first of these that a sweep answers.
KINDS = ("leave_one_out", "main", "added_alone")


@dataclass(frozen=True)
class Estimate:
    """A mean with its 95 % interval, and the one that holds for all controls together; None: there is none."""

    value: float
    low: float | None
    high: float | None
    low_all: float | None
    high_all: float | None
    seeds: int
    tasks: int


@dataclass(frozen=True)
class Placebo:
    """effect: on the final reward; None where no comparison of the sweep answers it"""

    factor: str
    effect: Effect | None
    matters: bool | None


@dataclass(frozen=True)
class NegativeControl:
    """rise: last minus first validation; lead: what all_on ends above it. None with the reason in `note`.

    learned: None without a rise; loses: None where the data cannot tell
    shown: the check of some step shows that the control took effect
    """

    arm: str
    factor: str
    level: str
    summary: str
    rise: Estimate | None
    lead: Estimate | None
    learned: bool | None
    loses: bool | None
    shown: bool
    note: str


@dataclass(frozen=True)
class Controls:
    """all_on: its own rise, where there are negative controls.

    failed: placebos that matter, and arms of negative controls that learned or did not lose
    sound: False if anything failed, True if everything passed, None where something could not be told
    """

    margin: float
    placebos: tuple[Placebo, ...]
    all_on: Estimate | None
    negatives: tuple[NegativeControl, ...]
    failed: tuple[str, ...]
    sound: bool | None

    @property
    def learns(self) -> bool:
        return _learns(self.all_on)


def controls_of(sweep: SweepRecords, effects: Effects) -> Controls | None:
    """None for a sweep that has neither a placebo nor negative controls."""
    placebos = tuple(_placebo(effects, name) for name in sweep.declared.placebos)
    all_on, negatives = _negatives(sweep) if sweep.controls else (None, ())
    if not placebos and not negatives:
        return None
    learns = _learns(all_on)
    failed = [p.factor for p in placebos if p.matters]
    failed += [n.arm for n in negatives if n.learned or (n.loses is False and learns)]
    passed = [p.matters is False for p in placebos]
    passed += [learns and n.learned is False and n.loses is True and n.shown for n in negatives]
    sound = False if failed else True if all(passed) else None
    return Controls(sweep.margin, placebos, all_on, negatives, tuple(failed), sound)


def _placebo(effects: Effects, name: str) -> Placebo:
    found = [e for kind in KINDS for e in effects.of(kind) if e.factors == (name,) and e.value is not None]
    if not found:
        return Placebo(name, None, None)
    p = found[0].p_holm
    return Placebo(name, found[0], p is not None and p < 1 - LEVEL and found[0].verdict != UNDECIDED)


def _negatives(sweep: SweepRecords) -> tuple[Estimate | None, tuple[NegativeControl, ...]]:
    """The rise of all_on, and the controls in the order of the plan."""
    runs = tuple(run for run in sweep.runs if set(run.levels.values()) == {"on"})
    beside = tuple(dict.fromkeys(f for run in sweep.controls for f in run.levels if f not in sweep.factors))
    together = replace(sweep, runs=(*runs, *sweep.controls), controls=(), factors=(*sweep.factors, *beside))
    outcomes = replace(outcomes_of(together), looks=looks_of(sweep.with_controls))
    arms = [arm for arm in outcomes.arms if not sweep.declared.compares(arm)]
    best = next((arm for arm in outcomes.arms if sweep.declared.compares(arm)), None)
    summaries = {
        (factor["name"], level): text
        for factor in sweep.manifest.get("controls") or ()
        for level, text in factor["levels"].items()
    }
    found = [_negative(sweep, outcomes, arm, best, len(arms), summaries) for arm in arms]
    own = _measured(outcomes, ((best, 1.0),), "rise") if best else ""
    return None if isinstance(own, str) else _estimate(own, outcomes, 1), tuple(found)


def _negative(
    sweep: SweepRecords,
    outcomes: Outcomes,
    arm: Arm,
    best: Arm | None,
    family: int,
    summaries: dict[tuple[str, str], str],
) -> NegativeControl:
    rise = _measured(outcomes, ((arm, 1.0),), "rise")
    lead = _measured(outcomes, ((best, 1.0), (arm, -1.0)), "final") if best else "all_on is not in this sweep"
    notes = dict.fromkeys(found for found in (rise, lead) if isinstance(found, str))
    rose = None if isinstance(rise, str) else _estimate(rise, outcomes, family)
    led = None if isinstance(lead, str) else _estimate(lead, outcomes, family)
    factor, level = next((f, level) for f, level in arm.levels if f not in sweep.factors)
    runs = [run for run in sweep.controls if run.arm == arm.name]
    return NegativeControl(
        arm.name,
        factor,
        level,
        summaries.get((factor, level), ""),
        rose,
        led,
        None if rose is None else _learned(rose, sweep.margin),
        None if led is None else _lost(led, sweep.margin),
        _is_shown(runs, factor),
        "; ".join(notes),
    )


def _learns(all_on: Estimate | None) -> bool:
    """Whether all_on is shown to learn."""
    return all_on is not None and _above_zero(all_on.low)


def _learned(rise: Estimate, margin: float) -> bool:
    """Whether it rose: surely above zero, and by more than what is called next to nothing."""
    return _above_zero(rise.low_all) and rise.value > margin


def _lost(lead: Estimate, margin: float) -> bool | None:
    if _above_zero(lead.low_all):
        return True
    return False if lead.high_all is not None and lead.high_all <= margin else None


def _above_zero(low: float | None) -> bool:
    return low is not None and low > 0


def _is_shown(runs: Sequence[RecordedRun], factor: str) -> bool:
    """Whether each run that counts has a step whose check says so."""
    counted = [run for run in runs if run.valid and run.state == "completed"]
    shown = [any(c.took_effect for c in run.checks if c.factor == factor) for run in counted]
    return bool(shown) and all(shown)


def _measured(outcomes: Outcomes, terms: Sequence[tuple[Arm, float]], outcome: str) -> Measured | str:
    if outcome == "rise" and len(outcomes.steps) < 2:
        return "fewer than two common validations"
    weights = np.zeros(len(outcomes.arms))
    for arm, weight in terms:
        weights[outcomes.arms.index(arm)] = weight
    return measure(outcomes, Contrast("control", (), weights), outcome)


def _estimate(found: Measured, outcomes: Outcomes, family: int) -> Estimate:
    spread, judged = found.spread, found.judged(outcomes)
    return Estimate(spread.mean, *judged.ends(), *judged.ends(ALPHA / family), spread.seeds, spread.tasks)
