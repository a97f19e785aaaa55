"""Manipulation checks: did each switch of a run do what its level says?"""

from collections.abc import Iterable

from harness.records.load import RecordedRun
from harness.records.schema import CheckRecord


def last_checks(run: RecordedRun) -> tuple[CheckRecord, ...]:
    """Per factor the last check that judged something, or the last one where none did."""
    last: dict[str, CheckRecord] = {}
    for check in run.checks:
        if check.took_effect is not None or last.get(check.factor, check).took_effect is None:
            last[check.factor] = check
    return tuple(last.values())


def mark(checks: Iterable[CheckRecord]) -> str:
    """✗ if any of them shows a switch without effect, ✓ if any shows one with, – otherwise."""
    verdicts = {check.took_effect for check in checks}
    return "✗" if False in verdicts else "✓" if True in verdicts else "–"
