"""HTML and SVG as text: tables, figures, and sections out of their plain form."""

import html
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from harness.report.sections import Grid, Section

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 110
Draw = Callable[[str], str]  # name of a figure -> its HTML


def text(value: str) -> str:
    return html.escape(value)


def code(value: str) -> str:
    """Text in which `backticks` mark code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", text(value))


def heading(title: str) -> str:
    return f'<h2 id="{anchor(title)}">{text(title)}</h2>'


def anchor(title: str) -> str:
    return re.sub(r"[^a-z]+", "-", title.lower()).strip("-")


def section_html(section: Section, draw: Draw) -> Iterator[str]:
    yield heading(section.title)
    yield from (f"<p>{code(sentence)}</p>" for sentence in section.sentences)
    if section.figure:
        yield draw(section.figure)
    for caption, grid in section.grids:
        if caption:
            yield f"<h3>{text(caption)}</h3>"
        yield grid_html(grid)
    if len(section.all_notes) > 1:
        yield f'<ul class="note">{"".join(f"<li>{code(n)}</li>" for n in section.all_notes)}</ul>'
    else:
        yield from (f'<p class="note">{code(note)}</p>' for note in section.all_notes)
    for caption, grid in section.folded:
        yield folded(caption, grid_html(grid))


def folded(summary: str, inner: str) -> str:
    return f"<details><summary>{text(summary)}</summary>{inner}</details>"


def grid_html(grid: Grid) -> str:
    # A narrow table breaks between a number and its interval, never inside one.
    rows = [[text(cell).replace(", ", ",&nbsp;") for cell in row] for row in grid.rows]
    return table(grid.heads, rows, grid.kind, grid.shades)


def table(
    heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str, shades: Sequence[Sequence[float | None]] = ()
) -> str:
    """Cells are HTML. shades: −1 (orange) to +1 (blue) per cell, or no colour."""
    head = "".join(f'<th scope="col">{text(h)}</th>' for h in heads)
    lines = []
    for n, row in enumerate(rows):
        colours = shades[n] if shades else [None] * len(row)
        cells = (f"<td{_style(s)}>{cell}</td>" for cell, s in zip(row, colours, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    thead = f"<thead><tr>{head}</tr></thead>" if any(heads) else ""
    body = "\n".join(lines)
    return f'<div class="scroll" tabindex="0"><table class="{kind}">{thead}<tbody>{body}</tbody></table></div>'


def svg(figure: "Figure", prefix: str, alt: str) -> str:
    """The figure as an <svg> element that scales; ids get `prefix`, since a page has one name space.

    The canvas prints it, since Figure.savefig would draw everything twice.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    prefix = re.sub(r"[^\w-]", "-", prefix)  # it has the name of a fix
    out = io.StringIO()
    # Text stays text (selectable, small); a fixed salt makes the same records give the same page.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": prefix, "font.family": "sans-serif"}):
        FigureCanvasSVG(figure).print_svg(out, metadata={"Date": None})  # type: ignore[no-untyped-call]
    drawn = out.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r"<metadata>.*?</metadata>", "", drawn, flags=re.DOTALL)
    drawn = re.sub(r'\bid="', f'id="{prefix}-', drawn)
    drawn = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", drawn)
    drawn = re.sub(r'<svg ([^>]*?)height="[^"]*"([^>]*?)width="[^"]*"', r"<svg \1\2", drawn, count=1)
    return drawn.replace("<svg ", f'<svg role="img" aria-label="{text(alt)}" ', 1)


def png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(DPI)
    made = io.BytesIO()
    FigureCanvasAgg(figure).print_png(made)  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")  # it has its layout, which the page takes over
    return made.getvalue()


def _style(shade: float | None) -> str:
    """A ground between that of the page and blue or orange; white text where it is dark. style.css has the colours."""
    if shade is None or abs(shade) < 1e-9:
        return ""
    depth = min(abs(shade), 1.0)
    kind = ("up" if shade > 0 else "down") + " deep" * (depth > 0.85)
    return f' class="{kind}" style="--s:{depth:.0%}"'
