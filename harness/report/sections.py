"""The parts of a report as plain data, which the page and its markdown twin both render.

A section holds sentences, at most one figure (by name), and grids of text. `shades` colour a grid's cells
from −1 (lowers) over 0 to +1 (raises); the text of a cell says the same, so nothing rests on colour alone.
"""

from dataclasses import dataclass, field

from harness.stats.reward_range import CUT, is_cut


@dataclass(frozen=True)
class Grid:
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    kind: str = "plain"  # class of the table on the page
    shades: tuple[tuple[float | None, ...], ...] = ()  # like rows; None: no colour


@dataclass(frozen=True)
class Section:
    title: str
    sentences: tuple[str, ...] = ()
    figure: str = ""  # a name in effect_figures.CAPTIONS
    grids: tuple[tuple[str, Grid], ...] = ()  # (caption, grid)
    notes: tuple[str, ...] = ()
    folded: tuple[tuple[str, Grid], ...] = field(default_factory=tuple)  # behind a summary on the page

    @property
    def all_notes(self) -> tuple[str, ...]:
        """The notes, and what an arrow means where some interval has one."""
        cells = (cell for _, grid in (*self.grids, *self.folded) for row in grid.rows for cell in row)
        return (*self.notes, CUT) if any(map(is_cut, (*self.sentences, *self.notes, *cells))) else self.notes
