"""What a person sees while a sweep runs: a live display on a terminal, plain lines elsewhere.

Cheap and safe to call from an event loop or a thread: each call changes a few numbers under a lock; the
live display redraws itself twice a second, the plain one says at most one line of summary every 15 s.
"""

import sys
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from harness.endings import say
from harness.errors import visible

SUMMARY_EVERY = 15.0  # seconds between summary lines where there is no terminal
SHOWN = 10  # active runs listed at once; the rest are counted
PACE_OVER = 40  # the pace is that of so many last steps, since shared steps cost nothing


@dataclass
class Active:
    """A run in progress: the step it has reached, its last reference validation (reward in 0..1)."""

    step: int = 0
    validation: float | None = None
    changed: float = 0.0


class Progress:
    """A context manager around a sweep. Runs are named; `total_steps` is summed over all runs."""

    def __init__(self, total_runs: int, total_steps: int, file: TextIO | None = None) -> None:
        # The stream of now: what is printed to a redirected sys.stdout later is not ours to show.
        self._console = Console(file=file or sys.stdout, markup=False, emoji=False)
        self._total_runs, self._total_steps = total_runs, total_steps
        self._lock = threading.RLock()
        self.over: set[str] = set()  # runs that have completed or failed
        self._active: dict[str, Active] = {}
        self._ended: Counter[str] = Counter()
        self._steps_ended = 0.0
        self._pace: deque[tuple[float, float]] = deque(maxlen=PACE_OVER)
        self._note = self._stopping = ""
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        by = f" by {kind.__name__}" if kind and not self._stopping else ""
        stopped = f"; stopped{by}" if kind else ""
        self._say(f"{self._summary()}; took {duration(time.monotonic() - self._started)}{stopped}")

    def start_run(self, run: str) -> None:
        with self._lock:
            self._active[run] = Active(changed=time.monotonic())
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
            self._note = visible(text)
            self._plain(text)

    def warn(self, text: str) -> None:
        """A line that stays on a terminal, too."""
        with self._lock:
            self._say(text, "yellow")

    def stopping(self, text: str) -> None:
        """Shows that a signal has come. Called in its handler, so without the lock; the picture is drawn elsewhere."""
        self._stopping = text
        if self._live is None:
            say(text)

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
            bar = Table.grid(padding=(0, 2))
            spent = Text(duration(time.monotonic() - self._started), style="dim")
            bar.add_row(ProgressBar(max(self._total_steps, 1), self._steps_done(), width=24), self._summary(), spent)
            parts: list[RenderableType] = [bar]
            if self._active:
                parts += [self._runs(), Text(self._others(), style="dim")]
            elif self._note:
                parts.append(Text(self._note, style="dim"))
            if self._stopping:
                parts.append(Text(self._stopping, style="bold"))
            return Group(*parts)

    def _runs(self) -> Table:
        """The active runs that moved last; fewer on a low terminal, so that nothing scrolls."""
        table = Table.grid(padding=(0, 2))
        for run, active in self._recent()[: self._room()]:
            reward = "–" if active.validation is None else f"{active.validation:.3f}"
            table.add_row(visible(run), f"step {active.step}", f"validation {reward}")
        return table

    def _others(self) -> str:
        others = Counter(active.step for _, active in self._recent()[self._room() :])
        steps = ", ".join(f"{count} at step {step}" for step, count in sorted(others.items(), reverse=True))
        return f"and {others.total()} more runs: {steps}" if others else ""

    def _recent(self) -> list[tuple[str, Active]]:
        return sorted(self._active.items(), key=lambda item: -item[1].changed)

    def _room(self) -> int:
        return max(1, min(SHOWN, self._console.height - 4))

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
