"""Manipulation checks: did each switch of a run do what its level says?"""

from collections.abc import Iterable
from dataclasses import replace

from harness.records.load import RecordedRun
from harness.records.schema import CheckRecord, not_shown

LEGEND = (
    "✓ the level took effect, ✗ it did not and the run is INVALID, – neither a step nor all steps together could judge "
    "it. One step without effect refutes a level that must hold at every step, and not one that must hold at some step."
)


def last_checks(run: RecordedRun) -> tuple[CheckRecord, ...]:
    """Per factor the last check that judged something, or the last one where none did: it says so if all steps do."""
    last: dict[str, CheckRecord] = {}
    for check in run.checks:
        if check.took_effect is not None or last.get(check.factor, check).took_effect is None:
            last[check.factor] = check
    hidden = not_shown(run.checks)
    return tuple(
        _together(check) if check.took_effect is None and check.factor not in hidden else check
        for check in last.values()
    )


def _together(check: CheckRecord) -> CheckRecord:
    text = f"shown by all steps together; the last alone: {check.text.removeprefix('not shown: ')}"
    return replace(check, took_effect=True, text=text)


def mark(runs: Iterable[RecordedRun], factor: str) -> str:
    """By the verdict on the runs: ✗ if it names the factor in one of them, ✓ if a check shows effect, – otherwise."""
    runs = tuple(runs)
    if any(factor == name for run in runs for name, _ in run.invalid):
        return "✗"
    checks = (check for run in runs for check in (*run.checks, *last_checks(run)))
    return "✓" if any(check.took_effect for check in checks if check.factor == factor) else "–"
