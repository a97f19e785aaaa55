"""What a person sees while a sweep runs: a live display on a terminal, plain lines elsewhere.

Cheap and safe to call from an event loop or a thread: each call changes a few numbers under a lock; the
live display redraws itself twice a second, the plain one says at most one line of summary every 15 s.
"""

import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.endings import say
from harness.errors import visible
from harness.records.schema import Record
from harness.sweep.board import Board

SUMMARY_EVERY = 15.0  # seconds between summary lines where there is no terminal
SHOWN = 10  # active runs listed at once; the rest are counted
BAR = 24  # columns
REST = len("  step 999  validation 0.000")  # columns beside a run's name
PACE_OVER = 40  # the pace is that of so many last steps, since shared steps cost nothing


@dataclass
class Active:
    """A run in progress: the step it has reached, its last reference validation (reward in 0..1)."""

    step: int = 0
    validation: float | None = None
    changed: float = 0.0


@dataclass
class Doing:
    """What an engine, or the sweep as a whole, does, and since when. runs: those that an engine holds"""

    text: str
    since: float
    runs: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        return f"{self.text}, for {duration(time.monotonic() - self.since)}"


class Progress:
    """A context manager around a sweep. Runs are named; `total_steps` is summed over all runs.

    folder: where `harness watch` finds how far the sweep is; None: nowhere
    """

    def __init__(
        self, total_runs: int, total_steps: int, file: TextIO | None = None, folder: Path | None = None
    ) -> None:
        # The stream of now: what is printed to a redirected sys.stdout later is not ours to show.
        self._console = Console(file=file or sys.stdout, markup=False, emoji=False)
        self._total_runs, self._total_steps = total_runs, total_steps
        self._lock = threading.RLock()
        self.over: set[str] = set()  # runs that have completed or failed
        self._active: dict[str, Active] = {}
        self._ended: Counter[str] = Counter()
        self._steps_ended = 0.0
        self._pace: deque[tuple[float, float]] = deque(maxlen=PACE_OVER)
        self._note: Doing | None = None
        self._engines: dict[int, Doing] = {}
        self._stopping = ""
        self._board = Board(folder, self.stands) if folder else None
        self._started = self._summed = time.monotonic()
        self._live: Live | None = None

    def __enter__(self) -> Self:
        self._started = self._summed = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._picture,
                console=self._console,
                refresh_per_second=2,
                redirect_stdout=False,
                transient=True,
            )
            self._live.start()
        if self._board is not None:
            self._board.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._board is not None:
            self._board.__exit__()
        if self._live is not None:
            self._live.stop()
        by = f" by {kind.__name__}" if kind and not self._stopping else ""
        stopped = f"; stopped{by}" if kind else ""
        self._say(f"{self._summary()}; took {duration(time.monotonic() - self._started)}{stopped}")

    def start_run(self, run: str) -> None:
        with self._lock:
            self._active[run] = Active(changed=time.monotonic())
            self._note = None  # what came before the first run is over
            self._plain(f"{run} started")

    def step(self, run: str, step: int, validation: float | None) -> None:
        """`run` has reached `step`; `validation` is its newest reference reward, if there is one."""
        with self._lock:
            now = time.monotonic()
            active = self._active.setdefault(run, Active())
            active.step, active.changed = max(active.step, step), now
            active.validation = active.validation if validation is None else validation
            self._pace.append((now, self._steps_done()))
            if self._live is None and now - self._summed >= SUMMARY_EVERY:
                self._summed = now
                self._plain(self._summary())

    def finish_run(self, run: str, state: str, validity: str | None) -> None:
        """`state`: completed or failed; `validity`: valid, INVALID, or None where there is no verdict."""
        with self._lock:
            self.over.add(run)
            active = self._active.pop(run, Active())
            # Steps that a failed run did not take will not be taken: nothing remains of it.
            self._steps_ended += self._total_steps / max(self._total_runs, 1)
            bad = validity == "INVALID"
            self._ended["INVALID" if bad else state] += 1
            last = "" if active.validation is None else f", validation {active.validation:.3f}"
            text = f"{run} {state}{' INVALID' if bad else ''} at step {active.step}{last}"
            if self._live is None or bad or state == "failed":
                self._say(text, "red" if bad or state == "failed" else "")

    def note(self, text: str) -> None:
        """A line about the sweep as a whole."""
        with self._lock:
            self._note = Doing(visible(text), time.monotonic())
            self._plain(text)

    def engine(self, number: int, doing: str, runs: Sequence[str] = ()) -> None:
        """What one of several engines does from now on, and which runs it holds."""
        with self._lock:
            self._engines[number] = Doing(visible(doing), time.monotonic(), tuple(runs))

    def keep(self, text: str) -> None:
        """A line that stays on a terminal, too, and is no warning."""
        with self._lock:
            self._say(text)

    def warn(self, text: str) -> None:
        """A line that stays on a terminal, too."""
        with self._lock:
            self._say(text, "yellow")

    def stopping(self, text: str) -> None:
        """Shows that a signal has come. Called in its handler, so without the lock; the picture is drawn elsewhere."""
        self._stopping = text
        if self._live is None:
            say(text)

    def stands(self) -> Record:
        """What `harness watch` shows, ready for JSON; times are seconds."""
        with self._lock:
            now = time.monotonic()
            return {
                "summary": self._summary(),
                "seconds": now - self._started,
                "note": self._note.line if self._note and not self._engines else "",
                "stopping": self._stopping,
                "engines": [
                    {"engine": number, "doing": each.text, "seconds": now - each.since, "runs": each.runs}
                    for number, each in sorted(self._engines.items())
                ],
                "runs": [
                    {"run": run, "step": active.step, "validation": active.validation}
                    for run, active in sorted(self._active.items())
                ],
            }

    def _steps_done(self) -> float:
        return self._steps_ended + sum(active.step for active in self._active.values())

    def _remaining(self) -> float | None:
        """Seconds to go at the pace of the last steps; None before there is a pace."""
        if len(self._pace) < 3 or self._pace[-1][1] <= self._pace[0][1]:
            return None
        (since, before), (_, done) = self._pace[0], self._pace[-1]
        return (self._total_steps - done) * (time.monotonic() - since) / (done - before)

    def _summary(self) -> str:
        ended = sum(self._ended.values())
        bad = [f"{self._ended[what]} {what}" for what in ("failed", "INVALID") if self._ended[what]]
        remaining = self._remaining() if ended < self._total_runs else None
        return (
            f"{ended}/{self._total_runs} runs{' (' + ', '.join(bad) + ')' if bad else ''}, "
            f"{self._steps_done():.0f}/{self._total_steps} steps"
            + ("" if remaining is None else f", about {duration(remaining)} to go")
        )

    def _picture(self) -> RenderableType:
        with self._lock:
            head, foot = [*self._head(), *self._doing()], [Text(self._stopping, style="bold")] * bool(self._stopping)
            taken = sum(len(self._console.render_lines(each)) for each in (*head, *foot))
            shown = self._fitting(self._console.height - taken - 2)  # a line for the others, and the cursor's
            return Group(*head, *self._runs(shown), *foot)

    def _head(self) -> list[RenderableType]:
        """A bar with the time that was spent, and the summary: behind it where there is room, else below."""
        bar, summary = Table.grid(padding=(0, 2)), self._summary()
        cells: tuple[RenderableType, RenderableType] = (
            ProgressBar(max(self._total_steps, 1), self._steps_done(), width=BAR),
            Text(duration(time.monotonic() - self._started), style="dim", no_wrap=True),
        )
        if BAR + cell_len(summary) + len("  12 h 59 min  ") <= self._console.width:
            bar.add_row(cells[0], summary, cells[1])
            return [bar]
        bar.add_row(*cells)
        return [bar, Text(summary)]

    def _doing(self) -> list[RenderableType]:
        """What engines do that hold no run, and what was said last of the sweep as a whole, each with how long."""
        idle = [f"engine {number}: {each.line}" for number, each in sorted(self._engines.items()) if not each.runs]
        lines = idle[:SHOWN] + [f"and {len(idle) - SHOWN} more engines"] * (len(idle) > SHOWN)
        # With several engines the note repeats what one of them said.
        lines += [self._note.line] if self._note and not self._engines else []
        return [Text(line, style="dim") for line in lines]

    def _runs(self, shown: Sequence[tuple[str, Active]]) -> list[RenderableType]:
        """A name too long for the line goes on below; none is cut."""
        table = Table.grid(padding=(0, 2))
        table.add_column(overflow="fold")
        for _ in ("step", "validation"):
            table.add_column(no_wrap=True)
        for run, active in shown:
            reward = "–" if active.validation is None else f"{active.validation:.3f}"
            table.add_row(visible(run), f"step {active.step}", f"validation {reward}")
        others = Counter(active.step for _, active in self._recent()[len(shown) :])
        steps = ", ".join(f"{count} at step {step}" for step, count in sorted(others.items(), reverse=True))
        more = Text(f"and {others.total()} more runs: {steps}", style="dim", no_wrap=True, overflow="ellipsis")
        return [*[table] * bool(shown), *[more] * bool(others)]

    def _fitting(self, room: int) -> list[tuple[str, Active]]:
        """The active runs that moved last, as many as `room` lines hold, so that nothing scrolls; one at least."""
        shown: list[tuple[str, Active]] = []
        for run, active in self._recent()[:SHOWN]:
            room -= -(-cell_len(visible(run)) // max(self._console.width - REST, 1))
            if shown and room < 0:
                break
            shown.append((run, active))
        return shown

    def _recent(self) -> list[tuple[str, Active]]:
        return sorted(self._active.items(), key=lambda item: -item[1].changed)

    def _plain(self, text: str) -> None:
        if self._live is None:
            self._say(text)

    def _say(self, text: str, style: str = "") -> None:
        clock = time.strftime("%H:%M:%S")
        self._console.print(Text(visible(f"{clock} {text}"), style=style), soft_wrap=True)


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h 20 min`."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
