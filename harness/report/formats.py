"""How numbers and states are written, the same in the terminal, the page and the markdown twin."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.factors import BASELINES
from harness.records.load import SCRIPTED, RecordedRun, SweepRecords
from harness.records.reuse import Reuse
from harness.report.arm_rows import ArmRow
from harness.report.source_text import mixed_sources
from harness.stats.intervals import settled
from harness.stats.verdicts import NOT_SHOWN

ON, OFF, OTHER, NONE = "●", "○", "◐", "–"
CAPTION = (
    "first, last: reference validation reward. slope: reward per step, least squares. "
    "area: mean height of the curve. reported: what the arm would have shown by its own rules; "
    "gap: reported − reference."
)
SHOWN_MEANS = "Not shown: nothing could tell whether that switch took effect; such a run is neither valid nor INVALID."


def reward(value: float | None) -> str:
    return NONE if value is None else f"{settled(value):.3f}"


def signed(value: float | None) -> str:
    """With a sign and a true minus; a value that rounds to zero has neither."""
    if value is None:
        return NONE
    text = f"{settled(value):+.3f}"
    return "0.000" if text in ("+0.000", "-0.000") else text.replace("-", "−")


def seeds(values: Sequence[int]) -> str:
    """`0-2` for a range, `0,3` otherwise."""
    ordered = sorted(values)
    if len(ordered) > 2 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}-{ordered[-1]}"
    return ",".join(map(str, ordered))


def letters(factors: Iterable[str]) -> dict[str, str]:
    """One letter per factor: the first of its name that no earlier factor took."""
    taken: dict[str, str] = {}
    for factor in factors:
        free = (letter for letter in factor if letter not in taken.values())
        taken[factor] = next(free, factor[0].upper())
    return taken


def dots(row: ArmRow, factors: Iterable[str]) -> list[str]:
    """One sign per factor: on, off, or another level, which the arm's name says."""
    return [{"on": ON, "off": OFF}.get(row.levels.get(factor, "off"), OTHER) for factor in factors]


def legend(sweep: SweepRecords) -> str:
    named = ", ".join(f"{letter} {factor}" for factor, letter in letters(sweep.factors).items())
    further = any(run.levels.get(f, "off") not in ("on", "off") for run in sweep.runs for f in sweep.factors)
    return f"{ON} fixed, {OFF} as upstream{f', {OTHER} as the name says' * further}: {named}."


def caption(rows: Iterable[ArmRow]) -> str:
    """What stands below the table of arms."""
    return f"{CAPTION} {SHOWN_MEANS}" if any(row.not_shown_runs for row in rows) else CAPTION


def validity(row: ArmRow, short: dict[str, str] | None = None) -> str:
    """`valid`; or INVALID, or else "not shown", each with how many of several runs and the factors (by letter if
    `short`)."""
    if row.invalid_runs:
        word, count, found = "INVALID", row.invalid_runs, row.invalid_factors
    elif row.not_shown_runs:
        word, count, found = NOT_SHOWN, row.not_shown_runs, row.not_shown_factors
    else:
        return "valid" if row.states.get("missing", 0) < row.runs else NONE
    of_runs = f" {count}/{row.runs}" if row.runs > 1 else ""
    factors = ",".join((short or {}).get(factor, factor) for factor in found)
    return f"{word}{of_runs} {factors}".rstrip()


STATE_WORDS = {"failed": "failed", "running": "running", "missing": "waiting", "completed": "done"}


def state(row: ArmRow, total_steps: int | None) -> str:
    """`done`; `at 2/6` while its slowest run has validated step 2 of 6; `1 failed` if the rest is done."""
    if len(row.states) == 1:
        (only,) = row.states
        if only == "running" and row.at_step is not None:
            return f"at {row.at_step}/{total_steps or '?'}"
        return STATE_WORDS[only]
    unfinished = [s for s in STATE_WORDS if s in row.states and s != "completed"]
    return " ".join(f"{row.states[s]} {STATE_WORDS[s]}" for s in unfinished)


def headline(sweep: SweepRecords) -> str:
    """One sentence: how many arms and runs, and how they ended."""
    runs = sweep.runs
    states = [
        f"{count} {label}"
        for name, label in (
            ("completed", "completed"),
            ("running", "running"),
            ("failed", "failed"),
            ("missing", "not started"),
        )
        if (count := sum(run.state == name for run in runs))
    ]
    invalid = sum(not run.valid for run in runs)
    not_shown = sum(run.valid and run.state == "completed" and bool(run.not_shown) for run in runs)
    steps = f", {sweep.total_steps} steps each" if sweep.total_steps else ""
    blocks = f"{_count(len(sweep.blocks), 'block')}, " if len(sweep.blocks) > 1 else ""
    return (
        f"{_count(len(sweep.arms), 'arm')}, {blocks}{_count(len(runs), 'run')}{steps}: {', '.join(states)}"
        + (f"; {invalid} INVALID" if invalid else "")
        + (f"; {not_shown} with a switch that was not shown" if not_shown else "")
        + "."
    )


def block(sweep: SweepRecords, name: str) -> str:
    """`learning rate 0.004`; `loss ppo, learning rate 0.1` for several options. Empty without blocks."""
    options = sweep.options_of(name).items()
    values = (f"{option.rpartition('.')[2].replace('_', ' ')} {_value(value)}" for option, value in options)
    return ", ".join(values) or name


def block_line(sweep: SweepRecords) -> str:
    """Of which block a report speaks; empty for a sweep without blocks."""
    if not sweep.main_block:
        return ""
    others = [name for name in sweep.manifest.get("blocks") or () if name != sweep.main_block]
    beside = f" Beside it stand the blocks {'; '.join(block(sweep, name) for name in others)}." if others else ""
    return f"All that is said here without naming a block is of {block(sweep, sweep.main_block)}.{beside}"


def _value(value: Any) -> str:
    """As on the command line."""
    return {"None": "null", "True": "true", "False": "false"}.get(str(value), str(value))


def baseline(sweep: SweepRecords) -> str:
    """Which loop the numbers belong to."""
    loop = BASELINES.get(sweep.baseline, "a loop that this harness does not know")
    lines = [f"Baseline {sweep.baseline}: off is {loop}."]
    if (who := sweep.user) != SCRIPTED:
        lines.append(f"User: {user(who)}.")
    return " ".join(lines)


def user(who: Mapping[str, Any]) -> str:
    """`withholding (patience 3, reserve 0.4)`."""
    options = ", ".join(f"{name} {value}" for name, value in who.items() if name != "kind")
    return f"{who.get('kind')} ({options})" if options else str(who.get("kind"))


def invalid_lines(sweep: SweepRecords) -> tuple[tuple[str, str], ...]:
    """(run, the measurements that show which switch did not take effect)."""
    return tuple((run.name, _why(run)) for run in sweep.runs if not run.valid)


def failed_lines(sweep: SweepRecords) -> tuple[tuple[str, str], ...]:
    """(run, the last line of its error)."""
    return tuple(
        (run.name, (run.error or "no error text in status.json").strip().splitlines()[-1])
        for run in sweep.runs
        if run.state == "failed"
    )


def reuse_cells(reuse: Reuse) -> tuple[str, str, str, str, str]:
    """kind, asked, computed, shared, share of the asked that was not computed anew."""
    percent = f"{reuse.shared / reuse.asked:.0%}" if reuse.asked and reuse.shared is not None else NONE
    return reuse.kind, _number(reuse.asked), _number(reuse.computed), _number(reuse.shared), percent


def facts(sweep: SweepRecords) -> tuple[tuple[str, str], ...]:
    """What the manifest says about where the numbers come from, one line each."""
    manifest = sweep.manifest
    named = {
        "started": manifest.get("created"),
        "commit": _git(manifest.get("git") or {}),
        "machine": _pairs(manifest.get("machine") or {}),
        "versions": _pairs(manifest.get("versions") or {}),
        "training tasks": _some(manifest.get("train_ids") or []),
        "reference tasks": _some(manifest.get("reference_ids") or []),
        "time and memory": _pairs(
            (sweep.reuse.get("seconds") or {})
            | {name: sweep.reuse[name] for name in ("cores", "peak_memory_gib") if name in sweep.reuse}
        ),
    }
    return tuple((name, str(value)) for name, value in named.items() if value)


def bounds(floor: float, ceiling: float) -> str:
    return f"an agent that does nothing earns {reward(floor)}, one that makes no mistake {reward(ceiling)}"


def notes(sweep: SweepRecords) -> tuple[str, ...]:
    """What a reader of the numbers should know about the records themselves."""
    lines = [*mixed_sources(sweep)]
    if sweep.bounds:
        lines.append(f"On the tasks of the reference validation {bounds(*sweep.bounds)}.")
    if sweep.split == "train":
        lines.append(
            "Reference validation has the training tasks here (validation.split=train): it shows whether the loop "
            "learns what it is paid for, not whether the policy does better on tasks that it has not seen. Reported "
            "rewards stay on each arm's own validation tasks, so the gap compares different tasks."
        )
    if others := sweep.manifest.get("others"):
        levels = dict.fromkeys(others.values())
        each = (f"{', '.join(n for n, own in others.items() if own == level)} ({level})" for level in levels)
        lines.append(f"Not compared here: {'; '.join(each)}.")
    if torn := sum(run.unreadable_lines for run in sweep.runs):
        lines.append(
            f"{_count(torn, 'torn line')} in the records skipped (a crash or a full disk cut the writing, or a file "
            "was damaged). The same command makes these runs again, from the store."
        )
    if sweep.torn_plan_lines:
        lines.append(
            f"{_count(sweep.torn_plan_lines, 'torn line')} in plan.jsonl skipped: the runs that they name are missing "
            "here. The command that started them writes them anew."
        )
    lines += company(sweep)
    if missing := sum(v.missing for run in sweep.runs for v in run.validations):
        lines.append(
            f"{_count(missing, 'validation episode')} missing after retries "
            "(infrastructure); they count as missing, never as reward 0."
        )
    return tuple(lines)


def company(sweep: SweepRecords) -> list[str]:
    """How far answers in company differ from answers alone, as the starts knew it of their machine; often nothing."""
    lines = []
    for start in sweep.manifest.get("starts") or ():
        if found := start.get("certificate"):
            what, company = found["subject"], found["company"]
            invariant = " (batch invariant)" if what["settings"]["batch_invariant"] else ""
            lines.append(
                f"On this machine ({what['hardware']}, {what['vllm']}{invariant}) {company['same']} of "
                f"{company['rows']} answers in company had the same tokens as alone; their log-probs differ by up to "
                f"{company['largest']:.2g} nats, {company['mean']:.2g} on average."
            )
    return list(dict.fromkeys(lines))


def _why(run: RecordedRun) -> str:
    return "; ".join(f"{factor}: {reading}" for factor, reading in run.invalid) or ("status.json names no measurement")


def _git(git: dict[str, Any]) -> str | None:
    commit = git.get("commit")
    return f"{commit}{' with uncommitted changes' if git.get('dirty') else ''}" if commit else None


def _pairs(values: dict[str, Any]) -> str:
    shown = ((k, f"{v:.1f}" if isinstance(v, float) else v) for k, v in values.items() if v is not None)
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in shown)


def _some(ids: Sequence[str]) -> str:
    more = f", … {len(ids) - 4} more" if len(ids) > 4 else ""
    return f"{len(ids)}: {', '.join(ids[:4])}{more}" if ids else ""


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" + ("" if number == 1 else "s")


def _number(value: int | None) -> str:
    return NONE if value is None else f"{value:,}"
