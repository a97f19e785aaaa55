"""report.html: one self-contained file (inline SVG, no network), and what it stands on.

`write_report` is the only function of the analysis that writes: report.html, report.md, effects.json, figures/, and of
a live sweep rollouts/, where report.html has no room for all of the sample.
The verdict comes first; then what it rests on; then how it was made. Its script only adds to it: without JavaScript the
page says the same. No other script runs in it: the page's own policy names that one by its digest.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records.layout import SweepFiles
from harness.records.links import refuse_links
from harness.records.load import SweepRecords
from harness.records.store import write_synced
from harness.report import control_figure, control_text, curves, effect_figures, figures, formats
from harness.report.block_section import block_section
from harness.report.chips import chips_html
from harness.report.control_text import control_line
from harness.report.curve_figure import curve_figure
from harness.report.document import document
from harness.report.effect_figures import NARROW, effect_figure
from harness.report.effect_sections import effect_sections, pairing_section
from harness.report.further_sections import further_sections
from harness.report.markdown import markdown
from harness.report.markup import code, folded, heading, png, section_html, svg, text
from harness.report.page_parts import arms, checks, claims, curve_figures, facts, gap_figures, reuse
from harness.report.rollout_section import INTRODUCTION, Rollouts, rollouts_of
from harness.report.source_text import rerun_hint
from harness.report.task_grid import task_grid
from harness.report.templating import script, style
from harness.report.verdict import caveats, verdict_sentences
from harness.stats.sweep_statistics import SweepStatistics, effects_json, statistics_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Pictures = Mapping[str, "Figure"]
SHOWN = 12  # INVALID or failed runs listed openly; the others are folded


def write_report(sweep: SweepRecords) -> Path:
    """Write the report into the sweep's folder, from its records alone; the path of report.html."""
    refuse_links(sweep.folder)
    found = statistics_of(sweep)
    pictures = dict(_pictures(sweep.main, found))
    for name, figure in pictures.items():
        write_synced(sweep.folder / "figures" / f"{name}.png", png(figure))
    path, rollouts = sweep.folder / "report.html", rollouts_of(sweep, beside=not SweepFiles(sweep.folder).archived)
    further = further_pages(sweep.name, rollouts, back="../report.html")
    for name, html in further.items():
        write_synced(sweep.folder / name, html.encode())
    write_synced(path, page(sweep, found, pictures, rollouts).encode())
    SweepFiles(sweep.folder).keep_further(further)
    write_synced(sweep.folder / "report.md", markdown(sweep, found).encode())
    write_synced(sweep.folder / "effects.json", effects_json(found).encode())
    return path


def _pictures(sweep: SweepRecords, found: SweepStatistics) -> Iterator[tuple[str, "Figure"]]:
    """The figures of report.md."""
    if curves.arm_curves(sweep):
        yield "curves", figures.overview_figure(sweep)
        yield "reported", figures.gap_figure(sweep)
        if curves.contrasted_factors(sweep):
            yield "factors", figures.factors_figure(sweep)
    colours = figures.arm_colours(sweep)
    for section in effect_sections(found.effects, sweep.declared):
        if section.figure:
            yield section.figure, effect_figure(section.figure, found.effects, colours)
    if found.controls:
        yield control_text.FIGURE, control_figure.control_figure(sweep)


def page(
    sweep: SweepRecords, found: SweepStatistics, pictures: Pictures | None = None, rollouts: Rollouts | None = None
) -> str:
    """pictures: the figures of report.md where they are drawn; the page has them, too, for a wide screen.

    rollouts: where files with further ones lie beside the page
    """
    return document(sweep.name, body(sweep, found, pictures, rollouts), script(), style())


def body(
    sweep: SweepRecords,
    found: SweepStatistics,
    pictures: Pictures | None = None,
    rollouts: Rollouts | None = None,
    top: str = "",
) -> str:
    """top: HTML that stands below the title; the others: as of `page`"""
    sections = _sections(sweep, found, pictures or {}, rollouts or rollouts_of(sweep))
    parts = [part for section in sections for part in section]
    return "\n".join([_opening(sweep.with_controls), *filter(None, [top]), _contents(parts), *parts])


def further_pages(sweep: str, rollouts: Rollouts, back: str) -> dict[str, str]:
    """The pages of further rollouts, by their path beside the page. back: the address of that page, seen from them"""
    pages = {}
    for name, html in rollouts.further.items():
        title = f"{sweep}: further rollouts, {Path(name).stem}"
        top = (
            f'<h1>{text(title)}</h1><p><a href="{back}#rollouts">Back to the report</a></p><p>{text(INTRODUCTION)}</p>'
        )
        pages[name] = document(title, f"{top}\n{html}", script(), style())
    return pages


def body_without_verdict(sweep: SweepRecords, top: str) -> str:
    """What can be seen of a sweep without judging it: no statistic is computed. top: as of `body`"""
    parts = [part for section in _unjudged(sweep) for part in section]
    return "\n".join([_opening(sweep.with_controls), top, _contents(parts), *parts])


def _unjudged(whole: SweepRecords) -> Iterator[Iterable[str]]:
    every = whole.with_controls
    yield _invalid_and_failed(every)
    if curves.arm_curves(whole.main):
        yield heading("Reference validation"), curve_figure(whole.main)
    yield _tasks(whole.main, {})
    yield arms(every)
    yield checks(every)
    yield reuse(every)
    yield facts(whole)


def _sections(
    whole: SweepRecords, found: SweepStatistics, pictures: Pictures, rollouts: Rollouts
) -> Iterator[Iterable[str]]:
    """whole: with all its blocks; numbers are of the main one where none is named."""
    sweep = whole.main
    colours = figures.arm_colours(sweep)

    def draw(name: str) -> str:
        """An effect figure for a wide and for a narrow screen."""
        wide = pictures.get(name) or effect_figure(name, found.effects, colours)
        narrow = effect_figure(name, found.effects, colours, NARROW)
        caption = effect_figures.CAPTIONS[name] + f" {effect_figures.ARROWS}" * (name == "forest")
        return _both_widths(name, wide, narrow, effect_figures.ALTS[name], caption)

    def draw_controls(name: str) -> str:
        caption, alt = control_figure.CAPTION, control_figure.ALT
        wide = pictures.get(name) or control_figure.control_figure(sweep)
        return _both_widths(name, wide, control_figure.control_figure(sweep, NARROW), alt, caption)

    every = whole.with_controls
    yield _verdict(whole, found)
    yield _attention(every)
    if curves.arm_curves(sweep):
        yield curve_figures(sweep)
    yield _tasks(sweep, rollouts.held_out)
    yield rollouts.html
    for section in effect_sections(found.effects, sweep.declared):
        yield section_html(section, draw)
    if by_block := block_section(whole, found.blocks):
        yield section_html(by_block, draw)
    if found.controls:
        yield section_html(control_text.control_section(found.controls), draw_controls)
    if curves.arm_curves(sweep):
        yield gap_figures(sweep, found.effects, pictures.get("reported"))
    for section in further_sections(found, sweep):
        yield section_html(section, draw)
    yield claims(found)
    yield arms(every)
    yield checks(every)
    if bought := pairing_section(found.effects):
        yield section_html(bought, draw)
    yield reuse(every)
    yield facts(whole)


def _both_widths(name: str, wide: "Figure", narrow: "Figure", alt: str, caption: str) -> str:
    drawn = (
        f'<div class="{c}">{svg(figure, f"{name}-{c}", alt)}</div>'
        for c, figure in (("wide", wide), ("narrow", narrow))
    )
    return f'{"".join(drawn)}<p class="note">{text(caption)}</p>'


def _opening(sweep: SweepRecords) -> str:
    lines = filter(None, (formats.headline(sweep), formats.baseline(sweep), formats.block_line(sweep)))
    return f"<h1>{text(sweep.name)}</h1><p>{text(' '.join(lines))}</p>"


def _contents(parts: Sequence[str]) -> str:
    """Links to the sections, in one line that wraps."""
    found = (re.match(r'<h2 id="([^"]*)">(.*)</h2>$', part) for part in parts)
    links = (f'<a href="#{m[1]}">{m[2]}</a>' for m in found if m)
    return f"<nav>{' '.join(links)}</nav>"


def _tasks(sweep: SweepRecords, rollouts: Mapping[tuple[str, str], str]) -> Iterator[str]:
    if grid := task_grid(sweep, rollouts):
        yield heading("Task by task")
        yield grid


def _verdict(sweep: SweepRecords, found: SweepStatistics) -> Iterator[str]:
    yield '<h2 id="verdict">Verdict</h2>'
    yield chips_html(sweep.main, found.effects)
    said = verdict_sentences(sweep.main, found.effects)
    sentences = "".join(f"<p>{code(sentence)}</p>" for sentence in (*control_line(found.controls), *said))
    yield f'<div class="verdict">{sentences}</div>'
    notes = [*caveats(sweep.main, found.effects), *formats.notes(sweep.with_controls)]
    yield f'<ul class="note">{"".join(f"<li>{code(note)}</li>" for note in notes)}</ul>'


def _attention(sweep: SweepRecords) -> Iterator[str]:
    """What a reader must not miss, and how to go on."""
    yield from _invalid_and_failed(sweep)
    if any(run.state != "completed" for run in sweep.runs):
        yield f"<p>{code(rerun_hint(sweep))}</p>"


def _invalid_and_failed(sweep: SweepRecords) -> Iterator[str]:
    for title, lines in (
        ("INVALID: a switch did not take effect", formats.invalid_lines(sweep)),
        ("Failed", formats.failed_lines(sweep)),
    ):
        if lines:
            items = [f"<li><b>{text(run)}</b> {text(reading)}</li>" for run, reading in lines]
            more = folded(f"{len(items) - SHOWN} more", _list(items[SHOWN:])) if len(items) > SHOWN else ""
            yield f'<section class="bad"><h2>{title} ({len(lines)})</h2>{_list(items[:SHOWN])}{more}</section>'


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(items)}</ul>"
