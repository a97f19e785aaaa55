"""Which model name a policy request carries.

symptom:    reported validation reward stays flat, whatever the trainer does
mechanism:  requests carry the name that was pinned when the model was registered, which keeps meaning the
            first checkpoint; every rollout is sampled from the base policy (note, section 1; ART 0.5.18
            `TrainableModel.register` sets `inference_model_name` once, to `<name>@0`)
fix:        `hosted_vllm/` + ART's current inference name, resolved at every step (as Art-E's rollout does)
evidence:   the name that requests carry; share of rollouts that the weights of the current step answered, by their
            name; how well these weights explain the served log-probs when the trainer scores the served ids
"""

import math
from dataclasses import dataclass
from typing import ClassVar

from harness.answering import explained, tolerance
from harness.seams import EPISODES, REPORTED, Check, Evidence, Factor, Names, Scores

FACTOR = Factor(
    name="endpoint",
    summary="which checkpoint answers the rollouts",
    levels={
        "off": "the name pinned at registration: the first checkpoint answers",
        "on": "ART's current name, resolved at every step",
    },
    changes=(EPISODES, REPORTED),
    proof="weights that answered, by log-probs",
    rank=1,
    today="yes: by default an older name@step stays served, and nothing looks at the name (art/unsloth/service.py "
    "`prune_loaded_adapters`, called by the pipeline trainer alone)",
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
        """Judged from step 1 on: at step 0 the pinned name is the current one. While nothing was trained, both names
        mean the same weights, and nothing tells them apart."""
        share = _share_current(evidence)
        effect = None
        if evidence.step > 0 and share is not None:
            named = not evidence.asked_current and (share == 0.0 or not evidence.policy_moved)
            effect = named and explained(evidence.scores, evidence.exact)
        moved = "have" if evidence.policy_moved else "have not"
        text = _text(evidence, share, effect, f"(expected 0 % once they have moved; they {moved})")
        return Check(self.factor.name, self.level, _reading(evidence, share), effect, text)


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"

    def model_name(self, names: Names) -> str:
        return f"hosted_vllm/{names.current}"

    def check(self, evidence: Evidence) -> Check:
        share = _share_current(evidence)
        effect = None
        if share is not None:
            effect = evidence.asked_current and share == 1.0 and explained(evidence.scores, evidence.exact)
        text = _text(evidence, share, effect, "(expected 100 %)")
        return Check(self.factor.name, self.level, _reading(evidence, share), effect, text)


def _reading(evidence: Evidence, share: float | None) -> dict[str, float]:
    scores = evidence.scores
    return {
        "asked_current_adapter": float(evidence.asked_current),
        "answered_by_current_weights": math.nan if share is None else share,
        "gap": math.nan if scores is None else scores.gap,
        "rival_gap": math.nan if scores is None else scores.rival_gap,
        "apart": math.nan if scores is None else scores.apart,
        "preference": math.nan if scores is None else scores.preference,
        "preference_error": math.nan if scores is None else scores.error,
        "scored_tokens": 0.0 if scores is None else float(scores.tokens),
        "telling_replies": 0.0 if scores is None else float(scores.replies),
    }


def _text(evidence: Evidence, share: float | None, effect: bool | None, expected: str) -> str:
    before = "not shown: " if effect is None else ""
    percent = "none" if share is None else f"{share:.0%}"
    named = f"{percent} of rollouts were answered by the weights of step {evidence.step} {expected}"
    return f"{before}{named}; {_scored(evidence.scores, evidence.exact)}"


def _scored(scores: Scores | None, exact: bool) -> str:
    if scores is None:
        return "no log-probs were scored"
    allowed = tolerance(exact)
    over = f" (rounding explains {allowed:g})" * (not scores.gap <= allowed)
    return (
        f"the served log-probs are {scores.gap:.3g} nats from those of the weights that should have answered{over} and "
        f"{scores.rival_gap:.3g} from those of their rival ({scores.tokens} tokens, {scores.apart:.3g} between the two)"
    )
