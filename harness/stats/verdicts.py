"""What may be said of an effect, and what takes more than an interval to say.

depends.py says when a verdict holds for some steps only.
"""

from collections.abc import Sequence

SEEDS_FOR_NONE = 5  # fewer seeds show "no effect" only where every episode is the same
NEEDED = 3  # a fix that works only with so many others on counts an eighth in a mean over the factorial
MOVES = 0.1  # reward; a sweep none of whose arms moves by this much cannot show what makes no difference
RAISES, LOWERS, NO_EFFECT, UNDECIDED, DEPENDS, MIXED, NOT_SHOWN, NOT_ANSWERED = (
    "raises", "lowers", "no effect", "undecided", "depends", "mixed", "not shown", "not answered",
)  # fmt: skip
STILL = f"no arm of this sweep moves by {MOVES:g}, so a difference could not have shown"
FAILS = "with all fixes on the policy ended below its start, so what a fix is good for could not have shown"
DIED = "{} {} of its arms failed, and failing is no reward, so it cannot be called no effect"
LEFT_OUT = "with combinations left out it cannot be called no effect"
HIDDEN = "with seeds that do not show its switch it cannot be called no effect"
NO_LEVEL = "all looks beyond the plan are used"
FEW = f"fewer than {SEEDS_FOR_NONE} seeds cannot show that it has no effect"


def no_interval(seeds: int) -> str:
    """Why an estimate from so many seeds has no interval."""
    return "no interval from one seed" if seeds == 1 else f"no interval: {NO_LEVEL}"


def could_miss(number: int) -> float:
    """The largest share of seeds (or of tasks) in which something goes wrong that so many may not show (at 5 %)."""
    return float(1 - 0.05 ** (1 / number))


def missed(seeds: int, tasks: int | None = None, groups: int | None = None) -> str:
    """tasks: held-out ones; None where other tasks could show nothing else, as the weights are the same; groups: of
    variants, which come out alike"""
    whole = f"a failure in up to {_percent(seeds)} of seeds"
    if tasks is not None:
        whole += (
            f" or {_percent(tasks if groups is None else groups)} of {'tasks' if groups is None else 'groups of tasks'}"
        )
    return f"{whole} could have been missed"


def _percent(number: int) -> str:
    return f"{100 * could_miss(number):.0f} %"


def in_groups(groups: int | None) -> str:
    """What stands behind a number of tasks that are variants of one another; nothing for None."""
    return "" if groups is None else f" in {groups} group{'s' * (groups != 1)} of variants"


def margin_of(kind: str, outcome: str, steps: Sequence[int], factors: int, margin: float) -> float:
    """What counts as next to nothing, in the unit of the outcome. factors: of the sweep; a mean over combinations of
    the others dilutes a fix that needs some of them."""
    of_outcome = margin if outcome != "slope" else margin / (steps[-1] - steps[0])
    return of_outcome * (2.0 ** -min(NEEDED, factors - 1) if kind in ("main", "interaction", "shapley") else 1.0)
