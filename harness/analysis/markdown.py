"""report.md: the plain twin of the page, for a terminal, a diff or a pull request."""

from collections.abc import Iterable, Iterator, Sequence

from harness.analysis import words
from harness.analysis.checks import last_checks, mark
from harness.analysis.load import SweepRecords
from harness.analysis.rows import arm_rows, reuse_rows


def markdown(sweep: SweepRecords) -> str:
    return "\n".join(_lines(sweep)) + "\n"


def _lines(sweep: SweepRecords) -> Iterator[str]:
    yield f"# {sweep.name}\n\n{words.headline(sweep)}"
    for title, lines in (("INVALID", words.invalid_lines(sweep)), ("Failed", words.failed_lines(sweep))):
        if lines:
            yield f"\n## {title} ({len(lines)})\n"
            yield from (f"- **{run}** {text}" for run, text in lines)
    if any(run.state != "completed" for run in sweep.runs):
        yield f"\n{words.rerun_hint(sweep)}"
    yield from (f"\n{note}" for note in words.notes(sweep))
    yield "\n## Arms\n"
    heads = ["arm", " ".join(words.letters(sweep.factors).values())]
    heads += ["seed", "first", "last", "slope", "area", "reported", "gap", "validity", "state"]
    yield from _table(heads, (_arm(row, sweep) for row in arm_rows(sweep)))
    yield f"\n{words.legend(sweep.factors)} {words.CAPTION}"
    pictures = [name for name in ("curves", "factors", "reported") if (sweep.folder / f"figures/{name}.png").is_file()]
    yield from (f"\n![{name}](figures/{name}.png)" for name in pictures)
    yield "\n## Manipulation checks\n"
    yield from _table(["run", *sweep.factors], _checks(sweep))
    yield "\n## What was computed, and what was shared\n"
    yield from _table(["", "asked", "computed", "shared", "saved"], map(words.reuse_cells, reuse_rows(sweep)))
    yield "\n## How it was made\n"
    if command := sweep.manifest.get("command"):
        yield f"    {command}\n"
    yield from (f"- {name}: {value}" for name, value in words.facts(sweep))


def _arm(row, sweep: SweepRecords) -> list[str]:
    return [
        row.arm,
        " ".join(words.ON if row.levels.get(f) == "on" else words.OFF for f in sweep.factors),
        words.seeds(row.seeds),
        words.reward(row.first),
        words.reward(row.last),
        words.signed(row.slope),
        words.reward(row.area),
        words.reward(row.reported),
        words.signed(row.gap),
        words.validity(row),
        words.state(row, sweep.total_steps),
    ]


def _checks(sweep: SweepRecords) -> Iterator[list[str]]:
    for run in sweep.runs:
        if checks := last_checks(run):
            yield [run.name, *(mark(c for c in checks if c.factor == factor) for factor in sweep.factors)]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(heads)
    yield _row(["---"] * len(heads))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
