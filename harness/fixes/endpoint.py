"""Which model name a policy request carries.

symptom:    reported validation reward stays flat, whatever the trainer does
mechanism:  requests carry the name that was pinned when the model was registered, which keeps meaning the
            first checkpoint; every rollout is sampled from the base policy (note, section 1; ART 0.5.18
            `TrainableModel.register` sets `inference_model_name` once, to `<name>@0`)
fix:        `hosted_vllm/` + ART's current inference name, resolved at every step (as Art-E's rollout does)
evidence:   share of rollouts all of whose requests the adapter of the current step answered
"""

from dataclasses import dataclass
from typing import ClassVar

from harness.seams import Check, Evidence, Names


def _share_current(evidence: Evidence) -> float | None:
    answered = evidence.answered_by_current_N
    return sum(answered) / len(answered) if answered else None


@dataclass(frozen=True)
class Off:
    factor: ClassVar[str] = "endpoint"
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"

    def model_name(self, names: Names) -> str:
        # faithful to upstream: config.model is the name as it was when the model was registered
        return f"hosted_vllm/{names.pinned}"

    def check(self, evidence: Evidence) -> Check:
        """Judged once the policy has moved (step > 0); before, base and adapter are the same policy."""
        share = _share_current(evidence)
        judged = share if evidence.step > 0 else None
        return Check(
            self.factor,
            self.level,
            {"answered_by_current_adapter": share if share is not None else float("nan")},
            None if judged is None else judged == 0.0,
            f"{_percent(share)} of rollouts were answered by the adapter of step {evidence.step} "
            "(expected 0 % once a step was trained)",
        )


@dataclass(frozen=True)
class On:
    factor: ClassVar[str] = "endpoint"
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"

    def model_name(self, names: Names) -> str:
        return f"hosted_vllm/{names.current}"

    def check(self, evidence: Evidence) -> Check:
        share = _share_current(evidence)
        return Check(
            self.factor,
            self.level,
            {"answered_by_current_adapter": share if share is not None else float("nan")},
            None if share is None else share == 1.0,
            f"{_percent(share)} of rollouts were answered by the adapter of step {evidence.step} "
            "(expected 100 %)",
        )


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{share:.0%}"
