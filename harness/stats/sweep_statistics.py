"""What a sweep answers: its effects, and the verdict on each registered claim."""

from dataclasses import dataclass
from pathlib import Path

from harness.paths import CLAIMS
from harness.records.load import SweepRecords
from harness.stats.claims import Verdict, load_claims, verdicts
from harness.stats.effects import Effects, analyse


@dataclass(frozen=True)
class SweepStatistics:
    effects: Effects
    verdicts: tuple[Verdict, ...]  # none where no claims are registered


def statistics_of(sweep: SweepRecords, claims: Path = CLAIMS) -> SweepStatistics:
    """All statistics of a report; pure but for reading the claims. Raises ConfigError for a broken claim."""
    registered = load_claims(claims) if claims.is_dir() else ()
    return SweepStatistics(analyse(sweep), verdicts(sweep, registered))
