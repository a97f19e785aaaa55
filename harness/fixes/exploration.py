"""Sampling of training rollouts.

symptom:    every rollout of a group is the same, the loss is zero, nothing is learned
mechanism:  temperature 0.0 (upstream's CLI default) in a deterministic environment: no spread of reward in a
            group, so every advantage is zero and ART drops the group (note, section 3)
fix:        a positive temperature (the note proposes 0.7; the value is a parameter)
evidence:   the temperature that requests carried; distinct outputs at equal prompts, by token ids, which a user who
            says different things does not add to; share of groups with zero spread of reward
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from harness.errors import ConfigError
from harness.seams import EPISODES, REPORTED, Check, Evidence, Factor

FACTOR = Factor(
    name="exploration",
    summary="how training rollouts are sampled",
    levels={"off": "temperature 0.0", "on": "a positive temperature"},
    changes=(EPISODES, REPORTED),
    proof="distinct outputs at equal prompts",
    rank=3,
    today="yes: equal rewards give no advantage, and the group is dropped (art/preprocessing/tokenize.py "
    "`tokenize_trajectory_groups`)",
    no_update=("off",),
    baselines=("note",),
    launched="every launch configuration has temperature=1.0 (OpenPipe/ART dev/tau-bench/run_training.py)",
)
# A user with luck of its own gives the greedy rollouts of a group other rewards, so there are updates.
WITH_LUCK = replace(FACTOR, no_update=())


# Distinct greedy rollouts per group, on average, that rounding in 16 bits accounts for. Measured on retail with groups
# of six: 1.0 to 1.33 (results/h200_retail_*); sampling gives nearly as many as there are rollouts.
ROUNDED = 2.0


def _told(evidence: Evidence) -> list[int]:
    """Distinct outputs at equal prompts, of the groups that had such prompts."""
    return [distinct for distinct in evidence.distinct_G if distinct]


def _judgeable(evidence: Evidence) -> bool:
    """Whether sampling would give more distinct outputs than rounding does: in 16 bits not in a group of two."""
    return evidence.exact or evidence.rewards_G_R.shape[1] > ROUNDED


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _reading(evidence: Evidence) -> dict[str, float]:
    spread = [np.ptp(row[~np.isnan(row)]) > 0 for row in evidence.rewards_G_R if not np.isnan(row).all()]
    return {
        "temperature": _mean(evidence.temperatures_N),
        "distinct_per_group": _mean(_told(evidence)),
        "groups_without_spread": 1 - float(np.mean(spread)) if spread else float("nan"),
    }


def _text(evidence: Evidence, effect: bool | None, temperature: str, expected: str) -> str:
    carried = ", ".join(sorted({f"{one:g}" for one in evidence.temperatures_N})) or "none"
    told = _told(evidence)
    seen = f"{_mean(told):.2f} distinct outputs per group at equal prompts" if told else "no equal prompts in any group"
    before = "not shown: " if effect is None else ""
    return f"{before}temperature asked for: {carried} (expected {temperature}); {seen} (expected {expected})"


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    with_luck: ClassVar[Factor] = WITH_LUCK
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
        """Float32 repeats a greedy reply exactly; in 16 bits rounding turns one now and then."""
        distinct, effect = _told(evidence), None
        if any(one != 0.0 for one in evidence.temperatures_N):
            effect = False
        elif distinct and _judgeable(evidence):
            effect = max(distinct) <= 1 if evidence.exact else _mean(distinct) <= ROUNDED
        expected = "1" if evidence.exact else f"at most {ROUNDED:g}, as 16 bits round"
        text = _text(evidence, effect, "0", expected)
        return Check(self.factor.name, self.level, _reading(evidence), effect, text)


@dataclass(frozen=True)
class On:
    """needs `ever`: a policy that has become certain may well repeat itself later in the run. A request that carried
    another temperature is refuted at once."""

    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    with_luck: ClassVar[Factor] = WITH_LUCK
    needs: ClassVar[str] = "ever"
    temperature: float = 0.7

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature <= 2.0:
            raise ConfigError(
                f"fix.exploration.temperature is {self.temperature}; fix/exploration=on needs a value in "
                "(0, 2]. For greedy rollouts use fix/exploration=off."
            )

    def check(self, evidence: Evidence) -> Check:
        """In 16 bits a few distinct outputs show nothing: rounding gives as many without sampling."""
        distinct, effect = _told(evidence), None
        other = any(one != self.temperature or one <= 0.0 for one in evidence.temperatures_N)
        if other or (distinct and max(distinct) <= 1):
            effect = False
        elif distinct and (evidence.exact or _mean(distinct) > ROUNDED):
            effect = True
        expected = "more than 1" if evidence.exact else f"more than {ROUNDED:g}, as 16 bits round"
        text = _text(evidence, effect, f"{self.temperature:g}", expected)
        return Check(self.factor.name, self.level, _reading(evidence), effect, text, refuted=other)
