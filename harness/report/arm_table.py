"""The end-of-sweep report for a terminal: one row per arm, what needs attention, and the verdict."""

import os
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from harness.records.load import SweepRecords
from harness.report import formats
from harness.report.arm_rows import ArmRow, arm_rows, is_all, reuse_rows
from harness.report.control_text import control_line
from harness.report.source_text import rerun_hint
from harness.report.verdict import verdict_sentences
from harness.stats.controls import controls_of
from harness.stats.effects import analyse
from harness.stats.reward_range import CUT, is_cut
from harness.stats.verdicts import NOT_SHOWN

NUMBERS = ("seed", "first", "last", "slope", "area", "reported", "gap")
WIDE = ("slope", "area", "reported", "gap")  # of them, those that a narrow terminal does without
NAME = 16  # letters of an arm's name that are always shown
LISTED = 12  # invalid or failed runs shown one by one; the page lists them all


def print_report(sweep: SweepRecords, console: Console | None = None) -> None:
    """Print the table, INVALID and failed runs, what was reused, and the verdict in three sentences."""
    console = console or _console()
    for part in report(sweep, console):
        console.print(part)


def _console() -> Console:
    # Names and readings come from records: they are no markup, whose links would be escape sequences.
    console = Console(markup=False, emoji=False)
    # Piped into a file or a log, rich assumes 80 columns, which would cut the numbers.
    return console if console.is_terminal or "COLUMNS" in os.environ else Console(width=120, markup=False, emoji=False)


def report(sweep: SweepRecords, console: Console | None = None) -> Iterator[RenderableType]:
    """console: where it is shown; a narrow one gets a narrow table"""
    every = sweep.with_controls
    yield Text(f"{sweep.name}: {formats.headline(every)}", style="bold")
    yield Text(" ".join(filter(None, (formats.baseline(sweep), formats.block_line(sweep)))))
    wide = arm_table(every)
    fits = console is None or least_width(wide, console) <= console.width
    yield from [wide] if fits else _narrow(every)
    if not fits:
        yield Text(f"Left out on {console.width if console else 0} columns: {', '.join(WIDE)}.", style="dim")
    yield Text(f"{formats.legend(sweep)} {formats.caption(arm_rows(every))}", style="dim")
    yield from _attention("INVALID: a switch did not take effect", formats.invalid_lines(every), "red")
    failed = formats.failed_lines(every)
    yield from _attention("Failed", failed, "red")
    if failed or any(run.state in ("running", "missing") for run in every.runs):
        yield Text(rerun_hint(sweep))
    for note in formats.notes(every):
        yield Text(f"Note: {note}", style="dim")
    yield reuse_table(every)
    yield Text("\nVerdict", style="bold")
    effects = analyse(sweep)
    controls = controls_of(sweep.main, effects)
    for sentence in control_line(controls):
        yield Text(sentence, style="bold red" if controls and controls.failed else "")
    said = verdict_sentences(sweep.main, effects)
    yield from map(Text, said)
    if any(map(is_cut, said)):
        yield Text(CUT, style="dim")


def _narrow(sweep: SweepRecords) -> Iterator[RenderableType]:
    """A table for each block: there is no room for a column that names it."""
    for block in sweep.blocks:
        if len(sweep.blocks) > 1:
            yield Text(formats.block(sweep, block), style="bold")
        yield arm_table(sweep.of_block(block), narrow=True)


def arm_table(sweep: SweepRecords, narrow: bool = False) -> Table:
    """One row per arm and block; fits 100 columns without blocks, where long arm names give way first.

    narrow: without the columns WIDE and what was not shown, for 60 columns: half a number would be worse than none. A
    long name goes on below
    """
    short = formats.letters(sweep.factors)
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold", pad_edge=False)
    least = min(NAME, max((len(arm) for arm in sweep.arms), default=NAME))
    table.add_column("arm", overflow="fold" if narrow else "ellipsis", min_width=least, max_width=32)
    if len(sweep.blocks) > 1:
        table.add_column("block", overflow="fold", max_width=24)
    table.add_column(" ".join(short.values()), no_wrap=True)
    for name in NUMBERS:
        if not (narrow and name in WIDE):
            table.add_column(name, justify="right", no_wrap=True)
    table.add_column("validity", no_wrap=True)
    table.add_column("state", no_wrap=True)
    for row in arm_rows(sweep):
        table.add_row(*_cells(row, sweep, short, narrow), style=_style(row))
    return table


def least_width(table: Table, console: Console) -> int:
    """In columns, with nothing of it cut but long arm names."""
    return Measurement.get(console, console.options.update(max_width=1000), table).minimum


def reuse_table(sweep: SweepRecords) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for index, name in enumerate(("reuse", "asked", "computed", "shared", "saved")):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for row in reuse_rows(sweep):
        table.add_row(*formats.reuse_cells(row))
    return table


def _cells(row: ArmRow, sweep: SweepRecords, short: dict[str, str], narrow: bool) -> list[RenderableType]:
    numbers = {
        "seed": formats.seeds(row.seeds),
        "first": formats.reward(row.first),
        "last": formats.reward(row.last),
        "slope": formats.signed(row.slope),
        "area": formats.reward(row.area),
        "reported": formats.reward(row.reported),
        "gap": formats.signed(row.gap),
    }
    return [
        row.arm,
        *([formats.block(sweep, row.block)] if len(sweep.blocks) > 1 else []),
        " ".join(formats.dots(row, sweep.factors)),
        *(numbers[name] for name in NUMBERS if not (narrow and name in WIDE)),
        Text(_validity(row, short, narrow), style="bold red" if row.invalid_runs else ""),
        Text(formats.state(row, sweep.total_steps), style="red" if row.states.get("failed") else ""),
    ]


def _validity(row: ArmRow, short: dict[str, str], narrow: bool) -> str:
    said = formats.validity(row, short)
    return NOT_SHOWN if narrow and said.startswith(NOT_SHOWN) else said


def _style(row: ArmRow) -> str:
    if is_all(row.levels, "on"):
        return "bold"
    return "dim" if row.last is None else ""


def _attention(title: str, lines: tuple[tuple[str, str], ...], style: str) -> Iterator[Text]:
    if not lines:
        return
    yield Text(f"\n{title} ({len(lines)})", style=f"bold {style}")
    for run, reading in lines[:LISTED]:
        yield Text.assemble(("  " + run, style), f"  {reading}")
    if len(lines) > LISTED:
        yield Text(f"  … and {len(lines) - LISTED} more, all in report.html", style="dim")
