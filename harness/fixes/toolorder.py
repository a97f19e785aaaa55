"""In which key order the trainer shows the tools.

symptom:    log-probs of trainer and sampler disagree from the first token on, although the tools are attached
mechanism:  `Trajectory.tools` is a pydantic field: ART 0.5.18 validates each tool into the key order of its types
            (function, then type) and renders it so by default (art/local/backend.py,
            `_chat_template_tool_schema_format`), while vLLM renders type, then function. ART of mid-2025 as well
            (OpenPipe/ART src/art/local/tokenize.py@779559f)
fix:        ART's own option `chat_template_tool_schema_format="vllm_openai"`
evidence:   the token ids of the tools that were trained, against those that were served
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from harness.seams import BATCH, Check, Evidence, Factor, Rendering

FACTOR = Factor(
    name="toolorder",
    summary="in which key order the trainer shows the tools",
    levels={"off": "ART 0.5.18's default", "on": "the server's"},
    changes=(BATCH,),
    proof="trained token ids of the tools",
    today="no: in RL the server's own prompt ids are trained (art/preprocessing/tokenize.py "
    "`assemble_vllm_training_sequences`)",
    apart=("off",),
)

# The key order of each kind of opening that shows the tools.
ORDERS = {"served": "served", "rendered": "served", "stock_order": "stock"}


@dataclass(frozen=True)
class Off:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "off"
    seam: ClassVar[str] = "context"
    needs: ClassVar[str] = "always"

    def context(self, rendering: Rendering) -> Rendering:
        # faithful to upstream: ART's default
        return replace(rendering, tool_order="stock")

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, "stock")


@dataclass(frozen=True)
class On:
    factor: ClassVar[Factor] = FACTOR
    level: ClassVar[str] = "on"
    seam: ClassVar[str] = "context"
    needs: ClassVar[str] = "always"

    def context(self, rendering: Rendering) -> Rendering:
        return replace(rendering, tool_order="served")

    def check(self, evidence: Evidence) -> Check:
        return _check(self.level, evidence, "served")


def _check(level: str, evidence: Evidence, expected: str) -> Check:
    """Judged on the rollouts that were trained with the tools, where the template shows their key order."""
    with_tools = [{ORDERS[kind] for kind in found if kind in ORDERS} for found in evidence.openings_M or ()]
    told = [found for found in with_tools if len(found) == 1]
    served = sum("served" in found for found in told)
    reading = {"server_order": served / len(told) if told else float("nan"), "order_told": float(len(told))}
    if told:
        share = "all" if expected == "served" else "none"
        text = f"{served} of {len(told)} trained rollouts show the tools in the server's key order (expected {share})"
        return Check(FACTOR.name, level, reading, all(expected in found for found in told), text)
    return Check(FACTOR.name, level, reading, None, f"not shown: {_why(evidence, any(with_tools))}")


def _why(evidence: Evidence, with_tools: bool) -> str:
    if evidence.openings_M is None:
        return "this backend does not say which token ids it trained"
    if not evidence.openings_M:
        return "nothing was trained"
    if with_tools:
        return "the chat template shows the tools alike in either key order"
    return "no rollout was trained with the tools that were sent"
