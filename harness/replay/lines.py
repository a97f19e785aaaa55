"""The lines of a run's records, there and in the replay."""

from collections.abc import Iterator, Sequence

from harness.records.schema import NOT_RESULTS, Record, RunContent
from harness.replay.findings import DIFFERS, LINES, SAME, Compared

FILES = ("steps", "validation")  # checks quote the trainer's own log-probs, whose last digits depend on the machine


def compare_lines(run: str, there: RunContent, here: RunContent, until: int | None = None) -> list[Compared]:
    """Each line that is there, up to step `until`, against the replay's."""
    out = []
    for name in FILES:
        again = {line["step"]: line for line in getattr(here, name)}
        for line in getattr(there, name):
            if until is None or line["step"] <= until:
                out.append(_compared(f"{run}, {name} {line['step']}", line, again.get(line["step"])))
    return out


def _compared(place: str, there: Record, here: Record | None) -> Compared:
    if here is None:
        return Compared(LINES, place, DIFFERS, "the replay writes no such line")
    found = list(differences(there, here))
    return Compared(LINES, place, DIFFERS if found else SAME, "; ".join(found[:3]) + ("; …" if found[3:] else ""))


def differences(there: Record, here: Record, before: str = "") -> Iterator[str]:
    """`reference.by_task.t1: 1.0 there, 0.0 here`, of the keys that both have; older records lack some."""
    for key in there:
        if key not in here or (not before and key in NOT_RESULTS):
            continue
        one, other = there[key], here[key]
        if isinstance(one, dict) and isinstance(other, dict):
            yield from differences(one, other, f"{before}{key}.")
        elif one != other:
            yield f"{before}{key}: {one} there, {other} here"


def contradictions(run: str, there: RunContent) -> list[Compared]:
    """Validations whose mean is not that of their tasks."""
    out = []
    for line in there.validation:
        reference = line.get("reference") or {}
        rewards: Sequence[float] = [r for r in (reference.get("by_task") or {}).values() if r is not None]
        mean = reference.get("mean")
        if rewards and mean is not None and abs(sum(rewards) / len(rewards) - mean) > 1e-9:
            text = f"its mean is recorded as {mean:.4f} and its tasks give {sum(rewards) / len(rewards):.4f}"
            out.append(Compared(LINES, f"{run}, validation {line['step']}", DIFFERS, text))
    return out
