"""What the note predicts to see in an arm, read from the records of one run.

Two kinds of symptom. A *measurement* is one number per step or validation ("every group holds one distinct
rollout"). A *measure* is one number per run, or per task of the reference validation; over seeds it gets an interval.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from harness.records.load import RecordedRun
from harness.stats.outcomes import step_weights

Array = np.ndarray
# The rollouts of the first update ask the first checkpoint at either level: no other exists yet.
AFTER_FIRST = 2
EARLY = 1  # the first update: both arms of a pair still have the same policy, so the same rollouts


def _column(run: RecordedRun, key: str) -> list[Any]:
    """A field of every step; None where it is not recorded."""
    return [dict(step).get(key) for step in run.steps]


def _of_steps(key: str) -> Callable[[RecordedRun], list[float]]:
    return lambda run: [float(value) for value in _column(run, key) if value is not None]


def _of_checks(factor: str, key: str, first: int = 0) -> Callable[[RecordedRun], list[float]]:
    def read(run: RecordedRun) -> list[float]:
        found = [c.reading.get(key) for c in run.checks if c.factor == factor and c.step >= first]
        return [float(value) for value in found if value is not None]

    return read


def _reported_change(run: RecordedRun) -> list[float]:
    curve = [v.reported for v in run.validations if v.reported is not None]
    return [value - curve[0] for value in curve[1:]]


def _nonexistent_share(run: RecordedRun) -> list[float]:
    return [v.nonexistent / v.reported_n for v in run.validations if v.reported_n]


def _no_error(run: RecordedRun) -> list[float]:
    return [float(run.state == "completed" and not run.error)]


READINGS: dict[str, Callable[[RecordedRun], list[float]]] = {
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


def _early(key: str, scale: str | None = None) -> Callable[[RecordedRun, Sequence[str]], Array | None]:
    """A number of the first update; divided by `scale` of the same step, or its logarithm for `log`."""

    def measure(run: RecordedRun, tasks: Sequence[str]) -> Array | None:
        step: dict[str, Any] = next((dict(s) for s in run.steps if s["step"] == EARLY), {})
        value = step.get(key)
        if value is None:
            return None
        if scale == "log":
            return np.array([np.log(value)]) if value > 0 else None
        return np.array([float(value) / (float(step[scale]) if scale else 1.0)])

    return measure


def _typical_log(key: str) -> Callable[[RecordedRun, Sequence[str]], Array | None]:
    """Mean logarithm over the steps of a run that trained."""

    def measure(run: RecordedRun, tasks: Sequence[str]) -> Array | None:
        values = [float(value) for value in _column(run, key) if value]
        return np.array([np.mean(np.log(values))]) if values else None

    return measure


def _reference(outcome: str) -> Callable[[RecordedRun, Sequence[str]], Array | None]:
    """Of each task of the reference validation: final, area, `rise` (last minus first), or `trend` (slope × steps)."""

    def measure(run: RecordedRun, tasks: Sequence[str]) -> Array | None:
        steps = [v.step for v in run.validations if v.by_task]
        if len(steps) < 2 or not tasks:
            return None
        curves = [v.by_task for v in run.validations if v.by_task]
        rewards = np.array([[np.nan if c.get(t) is None else c[t] for t in tasks] for c in curves], dtype=float)
        if outcome == "rise":
            values: Array = rewards[-1] - rewards[0]
        elif outcome == "trend":
            values = step_weights("slope", steps) @ rewards * (steps[-1] - steps[0])
        else:
            values = step_weights(outcome, steps) @ rewards
        return values

    return measure


def _reported_bias(run: RecordedRun, tasks: Sequence[str]) -> Array | None:
    """Reported mean minus the mean over the ids that exist, at the last validation."""
    last = next((v for v in reversed(run.validations) if v.reported is not None and v.reported_n), None)
    if last is None or last.reported is None or last.nonexistent >= last.reported_n:
        return None
    return np.array([last.reported - last.reported * last.reported_n / (last.reported_n - last.nonexistent)])


MEASURES: dict[str, Callable[[RecordedRun, Sequence[str]], Array | None]] = {
    "reference_final": _reference("final"),
    "reference_area": _reference("area"),
    "reference_rise": _reference("rise"),
    "reference_trend": _reference("trend"),
    "reported_bias": _reported_bias,
    "first_logprob_gap": _early("logprob_gap", "log"),
    "first_probs_corr": _early("probs_corr"),
    "first_spread": _early("groups_with_spread", "groups"),
    "first_raw_reward": _early("raw_reward"),
    "grad_norm": _typical_log("grad_norm"),
}
# Measured as logarithms: their differences are ratios.
RATIOS = ("first_logprob_gap", "grad_norm")
