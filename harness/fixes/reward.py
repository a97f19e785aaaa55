"""The training reward of an episode.

symptom:    no signal early: whole groups score 0 and are dropped
mechanism:  tau-bench pays 1.0 only for a perfect final state and all required outputs, 0.0 otherwise
            (note, section 4; `reward = 0.0` in tau_bench/envs/base.py)
fix:        partial credit from the official evaluator's own checks: matched ground-truth actions,
            communicated facts, the database check; raw success stays the maximum
evidence:   levels of reward seen; share of groups with spread
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.errors import ConfigError
from harness.seams import BATCH, REPORTED, Check, Evidence, Factor, Outcome

FACTOR = Factor(
    name="reward",
    summary="what a training rollout earns",
    levels={"off": "the benchmark's 0/1", "on": "partial credit; success stays the maximum"},
    changes=(BATCH, REPORTED),
    proof="reward levels seen",
    rank=4,
)


def _dyadic(reward: float) -> float:
    """The nearest multiple of 1/1024, so that a group of equal rewards has exactly zero advantage.

    In binary fractions the mean of six equal rewards is that reward. With thirds it is not: ART keeps a group
    whose advantages are 1e-17 instead of 0, and its packing then scales them up to 1.
    """
    return round(reward * 1024) / 1024


def _reading(evidence: Evidence) -> dict[str, float]:
    seen = evidence.rewards_G_R[~np.isnan(evidence.rewards_G_R)]
    between = np.sum((seen > 0.0) & (seen < 1.0))
    spread = [np.ptp(row[~np.isnan(row)]) > 0 for row in evidence.rewards_G_R if not np.isnan(row).all()]
    return {
        "reward_levels": float(len(np.unique(np.round(seen, 6)))),
        "partial_credits": float(between),
        "groups_with_spread": float(np.mean(spread)) if spread else float("nan"),
    }


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"

    def training_reward(self, outcome: Outcome) -> float:
        # faithful to upstream: the benchmark's own 0/1
        return outcome.reward

    def check(self, evidence: Evidence) -> Check:
        reading = _reading(evidence)
        return Check(
            self.factor.name,
            self.level,
            reading,
            reading["partial_credits"] == 0 if reading["reward_levels"] else None,
            f"{reading['partial_credits']:.0f} rollouts with a reward between 0 and 1 (expected none)",
        )


@dataclass(frozen=True)
class On:
    """Partial credit. needs `ever`: once every rollout succeeds there is nothing partial left.

    partial: reward of an episode that met every single check and still failed; in (0, 1). The credit of
    an unsuccessful episode is `partial` × met checks / all checks; of one that was cut off, by the context or the
    turn limit, it is 0. (With credit for these, looking things up until the context is full earned SmolLM2 on retail
    nearly as much as serving the customer: experiments/LOG.md, 2.)
    """

    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "ever"
    partial: float = 0.8

    def __post_init__(self) -> None:
        if not 0.0 < self.partial < 1.0:
            raise ConfigError(
                f"fix.reward.partial is {self.partial}; expected a value in (0, 1), so that partial credit "
                "exists and raw success stays the maximum."
            )

    def training_reward(self, outcome: Outcome) -> float:
        if outcome.reward >= 1.0:
            return 1.0
        met = outcome.actions_matched + outcome.facts_met + bool(outcome.db_match)
        total = outcome.actions_total + outcome.facts_total + (outcome.db_match is not None)
        return _dyadic(self.partial * met / total) if total else 0.0

    def check(self, evidence: Evidence) -> Check:
        reading = _reading(evidence)
        return Check(
            self.factor.name,
            self.level,
            reading,
            reading["partial_credits"] > 0 if reading["reward_levels"] else None,
            f"{reading['partial_credits']:.0f} rollouts with a reward between 0 and 1 (expected some)",
        )
