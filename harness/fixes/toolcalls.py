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
        return _check(self.level, evidence, "once")


def _check(level: str, evidence: Evidence, expected: str) -> Check:
    """Judged on the rollouts with a call before their last turn. A context that shows it in no known way fails both
    levels. A call that the policy spells oddly is served again in canonical spelling, and trained as it was sampled:
    once, although not as served."""
    with_call = [found for found in evidence.contexts_M if found is not None]
    told = [(ways, found) for found in with_call if len(ways := _ways(found)) < 2]
    counts = {way: sum(way in ways for ways, _ in told) for way in ("twice", "once")}
    odd = sum("once" in found for _, found in told)
    neither = len(told) - sum(counts.values())
    reading = {
        "calls_twice": counts["twice"] / len(told) if told else float("nan"),
        "calls_told": float(len(told)),
        "calls_odd": float(odd),
        "calls_neither": float(neither),
    }
    if not told:
        return Check(FACTOR.name, level, reading, None, f"not shown: {_why(evidence, len(with_call))}")
    text = (
        f"{counts['twice']} of {len(told)} trained rollouts show a call before the last turn twice, {counts['once']} "
        f"once, {neither} neither (expected {expected} in all)"
    )
    text += f"; {odd} of those once in another spelling than it was served" if odd else ""
    return Check(FACTOR.name, level, reading, all(expected in ways for ways, _ in told), text)


def _ways(found: frozenset[str]) -> set[str]:
    """Once, twice, both where that is the same, or neither."""
    ways = {"once"} if found & {"served", "once"} else set()
    return ways | ({"twice"} if "twice" in found else set())


def _why(evidence: Evidence, with_call: int) -> str:
    if evidence.openings_M is None:
        return "this backend does not say which token ids it trained"
    if with_call:
        return f"the chat template shows the calls of {with_call} trained rollouts alike either way"
    return "no rollout with a call before its last turn was trained"
