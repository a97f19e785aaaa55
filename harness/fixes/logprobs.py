"""What a deployment returns of the sampled tokens' log-probs, and what is kept of a choice.

symptom:    steps advance, checkpoints appear, and the policy does not change; ART only prints a misleading
            "Skipping tuning"
mechanism:  the request asks for log-probs, the deployment drops the field, every `Choice` is kept without
            them, and ART has no token to train (note, section 5; ART 0.5.18 `_get_packed_tensors` returns
            None and `_train_model` copies the checkpoint to the next step)
fix:        log-probs are verified on every choice; a missing field is a loud error, and the request is retried
evidence:   share of rollouts whose kept choices carry a finite log-prob for every sampled token; trainable tokens;
            gradient steps taken; rollouts that were left out of the training although they should be in it
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.errors import EpisodeError
from harness.seams import BATCH, Check, Evidence, Factor

FACTOR = Factor(
    name="logprobs",
    summary="what is kept of the sampled log-probs",
    levels={
        "off": "dropped; the update is silently skipped",
        "on": "verified; missing = asked again, then an error",
    },
    changes=(BATCH,),
    proof="log-probs kept, tokens trained",
    rank=5,
    today="yes: a kept choice without log-probs is left out silently, and the step advances "
    "(art/preprocessing/tokenize.py `assemble_vllm_training_sequences`); a captured exchange raises",
    no_update=("off",),
    baselines=("note",),
    launched="ART's own server asks for them whatever the request says (OpenPipe/ART src/art/local/vllm.py@779559f)",
)


NOTHING = "not shown: no rollout has a choice that could carry log-probs"


def _share(evidence: Evidence) -> float | None:
    return sum(evidence.logprobs_N) / len(evidence.logprobs_N) if evidence.logprobs_N else None


def _reading(evidence: Evidence, share: float | None) -> dict[str, float]:
    return {
        "with_logprobs": float("nan") if share is None else share,
        "trainable_tokens": float(evidence.trainable_tokens),
        "gradient_steps": float(evidence.gradient_steps),
        "left_out": float(evidence.left_out),
    }


def _has_spread(evidence: Evidence) -> bool:
    """Whether the rewards of a group that the trainer got differ, so that some rollout has an advantage."""
    return any(len(set(group.rewards.values())) > 1 for group in evidence.submitted)


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"
    required: ClassVar[bool] = False

    def keep(self, choice: Any) -> Any:
        # faithful to upstream: a deployment that ignores `logprobs=True`; nobody looks whether they came
        return choice.model_copy(update={"logprobs": None})

    def check(self, evidence: Evidence) -> Check:
        share = _share(evidence)
        return Check(
            self.factor.name,
            self.level,
            _reading(evidence, share),
            None if share is None else share == 0.0 and evidence.trainable_tokens == 0,
            f"{share:.0%} of rollouts kept their log-probs, {evidence.trainable_tokens} trainable tokens "
            "(expected none)"
            if share is not None
            else NOTHING,
        )


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"
    required: ClassVar[bool] = True

    def keep(self, choice: Any) -> Any:
        tokens = choice.logprobs.content if choice.logprobs else None
        if not tokens or not all(math.isfinite(token.logprob) for token in tokens):
            raise EpisodeError(
                "The server returned a choice without log-probs, or with some that are not finite, although they were "
                "requested; nothing could be trained on it. Check that nothing between the harness and vLLM drops "
                "`logprobs`."
            )
        return choice

    def check(self, evidence: Evidence) -> Check:
        share = _share(evidence)
        if share is None:
            return Check(self.factor.name, self.level, _reading(evidence, share), None, NOTHING)
        unused = share == 1.0 and evidence.trainable_tokens == 0 and _has_spread(evidence)
        text = (
            f"{share:.0%} of rollouts kept their log-probs (expected 100 %); "
            f"{evidence.trainable_tokens} trainable tokens, {evidence.gradient_steps} gradient steps"
        )
        if evidence.left_out:
            text += f"; {evidence.left_out} rollouts with log-probs and an advantage were not trained (expected none)"
        elif unused:
            text = f"not shown: {text}, although rewards differ within a group"
        effect = False if evidence.left_out else None if unused else share == 1.0
        return Check(self.factor.name, self.level, _reading(evidence, share), effect, text)
