"""Negative controls: does the loop learn from what was earned, and from nothing else?

symptom:    none; a sweep whose controls learn has learned from something else than rewards, and its effects do not say
            what the fixes do
mechanism:  each level but on takes the signal out at another place and leaves the rest of the loop as it is. The sum
            of a group's advantages is zero, so advantages that are dealt blindly push nowhere on average; what is
            learned nevertheless is noise, or a bias of the loss or its clipping (Shao et al. 2025, "Spurious Rewards":
            a model that got better from random rewards)
fix:        none; on is the loop as it is
evidence:   rewards that the trainer got, advantages in the tensors that it trained on, weights before and after

shuffled_rewards     the rewards of a group, among its rollouts, before ART sees them. A group keeps its mean and its
                     spread, so as much is trained as ever, and each group still has its own advantages
shuffled_advantages  the advantages of a step, among all its trained rollouts, after ART has computed and packed them.
                     Within a group this would be shuffled rewards once more, since an advantage follows from a reward
                     and its group; here it is not even known which group did well. What it tests lies behind ART's
                     advantages: packing, loss, clipping, optimiser
rate_0               the learning rate is 0: all is computed, and the weights stay. What then rises is the validation

`controls=true` adds an arm for each of them to a design: all fixes on but for that. No effect is made of these arms.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial, prod
from random import Random
from typing import Any, ClassVar

from harness.factors import CONTROL, derive_seed
from harness.seams import BATCH, Check, Evidence, Factor, Learned, Rendering

FACTOR = Factor(
    name="signal",
    summary="what the update learns from",
    levels={
        "on": "what its rollouts earned",
        "shuffled_rewards": "the rewards of each group, shuffled among its rollouts",
        "shuffled_advantages": "the advantages of the step, shuffled among its rollouts",
        "rate_0": "the learning rate is 0",
    },
    changes=(BATCH,),
    proof="rewards and advantages that were trained on, weights before and after",
    baselines=(),
    launched="a negative control is no fault; neither loop had one (OpenPipe/ART has no such switch)",
    role=CONTROL,
)


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    seam: ClassVar[str] = "context"
    needs: ClassVar[str] = "always"

    def context(self, rendering: Rendering) -> Rendering:
        return rendering

    def check(self, evidence: Evidence) -> Check:
        """Where another fix hands over other rewards than were earned, a turned pair is not this level's doing; where
        they are the same rewards on other rollouts, it is."""
        turned, pairs = turned_pairs(evidence.learned_M or ())
        dealt = all(sorted(g.rewards.values()) == sorted(g.earned.values()) for g in evidence.submitted)
        stuck = evidence.gradient_steps > 0 and evidence.moved is False
        effect = False if stuck or (turned and dealt) else True if pairs and not turned else None
        text = "gradient steps were taken and the weights are the same before and after" if stuck else ""
        return _made(self.level, evidence, effect, "expected none", text)


@dataclass(frozen=True)
class ShuffledRewards:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "shuffled_rewards"
    seam: ClassVar[str] = "batch"
    needs: ClassVar[str] = "always"

    def batch(self, groups: list[Any]) -> list[Any]:
        """Copies of the groups. Every order of a group's rewards is as likely, also the one that they had; which it is
        follows from the episodes alone, whose keys hold the run's luck and nothing of a reward."""
        return [_dealt(group) for group in groups]

    def check(self, evidence: Evidence) -> Check:
        turned, _ = turned_pairs(evidence.learned_M or ())
        groups = [(list(g.earned.values()), list(g.rewards.values())) for g in evidence.submitted]
        moved = sum(was != now for earned, got in groups for was, now in zip(earned, got, strict=True))
        effect: bool | None
        if any(sorted(earned) != sorted(got) for earned, got in groups):
            effect = False
        elif moved and turned:
            effect = True
        else:  # unlucky, or not shuffled at all, or not in what was trained on
            left = _trained(evidence) if moved else [earned for earned, _ in groups]
            effect = False if _orders(left) > RARE else None
        text = f"{moved} rollouts were handed over with the reward of another one of their group"
        return _made(self.level, evidence, effect, "expected some", text, {"other_rewards": float(moved)})


@dataclass(frozen=True)
class ShuffledAdvantages:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "shuffled_advantages"
    seam: ClassVar[str] = "context"
    needs: ClassVar[str] = "always"

    def context(self, rendering: Rendering) -> Rendering:
        return replace(rendering, advantages="shuffled")

    def check(self, evidence: Evidence) -> Check:
        turned, _ = turned_pairs(evidence.learned_M or ())
        learned = evidence.learned_M or ()
        computed, given = [one.computed for one in learned], [one.given for one in learned]
        moved = sum(was != now for was, now in zip(computed, given, strict=True))
        effect: bool | None
        if sorted(computed) != sorted(given):
            effect = False
        elif moved:
            effect = True if turned else None
        else:
            effect = False if _orders([computed]) > RARE else None
        text = f"{moved} of {len(learned)} trained rollouts have the advantage of another one of the step"
        return _made(self.level, evidence, effect, "expected some", text, {"other_advantages": float(moved)})


@dataclass(frozen=True)
class Rate0:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "rate_0"
    seam: ClassVar[str] = "update"
    needs: ClassVar[str] = "always"

    def update(self, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"learning_rate": 0.0}

    def check(self, evidence: Evidence) -> Check:
        steps, moved = evidence.gradient_steps, evidence.moved
        effect = None if moved is None or not (steps or moved) else not moved
        before = "not shown: " if effect is None else ""
        went = {None: "are not known", True: "moved", False: "are the same before and after"}[moved]
        reading = {"moved": float("nan") if moved is None else float(moved), "gradient_steps": float(steps)}
        text = f"{before}{steps} gradient steps were taken, and the weights {went} (expected: the same)"
        return Check(FACTOR.name, self.level, reading, effect, text)


RARE = 1_000_000  # orders; that a shuffle gives the one of them that it was to do away with is no bad luck any more


def _dealt(group: Any) -> Any:
    """The group with its rewards dealt anew."""
    rollouts = group.trajectories
    rewards = [rollout.reward for rollout in rollouts]
    Random(derive_seed(0, "signal", *(str(r.metadata["episode"]) for r in rollouts))).shuffle(rewards)
    dealt = [r.model_copy(update={"reward": reward}) for r, reward in zip(rollouts, rewards, strict=True)]
    other = copy(group)
    other.trajectories = dealt
    return other


def turned_pairs(learned: Iterable[Learned]) -> tuple[int, int]:
    """Of the pairs of trained rollouts of one task that earned differently, in how many the one that earned more did
    not get the higher advantage; and how many pairs there are."""
    pairs = [
        sorted(pair, key=lambda one: one.earned)
        for pair in combinations(learned, 2)
        if pair[0].task == pair[1].task and pair[0].earned != pair[1].earned
    ]
    return sum(worse.given >= better.given for worse, better in pairs), len(pairs)


def _trained(evidence: Evidence) -> list[list[float]]:
    """What the trained rollouts of each task had earned."""
    learned = evidence.learned_M or ()
    return [[one.earned for one in learned if one.task == task] for task in {one.task for one in learned}]


def _orders(groups: Iterable[Sequence[float]]) -> int:
    """In how many distinguishable orders the values of the groups can be, each within its group."""
    return prod(factorial(len(g)) // prod(map(factorial, Counter(g).values())) for g in groups)


def _made(
    level: str,
    evidence: Evidence,
    effect: bool | None,
    expected: str,
    what: str = "",
    more: dict[str, float] | None = None,
) -> Check:
    turned, pairs = turned_pairs(evidence.learned_M or ())
    reading = {"turned": turned / pairs if pairs else float("nan"), "told_apart": float(pairs)} | (more or {})
    if evidence.learned_M is None:
        text = "this backend does not say with which advantages it trained"
    else:
        text = f"in {turned} of {pairs} pairs of a group the rollout that earned more has no higher advantage"
    parts = "; ".join(filter(None, (what, f"{text} ({expected})")))
    return Check(FACTOR.name, level, reading, effect, f"{'not shown: ' * (effect is None)}{parts}")
