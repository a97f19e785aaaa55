"""The verdict of a sweep in three plain sentences: what matters and how much, how sure, what is not known."""

from collections.abc import Sequence

from harness.factors import OFF, ON, Arm
from harness.records.load import SweepRecords
from harness.report import effect_text, formats
from harness.report.arm_rows import is_all, reference_curve
from harness.report.curves import average
from harness.report.look_text import how_often, look_line
from harness.report.step_text import depending, settling_lines, unsettled_clause
from harness.stats.by_chance import ENOUGH, WRONG, wrong_by_chance
from harness.stats.effects import Effect, Effects
from harness.stats.intervals import LEVEL
from harness.stats.reward_range import CUT, DIFFERENCE, is_cut
from harness.stats.stopped_updates import StoppedWithout, stopped_without
from harness.stats.verdicts import (
    DEPENDS,
    HIDDEN,
    LOWERS,
    MIXED,
    MOVES,
    NO_EFFECT,
    NOT_ANSWERED,
    NOT_SHOWN,
    RAISES,
    UNDECIDED,
    missed,
)

SO_MUCH = {
    "leave_one_out": "so much of the final reference reward is lost when that fix alone is off",
    "main": "so much final reference reward the fix adds, on average over all combinations of the others",
    "added_alone": "so much final reference reward the fix adds when it alone is added to the broken loop",
}


def verdict_sentences(sweep: SweepRecords, effects: Effects) -> tuple[str, ...]:
    """Three sentences, or one where nothing can be said yet. sweep: one block, which the first sentence names."""
    first, *others = _sentences(sweep, effects)
    return (f"At {formats.block(sweep, sweep.main_block)}: {first}" if sweep.main_block else first, *others)


def _sentences(sweep: SweepRecords, effects: Effects) -> tuple[str, ...]:
    kind, rise = effect_text.leading_kind(effects), _rise(sweep, effects)
    if not effects.counted:
        return ("Nothing can be said yet: no run has completed with valid switches.",)
    if kind is None:
        unfinished = sum(run.state != "completed" for run in sweep.runs)
        open_runs = f"{unfinished} of its runs {'is' if unfinished == 1 else 'are'} not finished"
        return (
            _sentence(
                f"{rise}this sweep says nothing about single fixes: the arms to compare are not in it or have "
                "no valid run."
            ),
            f"It holds {effects.counted} of {effects.runs} runs that count, over {_over(sweep, effects, found=())}.",
            f"Not known: which of the fixes matter; {open_runs}." if unfinished else _ask_leave_one_out(sweep),
        )
    found = effects.of(kind)
    fixes = tuple(e for e in found if e.factors[0] not in sweep.declared.placebos) or found
    return (
        _what_matters(rise, effects, kind, fixes),
        _how_sure(sweep, effects, kind, found),
        _not_known(sweep, effects, fixes),
    )


def _what_matters(rise: str, effects: Effects, kind: str, found: Sequence[Effect]) -> str:
    raises, lowers = (_largest_first(found, verdict) for verdict in (RAISES, LOWERS))
    large = sorted((e for e in found if _stands_out(e)), key=lambda e: -abs(e.value or 0.0))
    if kind == "added_alone" and all(e.identical for e in found if e.value is not None):
        return _sentence(
            f"{rise}no fix alone moves the broken loop, which is so by construction: none of these arms takes a "
            "gradient step."
        )
    depends = depending(effects, found)
    if not effects.moves and not depends:
        return _sentence(
            f"{rise}no arm ends {MOVES:g} reward from where it began or from another arm, so this sweep cannot tell "
            "what any of the fixes does."
        )
    if large:
        return _sentence(
            f"{rise}{effect_text.listed([_with_interval(e) for e in large])} stand{_s(large)} out: sums of the fix "
            "and interactions of three, named below, which this fraction cannot take apart (95 % interval)."
        )
    if not raises and not lowers and depends:
        return _sentence(f"{rise}{'; '.join(depends)} (95 % intervals).")
    if not raises and not lowers:
        return _sentence(f"{rise}no single fix is shown to change the final reference reward.")
    parts = []
    if raises:
        parts.append(f"{effect_text.listed([_with_interval(e) for e in raises])} matter{_s(raises)}")
    if lowers:
        parts.append(f"{effect_text.listed([_with_interval(e) for e in lowers])} lower{'s' * (len(lowers) == 1)} it")
    text = "; ".join(parts)
    also = f" {_sentence('; '.join(depends))}." if depends else ""
    sign = "; below zero: the reward ends higher without the fix" * bool(lowers)
    return _sentence(f"{rise}{text}: {SO_MUCH[kind]} (95 % interval{sign}).{also}")


def _stands_out(effect: Effect) -> bool:
    """Whether a sum of aliased effects is not zero; which of them is not, cannot be said."""
    return effect.verdict == MIXED and effect.p_holm is not None and effect.p_holm < 1 - LEVEL


def _decided_at_the_end(effect: Effect) -> bool:
    return effect.verdict == DEPENDS and effect.p_holm is not None and effect.p_holm < 1 - LEVEL


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _rise(sweep: SweepRecords, effects: Effects) -> str:
    """From the runs that count: what an unfinished run has shown so far is no end."""
    left_out = {x.run for x in effects.left_out}
    best = [run for run in sweep.runs if is_all(run.levels, "on")]
    curves = [curve for run in best if run.name not in left_out and (curve := reference_curve(run))]
    if not curves:
        return "No run with all fixes on counts; " if best else ""
    mean = average(("all_on",), curves).mean
    first, last, far = mean[0], mean[-1], max(mean, key=lambda reward: abs(reward - mean[0]))
    if len(mean) == 1:
        return f"With all fixes on the policy is at {formats.reward(first)}, validated once; "
    if abs(last - first) < 0.0005:
        if abs(far - first) < MOVES:
            return f"With all fixes on the policy stays at {formats.reward(first)}; "
        return f"With all fixes on the policy goes from {formats.reward(first)} to {formats.reward(far)} and back; "
    went = f"With all fixes on the policy goes from {formats.reward(first)} to {formats.reward(last)}"
    return f"{went}{_decline(effects)}; "


def _decline(effects: Effects) -> str:
    """Whether training itself failed, where the policy ended lower than it began; else nothing."""
    found = effects.decline
    if found is None:
        return ""
    change = f"{formats.signed(found.value)} {effect_text.interval(found.low, found.high, found.seeds, DIFFERENCE)}"
    change += ", one seed" * (found.seeds == 1)
    if found.shown:
        return (
            f" ({change}): training itself failed here (by its learning rate, its reward or the policy), so this sweep "
            "shows which arms break sooner, later or not at all, not what a fix is good for"
        )
    return (
        f" ({change}): whether training itself failed is not shown, but so long as the policy does not rise nobody "
        "sees what a fix is good for"
    )


def _how_sure(sweep: SweepRecords, effects: Effects, kind: str, found: Sequence[Effect]) -> str:
    decided = [e for e in found if e.verdict in (RAISES, LOWERS) or _stands_out(e) or _decided_at_the_end(e)]
    largest = max((e.p_holm for e in decided if e.p_holm is not None), default=None)
    sure = "How sure: " + (
        f"p {'< 0.001' if largest < 0.001 else f'≤ {largest:.3f}'} after Holm's correction over "
        f"{sum(e.value is not None for e in found)} {_family(sweep, found)}, "
        if largest is not None
        else ""
    )
    ranking = effects.ranking(kind)
    first = [
        f"{factor} ({effect_text.percent(row[0])} %)"
        for factor, row in zip(ranking.factors, ranking.probability, strict=True)
        if row[0] >= 0.1
    ] if ranking else []  # fmt: skip
    probable = f"; the largest effect is that of {' or '.join(first)}" if 0 < len(first) < 4 and decided else ""
    often = how_often(effects.looks)
    said = f"{sure}over {_over(sweep, effects, found)}{f', {often}' * bool(often)}{probable}."
    return f"{said}{_by_chance(kind, min(e.seeds for e in decided))}" if decided else said


def _by_chance(kind: str, seeds: int) -> str:
    """What so few seeds are worth where runs are of two kinds; nothing where they are enough. seeds: the fewest that
    decide an effect"""
    wrong = wrong_by_chance(kind, seeds)
    if wrong is None:
        return ""
    return (
        f" Where runs take off or fail by chance, {100 * wrong:.1f} % of sweeps of {seeds} seeds find an effect that "
        f"is not there ({ENOUGH} seeds: {100 * WRONG[ENOUGH]:.1f} %)."
    )


def _family(sweep: SweepRecords, found: Sequence[Effect]) -> str:
    if any(e.aliases for e in found):
        return "sums"
    return "fixes" if not sweep.declared.placebos else "fixes, the placebo among them"


def _over(sweep: SweepRecords, effects: Effects, found: Sequence[Effect]) -> str:
    """What the numbers rest on; with one seed the reader must not take them for more."""
    tasks = effect_text.reference_tasks(effects.tasks, sweep.split, effects.task_groups)
    of = f"of baseline {effects.baseline}"
    if len(effects.seeds) == 1:
        alone = f"{tasks} and seed {effects.seeds[0]} alone {of}"
        return f"{alone}, so the intervals hold for this seed and another may differ"
    seeds = len(effects.seeds)
    told = sorted({e.seeds for e in found if e.value is not None})
    if not told:
        return f"{tasks} and {seeds} seeds {of}"
    if told[0] < seeds:
        return f"{tasks} and {'' if told[0] == told[-1] else f'{told[0]} to '}{told[-1]} of {seeds} seeds {of}"
    return f"{tasks} and {seeds} seeds {of} that {'all' if not effects.left_out else 'the compared'} arms share"


def _not_known(sweep: SweepRecords, effects: Effects, found: Sequence[Effect]) -> str:
    if found[0].kind == "added_alone" and all(e.identical for e in found if e.value is not None):
        return _ask_leave_one_out(sweep)
    parts = []
    if any(e.verdict == MIXED for e in found):
        parts.append(
            "how much of each sum is the fix's own, since this fraction of the factorial mixes it with interactions "
            "of three fixes, which are large where some fixes are gates (`+ablation=gate_aware` takes them apart)"
        )
    hidden = [e for e in found if e.verdict == NOT_SHOWN or (e.verdict == UNDECIDED and HIDDEN in e.note)]
    if undecided := [e for e in found if e.verdict == UNDECIDED and e not in hidden]:
        parts.append(f"whether {effect_text.listed([_with_interval(e) for e in undecided])} matter{_s(undecided)}")
    parts += [f"whether {effect_text.short(e)} matters ({e.note.partition('; ')[0]})" for e in hidden]
    if absent := [e for e in found if e.verdict == NOT_ANSWERED]:
        reasons = dict.fromkeys("its runs are INVALID" if "INVALID" in e.note else e.note for e in absent)
        why = next(iter(reasons)) if len(reasons) == 1 else "the reasons stand below"
        parts.append(f"what {effect_text.listed([e.factors[0] for e in absent])} do{'es' * (len(absent) == 1)} ({why})")
    if later := unsettled_clause(effects):
        parts.append(later)
    config = sweep.manifest.get("config") or {}
    policy, domain = (config.get("policy") or {}).get("name"), (config.get("env") or {}).get("domain")
    if policy and domain:
        parts.append(f"how any of this is with other policies than {policy} and other tasks than {domain}'s")
    text = f"Not known: {'; '.join(parts)}" if parts else "No fix is left undecided"
    if nothing := [e for e in found if e.verdict == NO_EFFECT]:
        exact = "exactly 0" if all(e.identical for e in nothing) else f"less than {effects.margin:g}"
        what = effect_text.listed([e.factors[0] for e in nothing])
        other = [e.tasks for e in nothing if not e.identical]
        unseen = missed(min(e.seeds for e in nothing), min(other, default=None), effects.task_groups)
        text += f"; {what} made no difference to the reference reward ({exact}; {unseen})"
    return text + "."


def caveats(sweep: SweepRecords, effects: Effects) -> tuple[str, ...]:
    """What a reader of the verdict could get wrong."""
    lines = list(filter(None, (look_line(effects.looks), *effects.notes)))
    lines += settling_lines(effects)
    lines += _shown_lines(sweep, effects)
    if gates := stopped_without(sweep):
        lines.append(_stopped_line(gates))
    if let_through := [g for g in gates if g.made]:
        made, batches = sum(g.made for g in let_through), sum(g.batches for g in let_through)
        lines.append(
            f"In {made} of {batches} batches behind these an update was made nevertheless: in 16 bits greedy rollouts "
            "of a group may differ by rounding."
        )
    if checks := [c for c in effects.gate_checks if c.outcome == "final"]:
        lines.append(_gate_line([c.holds for c in checks]))
    if any(map(is_cut, (*verdict_sentences(sweep, effects), *effects.notes))):
        lines.append(CUT)
    return tuple(lines)


def _shown_lines(sweep: SweepRecords, effects: Effects) -> list[str]:
    """Of arms with one fix off whose reported reward hides that validation rises."""
    if sweep.split == "train":  # the arms' own tasks are others than those of the validation
        return []
    off = {run.arm: Arm.of(run.levels).at(OFF) for run in sweep.runs if OFF in run.levels.values()}
    further = {run.arm for run in sweep.runs if set(run.levels.values()) - {ON, OFF}}
    hidden = [g for g in effects.gaps if abs(g.reported_rise) < effects.margin <= g.reference_rise]
    return [
        f"Without {off[gap.arm][0]} the reported reward moves by {formats.signed(gap.reported_rise)} while the "
        f"reference reward rises by {formats.signed(gap.reference_rise)}. Effects are measured with the latter."
        for gap in hidden
        if len(off.get(gap.arm, ())) == 1 and gap.arm not in further
    ]


def _stopped_line(gates: Sequence[StoppedWithout]) -> str:
    each = effect_text.listed([f"{g.factor} ({g.made} of {g.batches} batches)" for g in gates], "or")
    return (
        f"Here {'next to no' if any(g.made for g in gates) else 'no'} update was made without {each}: the reference "
        "reward is flat there. So a fix added "
        "alone to the broken loop (one_at_a_time) cannot show, and a mean over the factorial dilutes a fix that needs "
        "the others. Leave-one-out is the informative comparison. Whether a fix is such a gate depends on the loop."
    )


def _ask_leave_one_out(sweep: SweepRecords) -> str:
    arms = len(sweep.factors) + 2
    return f"Not known: which of the fixes matter; `+ablation=leave_one_out` answers that with {arms} arms."


def _gate_line(holds: Sequence[bool | None]) -> str:
    if False in holds:
        return (
            f"{holds.count(False)} of {len(holds)} controls refute what the design assumes; effects that "
            "would rest on it are not answered."
        )
    unclear = f", {holds.count(None)} cannot tell" if None in holds else ""
    confirmed = f"{holds.count(True)} of {len(holds)} controls confirm it"
    return f"That arms which are assumed to take no update all stay alike: {confirmed}{unclear}, none refutes it."


def _with_interval(effect: Effect) -> str:
    return f"{effect_text.short(effect)} ({effect_text.final(effect)}{', one seed' * (effect.seeds == 1)})"


def _largest_first(found: Sequence[Effect], verdict: str) -> list[Effect]:
    return sorted((e for e in found if e.verdict == verdict), key=lambda e: -abs(e.value or 0.0))


def _s(items: Sequence[object]) -> str:
    return "s" if len(items) == 1 else ""
