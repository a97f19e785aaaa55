"""How often the trainer shows a tool call that the policy made before its last turn.

symptom:    log-probs of trainer and sampler disagree from the second turn on, although the tools are attached
mechanism:  ART 0.5.18 puts one token in the place of each trained turn's text and leaves the turn's `tool_calls` beside
            it (art/preprocessing/tokenize.py, `tokenize_trajectory`). A chat template that shows text and calls shows
            each call twice: as it was sampled, and again
fix:        the trainer's tokenizer leaves the calls out where ART's token stands for the turn
evidence:   the token ids that were trained after the first turn, against those that were served
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.seams import BATCH, Check, Evidence, Factor, Rendering

FACTOR = Factor(
    name="toolcalls",
    summary="how often the trainer shows a tool call",
    levels={"off": "twice before the last turn, as stock ART 0.5.18", "on": "once, as served"},
    changes=(BATCH,),
    proof="trained token ids after the first turn",
    today="no: in RL the server's own prompt ids are trained (art/preprocessing/tokenize.py "
    "`assemble_vllm_training_sequences`)",
    apart=("off",),
    baselines=(),
    launched="ART of mid-2025 put its token in the place of a whole turn, its calls included (OpenPipe/ART "
    "src/art/local/tokenize.py@779559f)",
)


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    seam: ClassVar[str] = "context"
    needs: ClassVar[str] = "always"

    def context(self, rendering: Rendering) -> Rendering:
        # faithful to upstream: ART 0.5.18 as it is
        return replace(rendering, calls="twice")

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, "twice")


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    seam: ClassVar[str] = "context"
    needs: ClassVar[str] = "always"

    def context(self, rendering: Rendering) -> Rendering:
        return replace(rendering, calls="once")

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, "served")


def _check(level: str, evidence: Evidence, expected: str) -> Check:
    """Judged on the rollouts with a call before their last turn. Where neither way of showing it fits, the policy has
    spelled it oddly, or another factor changes what follows: that tells nothing of this one."""
    with_call = [found for found in evidence.contexts_M if found is not None]
    told = [found for found in with_call if len(found) == 1]
    either = sum(len(found) > 1 for found in with_call)
    odd = len(with_call) - len(told) - either
    twice = sum("twice" in found for found in told)
    reading = {"calls_twice": twice / len(told) if told else float("nan"), "calls_told": float(len(told))}
    reading["calls_odd"] = float(odd)
    if told:
        words = "twice" if expected == "twice" else "once"
        text = (
            f"{twice} of {len(told)} trained rollouts show a call before the last turn twice, the others once "
            f"(expected {words} in all)"
        )
        text += f"; {odd} that are neither, as a call in another spelling is, tell nothing" if odd else ""
        return Check(FACTOR.name, level, reading, all(expected in found for found in told), text)
    return Check(FACTOR.name, level, reading, None, f"not shown: {_why(evidence, either, odd)}")


def _why(evidence: Evidence, either: int, odd: int) -> str:
    if evidence.openings_M is None:
        return "this backend does not say which token ids it trained"
    if either:
        return f"the chat template shows the calls of {either} trained rollouts alike either way"
    if odd:
        return f"{odd} trained rollouts show a call before the last turn neither once as served nor twice"
    return "no rollout with a call before its last turn was trained"
