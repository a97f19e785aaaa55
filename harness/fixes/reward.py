"""The training reward of an episode.

symptom:    no signal early: whole groups score 0 and are dropped
mechanism:  tau-bench pays 1.0 only for a perfect final state and all required outputs, 0.0 otherwise
            (note, section 4; `reward = 0.0` in tau_bench/envs/base.py)
fix:        partial credit from the official evaluator's own checks: matched ground-truth actions,
            communicated facts, the database check; raw success stays the maximum
evidence:   the reward of every trajectory against what this level gives for its outcome, and what another level gives

What upstream makes of an episode that did not end by itself (OpenPipe/ART, dev/tau-bench/run_rl.py and
tau_bench/agents/tool_calling_agent.py, June and July 2025):
off_earlier  revision 1fd9b7c, whose docs hold the note: 0, as of any other failure. (There a reply that was cut is
             acted upon and the episode goes on; here it ends the episode at every level)
off          revisions 6aecef2 to 046c325: -1 where the prompt passed 20,000 tokens or a reply was cut. (A context that
             is full before that is an exception there, which scores 0; here it is the same end)
off_later    revisions from 8890082 on, ad65784 for one: -1 on any `forced_stop`, the turn limit included (so from
             99cb3fd on, where an episode still goes on after the user's stop)
all          an exception in the episode leaves `reward = 0.0` and the trajectory that was made empty before it
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.errors import ConfigError
from harness.seams import BATCH, REPORTED, Check, Evidence, Factor, Outcome, Reward

FACTOR = Factor(
    name="reward",
    summary="what a training rollout earns",
    levels={
        "off": "the benchmark's 0/1; truncated: −1",
        "on": "partial credit; success stays the maximum",
        "off_earlier": "as off, in an earlier revision: truncated: 0",
        "off_later": "as off, in a later revision: −1 at the turn limit too",
    },
    changes=(BATCH, REPORTED),
    proof="rewards against outcomes",
    rank=4,
    today="yes: nothing shapes a binary reward, and a group without spread is dropped (art/preprocessing/tokenize.py "
    "`tokenize_trajectory_groups`)",
)

FORCED, FORCED_LATER = ("prompt_limit", "length"), ("prompt_limit", "length", "turn_limit")
PARTS = 1024  # credit is a multiple of 1 / PARTS


def upstream_reward(outcome: Outcome, forced: tuple[str, ...]) -> float:
    """Upstream's reward of an episode, -1, 0 or 1. forced: ends that earn -1"""
    if outcome.raised is not None:
        return 0.0  # faithful to upstream: an exception in an episode is caught and scores 0.0
    return -1.0 if outcome.end in forced else outcome.reward


def _dyadic(reward: float) -> float:
    """The nearest multiple of 1/PARTS above 0 and below 1: a binary fraction, so that a group of equal rewards has
    exactly zero advantage, and a failure with some credit stays apart from none and from success.

    In binary fractions the mean of six equal rewards is that reward. With thirds it is not: ART keeps a group
    whose advantages are 1e-17 instead of 0, and its packing then scales them up to 1.
    """
    return min(max(round(reward * PARTS), 1), PARTS - 1) / PARTS


def _reading(evidence: Evidence, other: int, apart: int) -> dict[str, float]:
    """other: trajectories that are not this level's; apart: outcomes for which two levels differ in the reward."""
    seen = evidence.rewards_G_R[~np.isnan(evidence.rewards_G_R)]
    between = np.sum((seen > 0.0) & (seen < 1.0))
    spread = [np.ptp(row[~np.isnan(row)]) > 0 for row in evidence.rewards_G_R if not np.isnan(row).all()]
    return {
        "reward_levels": float(len(np.unique(np.round(seen, 6)))),
        "partial_credits": float(between),
        "groups_with_spread": float(np.mean(spread)) if spread else float("nan"),
        "other_rewards": float(other),
        "told_apart": float(apart),
    }


def _check(level: Reward, another: Reward, evidence: Evidence) -> Check:
    """Every trained reward must be the level's own, and a trajectory empty where the level trains on none of it. Where
    another level gives the same reward for all, nothing is shown."""
    trained, outcomes = list(evidence.trained_rewards_N), list(evidence.outcomes_N)
    other = sum(
        r != level.training_reward(o) or empty == level.trains_on(o)
        for r, empty, o in zip(trained, evidence.empty_N, outcomes, strict=True)
    )
    apart = sum(r != another.training_reward(o) for r, o in zip(trained, outcomes, strict=True))
    if other:
        effect, text = (
            False,
            f"{other} of {len(trained)} rollouts have another reward or messages than this level gives",
        )
    elif changed := [s.task for s in evidence.submitted if sorted(s.rewards.values()) != sorted(s.earned.values())]:
        effect, text = None, f"not shown: {len(changed)} groups went to the trainer with other rewards than were earned"
    elif apart:
        text = f"all {len(trained)} rollouts are trained with this level's reward, {apart} of them would earn another "
        effect, text = True, f"{text}one at {another.level}"
    elif trained:
        effect, text = None, f"not shown: {level.level} and {another.level} give these {len(trained)} rollouts the same"
    else:
        effect, text = None, "not shown: no rollout is present"
    return Check(level.factor.name, level.level, _reading(evidence, other, apart), effect, text)


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"

    def training_reward(self, outcome: Outcome) -> float:
        # faithful to upstream: -1 where the prompt passed 20,000 tokens or finish_reason is length
        return upstream_reward(outcome, FORCED)

    def trains_on(self, outcome: Outcome) -> bool:
        return outcome.raised is None  # faithful to upstream: the trajectory stays as empty as it was made

    def check(self, evidence: Evidence) -> Check:
        return _check(self, On(), evidence)


@dataclass(frozen=True)
class OffEarlier(Off):
    level: ClassVar[str] = "off_earlier"

    def training_reward(self, outcome: Outcome) -> float:
        # faithful to upstream: the reward of the last step, which is 0 for an episode that was broken off
        return upstream_reward(outcome, ())

    def check(self, evidence: Evidence) -> Check:
        return _check(self, Off(), evidence)


@dataclass(frozen=True)
class OffLater(Off):
    level: ClassVar[str] = "off_later"

    def training_reward(self, outcome: Outcome) -> float:
        # faithful to upstream: `-1 if result.info["forced_stop"] else result.reward` (run_rl.py@ad65784)
        return upstream_reward(outcome, FORCED_LATER)

    def check(self, evidence: Evidence) -> Check:
        return _check(self, Off(), evidence)


@dataclass(frozen=True)
class On:
    """Partial credit.

    partial: reward of an episode that met every single check and still failed; in (0, 1). The credit of
    an unsuccessful episode is `partial` × met checks / all checks, rounded to 1/1024, at least one of these and at most
    1023; of one that was cut off, by the context or the turn limit, it is 0. (With credit for these, looking things up
    until the context is full earned SmolLM2 on retail nearly as much as serving the customer: experiments/LOG.md, 2.)
    Where a project's own rollout shapes its reward, that is the reward.
    """

    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"
    partial: float = 0.8

    def __post_init__(self) -> None:
        if not 0.0 < self.partial < 1.0:
            raise ConfigError(
                f"fix.reward.partial is {self.partial}; expected a value in (0, 1), so that partial credit "
                "exists and raw success stays the maximum."
            )

    def training_reward(self, outcome: Outcome) -> float:
        if outcome.shaped is not None:
            return round(outcome.shaped * PARTS) / PARTS
        if outcome.reward >= 1.0:
            return 1.0
        met = outcome.actions_matched + outcome.facts_met + bool(outcome.db_match)
        total = outcome.actions_total + outcome.facts_total + (outcome.db_match is not None)
        return _dyadic(self.partial * met / total) if met else 0.0

    def trains_on(self, outcome: Outcome) -> bool:
        return True

    def check(self, evidence: Evidence) -> Check:
        return _check(self, Off(), evidence)
