"""What the trainer is told of the tools that the policy saw.

symptom:    log-probs of trainer and sampler disagree from the first step on; noisier updates
mechanism:  `Trajectory.tools` stays None, so ART re-tokenises the chat without the tool schemas; the sampled
            tokens are trained behind a context that was never served (note, section 2; upstream's
            `rollout_tau_bench_task` builds `Trajectory` without `tools`)
fix:        exactly the schemas that were sent
evidence:   share of trajectories whose training context, token for token, is the served one
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from harness.seams import Check, Evidence

# A sampled tool call that is not in the template's canonical spelling (spaces inside its JSON) is served
# again in the canonical one on the next turn, so even with the fix a few contexts may differ.
EQUAL_ENOUGH = 0.9


def _share_equal(evidence: Evidence) -> float | None:
    known = [equal for equal in evidence.context_equal_N if equal is not None]
    return sum(known) / len(known) if known else None


def _reading(share: float | None) -> dict[str, float]:
    return {"context_equal": float("nan") if share is None else share}


@dataclass(frozen=True)
class Off:
    factor: ClassVar[str] = "tools"
    level: ClassVar[str] = "off"
    needs: ClassVar[str] = "always"

    def attach(self, sent: list[dict[str, Any]]) -> None:
        # faithful to upstream: the trajectory never learns of the tools
        return None

    def check(self, evidence: Evidence) -> Check:
        share = _share_equal(evidence)
        return Check(
            self.factor,
            self.level,
            _reading(share),
            None if share is None else share == 0.0,
            f"{_text(share)} of trajectories train on the context that was served (expected none)",
        )


@dataclass(frozen=True)
class On:
    factor: ClassVar[str] = "tools"
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"

    def attach(self, sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sent

    def check(self, evidence: Evidence) -> Check:
        share = _share_equal(evidence)
        return Check(
            self.factor,
            self.level,
            _reading(share),
            None if share is None else share >= EQUAL_ENOUGH,
            f"{_text(share)} of trajectories train on the context that was served "
            f"(expected at least {EQUAL_ENOUGH:.0%})",
        )


def _text(share: float | None) -> str:
    return "none known" if share is None else f"{share:.0%}"
