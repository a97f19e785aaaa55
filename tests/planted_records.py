"""Small sweeps in memory, whose validations a test writes as functions."""

from collections.abc import Callable, Sequence
from pathlib import Path

from harness.factors import Arm
from harness.fixes.registry import note
from harness.records.load import RecordedRun, SweepRecords
from harness.records.schema import ValidationRecord

NOTE = note()
ALL_ON = NOTE.with_off()
TASKS = tuple(f"t{n}" for n in range(6))


def validation(step, reference, reported=None, nonexistent=0, **further) -> ValidationRecord:
    """reference, reported: rewards by task; nonexistent: ids beside the reported ones, which score 0."""
    asked = [reward for reward in reference.values() if reward is not None]
    shown = len(reported or ()) + nonexistent
    return ValidationRecord(
        step=step,
        reference=sum(asked) / len(asked) if asked else None,
        by_task=dict(reference),
        missing=len(reference) - len(asked),
        reported=sum(reported.values()) / shown if reported else None,
        reported_n=shown,
        nonexistent=nonexistent,
        reported_by_task=dict(reported or {}),
        **further,
    )


def run(arm: Arm, seed: int, validations: Sequence[ValidationRecord], **changes) -> RecordedRun:
    """A completed run; every step from 1 to the last validation made an update of its own, sealed arms none."""
    steps = [] if NOTE.no_update(arm) else range(1, validations[-1].step + 1)
    usual = {"state": "completed", "valid": True, "invalid": (), "findings": (), "error": None, "seconds": 1.0}
    usual |= {"ended_at": None, "checks": (), "unreadable_lines": 0}
    return RecordedRun(
        name=f"{arm.name}/seed={seed}",
        arm=arm.name,
        seed=seed,
        levels=arm.as_dict,
        steps=tuple({"step": s, "gradient_steps": 1, "update": f"{arm.name}-{seed}-{s}"} for s in steps),
        validations=tuple(validations),
        **usual | changes,
    )


def sweep(
    arms: Sequence[Arm],
    seeds: Sequence[int],
    steps: Sequence[int],
    validated: Callable[[Arm, int, int], ValidationRecord],
    **manifest,
) -> SweepRecords:
    """validated: called with (arm, seed, step)."""
    runs = tuple(run(arm, seed, [validated(arm, seed, step) for step in steps]) for arm in arms for seed in seeds)
    kept = {"factors": [factor.record() for factor in NOTE], "reference_ids": list(TASKS)}
    return SweepRecords("planted", Path(), kept | manifest, NOTE.names, runs, {})
