"""How effects are written: numbers with their intervals, p-values, kinds of effect."""

from collections.abc import Mapping, Sequence

from harness.report import formats
from harness.stats.effects import Effect, Effects
from harness.stats.intervals import settled
from harness.stats.reward_range import Range, cut, reach_of
from harness.stats.unseen_failures import UnseenFailures
from harness.stats.verdicts import (
    DEPENDS,
    LOWERS,
    MIXED,
    NO_EFFECT,
    NOT_ANSWERED,
    NOT_SHOWN,
    RAISES,
    UNDECIDED,
    in_groups,
    no_interval,
)

KIND_TITLES = {
    "leave_one_out": "Leave-one-out",
    "main": "Main effect",
    "added_alone": "Added alone",
    "interaction": "Interaction",
    "shapley": "Shapley share",
}
KIND_MEANS = {
    "leave_one_out": "what is lost when this fix alone is off",
    "main": "what the fix adds on average over all combinations of the others",
    "added_alone": "what the fix alone adds to the broken loop",
}
KIND_BY = {
    "leave_one_out": "leave-one-out effect",
    "main": "main effect",
    "added_alone": "effect of the fix alone",
    "shapley": "Shapley share",
}
VERDICTS = {
    RAISES: "raises reward",
    LOWERS: "lowers reward",
    NO_EFFECT: "no effect",
    UNDECIDED: "undecided",
    DEPENDS: "depends",
    MIXED: "mixed with its aliases",
    NOT_SHOWN: "not shown",
    NOT_ANSWERED: "not answered",
}
TODAY = "in ART 0.5.23"
# In the order in which a reader should believe them where some fixes are gates.
SINGLE_KINDS = ("leave_one_out", "main", "added_alone")


def reference_tasks(tasks: int, split: str, groups: int | None = None) -> str:
    """'45 held-out tasks in 15 groups of variants': those of the reference validation. groups: of variants"""
    return f"{tasks} {'held-out tasks' if split == 'test' else 'training tasks'}{in_groups(groups)}"


def answered(effects: Effects, kind: str, outcome: str = "final") -> tuple[Effect, ...]:
    return tuple(e for e in effects.of(kind, outcome) if e.value is not None)


def answered_kinds(effects: Effects) -> tuple[str, ...]:
    """The kinds of single-fix effects of which this sweep answers at least one."""
    return tuple(kind for kind in SINGLE_KINDS if answered(effects, kind))


def leading_kind(effects: Effects) -> str | None:
    """The kind of which the sweep answers most, the more believable one where it answers as many."""
    return max(answered_kinds(effects), key=lambda kind: len(answered(effects, kind)), default=None)


def name(effect: Effect) -> str:
    """The factor, or the sum that a fraction of the factorial estimates: `split + tools × reward × logprobs`."""
    signed = (f"− {a[1:]}" if a.startswith("−") else f"+ {a}" for a in effect.aliases)
    return " ".join((" × ".join(effect.factors), *signed))


def short(effect: Effect) -> str:
    """The name where there is no room for the whole sum: `split + …`."""
    return " × ".join(effect.factors) + " + …" * bool(effect.aliases)


def verdict(effect: Effect) -> str:
    """The verdict in words; one seed is said beside it, since the interval knows of no other."""
    return VERDICTS[effect.verdict] + (", one seed" if effect.seeds == 1 else "")


def yes_or_no(today: Mapping[str, str], effect: Effect) -> str:
    """Whether the fault of the effect's factor is still possible in ART 0.5.23; a dash where that is not known.

    today: `Factor.today` by factor
    """
    factor = effect.factors[0].partition("=")[0]  # of a further level, too
    return today[factor].partition(":")[0] if factor in today else formats.NONE


def still_possible(today: Mapping[str, str]) -> str:
    """What the column TODAY says, and the sources: each sentence once, behind the factors that share it."""
    who: dict[str, list[str]] = {}
    for factor, sentence in today.items():
        who.setdefault(sentence, []).append(factor)
    told = (f"{listed(factors)} {sentence.replace(':', ',', 1)}" for sentence, factors in who.items())
    return f"{TODAY[0].upper()}{TODAY[1:]}, whether the fault is still possible there: {'; '.join(told)}."


def unseen(u: UnseenFailures) -> str:
    """What the intervals of a kind of effect do not know of."""
    return (
        f"{KIND_TITLES[u.kind]}: {u.seeds} seeds may not show a failure of up to {percent(u.could_miss)} % of an arm's "
        f"runs. Where {percent(u.share)} % of one arm's runs fail, such 95 % intervals cover {percent(u.coverage)} % "
        f"(final reward, planted sweeps of {u.simulated_seeds} seeds whose runs otherwise agree like those of "
        "policy=micro; results/calibration.md)."
    )


def interval(low: float | None, high: float | None, seeds: int = 1, within: Range | None = None) -> str:
    """`[−0.045, 0.089]`, or `[−0.045, 1.000→]` where it is cut; where there is none, why. seeds: behind it

    within: what the number can be at all; None: it has no bounds, or nobody needs them
    """
    if low is None or high is None:
        return f"[{no_interval(seeds)}]"
    low, high, before, after = cut(low, high, within or (low, high))
    return f"[{before}{plain(low)}, {plain(high)}{after}]"


def estimate(effect: Effect, within: Range | None = None) -> str:
    """`+0.022 [−0.045, 0.089]`; `0.000` alone where it is exactly that; a dash where it is not answered.

    within: see `interval`
    """
    if effect.value is None:
        return formats.NONE
    shown = formats.signed(effect.value)
    return shown if effect.identical else f"{shown} {interval(effect.low, effect.high, effect.seeds, within)}"


def final(effect: Effect) -> str:
    """The estimate of an effect on a mean reward, cut where rewards end."""
    return estimate(effect, reach_of(effect.kind, "final", (0,)))


def p_value(p: float | None) -> str:
    if p is None or p != p:
        return formats.NONE
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def listed(items: Sequence[str], last: str = "and") -> str:
    """`a`, `a and b`, `a, b and c`."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"


def percent(share: float) -> str:
    """A probability in per cent, without false certainty: `>99` and `<1` unless it is exactly 100 or 0."""
    if 0.99 < share < 1 - 1e-9:
        return ">99"
    return "<1" if 1e-9 < share < 0.01 else f"{100 * share:.0f}"


def plain(value: float) -> str:
    """With a true minus, and none for what rounds to zero."""
    text = f"{settled(value):.3f}"
    return "0.000" if text == "-0.000" else text.replace("-", "−")
