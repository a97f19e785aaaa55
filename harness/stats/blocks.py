"""Effects in each block of a sweep, and their interaction with the block: is an effect another one at another rate?

A block is a value of options beside the fixes (`SweepRecords.blocks`); all blocks have the same arms, seeds and tasks.

    interaction of factor f with block b  =  effect of f in b  −  effect of f in the main block

It is a contrast like any other, over the arms of both blocks: paired by seed and task, with the crossed interval of
intervals.py. Per kind of effect and outcome the factors × blocks are one family: Holm, and Bonferroni for the intervals
that hold together. The effects of one block are corrected within that block alone, as in a sweep of its own.

A difference of effects of a fraction of the factorial is one of sums ("mixed"). One of an effect whose switch some
block never shows is "not shown". "Alike" is said as "no effect" is: where every episode is the same, or where at least
five seeds put the simultaneous interval within the margin, never where a block stands still or gets worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from harness.records.load import SweepRecords
from harness.stats.contrasts import ASSUMES, Contrast
from harness.stats.decline import fails
from harness.stats.effects import Effect, Effects, gate_checks, moves
from harness.stats.intervals import LEVEL, holm
from harness.stats.looks import ALPHA
from harness.stats.measured import Measured, contrasts_of, measure, measure_difference
from harness.stats.outcomes import OUTCOMES, Outcomes
from harness.stats.verdicts import MIXED, NOT_ANSWERED, NOT_SHOWN, SEEDS_FOR_NONE, UNDECIDED, margin_of, missed
from harness.stats.worst_case import Bounds
from harness.stats.worst_case import notes as bound_notes

Array = np.ndarray
KINDS = ("leave_one_out", "main", "added_alone")
LARGER, SMALLER, ALIKE = "larger", "smaller", "alike"
NOT_THERE = "one of the two blocks does not answer it"


@dataclass(frozen=True)
class BlockSummary:
    """One block. first, last: mean reward of all_on at the first and the last validation; None where it has no run."""

    block: str
    options: Mapping[str, Any]
    runs: int
    counted: int
    first: float | None
    last: float | None


@dataclass(frozen=True)
class BlockEffect:
    """An effect as the block alone would have it."""

    block: str
    kind: str
    outcome: str
    factors: tuple[str, ...]
    verdict: str
    value: float | None
    low: float | None
    high: float | None
    p_holm: float | None
    seeds: int
    identical: bool

    @classmethod
    def of(cls, block: str, effect: Effect) -> "BlockEffect":
        e = effect
        what = (block, e.kind, e.outcome, e.factors, e.verdict)
        return cls(*what, e.value, e.low, e.high, e.p_holm, e.seeds, e.identical)


@dataclass(frozen=True)
class Difference:
    """By how much an effect in a block is larger than in the main one. Numbers are None where it is not answered."""

    block: str
    against: str
    kind: str
    outcome: str
    factors: tuple[str, ...]
    verdict: str
    value: float | None = None
    low: float | None = None  # 95 %, this difference alone
    high: float | None = None
    low_all: float | None = None  # 95 % for all differences of the family together
    high_all: float | None = None
    p: float | None = None
    p_holm: float | None = None
    error: float | None = None
    seeds: int = 0
    tasks: int = 0
    identical: bool = False
    note: str = ""
    missing: Bounds | None = None  # as an effect's
    lost: Bounds | None = None


@dataclass(frozen=True)
class Blocks:
    """main: the block that the rest of a report speaks of. Nothing is in it for a sweep without blocks."""

    main: str = ""
    summaries: tuple[BlockSummary, ...] = ()
    effects: tuple[BlockEffect, ...] = ()
    differences: tuple[Difference, ...] = ()

    def effects_of(self, kind: str, outcome: str = "final") -> tuple[BlockEffect, ...]:
        return tuple(e for e in self.effects if (e.kind, e.outcome) == (kind, outcome))

    def differences_of(self, kind: str, outcome: str = "final") -> tuple[Difference, ...]:
        return tuple(d for d in self.differences if (d.kind, d.outcome) == (kind, outcome))


def blocks_of(sweep: SweepRecords, of: Mapping[str, Outcomes], effects: Mapping[str, Effects]) -> Blocks:
    """Nothing for a sweep of one block. of, effects: of each block by itself, by name."""
    if len(of) < 2:
        return Blocks()
    return Blocks(
        sweep.main_block,
        tuple(_summary(block, sweep.options_of(block), outcomes) for block, outcomes in of.items()),
        tuple(
            BlockEffect.of(block, effect)
            for block, found in effects.items()
            for kind in KINDS
            if any(e.value is not None for each in effects.values() for e in each.of(kind))
            for effect in found.effects
            if effect.kind == kind
        ),
        differences(of, sweep.main_block),
    )


def differences(blocks: Mapping[str, Outcomes], main: str) -> tuple[Difference, ...]:
    """Of every kind of which the main block answers some effect. blocks: by name."""
    out: list[Difference] = []
    outcomes = OUTCOMES if len(blocks[main].steps) > 1 else OUTCOMES[:1]
    for outcome in outcomes:
        answers = {block: Answers.of(found, outcome) for block, found in blocks.items()}
        for kind in KINDS:
            family = [c for c in answers[main].contrasts.values() if c.kind == kind]
            if any(isinstance(answers[main].measured.get((kind, c.factors)), Measured) for c in family):
                out += _family(blocks, main, outcome, family, answers)
    return tuple(out)


@dataclass(frozen=True)
class Answers:
    """What a block answers on one outcome, by (kind, factors)."""

    contrasts: dict[tuple[str, tuple[str, ...]], Contrast]
    measured: dict[tuple[str, tuple[str, ...]], Measured | str]
    able: bool  # something moves, and with all fixes on the policy does not get worse

    @classmethod
    def of(cls, outcomes: Outcomes, outcome: str) -> "Answers":
        refuted = any(check.holds is False for check in gate_checks(outcomes, outcome))
        contrasts = {(c.kind, c.factors): c for c in contrasts_of(outcomes, outcome) if c.kind in KINDS}
        usable = {key: c for key, c in contrasts.items() if not (refuted and c.note == ASSUMES)}
        measured = {key: measure(outcomes, contrast, outcome) for key, contrast in usable.items()}
        return cls(contrasts, measured, moves(outcomes) and not fails(outcomes))


@dataclass(frozen=True)
class Compared:
    """One effect in two blocks: the contrast over both, or why there is none."""

    block: str
    contrast: Contrast
    found: Measured | str
    shown_seeds: tuple[int, int] = (0, 0)  # seeds that show the switch at both levels, in each of the two blocks
    able: bool = field(default=False)


def _family(
    blocks: Mapping[str, Outcomes],
    main: str,
    outcome: str,
    family: Sequence[Contrast],
    answers: Mapping[str, Answers],
) -> list[Difference]:
    compared = [
        _compared(blocks, main, other, outcome, contrast, answers)
        for other in blocks
        if other != main
        for contrast in family
    ]
    of_main = blocks[main]
    known = [c.found.judged(of_main) for c in compared if isinstance(c.found, Measured)]
    adjusted = iter(zip(known, holm(np.array([judged.p_value for judged in known])), strict=True))
    out = []
    for each in compared:
        what = (each.block, main, each.contrast.kind, outcome, each.contrast.factors)
        if isinstance(each.found, str):
            out.append(Difference(*what, NOT_ANSWERED, note=each.found))
            continue
        s, (judged, p_adjusted) = each.found.spread, next(adjusted)
        p_holm, (low, high) = float(p_adjusted), judged.ends()
        low_all, high_all = judged.ends(ALPHA / len(known))
        margin = margin_of(each.contrast.kind, outcome, of_main.steps, len(of_main.factors), of_main.margin)
        lost = each.found.lost
        near = low_all is not None and high_all is not None and max(abs(low_all), abs(high_all)) <= margin
        near = near and not (lost and lost.exceeds(margin))
        verdict = _verdict(each, p_holm, near)
        unseen = missed(s.seeds) if each.found.identical else missed(s.seeds, s.tasks, s.groups)
        notes = [unseen] if verdict == ALIKE else []
        notes += bound_notes(each.found.missing, each.found.lost)
        if s.seeds == 1:
            notes.append("one seed: the interval is over tasks, another seed may differ")
        out.append(
            Difference(
                *what, verdict, s.mean, low, high, low_all, high_all,
                judged.p_value, p_holm, s.error, s.seeds, s.tasks, each.found.identical, "; ".join(notes),
                each.found.missing, lost,
            )
        )  # fmt: skip
    return out


def _verdict(each: Compared, p_holm: float, near: bool) -> str:
    assert isinstance(each.found, Measured)
    spread = each.found.spread
    if each.contrast.aliases:
        return MIXED
    if p_holm < 1 - LEVEL and not (each.found.lost and each.found.lost.turns):
        return LARGER if spread.mean > 0 else SMALLER
    if not all(each.shown_seeds):
        return NOT_SHOWN
    enough = each.found.identical or (spread.seeds >= SEEDS_FOR_NONE and each.able and not each.contrast.partial)
    return ALIKE if near and enough and min(each.shown_seeds) >= spread.seeds else UNDECIDED


def _compared(
    blocks: Mapping[str, Outcomes],
    main: str,
    other: str,
    outcome: str,
    contrast: Contrast,
    answers: Mapping[str, Answers],
) -> Compared:
    key = (contrast.kind, contrast.factors)
    both = [answers[name].measured.get(key, NOT_THERE) for name in (other, main)]
    if why := next((found for found in both if isinstance(found, str)), ""):
        return Compared(other, contrast, why)
    found = measure_difference(blocks[other], blocks[main], answers[other].contrasts[key], contrast, outcome)
    seeds = tuple(
        m.shown(blocks[name]).seeds for name, m in zip((other, main), both, strict=True) if isinstance(m, Measured)
    )
    able = answers[other].able and answers[main].able
    return Compared(other, contrast, found, (seeds[0], seeds[1]), able)


def _summary(block: str, options: Mapping[str, Any], outcomes: Outcomes) -> BlockSummary:
    counted = int(outcomes.counted_A_N.sum())
    first, last = outcomes.ends.get(outcomes.factors.with_off(), (None, None))
    return BlockSummary(block, dict(options), counted + len(outcomes.left_out), counted, first, last)
