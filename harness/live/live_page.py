"""The page of a sweep that is watched: the report's page, made anew when the records have changed."""

import hashlib
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness.errors import HarnessError
from harness.live.standing import Standing, ask_to_stop, standing
from harness.machine.gpu_use import gpu_use
from harness.records.changes import fingerprint
from harness.records.load import load_sweep
from harness.records.looks import judged
from harness.report.cost_text import duration
from harness.report.document import document
from harness.report.markup import text
from harness.report.page import body, body_without_verdict, further_pages
from harness.report.rollout_section import rollouts_of
from harness.report.templating import render, script, style
from harness.stats.sweep_statistics import statistics_of

EVERY = 4.0  # seconds between two makings of the page, at least
SHARE = 10  # of the time, at most one part in so many goes into making it: the sweep needs the cores
# Its own script may ask this server; a form may be sent to it and to nobody else.
ALLOWED = "; connect-src 'self'; form-action 'self'; base-uri 'none'"
RELOAD = '<noscript><meta http-equiv="refresh" content="10"></noscript>'


@dataclass(frozen=True)
class Made:
    """A page. further: those that it links to, by their paths; version: names the records that it shows

    runs, stopping: what it says of the sweep; at: when it was ready (monotonic); took: seconds
    """

    html: str
    further: Mapping[str, str]
    version: str
    runs: bool
    stopping: bool
    at: float
    took: float


class LivePage:
    """token: must come with whatever is to change something; the page holds it. Safe to call from any thread."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self.token = folder, token
        self._lock = threading.Lock()
        self._made: Made | None = None

    def html(self) -> str:
        with self._lock:
            made, stands = self._made, standing(self.folder)
            version = self._version(stands)
            if made is None or (made.version != version and _may_be_made_anew(made, stands)):
                begun = time.monotonic()
                html, further = self._page(stands, version)
                ready = time.monotonic()
                self._made = made = Made(html, further, version, stands.runs, stands.stopping, ready, ready - begun)
            return made.html

    def further(self, path: str) -> str | None:
        """A page that the last one links to."""
        return self._made.further.get(path) if self._made else None

    def stop(self) -> None:
        """Asks the sweep to stop, and the next page says so. Raises what `ask_to_stop` raises."""
        ask_to_stop(self.folder)

    def now(self) -> dict[str, str]:
        """What the page asks for between two makings. version: if it is not the page's, there is a newer page"""
        stands, made = standing(self.folder), self._made
        due = made is None or _may_be_made_anew(made, stands)
        version = self._version(stands) if made is None or due else made.version
        return {"version": version, "html": self._now(stands)}

    def _version(self, stands: Standing) -> str:
        state = (fingerprint(self.folder), stands.runs, stands.stopping, self._says_verdict(stands))
        return hashlib.sha256(repr(state).encode()).hexdigest()[:16]

    def _says_verdict(self, stands: Standing) -> bool:
        """Not while the sweep runs, and never one that was not asked for: it would be a look (records/looks.py)."""
        try:
            return not stands.runs and judged(self.folder)
        except HarnessError:
            return False

    def _page(self, stands: Standing, version: str) -> tuple[str, Mapping[str, str]]:
        """And those that it links to."""
        further: Mapping[str, str] = {}
        verdict = self._says_verdict(stands)
        top = render(
            "watch.jinja", now=self._now(stands), version=version, token=self.token, stands=stands, verdict=verdict
        )
        try:
            sweep = load_sweep(self.folder)
            if verdict:
                rollouts = rollouts_of(sweep, beside=True)
                inside = body(sweep, statistics_of(sweep), rollouts=rollouts, top=top)
                further = further_pages(sweep.name, rollouts, back="../")
            else:
                inside = body_without_verdict(sweep, top)
        except (HarnessError, OSError) as error:  # it may be whole at the next look
            inside = f"<h1>{text(self.folder.name)}</h1>{top}<p>{text(str(error))}</p>"
        html = document(f"{self.folder.name}, live", inside, script("watch.js"), style("watch.css"), ALLOWED, RELOAD)
        return html, further

    def _now(self, stands: Standing) -> str:
        return render("now.jinja", stands=stands, gpus=gpu_use(), duration=duration, clock=time.strftime("%H:%M:%S"))


def _may_be_made_anew(made: Made, stands: Standing) -> bool:
    """At once where the sweep has begun, been asked to stop or ended since; else not too often."""
    if (made.runs, made.stopping) != (stands.runs, stands.stopping):
        return True
    return time.monotonic() - made.at >= max(EVERY, SHARE * made.took)
