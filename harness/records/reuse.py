"""How many pure steps runs asked for, and how many had to be computed for that, from what the runs recorded.

A line of the records is written once, however often its run is replayed, and says who computed what it stands on. So
these numbers do not depend on how often a sweep was started, nor on an engine that was killed and said nothing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from harness.records.load import RecordedRun


@dataclass(frozen=True)
class Reuse:
    """How often one kind of pure step was asked for. None: the records do not say.

    computed: by the run that asked; shared: found, because this run or another had computed it. What is asked and
    neither is missing.
    """

    kind: str
    asked: int
    computed: int | None
    shared: int | None


def recorded_reuse(runs: Iterable[RecordedRun]) -> dict[str, Reuse]:
    """By kind. Without `episodes` where validations do not say it: a sweep that is older, at least in part."""
    runs = list(runs)
    steps = [step for run in runs for step in run.steps]
    validations = [validation for run in runs for validation in run.validations]
    updates = [step for step in steps if step.get("update")]
    shared = sum(1 for step in updates if step.get("update_shared_with"))
    out = {"updates": Reuse("updates", len(updates), len(updates) - shared, shared)}
    counts = [step.get("episodes") or {} for step in steps]
    if validations and all(validation.episodes for validation in validations):
        counts += [{"asked": v.asked, **v.episodes} for v in validations]
        total = (sum(int(count.get(name) or 0) for count in counts) for name in ("asked", "computed", "shared"))
        out["episodes"] = Reuse("episodes", *total)
    return out
