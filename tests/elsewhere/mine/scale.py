"""Are advantages divided by the spread of their group?

symptom:    easy and hard groups, where rewards hardly differ, weigh as much as those in between
mechanism:  ART's default divides r - mean by the group's standard deviation
fix:        no division (Liu et al. 2025, Understanding R1-Zero-Like Training, "Dr. GRPO")
evidence:   what the trainer was called with
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.seams import BATCH, Check, Evidence, Factor

FACTOR = Factor(
    name="scale",
    summary="whether advantages are divided by their group's spread",
    levels={"off": "divided, ART's default", "on": "centred only"},
    changes=(BATCH,),
    proof="what the trainer was called with",
)


def _check(level: str, evidence: Evidence, expected: bool) -> Check:
    divided = bool(evidence.options["scale_rewards"])
    effect = divided is expected if evidence.gradient_steps else None
    return Check(FACTOR.name, level, {"divided": float(divided)}, effect, f"divided: {divided} (expected {expected})")


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"
    seam: ClassVar[str] = "update"

    def update(self, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"scale_rewards": True}

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, True)


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"
    seam: ClassVar[str] = "update"

    def update(self, options: dict[str, Any]) -> dict[str, Any]:
        return options | {"scale_rewards": False}

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, False)
