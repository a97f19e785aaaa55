"""report.html: one self-contained file (inline SVG, no script, no network), and what it stands on.

`write_report` is the only function of the analysis that writes: report.html, report.md, figures/*.png.
"""

import html
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from harness.analysis import curves, figures, words
from harness.analysis.checks import last_checks, mark
from harness.analysis.load import SweepRecords
from harness.analysis.markdown import markdown
from harness.analysis.rows import ArmRow, arm_rows, is_all, reuse_rows
from harness.analysis.style import STYLE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
FACTOR_CAPTION = (
    "Mean over the arms that have the fix (solid) and over those that lack it (dashed), with the number of arms; "
    "thin lines are single arms, grey where arms of both levels coincide. While a gate (endpoint, exploration, "
    "logprobs) is closed nothing is learned, so over a full factorial the means lie close together by construction."
)


def write_report(sweep: SweepRecords) -> Path:
    """Write the report into the sweep's folder, from its records alone; the path of report.html."""
    folder = sweep.folder / "figures"
    folder.mkdir(exist_ok=True)
    if arm_names(sweep):
        figures.overview_figure(sweep).savefig(folder / "curves.png", dpi=DPI)
        figures.gap_figure(sweep).savefig(folder / "reported.png", dpi=DPI)
        if curves.contrasted_factors(sweep):
            figures.factors_figure(sweep).savefig(folder / "factors.png", dpi=DPI)
    path = sweep.folder / "report.html"
    path.write_text(page(sweep), encoding="utf-8")
    (sweep.folder / "report.md").write_text(markdown(sweep), encoding="utf-8")
    return path


def arm_names(sweep: SweepRecords) -> tuple[str, ...]:
    """The arms that have a reading, in the order of the table."""
    return tuple(curve.arms[0] for curve in curves.arm_curves(sweep))


def page(sweep: SweepRecords) -> str:
    body = "\n".join(part for section in _sections(sweep) for part in section)
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{_text(sweep.name)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><main>\n{body}\n</main></body></html>\n"
    )


def _sections(sweep: SweepRecords) -> Iterator[Iterable[str]]:
    yield _opening(sweep)
    yield _arms(sweep)
    if arm_names(sweep):
        yield _figures(sweep)
    yield _checks(sweep)
    yield _reuse(sweep)
    yield _facts(sweep)


def _opening(sweep: SweepRecords) -> Iterator[str]:
    yield f"<h1>{_text(sweep.name)}</h1><p>{_text(words.headline(sweep))}</p>"
    for title, lines in (
        ("INVALID: a switch did not take effect", words.invalid_lines(sweep)),
        ("Failed", words.failed_lines(sweep)),
    ):
        if lines:
            items = "".join(f"<li><b>{_text(run)}</b> {_text(text)}</li>" for run, text in lines)
            yield f'<section class="bad"><h2>{title} ({len(lines)})</h2><ul>{items}</ul></section>'
    if any(run.state != "completed" for run in sweep.runs):
        yield f"<p>{_code(words.rerun_hint(sweep))}</p>"
    yield from (f'<p class="note">{_text(note)}</p>' for note in words.notes(sweep))


def _arms(sweep: SweepRecords) -> Iterator[str]:
    heads = ["arm", *words.letters(sweep.factors).values()]
    heads += ["seed", "first", "last", "slope", "area", "reported", "gap", "validity", "state"]
    rows = [_arm_cells(row, sweep) for row in arm_rows(sweep)]
    yield "<h2>Arms</h2>"
    table = _table(heads, rows, "arms")
    for symbol in (words.ON, words.OFF, *words.letters(sweep.factors).values()):
        for tag in ("td", "th"):
            table = table.replace(f"<{tag}>{symbol}</{tag}>", f'<{tag} class="dot">{symbol}</{tag}>')
    yield table
    yield f'<p class="note">{_text(words.legend(sweep.factors))} {_text(words.CAPTION)}</p>'


def _arm_cells(row: ArmRow, sweep: SweepRecords) -> list[str]:
    dots = [words.ON if row.levels.get(f) == "on" else words.OFF for f in sweep.factors]
    numbers = [
        words.seeds(row.seeds),
        words.reward(row.first),
        words.reward(row.last),
        words.signed(row.slope),
        words.reward(row.area),
        words.reward(row.reported),
        words.signed(row.gap),
    ]
    name = _text(row.arm)
    validity = _text(words.validity(row))
    return [
        f"<b>{name}</b>" if is_all(row.levels, "on") else name,
        *dots,
        *map(_text, numbers),
        f'<b class="red">{validity}</b>' if row.invalid_runs else validity,
        _text(words.state(row, sweep.total_steps)),
    ]


def _figures(sweep: SweepRecords) -> Iterator[str]:
    number = count()

    def svg(figure: "Figure", kind: str, alt: str) -> str:
        return f'<div class="{kind}">{_svg(figure, f"f{next(number)}", alt)}</div>'

    yield "<h2>Reference validation</h2>"
    alt = "Reference validation reward against training step, one line per arm"
    yield svg(figures.main_figure(sweep), "wide", alt) + svg(figures.main_figure(sweep, 4.2), "narrow", alt)
    yield (
        '<p class="note">Thick: all fixes on. Bands: range over seeds. '
        "Arms whose curves coincide are one line; INVALID runs are left out where their arm has valid ones.</p>"
    )
    if factors := curves.contrasted_factors(sweep):
        yield "<h2>Fix by fix</h2>"
        panels = (svg(figures.factor_figure(sweep, f), "panel", f"{f} on against off") for f in factors)
        yield f'<div class="panels">{"".join(panels)}</div><p class="note">{FACTOR_CAPTION}</p>'
    yield "<h2>Reported against reference</h2>"
    names = arm_names(sweep)
    if len(names) <= figures.MULTIPLES:
        panels = (svg(figures.arm_figure(sweep, n), "panel", f"{n}: reported and reference") for n in names)
        yield f'<div class="panels">{"".join(panels)}</div>'
    else:
        alt = "Last reference and reported reward of each arm"
        yield svg(figures.gap_figure(sweep), "wide", alt) + svg(figures.gap_figure(sweep, 4.6), "narrow", alt)
    yield '<p class="note">Reported: what the arm shows by its own endpoint, reward, split and temperature.</p>'


def _checks(sweep: SweepRecords) -> Iterator[str]:
    """A matrix to see at a glance, and each arm's sentences folded away."""
    yield "<h2>Manipulation checks</h2>"
    rows, details = [], []
    for arm in (row.arm for row in arm_rows(sweep)):
        checks = [check for run in sweep.runs_of(arm) for check in last_checks(run)]
        if not checks:
            continue
        marks = [mark(check for check in checks if check.factor == factor) for factor in sweep.factors]
        rows.append([_text(arm), *(f'<b class="red">{m}</b>' if m == "✗" else m for m in marks)])
        items = []
        for run in sweep.runs_of(arm):
            items += [
                f"<li>{mark([c])} <b>{_text(c.factor)} {_text(c.level)}</b>, step {c.step}"
                f"{f', seed {run.seed}' if len(sweep.runs_of(arm)) > 1 else ''}: {_text(c.text)}</li>"
                for c in last_checks(run)
            ]
            items += [f"<li>Finding: {_text(finding)}</li>" for finding in run.findings]
        details.append(f"<details><summary>{_text(arm)}</summary><ul>{''.join(items)}</ul></details>")
    if not rows:
        yield "<p>No readings yet.</p>"
        return
    yield _table(["arm", *sweep.factors], rows, "checks")
    yield (
        '<p class="note">✓ the level took effect at its last reading, ✗ it did not in at least one seed, '
        "– nothing to judge. The readings, arm by arm:</p>"
    )
    yield from details


def _reuse(sweep: SweepRecords) -> Iterator[str]:
    yield "<h2>What was computed, and what was shared</h2>"
    rows = [[_text(cell) for cell in words.reuse_cells(row)] for row in reuse_rows(sweep)]
    yield _table(["", "asked", "computed", "shared", "saved"], rows, "plain")


def _facts(sweep: SweepRecords) -> Iterator[str]:
    yield "<h2>How it was made</h2>"
    if command := sweep.manifest.get("command"):
        yield f"<pre>{_text(str(command))}</pre>"
    yield _table(["", ""], [[_text(k), _text(v)] for k, v in words.facts(sweep)], "facts")


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str) -> str:
    head = "".join(f"<th>{_text(h)}</th>" for h in heads)
    body = "\n".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    thead = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    return f'<div class="scroll"><table class="{kind}">{thead}<tbody>{body}</tbody></table></div>'


def _svg(figure: "Figure", prefix: str, alt: str) -> str:
    """The figure as an <svg> element that scales; ids get `prefix`, since a page has one name space."""
    from matplotlib import rc_context

    out = io.StringIO()
    # Text stays text (selectable, small); a fixed salt makes the same records give the same page.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix, "font.family": "sans-serif"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r'<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r"<svg \1\2", svg, count=1)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{_text(alt)}" ', 1)


def _code(text: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", _text(text))


def _text(text: str) -> str:
    return html.escape(text)
