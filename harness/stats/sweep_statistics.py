"""What a sweep answers: its effects, and the verdict on each registered claim."""

from dataclasses import asdict, dataclass
from pathlib import Path

from harness.paths import CLAIMS
from harness.records.load import SweepRecords
from harness.stats.blocks import Blocks, blocks_of
from harness.stats.claims import Verdict, load_claims, verdicts
from harness.stats.effects import Effects, analyse, to_json


@dataclass(frozen=True)
class SweepStatistics:
    effects: Effects
    verdicts: tuple[Verdict, ...]  # none where no claims are registered
    blocks: Blocks


def statistics_of(sweep: SweepRecords, claims: Path = CLAIMS) -> SweepStatistics:
    """All statistics of a report; pure but for reading the claims. Raises ConfigError for a broken claim.

    Of a sweep with blocks all but `blocks` is of the main block.
    """
    registered = load_claims(claims) if claims.is_dir() else ()
    effects, main = analyse(sweep), sweep.main
    return SweepStatistics(effects, verdicts(main, registered), blocks_of(sweep, effects))


def effects_json(found: SweepStatistics) -> str:
    """effects.json: the effects on the reference reward, and beside them what else is estimated, each under a key of
    its own; `blocks` in a sweep that has some."""
    return to_json(found.effects, {"blocks": asdict(found.blocks)} if found.blocks.main else {})
