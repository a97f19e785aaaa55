"""The page's sections that come straight from the records: curves, gaps, claims, arms, checks, cost, origin."""

import re
from collections.abc import Iterator
from itertools import count
from typing import TYPE_CHECKING

from harness.records.load import SweepRecords
from harness.report import curves, figures, formats
from harness.report.arm_rows import ArmRow, arm_rows, is_all, reuse_rows
from harness.report.check_marks import LEGEND, last_checks, mark
from harness.report.cost_text import cost_sentences, reproduce
from harness.report.curve_figure import curve_figure
from harness.report.effect_sections import MARKS, claims_line, gaps_grid
from harness.report.markup import code, folded, grid_html, heading, svg, table, text
from harness.stats.effects import Effects
from harness.stats.sweep_statistics import SweepStatistics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAIR_CAPTION = (
    "all on against the same without this one fix (where the sweep lacks these: the fix alone against all off). "
    "Bands: range over seeds; `both` where the two coincide at every step."
)
FACTOR_CAPTION = (
    "Mean over the arms that have the fix (solid) and over those that lack it (dashed), with the number of arms; "
    "thin lines are single arms, grey where arms of both levels coincide. Arms that take no gradient step are flat, so "
    "the means lie close together. In a fraction of the factorial they also differ by what is mixed with the fix."
)


def _panel(figure: "Figure", kind: str, name: str, alt: str) -> str:
    return f'<div class="{kind}">{svg(figure, name, alt)}</div>'


def curve_figures(sweep: SweepRecords) -> Iterator[str]:
    yield heading("Reference validation")
    yield curve_figure(sweep)
    if factors := curves.contrasted_factors(sweep):
        yield heading("Fix by fix")
        panels = (_panel(figures.factor_figure(sweep, f), "panel", f"fix-{f}", f"{f} on against off") for f in factors)
        paired = [bool(curves.pair_curves(sweep, f)) for f in factors]
        captions = [c for c, shown in ((PAIR_CAPTION, any(paired)), (FACTOR_CAPTION, not all(paired))) if shown]
        yield f'<div class="panels">{"".join(panels)}</div><p class="note">{code(" ".join(captions))}</p>'


def gap_figures(sweep: SweepRecords, effects: Effects, drawn: "Figure | None") -> Iterator[str]:
    """drawn: figures.gap_figure of the sweep, where it is at hand."""
    yield heading("Reported against reference")
    names = [curve.arms[0] for curve in curves.arm_curves(sweep)]
    if len(names) <= figures.MULTIPLES:
        number = count()
        panels = (
            _panel(figures.arm_figure(sweep, n), "panel", f"gap-{next(number)}", f"{n}: reported and reference")
            for n in names
        )
        yield f'<div class="panels">{"".join(panels)}</div>'
    else:
        alt = "Last reference and reported reward of each arm"
        wide, narrow = drawn or figures.gap_figure(sweep), figures.gap_figure(sweep, 4.6)
        yield _panel(wide, "wide", "gap-wide", alt) + _panel(narrow, "narrow", "gap-narrow", alt)
    yield (
        '<p class="note">Reported: what the arm shows by its own rules. Where it '
        "rises and the reference does not (or the other way round), the arm misleads whoever watches it.</p>"
    )
    if effects.gaps:
        yield folded("Rises and gaps, arm by arm", grid_html(gaps_grid(effects)))


def claims(found: SweepStatistics) -> Iterator[str]:
    if not found.verdicts:
        return
    yield heading("Claims of the note")
    yield f"<p>Registered before the first sweeps: {text(claims_line(found))}.</p>"
    for v in found.verdicts:
        kind = v.verdict.split()[0]
        items = "".join(f"<li>{plain_names(f.evidence)}</li>" for f in v.findings)
        items += "".join(f"<li>{text(line)}</li>" for line in v.claim.remarks)
        changes = "".join(f"<p>{text(line)}</p>" for line in v.claim.changes)
        yield (
            f'<div class="claim"><p><b>({text(v.claim.id)}) {text(v.claim.title)}</b> '
            f'<span class="mark {kind}">{MARKS[v.verdict]} {text(v.label)}</span></p>'
            f'<p>{code(v.claim.statement)}</p><ul class="note">{items}</ul>'
            f"<details><summary>What was predicted, where the claim stands, and how its rules changed</summary>"
            f"<p>{code(v.claim.prediction)}</p><p>{text(v.claim.source)}.</p>{changes}</details></div>"
        )


def plain_names(evidence: str) -> str:
    """HTML; a measure is called by its name without underscores, and its tooltip has the internal one"""
    return re.sub(
        r"\b([a-z]+(?:_[a-z]+)+)(?= of [a-z])",
        lambda name: f'<abbr title="{name[1]}">{name[1].replace("_", " ")}</abbr>',
        text(evidence),
    )


def arms(sweep: SweepRecords) -> Iterator[str]:
    heads = ["arm", *(["block"] if len(sweep.blocks) > 1 else []), *formats.letters(sweep.factors).values()]
    heads += ["seed", "first", "last", "slope", "area", "reported", "gap", "validity", "state"]
    colours = figures.arm_colours(sweep.main)
    rows = [_arm_cells(row, sweep, colours.get(row.arm, figures.GREY)) for row in arm_rows(sweep)]
    yield heading("Arms")
    out = table(heads, rows, "arms")
    for symbol in (formats.ON, formats.OFF, formats.OTHER, *formats.letters(sweep.factors).values()):
        for tag, given in (("td", ""), ("th", ' scope="col"')):
            out = out.replace(f"<{tag}{given}>{symbol}</{tag}>", f'<{tag}{given} class="dot">{symbol}</{tag}>')
    yield out
    yield f'<p class="note">{text(formats.legend(sweep))} {text(formats.caption(arm_rows(sweep)))}</p>'


def _arm_cells(row: ArmRow, sweep: SweepRecords, colour: str) -> list[str]:
    numbers = [
        formats.seeds(row.seeds),
        formats.reward(row.first),
        formats.reward(row.last),
        formats.signed(row.slope),
        formats.reward(row.area),
        formats.reward(row.reported),
        formats.signed(row.gap),
    ]
    swatch = f'<i class="swatch" style="--c:{colour}"></i>'
    name = text(row.arm)
    validity = text(formats.validity(row))
    return [
        swatch + (f"<b>{name}</b>" if is_all(row.levels, "on") else name),
        *([text(formats.block(sweep, row.block))] if len(sweep.blocks) > 1 else []),
        *formats.dots(row, sweep.factors),
        *map(text, numbers),
        f'<b class="red">{validity}</b>' if row.invalid_runs else validity,
        text(formats.state(row, sweep.total_steps)),
    ]


def checks(sweep: SweepRecords) -> Iterator[str]:
    """A matrix to see at a glance, and each arm's sentences folded away."""
    yield heading("Manipulation checks")
    rows, details = [], []
    for row in arm_rows(sweep):
        arm = f"{row.arm}, {formats.block(sweep, row.block)}" if len(sweep.blocks) > 1 else row.arm
        runs = sweep.of_block(row.block).runs_of(row.arm)
        if not any(run.checks for run in runs):
            continue
        marks = [mark(runs, factor) for factor in sweep.factors]
        rows.append([text(arm), *(f'<b class="red">{m}</b>' if m == "✗" else m for m in marks)])
        items = []
        for run in runs:
            items += [
                f"<li>{mark([run], c.factor)} <b>{text(c.factor)} {text(c.level)}</b>, step {c.step}"
                f"{f', seed {run.seed}' if len(runs) > 1 else ''}: {text(c.text)}</li>"
                for c in last_checks(run)
            ]
            items += [f"<li>Finding: {text(finding)}</li>" for finding in run.findings]
        details.append(folded(arm, f"<ul>{''.join(items)}</ul>"))
    if not rows:
        yield "<p>No checks yet.</p>"
        return
    yield table(["arm", *sweep.factors], rows, "checks")
    yield f'<p class="note">{text(LEGEND)} Of several seeds: ✗ if it is so in one of them.</p>'
    yield folded("The last reading of each check, arm by arm", "".join(details))


def reuse(sweep: SweepRecords) -> Iterator[str]:
    yield heading("What it cost")
    yield from (f"<p>{text(sentence)}</p>" for sentence in cost_sentences(sweep))
    rows = [[text(cell) for cell in formats.reuse_cells(row)] for row in reuse_rows(sweep)]
    yield table(["", "asked", "computed", "shared", "saved"], rows, "plain")


def facts(sweep: SweepRecords) -> Iterator[str]:
    yield heading("How to reproduce")
    for sentence, command in reproduce(sweep):
        yield f"<p>{code(sentence)}</p><pre>{text(command)}</pre>"
    yield table(["", ""], [[text(k), text(v)] for k, v in formats.facts(sweep)], "facts")
