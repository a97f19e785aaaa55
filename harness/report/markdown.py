"""report.md: the plain twin of the page, for a terminal, a diff or a pull request.

Names, readings and errors come from records, which anybody may have written: they are text, never Markdown or HTML.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from harness.errors import visible
from harness.records.load import SweepRecords
from harness.report import formats
from harness.report.arm_rows import ArmRow, arm_rows, reuse_rows
from harness.report.block_section import block_section
from harness.report.check_marks import LEGEND, mark
from harness.report.control_figure import CAPTION as CONTROLS
from harness.report.control_text import FIGURE, control_line, control_section
from harness.report.cost_text import cost_sentences, reproduce
from harness.report.effect_figures import CAPTIONS
from harness.report.effect_sections import MARKS, claims_line, effect_sections, gaps_grid, pairing_section
from harness.report.further_sections import further_sections
from harness.report.sections import Section
from harness.report.source_text import rerun_hint
from harness.report.verdict import caveats, verdict_sentences
from harness.stats.sweep_statistics import SweepStatistics

# A run of backticks, what follows, and as many backticks: what Markdown takes for code.
CODE = re.compile(r"((?<!`)(?P<ticks>`+)(?!`).*?(?<!`)(?P=ticks)(?!`))")
_INERT = (
    (re.compile(r"<(?=[A-Za-z/!?])"), "&lt;"),  # tags
    (re.compile(r"\](?=[(:])"), r"]\\"),  # links, images, and what links refer to
    (re.compile(r"(?<=:)//"), "&#47;/"),  # bare addresses
    (re.compile(r"\b(www)\.", re.IGNORECASE), r"\1&#46;"),
)


def markdown(sweep: SweepRecords, found: SweepStatistics) -> str:
    return visible("\n".join(_lines(sweep, found)) + "\n")


def inline(text: str) -> str:
    """Text from records, within a line: one line, and no character that means something to Markdown."""
    return _inert(re.sub(r"([\\`|])", r"\\\1", " ".join(text.split())))


def sentence(text: str) -> str:
    """One of our sentences, in which `backticks` mark code, with names from records in it."""
    parts = CODE.split(" ".join(text.split()))
    return "".join(part if n % 3 == 1 else _inert(part) for n, part in enumerate(parts) if n % 3 != 2)


def _inert(text: str) -> str:
    for pattern, written in _INERT:
        text = pattern.sub(written, text)
    return text


def _lines(whole: SweepRecords, found: SweepStatistics) -> Iterator[str]:
    """whole: with all its blocks; numbers are of the main one where none is named."""
    sweep, every = whole.main, whole.with_controls
    opening = (formats.headline(every), formats.baseline(whole), formats.block_line(whole))
    yield f"# {inline(sweep.name)}\n\n{sentence(' '.join(filter(None, opening)))}"
    yield "\n## Verdict\n"
    yield "\n\n".join(map(sentence, (*control_line(found.controls), *verdict_sentences(sweep, found.effects))))
    yield "\n" + "\n".join(f"- {sentence(note)}" for note in (*caveats(sweep, found.effects), *formats.notes(every)))
    for title, lines in (("INVALID", formats.invalid_lines(every)), ("Failed", formats.failed_lines(every))):
        if lines:
            yield f"\n## {title} ({len(lines)})\n"
            yield from (f"- **{inline(run)}** {inline(text)}" for run, text in lines)
    if any(run.state != "completed" for run in every.runs):
        yield f"\n{sentence(rerun_hint(sweep))}"
    yield from _pictures(sweep, "Curves", ("curves", "factors"))
    for section in effect_sections(found.effects, sweep.declared):
        yield from _section(section)
    if by_block := block_section(whole, found.blocks):
        yield from _section(by_block)
    if found.controls:
        yield from _section(control_section(found.controls))
    yield from _pictures(sweep, "Reported against reference", ("reported",))
    if found.effects.gaps:
        yield ""
        grid = gaps_grid(found.effects)
        yield from _table(grid.heads, grid.rows)
    for section in further_sections(found, sweep):
        yield from _section(section)
    yield from _claims(found)
    yield from _arms(every)
    yield "\n## Manipulation checks\n"
    yield from _table(["run", *whole.factors], _checks(every))
    yield f"\n{LEGEND}"
    if bought := pairing_section(found.effects):
        yield from _section(bought)
    yield "\n## What it cost\n"
    yield from (f"{sentence(text)}\n" for text in cost_sentences(every))
    yield from _table(["", "asked", "computed", "shared", "saved"], map(formats.reuse_cells, reuse_rows(every)))
    yield "\n## How to reproduce\n"
    for text, command in reproduce(whole):
        yield f"{sentence(text)}\n\n    {' '.join(command.split(chr(10)))}\n"
    yield from (f"- {name}: {inline(value)}" for name, value in formats.facts(whole))


def _section(section: Section) -> Iterator[str]:
    yield f"\n## {section.title}"
    yield from (f"\n{sentence(text)}" for text in section.sentences)
    if section.figure:
        caption = (CAPTIONS | {FIGURE: CONTROLS})[section.figure]
        yield f"\n![{section.figure}](figures/{section.figure}.png)\n\n{caption}"
    for caption, grid in (*section.grids, *section.folded):
        yield f"\n{sentence(caption)}\n" if caption else ""
        yield from _table(grid.heads, grid.rows)
    if notes := section.all_notes:
        yield ""
        yield from (f"- {sentence(note)}" for note in notes)


def _pictures(sweep: SweepRecords, title: str, names: Sequence[str]) -> Iterator[str]:
    pictures = [name for name in names if (sweep.folder / f"figures/{name}.png").is_file()]
    if pictures:
        yield f"\n## {title}"
    yield from (f"\n![{name}](figures/{name}.png)" for name in pictures)


def _claims(found: SweepStatistics) -> Iterator[str]:
    if not found.verdicts:
        return
    yield f"\n## Claims of the note\n\nRegistered before the first sweeps: {claims_line(found)}.\n"
    rows = ((f"({v.claim.id}) {v.claim.title}", f"{MARKS[v.verdict]} {v.label}", v.evidence) for v in found.verdicts)
    yield from _table(["claim", "verdict", "evidence"], rows)
    if remarks := [f"- ({v.claim.id}) {sentence(line)}" for v in found.verdicts for line in v.claim.remarks]:
        yield ""
        yield from remarks


def _arms(sweep: SweepRecords) -> Iterator[str]:
    yield "\n## Arms\n"
    heads = ["arm", *(["block"] if len(sweep.blocks) > 1 else []), " ".join(formats.letters(sweep.factors).values())]
    heads += ["seed", "first", "last", "slope", "area", "reported", "gap", "validity", "state"]
    yield from _table(heads, (_arm(row, sweep) for row in arm_rows(sweep)))
    yield f"\n{sentence(formats.legend(sweep))} {formats.caption(arm_rows(sweep))}"


def _arm(row: ArmRow, sweep: SweepRecords) -> list[str]:
    return [
        row.arm,
        *([formats.block(sweep, row.block)] if len(sweep.blocks) > 1 else []),
        " ".join(formats.dots(row, sweep.factors)),
        formats.seeds(row.seeds),
        formats.reward(row.first),
        formats.reward(row.last),
        formats.signed(row.slope),
        formats.reward(row.area),
        formats.reward(row.reported),
        formats.signed(row.gap),
        formats.validity(row),
        formats.state(row, sweep.total_steps),
    ]


def _checks(sweep: SweepRecords) -> Iterator[list[str]]:
    for run in sweep.runs:
        if run.checks:
            yield [run.name, *(mark([run], factor) for factor in sweep.factors)]


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield _row(heads)
    yield _row(["---"] * len(heads))
    yield from map(_row, rows)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(inline, cells)) + " |"
