"""Sampling of training rollouts.

symptom:    every rollout of a group is the same, the loss is zero, nothing is learned
mechanism:  temperature 0.0 (upstream's CLI default) in a deterministic environment: no spread of reward in a
            group, so every advantage is zero and ART drops the group (note, section 3)
fix:        a positive temperature (the note proposes 0.7; the value is a parameter)
evidence:   distinct rollouts per group, by sampled token ids; share of groups with zero spread of reward
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from harness.errors import ConfigError
from harness.seams import EPISODES, REPORTED, Check, Evidence, Factor

FACTOR = Factor(
    name="exploration",
    summary="how training rollouts are sampled",
    levels={"off": "temperature 0.0", "on": "a positive temperature"},
    changes=(EPISODES, REPORTED),
    proof="distinct rollouts per group",
    rank=3,
    no_update=("off",),
    baselines=("note",),
    launched="every launch configuration has temperature=1.0 (OpenPipe/ART dev/tau-bench/run_training.py)",
)


# Distinct greedy rollouts per group, on average, that rounding in 16 bits accounts for. Measured on retail with groups
# of six: 1.0 to 1.33 (results/h200_retail_*); sampling gives nearly as many as there are rollouts.
ROUNDED = 2.0


def _reading(evidence: Evidence) -> dict[str, float]:
    spread = [np.ptp(row[~np.isnan(row)]) > 0 for row in evidence.rewards_G_R if not np.isnan(row).all()]
    return {
        "temperature": evidence.temperature,
        "distinct_per_group": float(np.mean(evidence.distinct_G)) if len(evidence.distinct_G) else float("nan"),
        "groups_without_spread": 1 - float(np.mean(spread)) if spread else float("nan"),
    }


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"
    # faithful to upstream: `--temperature` defaults to 0.0
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.temperature != 0.0:
            raise ConfigError(
                f"fix/exploration=off means temperature 0.0 (upstream's default), got {self.temperature}. "
                "Use fix/exploration=on to set another temperature."
            )

    def check(self, evidence: Evidence) -> Check:
        """Float32 repeats a greedy rollout exactly; in 16 bits rounding turns one now and then."""
        distinct = list(evidence.distinct_G)
        greedy = evidence.temperature == 0.0
        repeated = bool(distinct) and (max(distinct) <= 1 if evidence.exact else np.mean(distinct) <= ROUNDED)
        return Check(
            self.factor.name,
            self.level,
            _reading(evidence),
            bool(greedy and repeated) if distinct else None,
            f"temperature {evidence.temperature:g} (expected 0), {np.mean(distinct) if distinct else 0:.2f} distinct "
            f"rollouts per group (expected {'1' if evidence.exact else f'at most {ROUNDED:g}, as 16 bits round'})",
        )


@dataclass(frozen=True)
class On:
    """needs `ever`: a policy that has become certain may well repeat itself later in the run."""

    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "ever"
    temperature: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature <= 2.0:
            raise ConfigError(
                f"fix.exploration.temperature is {self.temperature}; fix/exploration=on needs a value in "
                "(0, 2]. For greedy rollouts use fix/exploration=off."
            )

    def check(self, evidence: Evidence) -> Check:
        distinct = list(evidence.distinct_G)
        return Check(
            self.factor.name,
            self.level,
            _reading(evidence),
            max(distinct) > 1 if distinct else None,
            f"{np.mean(distinct) if distinct else 0:.1f} distinct rollouts per group (expected more than 1)",
        )
