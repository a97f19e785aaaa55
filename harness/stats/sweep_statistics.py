"""What a sweep answers: its effects, the verdict on each registered claim, and how its controls came out."""

from dataclasses import dataclass
from pathlib import Path

from harness.paths import CLAIMS
from harness.records.load import SweepRecords
from harness.stats.claims import Verdict, load_claims, verdicts
from harness.stats.controls import Controls, controls_of
from harness.stats.effects import Effects, analyse, to_json


@dataclass(frozen=True)
class SweepStatistics:
    effects: Effects
    verdicts: tuple[Verdict, ...]  # none where no claims are registered
    controls: Controls | None = None  # None where it has neither placebo nor negative controls

    def json(self) -> str:
        """effects.json: the effects, and under keys of their own what only some sweeps have."""
        return to_json(self.effects, {"controls": self.controls} if self.controls else {})


def statistics_of(sweep: SweepRecords, claims: Path = CLAIMS) -> SweepStatistics:
    """All statistics of a report; pure but for reading the claims. Raises ConfigError for a broken claim."""
    registered = load_claims(claims) if claims.is_dir() else ()
    effects = analyse(sweep)
    return SweepStatistics(effects, verdicts(sweep, registered), controls_of(sweep, effects))
