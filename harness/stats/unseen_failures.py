"""What few seeds cannot see, and what the intervals are worth if it is there.

A failure that strikes each run of an arm with probability x stays unseen in N seeds with (1 − x)^N. So long as none is
seen, an interval knows nothing of it and lies beside the true mean. `experiments/benchmarks/calibration.py` plants such
failures and writes, by outcome and number of seeds, the lowest coverage of nominal 95 % intervals over
the shares x that so many seeds may not show (`could_miss`). A report from a design with a coverage below LEAST says so.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from harness.stats.verdicts import could_miss

PATH = Path(__file__).with_name("unseen_failures.json")
LEAST = 0.93
# Effects that compare two arms. The others are means over many, of which one that fails is a small part.
TWO_ARMS = ("leave_one_out", "added_alone")


@dataclass(frozen=True)
class UnseenFailures:
    """kind: of effect; seeds: of the sweep
    could_miss: the largest share of failing seeds that it may not show (at 5 %)
    share: of an arm's runs that fail where the intervals cover least, coverage: what they cover there; simulated with
        as many seeds or the next fewer
    simulated_seeds: with how many
    """

    kind: str
    outcome: str
    seeds: int
    could_miss: float
    share: float
    coverage: float
    simulated_seeds: int


def unseen_failures(kind: str, outcome: str, seeds: int) -> UnseenFailures | None:
    """None where the coverage is at least LEAST, where it was not simulated, and for one seed, whose intervals speak of
    that seed alone."""
    cells = _simulated().get(outcome, {}) if kind in TWO_ARMS else {}
    known = [n for n in map(int, cells) if n <= seeds]
    if seeds < 2 or not known:
        return None
    cell = cells[str(max(known))]
    if cell["coverage"] >= LEAST:
        return None
    return UnseenFailures(kind, outcome, seeds, could_miss(seeds), cell["share"], cell["coverage"], max(known))


@cache
def _simulated() -> dict[str, Any]:
    return dict(json.loads(PATH.read_text())["outcomes"]) if PATH.is_file() else {}
