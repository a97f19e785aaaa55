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


# Mean |served - scored| in nats that rounding accounts for where the weights are the same. Between vLLM and the trainer
# it is 5e-8 (micro policy) to 2e-6 (a random one) in float32; in bfloat16 at most .014 over the updates of all_on in
# results/h200_*. One update of the micro policy moves it by .0006 to .0045, another run's adapter by more. In 16 bits
# an adapter within the tolerance passes if it is nearer than the rival.
TOLERANCE_EXACT = 1e-4
TOLERANCE_16_BIT = 0.03
# Weights explain the served log-probs better if that comes by chance in one of so many checks (a sweep makes
# thousands), with the replies as witnesses: tokens of one depend on each other. And over how many tokens at least.
CHANCE = 1 / 30_000
LEAST_TOKENS = 30


def explained(scores: Scores | None, exact: bool) -> bool | None:
    """Whether the weights that are said to have answered did, as the log-probs have it; None: they cannot tell.

    The gap to the served log-probs must be one that rounding makes. That alone would not tell a step from the next one
    where little was learned, or in 16 bits; so both weights are compared on the same tokens, where rounding falls to
    either side. The same weights under two names are never told apart.
    """
    if scores is None:
        return None
    if not scores.gap <= (TOLERANCE_EXACT if exact else TOLERANCE_16_BIT):
        return False
    enough = scores.tokens >= LEAST_TOKENS and scores.replies > 1
    clear = enough and abs(scores.preference) > _errors_by_chance(scores.replies) * scores.error
    return scores.preference > 0 if clear else None


def _errors_by_chance(replies: int) -> float:
    """Standard errors that so many replies exceed in CHANCE of all checks, to either side: Student's t."""
    from scipy.special import stdtrit  # a quarter of a second that --help need not wait for

    return float(stdtrit(replies - 1, 1 - CHANCE / 2))


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
    return f"{before}{named}; {_scored(evidence.scores)}"


def _scored(scores: Scores | None) -> str:
    if scores is None:
        return "no log-probs were scored"
    return (
        f"the served log-probs are {scores.gap:.2g} nats from those of the weights that should have answered and "
        f"{scores.rival_gap:.2g} from those of their rival ({scores.tokens} tokens, {scores.apart:.2g} between the two)"
    )
