"""What a sweep cost, and how to make it again."""

from collections.abc import Mapping

from harness.records.load import SweepRecords
from harness.records.reuse import Reuse
from harness.report.arm_rows import reuse_rows


def cost_sentences(sweep: SweepRecords) -> tuple[str, ...]:
    """Wall and CPU time, and what sharing saved; only what the records hold."""
    lines = []
    seconds = sweep.reuse.get("seconds") or {}
    if wall := seconds.get("wall"):
        least = "at least " if says_too_little(sweep) else ""
        cpu, cores, memory = seconds.get("cpu"), sweep.reuse.get("cores"), sweep.reuse.get("peak_memory_gib")
        runs = sum(run.state == "completed" for run in sweep.runs)
        lines.append(
            f"{least}{duration(wall)} of wall time"
            + (f" and {least}{duration(cpu)} of CPU time" if cpu else "")
            + f" for {runs} run{'s' * (runs != 1)}"
            + (f", on {cores} cores" if cores else "")
            + (f", {memory:.1f} GiB at the peak" if memory else "")
            + ", all starts of the sweep together."
            + (" What was killed never said what it spent." if least else "")
        )
        lines[0] = f"{lines[0][0].upper()}{lines[0][1:]}"
    if user := sweep.reuse.get("user"):
        lines.append(_of_the_user(user))
    factors = [f"{f:.1f} times fewer {row.kind}" for row in reuse_rows(sweep) if (f := reuse_factor(row)) and f > 1.05]
    if factors:
        lines.append(
            f"Sharing identical steps between runs computed {' and '.join(factors)} than the runs asked for; every "
            "number is what its run would have had alone."
        )
    return tuple(lines)


def _of_the_user(spent: Mapping[str, int]) -> str:
    """What a user who is a model cost, at list prices."""
    calls, unpriced = spent.get("calls", 0), spent.get("unpriced", 0)
    tokens = f"{spent.get('prompt_tokens', 0):,} tokens of prompts and {spent.get('reply_tokens', 0):,} of replies"
    price = f"${spent.get('nanodollars', 0) / 10**9:.2f}" if unpriced < calls else "at a price that is not known"
    partly = f" without {unpriced:,} calls whose price is not known" if 0 < unpriced < calls else ""
    found = f"; {spent['found']:,} messages were found in the store" if spent.get("found") else ""
    return f"The user, a model, was asked {calls:,} times: {tokens}, {price}{partly}{found}."


def says_too_little(sweep: SweepRecords) -> bool:
    """Whether a start or an engine was killed before it could say what it spent."""
    starts = sweep.manifest.get("starts") or ()
    return bool(sweep.reuse.get("silent_engines")) or any("ended" not in start for start in starts)


def reuse_factor(row: Reuse) -> float | None:
    """How many times a computed step was used; None where the records do not say."""
    return row.asked / row.computed if row.computed else None


def reproduce(sweep: SweepRecords) -> tuple[tuple[str, str], ...]:
    """(what it does, what to type)."""
    lines = []
    git = sweep.manifest.get("git") or {}
    if command := sweep.manifest.get("command"):
        dirty = ", which had uncommitted changes" if git.get("dirty") else ""
        at = f" at commit `{str(git['commit'])[:12]}`{dirty}" if git.get("commit") else ""
        lines.append((f"The sweep{at}:", str(command)))
    lines.append(("This report and `effects.json` from the records:", f"python -m harness report results/{sweep.name}"))
    return tuple(lines)


def duration(seconds: float) -> str:
    """`48 s`, `2 min 28 s`, `3 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
