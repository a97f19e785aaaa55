"""Which model name a policy request carries.

symptom:    reported validation reward stays flat, whatever the trainer does
mechanism:  requests carry the name that was pinned when the model was registered, which keeps meaning the
            first checkpoint; every rollout is sampled from the base policy (note, section 1; ART 0.5.18
            `TrainableModel.register` sets `inference_model_name` once, to `<name>@0`)
fix:        `hosted_vllm/` + ART's current inference name, resolved at every step (as Art-E's rollout does)
evidence:   the name that requests carry; share of rollouts that the weights of the current step answered
"""

from dataclasses import dataclass
from typing import ClassVar

from harness.seams import EPISODES, REPORTED, Check, Evidence, Factor, Names

FACTOR = Factor(
    name="endpoint",
    summary="which checkpoint answers the rollouts",
    levels={
        "off": "requests carry the name pinned at registration: the first checkpoint answers",
        "on": "requests carry ART's current name, resolved at every step",
    },
    changes=(EPISODES, REPORTED),
    proof="the weights that answered each rollout",
    rank=1,
    first_policy=("off",),
    apart=("off",),
    baselines=("note",),
    launched="requests carried model.name, under which ART of mid-2025 served its newest adapter (OpenPipe/ART "
    "dev/tau-bench/run_rl.py, src/art/local/service.py@779559f `_set_lora`)",
)


def _share_current(evidence: Evidence) -> float | None:
    answered = evidence.answered_by_current_N
    return sum(answered) / len(answered) if answered else None


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"

    def model_name(self, names: Names) -> str:
        # faithful to upstream: config.model is the name as it was when the model was registered
        return f"hosted_vllm/{names.pinned}"

    def check(self, evidence: Evidence) -> Check:
        """Judged from step 1 on: at step 0 the pinned name is the current one. While nothing was trained,
        both names mean the same weights, and the name that was sent is all there is to see."""
        share = _share_current(evidence)
        effect = None
        if evidence.step > 0 and share is not None:
            effect = not evidence.asked_current and (share == 0.0 or not evidence.policy_moved)
        return Check(
            self.factor.name,
            self.level,
            _reading(evidence, share),
            effect,
            f"{_percent(share)} of rollouts were answered by the weights of step {evidence.step} "
            f"(expected 0 % once they have moved; they {'have' if evidence.policy_moved else 'have not'})",
        )


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"

    def model_name(self, names: Names) -> str:
        return f"hosted_vllm/{names.current}"

    def check(self, evidence: Evidence) -> Check:
        share = _share_current(evidence)
        return Check(
            self.factor.name,
            self.level,
            _reading(evidence, share),
            None if share is None else evidence.asked_current and share == 1.0,
            f"{_percent(share)} of rollouts were answered by the weights of step {evidence.step} (expected 100 %)",
        )


def _reading(evidence: Evidence, share: float | None) -> dict[str, float]:
    return {
        "asked_current_adapter": float(evidence.asked_current),
        "answered_by_current_weights": float("nan") if share is None else share,
    }


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.0%}"
