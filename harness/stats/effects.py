"""The answer of a sweep: every effect with its interval, from records to one deterministic JSON.

Per kind and outcome the effects are a family: p-values are Holm-corrected within it, and the simultaneous
intervals hold together (Bonferroni). Intervals: intervals.py; where a sweep was looked at more than once: looks.py.

"No effect" is said where every episode at every validation is the same, or where at least five seeds put the
simultaneous interval within ± the margin that the sweep was started with (`stats.margin`). Beside it stands what so few
seeds could have missed: a failure that strikes each seed with probability x stays unseen in N of them with (1 − x)^N,
which is 5 % at x = 1 − .05^(1/N). A fix that decides a share x of tasks alone stays unseen in T tasks (or groups
of them) with (1 − x)^T, and more seeds do not help.

A verdict on the final reward is held against the other validations and blocks: it may become "depends" (between two
steps: depends.py; between two blocks: effect_map.py), and "no effect" is taken back where it does not hold from the
middle of the curve on or all_on had not settled. Its numbers stay those of the last step of the main block.

What is never called "no effect": an effect whose runs are INVALID or absent ("not answered", with the reason); one
from which some combinations are left out for that reason; any effect of a sweep in which nothing moves, or in which
the policy gets worse even with all fixes on: a difference could not have shown there. An effect of a fraction of the
factorial is "mixed": it stands for its aliases as much as for its factor, and it is not ranked.

Where episodes are missing, intervals, p-values and verdicts are those that hold however these came out, and the bounds
of the effect stand beside it; where runs failed or are incomplete, a verdict stands if none of what they could have
been turns it round (worst_case.py).

A run whose switch nothing could judge ("not shown", records/together.py) counts, and is counted by factor. An effect is
called none only where every seed shows its switch at both levels; where no seed does, it is "not shown", unless a
difference is (shown.py).
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from harness.designs import named_design
from harness.records.load import SweepRecords
from harness.stats import assumed_arms
from harness.stats.as_named import as_named
from harness.stats.bootstrap import calibrated_draws, resample
from harness.stats.by_step import EffectCurve, effect_curves
from harness.stats.contrasts import ASSUMES, Contrast
from harness.stats.decline import Decline, decline, fails
from harness.stats.depends import qualify, with_places
from harness.stats.effect_map import EffectMap, effect_map
from harness.stats.intervals import LEVEL, by_group, holm
from harness.stats.looks import ALPHA, LookedAt, looked_at
from harness.stats.measured import Measured, contrasts_of, measure, usable_arms
from harness.stats.outcomes import LOST, OUTCOMES, LeftOut, Outcomes, outcomes_of
from harness.stats.pairing import Pairing, pairing
from harness.stats.profiles import ArmSummary, arm_summaries
from harness.stats.ranking import rank_probabilities
from harness.stats.reported_gaps import ReportedGap, reported_gaps
from harness.stats.settling import Settling, half_of_steps, settling
from harness.stats.sigmoids import Sigmoid, sigmoids
from harness.stats.stability import Stability, stabilities
from harness.stats.verdicts import (
    DEPENDS,
    DIED,
    FAILS,
    FEW,
    HIDDEN,
    LEFT_OUT,
    LOWERS,
    MIXED,
    MOVES,
    NO_EFFECT,
    NOT_ANSWERED,
    NOT_SHOWN,
    RAISES,
    SEEDS_FOR_NONE,
    STILL,
    UNDECIDED,
    margin_of,
    missed,
)
from harness.stats.worst_case import COULD_EXCEED, COULD_TURN, NOT_AT_RANDOM, Bounds
from harness.stats.worst_case import notes as bound_notes

Array = np.ndarray
BY_STEP = ("leave_one_out", "main")
LOST_SAID = " That a run failed or is incomplete is assumed to have nothing to do with its reward."


@dataclass(frozen=True)
class Effect:
    """One effect on one outcome. Numbers are None where it is not answered; rewards, or rewards per step."""

    kind: str
    outcome: str
    factors: tuple[str, ...]
    verdict: str
    value: float | None = None
    low: float | None = None  # 95 %, this effect alone; None: there is no interval
    high: float | None = None
    low_all: float | None = None  # 95 % for all effects of the family together
    high_all: float | None = None
    p: float | None = None
    p_holm: float | None = None
    error: float | None = None  # standard error
    seeds: int = 0
    tasks: int = 0
    identical: bool = False  # exactly zero: the same weights and the same episodes at every validation
    note: str = ""  # of what was not shown: that first
    aliases: tuple[str, ...] = ()  # what is mixed with it: the value is the sum of the effect and these
    missing: Bounds | None = None  # by missing episodes; intervals and p-values hold for all that these could have been
    lost: Bounds | None = None  # by runs that failed or are incomplete


@dataclass(frozen=True)
class Ranking:
    """probability[i][j]: that factors[i] has rank j + 1. Ties share ranks evenly."""

    kind: str
    outcome: str
    factors: tuple[str, ...]  # by expected rank, best first; factors without an answer are absent
    probability: tuple[tuple[float, ...], ...]
    expected: tuple[float, ...]
    seeds: int


@dataclass(frozen=True)
class GateCheck:
    """A comparison that is zero if closed gates are sealed. holds: None where it cannot be told."""

    compared: str
    outcome: str
    value: float
    low_all: float
    high_all: float
    p_holm: float
    identical: bool
    holds: bool | None


@dataclass(frozen=True)
class Effects:
    sweep: str
    baseline: str  # which loop `off` means
    design: str
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    tasks: int
    task_groups: int | None  # of variants; None where each task stands for itself
    steps: tuple[int, ...]
    runs: int
    counted: int
    moves: bool  # some arm's mean reward changes by MOVES, or differs so much from another arm's
    fails: bool  # with all fixes on the policy ends below its start (decline.py)
    left_out: tuple[LeftOut, ...]
    not_shown: Mapping[str, int]  # by factor: counted runs whose switch nothing could judge
    effects: tuple[Effect, ...]
    rankings: tuple[Ranking, ...]
    gate_checks: tuple[GateCheck, ...]
    margin: float  # reward; within ± this an effect counts as none (`margin_of`)
    summaries: tuple[ArmSummary, ...]
    pairing: tuple[Pairing, ...]
    sigmoids: tuple[Sigmoid, ...]
    gaps: tuple[ReportedGap, ...]
    notes: tuple[str, ...]
    looks: LookedAt
    by_step: tuple[EffectCurve, ...] = ()  # of the kinds in BY_STEP
    settled: Settling | None = None
    stability: tuple[Stability, ...] = ()
    map: EffectMap = field(default_factory=EffectMap)  # of a sweep with blocks
    decline: Decline | None = None  # how far below its start, where it `fails`; not in effects.json elsewhere

    def of(self, kind: str, outcome: str = "final") -> tuple[Effect, ...]:
        return tuple(e for e in self.effects if e.kind == kind and e.outcome == outcome)

    def ranking(self, kind: str, outcome: str = "final") -> Ranking | None:
        return next((r for r in self.rankings if r.kind == kind and r.outcome == outcome), None)


def analyse(sweep: SweepRecords) -> Effects:
    """All estimates of a sweep; pure and deterministic. Of one with blocks: of its main block, and the map of all."""
    outcomes = outcomes_by_block(sweep)
    return over_blocks(sweep, outcomes, effects_by_block(sweep, outcomes))


def outcomes_by_block(sweep: SweepRecords) -> dict[str, Outcomes]:
    """Of each block by itself; of a sweep without blocks under the name of none."""
    return {block: outcomes_of(sweep.of_block(block)) for block in sweep.blocks}


def effects_by_block(sweep: SweepRecords, outcomes: Mapping[str, Outcomes]) -> dict[str, Effects]:
    """The estimates of each block by itself."""
    return {block: analyse_outcomes(found, sweep.name) for block, found in outcomes.items()}


def over_blocks(sweep: SweepRecords, outcomes: Mapping[str, Outcomes], effects: Mapping[str, Effects]) -> Effects:
    """Those of the main block, with what the records say beyond rewards (gaps, INVALID runs), and with the map and its
    verdicts where there are several blocks."""
    main = sweep.main_block
    own = effects[main]
    final = {(e.kind, e.factors): (e.value, e.seeds) for e in own.effects if e.outcome == "final"}
    notes = (*own.notes, *as_named(sweep.main, outcomes[main], final))
    own = replace(own, gaps=reported_gaps(sweep.main, outcomes[main]), notes=notes)
    if len(outcomes) < 2:
        return own
    found = effects_map(outcomes, effects)
    return replace(own, effects=_over_blocks(own.effects, found), map=found)


def effects_map(outcomes: Mapping[str, Outcomes], effects: Mapping[str, Effects]) -> EffectMap:
    """The effects of each block, step by step, and which verdicts turn round between two blocks."""
    contrasts = {block: contrasts_of(found, "final") for block, found in outcomes.items()}
    return effect_map(outcomes, {block: each.by_step for block, each in effects.items()}, contrasts)


def _over_blocks(effects: Sequence[Effect], found: EffectMap) -> tuple[Effect, ...]:
    """The effects of the main block, with "depends" where the verdict on the final reward turns round in another."""
    turns = {(turn.kind, turn.factors): turn.text for turn in found.turns}
    out = []
    for effect in effects:
        text = turns.get((effect.kind, effect.factors)) if effect.outcome == "final" else None
        if text and effect.verdict not in (MIXED, NOT_SHOWN, NOT_ANSWERED):
            effect = replace(effect, verdict=DEPENDS, note="; ".join(filter(None, (effect.note, text))))
        out.append(effect)
    return tuple(out)


def analyse_outcomes(outcomes: Outcomes, name: str = "") -> Effects:
    """The estimates alone, without the gaps, for which arrays of reference rewards are not enough."""
    failed = fails(outcomes)
    effects, rankings = [], []
    checks: list[GateCheck] = []
    for outcome in OUTCOMES if len(outcomes.steps) > 1 else OUTCOMES[:1]:
        contrasts = contrasts_of(outcomes, outcome)
        found = gate_checks(outcomes, outcome)
        checks += found
        refuted = any(c.holds is False for c in found)
        measured = {id(c): measure(outcomes, c, outcome) for c in contrasts if not (refuted and c.note == ASSUMES)}
        for kind in dict.fromkeys(c.kind for c in contrasts):
            family = [c for c in contrasts if c.kind == kind]
            found_effects = estimate_family(outcomes, outcome, family, measured)
            effects += found_effects
            ranked = _ranked(found_effects, family, measured)
            if failed or kind == "interaction" or len(ranked) < 2:
                continue
            if ranking := _ranking(kind, outcome, ranked):
                rankings.append(ranking)
    settled = settling(outcomes)
    effects, curves = _over_steps(outcomes, effects, settled)
    counted = int(outcomes.counted_A_N.sum())
    return Effects(
        sweep=name,
        baseline=outcomes.baseline,
        design=design_name(outcomes),
        arms=tuple(a.name for a in outcomes.arms),
        seeds=outcomes.seeds,
        tasks=len(outcomes.tasks),
        task_groups=_groups(outcomes),
        steps=outcomes.steps,
        runs=counted + len(outcomes.left_out),
        counted=counted,
        moves=moves(outcomes),
        fails=failed,
        left_out=outcomes.left_out,
        not_shown=outcomes.not_shown,
        effects=tuple(effects),
        rankings=tuple(rankings),
        gate_checks=tuple(checks),
        margin=outcomes.margin,
        summaries=arm_summaries(outcomes) if outcomes.steps else (),
        pairing=tuple(p for o in OUTCOMES[:2] for p in pairing(outcomes, o)) if len(outcomes.steps) > 1 else (),
        sigmoids=sigmoids(outcomes),
        gaps=(),
        notes=_notes(outcomes),
        looks=looked_at(outcomes.looks, len(outcomes.seeds)),
        by_step=tuple(c for c in curves if c.kind in BY_STEP),
        settled=settled,
        stability=stabilities(outcomes),
        decline=decline(outcomes),
    )


def _over_steps(
    outcomes: Outcomes, effects: Sequence[Effect], settled: Settling | None
) -> tuple[list[Effect], list[EffectCurve]]:
    """The effects with what the other validations say about the verdicts on the final reward, and these curves."""
    told = {(e.kind, e.factors): e for e in effects if e.outcome == "final" and e.value is not None and not e.aliases}
    contrasts = {(c.kind, c.factors): c for c in contrasts_of(outcomes, "final") if (c.kind, c.factors) in told}
    if not contrasts or len(outcomes.steps) < 2:
        return list(effects), []
    middle = settled.middle if settled else half_of_steps(outcomes.steps)
    curves, out = {}, []
    for curve in effect_curves(outcomes, list(contrasts.values()), middle):
        key = (curve.kind, curve.factors)
        curves[key] = with_places(curve, outcomes, contrasts[key], told[key].verdict, middle)
    for effect in effects:
        own = curves.get((effect.kind, effect.factors)) if effect.outcome == "final" else None
        if own is not None and effect.verdict != NOT_SHOWN:
            found = qualify(effect.verdict, effect.identical, own, settled)
            effect = replace(effect, verdict=found.verdict, note="; ".join(filter(None, (effect.note, found.note))))
        out.append(effect)
    return out, list(curves.values())


def moves(outcomes: Outcomes) -> bool:
    """Whether there is anything to tell arms apart by: see MOVES."""
    seen = list(outcomes.ends.values())
    if not seen:
        return False
    lasts = [last for _, last in seen]
    return bool(max(lasts) - min(lasts) >= MOVES or max(abs(last - first) for first, last in seen) >= MOVES)


def estimate_family(
    outcomes: Outcomes, outcome: str, family: Sequence[Contrast], measured: dict[int, Measured | str]
) -> list[Effect]:
    """The effects of one kind on one outcome, tested together. measured: by id of the contrast."""
    known = [m.judged(outcomes) for c in family if isinstance(m := measured.get(id(c)), Measured)]
    adjusted = iter(zip(known, holm(np.array([j.p_value for j in known])), strict=True))
    at_random = iter(_at_random(outcomes, [m for c in family if isinstance(m := measured.get(id(c)), Measured)]))
    margin = margin_of(family[0].kind, outcome, outcomes.steps, len(outcomes.factors), outcomes.margin)
    still, failed = not moves(outcomes), fails(outcomes)
    out = []
    for contrast in family:
        found = measured.get(id(contrast), "the controls behind closed gates refute what this rests on")
        if isinstance(found, str):
            what = (contrast.kind, outcome, contrast.factors, NOT_ANSWERED)
            out.append(Effect(*what, note=found, aliases=contrast.aliases))
            continue
        s, told, (judged, p_adjusted) = found.spread, found.shown(outcomes), next(adjusted)
        p_at_random, far_at_random = next(at_random)
        p_holm = float(p_adjusted)
        low, high = judged.ends()
        low_all, high_all = judged.ends(ALPHA / len(known))
        decided = RAISES if s.mean > 0 else LOWERS
        remark = ""
        if p_holm >= 1 - LEVEL:
            far = np.inf if low_all is None or high_all is None else max(abs(low_all), abs(high_all))
            near = far <= margin
            remark = _doubt(found, still, failed, _died(outcomes, contrast), told.seeds, margin) if near else ""
            if p_at_random < 1 - LEVEL or far_at_random <= margin < far:
                remark = NOT_AT_RANDOM
            decided = NOT_SHOWN if not told.seeds else NO_EFFECT if near and not remark else UNDECIDED
        elif found.lost and found.lost.turns:
            decided, remark = UNDECIDED, COULD_TURN
        elif judged.p_now >= ALPHA:
            remark = f"decided by the look after {judged.seeds} seeds"
        if decided == NO_EFFECT and not contrast.aliases:
            remark = missed(s.seeds) if found.identical else missed(s.seeds, s.tasks, s.groups)
        out.append(
            Effect(
                kind=contrast.kind,
                outcome=outcome,
                factors=contrast.factors,
                verdict=MIXED if contrast.aliases else decided,
                value=s.mean,
                low=low,
                high=high,
                low_all=low_all,
                high_all=high_all,
                p=judged.p_value,
                p_holm=p_holm,
                error=s.error,
                seeds=s.seeds,
                tasks=s.tasks,
                identical=found.identical,
                note="; ".join(filter(None, (told.text, _note(outcomes, found), remark))),
                aliases=contrast.aliases,
                missing=found.missing,
                lost=found.lost,
            )
        )
    return out


def _at_random(outcomes: Outcomes, family: Sequence[Measured]) -> list[tuple[float, float]]:
    """Of each effect the p-value after Holm's correction and the farther end of its simultaneous interval, if all
    episodes that the family lacks are missing at random."""
    known = [m.at_random(outcomes) for m in family] if any(m.fillings for m in family) else []
    far = [max(map(abs, judged.interval(ALPHA / len(known)))) for judged in known]
    p_holm = holm(np.array([judged.p_value for judged in known]))
    return list(zip(map(float, p_holm), far, strict=True)) if known else [(1.0, np.inf)] * len(family)


def _died(outcomes: Outcomes, contrast: Contrast) -> int:
    """How many runs of the contrast's arms failed."""
    arms = {outcomes.arms[a].name for a in np.flatnonzero(contrast.weights_A)}
    return sum(x.why == "failed" and x.arm in arms for x in outcomes.left_out)


def _doubt(found: Measured, still: bool, failed: bool, died: int, shown_seeds: int, margin: float) -> str:
    """Why an effect that lies within the margin is not called none; or nothing. still, failed: of the whole sweep;
    died: failed runs of its arms; shown_seeds: those that show its switch."""
    if failed and not found.identical:
        return FAILS
    if died:
        return DIED.format(died, "run" if died == 1 else "runs")
    if found.lost and found.lost.exceeds(margin):
        return COULD_EXCEED
    if still:
        return STILL
    if found.contrast.partial:
        return LEFT_OUT
    if 0 < shown_seeds < found.spread.seeds:
        return HIDDEN
    return FEW if found.spread.seeds < SEEDS_FOR_NONE and not found.identical else ""


def _note(outcomes: Outcomes, found: Measured) -> str:
    notes = [found.contrast.note] if found.contrast.note else []
    if found.identical:
        notes.append("every episode at every validation came out the same")
    elif not found.values_N_T.any():
        notes.append("it came out the same for every seed and task although the weights differ")
    if found.spread.seeds == 1:
        seed = outcomes.seeds[found.seeds[0]]
        notes.append(f"seed {seed} alone: the interval is over tasks, another seed may differ")
    if found.spread.seeds < len(outcomes.seeds):
        notes.append(
            f"{found.spread.seeds} of {len(outcomes.seeds)} seeds: the others have INVALID, missing or incomplete runs"
        )
    if found.spread.tasks < len(outcomes.tasks):
        notes.append(f"{found.spread.tasks} of {len(outcomes.tasks)} tasks: of the others some arm has no episode")
    return "; ".join(notes + bound_notes(found.missing, found.lost))


def _ranked(
    effects: Sequence[Effect], family: Sequence[Contrast], measured: Mapping[int, Measured | str]
) -> list[Measured]:
    """What may be ranked of a family: what has an estimate of its own, of a switch that was shown."""
    pairs = zip(effects, (measured.get(id(c)) for c in family), strict=True)
    return [m for e, m in pairs if isinstance(m, Measured) and e.verdict not in (MIXED, NOT_SHOWN)]


def _ranking(kind: str, outcome: str, measured: Sequence[Measured]) -> Ranking | None:
    """None where the effects do not share enough seeds (`joint_draws`)."""
    joint = joint_draws(measured)
    if joint is None:
        return None
    probability = rank_probabilities(joint.draws_F_B)
    expected = probability @ np.arange(1, len(probability) + 1)
    order = sorted(range(len(expected)), key=lambda i: (round(float(expected[i]), 9), i))
    return Ranking(
        kind,
        outcome,
        tuple(measured[i].contrast.factors[0] for i in order),
        tuple(tuple(float(p) for p in probability[i]) for i in order),
        tuple(float(expected[i]) for i in order),
        joint.seeds,
    )


@dataclass(frozen=True)
class JointDraws:
    """(F, B) bootstrap draws of several effects under the same resampled seeds and tasks. seeds: how many of them all
    effects share; estimates: over these"""

    factors: tuple[str, ...]
    draws_F_B: Array
    estimates: tuple[float, ...]
    seeds: int


def joint_draws(measured: Sequence[Measured]) -> JointDraws | None:
    """None where the effects share no task, or no two seeds although they have more: one seed knows of no other."""
    seeds = sorted(set.intersection(*(set(m.seeds) for m in measured)))
    tasks = sorted(set.intersection(*(set(m.tasks) for m in measured)))
    alone = len(seeds) == 1 and any(len(m.seeds) > 1 for m in measured)
    if alone or not seeds or not tasks:
        return None
    shared = [m.over(seeds, tasks) for m in measured]
    if len(seeds) * shared[0].spread.columns == 1:
        return None
    values = np.array([by_group(m.values_N_T, m.groups) for m in shared])
    doubts = [max((abs(f.spread.mean - m.spread.mean) for f in m.fillings), default=0.0) for m in shared]
    draws = calibrated_draws(values, [m.spread for m in shared], resample(*values.shape[1:]), doubts)
    names = tuple(m.contrast.factors[0] for m in shared)
    return JointDraws(names, draws, tuple(m.spread.mean for m in shared), len(seeds))


def ranking_draws(outcomes: Outcomes, kind: str, outcome: str) -> JointDraws | None:
    """Of a kind of effect; None where no effect of that kind is answered without aliases and with switches that were
    shown, or where the controls refute what it rests on."""
    if len(outcomes.steps) < 2:
        return None
    refuted = any(c.holds is False for c in gate_checks(outcomes, outcome))
    family = [c for c in contrasts_of(outcomes, outcome) if c.kind == kind]
    measured = {id(c): measure(outcomes, c, outcome) for c in family if not (refuted and c.note == ASSUMES)}
    known = _ranked(estimate_family(outcomes, outcome, family, measured), family, measured)
    return joint_draws(known) if known else None


def gate_checks(outcomes: Outcomes, outcome: str) -> tuple[GateCheck, ...]:
    compared = assumed_arms.checks(outcomes.factors, outcomes.arms, usable_arms(outcomes, outcome))
    found = [(text, measure(outcomes, Contrast("gate", (), w), outcome)) for text, w in compared]
    known = [(text, m, m.judged(outcomes)) for text, m in found if isinstance(m, Measured)]
    adjusted = holm(np.array([judged.p_value for *_, judged in known]))
    out = []
    for (text, m, judged), p_holm in zip(known, adjusted, strict=True):
        low, high = judged.interval(ALPHA / len(known))
        margin = margin_of("gate", outcome, outcomes.steps, len(outcomes.factors), outcomes.margin)
        near = max(abs(low), abs(high)) <= margin and m.spread.seeds >= SEEDS_FOR_NONE
        holds = True if m.identical or near else None
        out.append(
            GateCheck(
                text, outcome, m.spread.mean, low, high, float(p_holm),
                m.identical, False if p_holm < 1 - LEVEL else holds,
            )
        )  # fmt: skip
    return tuple(out)


def design_name(outcomes: Outcomes) -> str:
    """The named design with exactly these arms, or how many arms of its own the sweep has."""
    if name := named_design(outcomes.factors, outcomes.arms):
        return name
    return outcomes.design or f"{len(outcomes.arms)} arms of its own"


def _groups(outcomes: Outcomes) -> int | None:
    groups = len(set(outcomes.groups_of()))
    return groups if groups < len(outcomes.tasks) else None


def _notes(outcomes: Outcomes) -> tuple[str, ...]:
    notes = []
    if groups := _groups(outcomes):
        notes.append(
            f"The {len(outcomes.tasks)} tasks are variants of one another in {groups} groups, which mostly come out "
            "alike: intervals, p-values and ranks take a group for one task."
        )
    if len(outcomes.seeds) == 1:
        notes.append("One seed: intervals are over tasks only and hold for this seed; another seed may differ.")
    elif len(outcomes.seeds) < 5:
        notes.append(f"{len(outcomes.seeds)} seeds: the seed variance is itself a guess, intervals are wide.")
    if outcomes.left_out:
        kinds = {x.why for x in outcomes.left_out}
        counts = ", ".join(f"{sum(x.why == k for x in outcomes.left_out)} {k}" for k in sorted(kinds))
        lost = LOST_SAID if kinds & set(LOST) else ""
        number = len(outcomes.left_out)
        notes.append(f"{number} {'run is' if number == 1 else 'runs are'} left out: {counts}.{lost}")
    if shown := [f"{factor} in {count}" for factor, count in outcomes.not_shown.items() if count]:
        of = int(outcomes.counted_A_N.sum())
        notes.append(
            f"Not shown: neither a step nor all steps together could judge the switch of {', '.join(shown)} of the "
            f"{of} runs that count. These are neither INVALID nor left out; nothing proves that the switch took effect "
            "in them."
        )
    if outcomes.ended:
        notes.append(
            f"The loop of {', '.join(outcomes.ended)} ended by itself; its policy stays as it was validated last, and "
            "that reward counts at the later steps."
        )
    if missing := int(outcomes.missing_A_N_S_T.sum()):
        notes.append(
            f"{missing} of {int((~np.isnan(outcomes.rewards_A_N_S_T)).sum()) + missing} validation episodes are "
            "missing. Each is estimated from the other seeds and tasks of its arm at that step (least squares). "
            "Intervals, p-values and verdicts of the fixes hold whatever their rewards were."
        )
    if partly := int((outcomes.counts("final") & ~outcomes.counts("area")).sum()):
        notes.append(f"{partly} runs lack a validation before the last one and count for the final reward alone.")
    if len(outcomes.steps) < 2:
        notes.append("Fewer than two common validations: no area and no slope.")
    return tuple(notes)


def to_json(effects: Effects, beside: Mapping[str, object] | None = None) -> str:
    """The same bytes for the same records: numbers rounded to 6 decimals, NaN as null. beside: further keys."""
    found = asdict(effects)
    if effects.decline is None:
        del found["decline"]
    return json.dumps(_plain(found | dict(beside or {})), indent=1, ensure_ascii=False) + "\n"


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return round(value, 6) + 0.0 if math.isfinite(value) else None
    return value
