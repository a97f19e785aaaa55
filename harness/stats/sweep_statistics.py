"""What a sweep answers: its effects, what else its records tell, and the verdict on each registered claim."""

from dataclasses import asdict, dataclass
from pathlib import Path

from harness.paths import CLAIMS
from harness.records.load import SweepRecords
from harness.stats.blocks import Blocks, blocks_of
from harness.stats.claims import Verdict, load_claims, verdicts
from harness.stats.controls import Controls, controls_of
from harness.stats.effects import Effects, effects_by_block, outcomes_by_block, over_blocks, to_json
from harness.stats.pass_k import PassK, pass_k
from harness.stats.reported_effects import ReportedEffects, reported_effects
from harness.stats.steps_to_threshold import StepsToThreshold, steps_to_threshold
from harness.stats.task_effects import SingleTasks, single_tasks


@dataclass(frozen=True)
class SweepStatistics:
    effects: Effects
    verdicts: tuple[Verdict, ...]  # none where no claims are registered
    blocks: Blocks
    reported: ReportedEffects
    tasks: SingleTasks
    steps: StepsToThreshold
    passed: PassK
    controls: Controls | None  # None where it has neither placebo nor negative controls


def statistics_of(sweep: SweepRecords, claims: Path = CLAIMS) -> SweepStatistics:
    """All statistics of a report; pure but for reading the claims. Raises ConfigError for a broken claim.

    Of a sweep with blocks all but `blocks` is of the main block.
    """
    registered = load_claims(claims) if claims.is_dir() else ()
    main, by_block = sweep.main, outcomes_by_block(sweep)
    each = effects_by_block(sweep, by_block)
    outcomes, effects = by_block[sweep.main_block], over_blocks(sweep, by_block, each)
    return SweepStatistics(
        effects,
        verdicts(main, registered),
        blocks_of(sweep, by_block, each),
        reported_effects(main, outcomes, effects.effects),
        single_tasks(main, outcomes),
        steps_to_threshold(outcomes, sweep.threshold),
        pass_k(main, outcomes),
        controls_of(main, effects),
    )


def effects_json(found: SweepStatistics) -> str:
    """effects.json: the effects on the reference reward, and beside them what else is estimated, each under a key of
    its own; `blocks` and `controls` in a sweep that has some."""
    beside = {
        "reported_effects": asdict(found.reported),
        "task_effects": asdict(found.tasks),
        "steps_to_threshold": asdict(found.steps),
        "pass_k": asdict(found.passed),
    }
    if found.blocks.main:
        beside["blocks"] = asdict(found.blocks)
    if found.controls:
        beside["controls"] = asdict(found.controls)
    return to_json(found.effects, beside)
