"""What the trainer is told of the tools that the policy saw.

symptom:    log-probs of trainer and sampler disagree from the first step on; noisier updates
mechanism:  `Trajectory.tools` stays None, so ART re-tokenises the chat without the tool schemas; the sampled
            tokens are trained behind a context that was never served (note, section 2; upstream's
            `rollout_tau_bench_task` builds `Trajectory` without `tools`)
fix:        exactly the schemas that were sent
evidence:   the token ids with which the trained contexts begin, against what was served
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
    today="no: in RL the server's own prompt ids are trained (art/preprocessing/tokenize.py "
    "`assemble_vllm_training_sequences`)",
    apart=("off",),
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
        return _check(self.level, evidence, "without")


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"

    def attach(self, sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return sent

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, "with")


def _check(level: str, evidence: Evidence, expected: str) -> Check:
    """In either key order the tools are attached. A context that begins in none of the known ways fails both levels.

    ART may render more of a prompt than the tools otherwise than the server, as where a template opens a turn that is
    to be thought about. The tools are attached all the same, and the difference is a finding of the run.

    context_equal may fall below opening_equal with the fix on: a call that the policy spells oddly (spaces inside its
    JSON) is served again in canonical spelling on the next turn.
    """
    openings = evidence.openings_M or ()
    found = [_ways(opening) for opening in openings]
    told = [ways for ways in found if len(ways) < 2]
    reading = {
        "opening_equal": _share(["served" in opening for opening in openings]),
        "context_equal": _share(evidence.context_equal_M),
    }
    if not told:
        return Check(FACTOR.name, level, reading, None, f"not shown: {_why(evidence)}")
    counts = {way: sum(way in ways for ways in told) for way in ("with", "without")}
    text = (
        f"{counts['with']} of {len(told)} trained rollouts begin with the tools that were sent, {counts['without']} "
        f"without tools, {len(told) - sum(counts.values())} otherwise (expected {expected} in all); "
        f"{reading['context_equal']:.0%} are as served to the end"
    )
    if rendered := sum("rendered" in opening for opening in openings):
        text += f"; {rendered} with the tools, rendered by ART in another way than served"
    return Check(FACTOR.name, level, reading, all(expected in ways for ways in told), text)


def _ways(opening: frozenset[str]) -> set[str]:
    """With the tools, without, both where that is the same, or neither."""
    ways = {"with"} if opening & {"served", "rendered", "stock_order"} else set()
    return ways | ({"without"} if "no_tools" in opening else set())


def _why(evidence: Evidence) -> str:
    if evidence.openings_M is None:
        return "this backend does not say which token ids it trained"
    return "the prompts are the same without tools" if evidence.openings_M else "nothing was trained"


def _share(equal: Sequence[bool]) -> float:
    return sum(equal) / len(equal) if equal else float("nan")
