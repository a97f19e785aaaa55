"""What the trainer is told of the tools that the policy saw.

symptom:    log-probs of trainer and sampler disagree from the first step on; noisier updates
mechanism:  `Trajectory.tools` stays None, so ART re-tokenises the chat without the tool schemas; the sampled
            tokens are trained behind a context that was never served (note, section 2; upstream's
            `rollout_tau_bench_task` builds `Trajectory` without `tools`)
fix:        exactly the schemas that were sent
evidence:   share of trajectories whose training context begins, token for token, with what was served
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from harness.seams import BATCH, Check, Evidence, Factor

FACTOR = Factor(
    name="tools",
    summary="what the trainer is told of the tools",
    levels={"off": "Trajectory.tools is None", "on": "the schemas that were sent"},
    changes=(BATCH,),
    proof="trained token ids begin with the served ones",
    rank=2,
    today="no: the server's own prompt ids are trained (art/preprocessing/tokenize.py "
    "`assemble_vllm_training_sequences`)",
    apart=("off",),
)


def _share(equal: Sequence[bool]) -> float:
    return sum(equal) / len(equal) if equal else float("nan")


def _reading(evidence: Evidence) -> dict[str, float]:
    """context_equal may fall below opening_equal with the fix on: a call that the policy spells oddly (spaces
    inside its JSON) is served again in canonical spelling on the next turn."""
    return {
        "opening_equal": _share(evidence.opening_equal_N),
        "context_equal": _share(evidence.context_equal_N),
    }


def _text(reading: dict[str, float], expected: str) -> str:
    return (
        f"{reading['opening_equal']:.0%} of trajectories train on the opening that was served (expected {expected}); "
        f"{reading['context_equal']:.0%} on the whole context"
    )


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"

    def attach(self, sent: list[dict[str, Any]]) -> None:
        # faithful to upstream: the trajectory never learns of the tools
        return None

    def check(self, evidence: Evidence) -> Check:
        reading = _reading(evidence)
        effect = reading["opening_equal"] == 0.0 if evidence.opening_equal_N else None
        return Check(self.factor.name, self.level, reading, effect, _text(reading, "0 %"))


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"

    def attach(self, sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sent

    def check(self, evidence: Evidence) -> Check:
        reading = _reading(evidence)
        effect = reading["opening_equal"] == 1.0 if evidence.opening_equal_N else None
        return Check(self.factor.name, self.level, reading, effect, _text(reading, "100 %"))
