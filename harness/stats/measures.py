"""What the note predicts to see in an arm, read from the records of one run.

Two kinds of symptom. A *measurement* is one number per step or validation ("every group holds one distinct
rollout"). A *measure* is one number per run; over seeds it gets an interval. What is learned (`REFERENCE`) is measured
by the outcomes that effects have, per task of the reference validation.

`steps` are the validation steps that the sweep's runs share: a run whose last line is torn is not compared, at an
earlier step, with others at a later one.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.records.load import RecordedRun
from harness.records.schema import ValidationRecord

# The rollouts of the first update ask the first checkpoint at either level: no other exists yet.
AFTER_FIRST = 2
EARLY = 1  # the first update: both arms of a pair still have the same policy, so the same rollouts
Steps = Sequence[int]
Readings = Callable[[RecordedRun, Steps], list[float]]
# (the number, what one episode or group that comes out the other way changes in it; 0 where it has no such grid)
Measure = Callable[[RecordedRun, Steps], tuple[float, float] | None]


def _column(run: RecordedRun, key: str) -> list[Any]:
    """A field of every step; None where it is not recorded."""
    return [dict(step).get(key) for step in run.steps]


def _of_steps(key: str) -> Readings:
    return lambda run, steps: [float(value) for value in _column(run, key) if value is not None]


def _of_checks(factor: str, key: str, first: int = 0) -> Readings:
    def read(run: RecordedRun, steps: Steps) -> list[float]:
        found = [c.reading.get(key) for c in run.checks if c.factor == factor and c.step >= first]
        return [float(value) for value in found if value is not None]

    return read


def _at(run: RecordedRun, step: int) -> ValidationRecord | None:
    """The validation at a step, if the arm's own rules gave it a reward."""
    return next((v for v in run.validations if v.step == step and v.reported is not None and v.reported_n), None)


def _reported_change(run: RecordedRun, steps: Steps) -> list[float]:
    curve = [v.reported for step in steps if (v := _at(run, step)) and v.reported is not None]
    return [value - curve[0] for value in curve[1:]] if _at(run, steps[0]) else []


def _nonexistent_share(run: RecordedRun, steps: Steps) -> list[float]:
    return [v.nonexistent / v.reported_n for v in run.validations if v.reported_n]


def _no_error(run: RecordedRun, steps: Steps) -> list[float]:
    return [float(run.state == "completed" and not run.error)]


READINGS: dict[str, Readings] = {
    "reported_change": _reported_change,  # reported reward minus that of the first validation
    "asked_current_adapter": _of_checks("endpoint", "asked_current_adapter", first=AFTER_FIRST),
    "distinct_per_group": _of_checks("exploration", "distinct_per_group"),
    "groups_with_spread": _of_steps("groups_with_spread"),
    "gradient_steps": _of_steps("gradient_steps"),
    "trainable_tokens": _of_steps("trainable_tokens"),
    "advanced_without_training": _of_steps("advanced_without_training"),
    "ended_without_error": _no_error,
    "nonexistent_share": _nonexistent_share,  # of the arm's own validation ids
}
# Asked of every run that ended, failed ones too; all else of the runs that effects count.
OF_ENDED_RUNS = ("ended_without_error",)


def _early(key: str, share_of: str | None = None) -> Measure:
    """A number of the first update; divided by `share_of` of the same step, a count of groups."""

    def measure(run: RecordedRun, steps: Steps) -> tuple[float, float] | None:
        step: dict[str, Any] = next((dict(s) for s in run.steps if s["step"] == EARLY), {})
        value = step.get(key)
        if value is None:
            return None
        return (float(value) / step[share_of], 1.0 / step[share_of]) if share_of else (float(value), 0.0)

    return measure


def _typical(key: str) -> Measure:
    """Geometric mean over the steps that trained; None where the record of a step is missing."""

    def measure(run: RecordedRun, steps: Steps) -> tuple[float, float] | None:
        if set(range(1, steps[-1] + 1)) - {step["step"] for step in run.steps}:
            return None
        values = [float(value) for value in _column(run, key) if value]
        return (float(np.exp(np.mean(np.log(values)))), 0.0) if values else None

    return measure


def _reported_rise(run: RecordedRun, steps: Steps) -> tuple[float, float] | None:
    """What somebody would have seen who watches the arm by its own rules."""
    first, last = _at(run, steps[0]), _at(run, steps[-1])
    if first is None or last is None or first.reported is None or last.reported is None:
        return None
    return last.reported - first.reported, 1.0 / min(first.reported_n, last.reported_n)


def _reported_bias(run: RecordedRun, steps: Steps) -> tuple[float, float] | None:
    """Reported mean minus the mean over the ids that exist, at the last validation."""
    last = _at(run, steps[-1])
    if last is None or last.reported is None or last.nonexistent >= last.reported_n:
        return None
    there = last.reported_n - last.nonexistent
    return last.reported - last.reported * last.reported_n / there, 1.0 / there - 1.0 / last.reported_n


MEASURES: dict[str, Measure] = {
    "reported_rise": _reported_rise,
    "reported_bias": _reported_bias,
    "first_logprob_gap": _early("logprob_gap"),
    "first_probs_corr": _early("probs_corr"),
    "first_spread": _early("groups_with_spread", "groups"),
    "grad_norm": _typical("grad_norm"),
}
OF_TASKS = ("reported_rise", "reported_bias")  # means over tasks, of which those of a group change at once
REFERENCE = {
    "reference_final": "final",
    "reference_area": "area",
    "reference_rise": "rise",
    "reference_trend": "trend",
}
# A ratio to next to nothing measures rounding. Below these a number counts as this much: log-probs of a sampler and a
# trainer in 16 bits differ by up to .001 nats where nothing is wrong (experiments/LOG.md, 3).
FLOORS = {"first_logprob_gap": 1e-3, "grad_norm": 1e-6}
