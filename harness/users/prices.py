"""litellm's price map: what a user's tokens cost. In nano-dollars, so that sums are exact.

The map is the one in the installed litellm; nothing is looked up in the network (`LITELLM_LOCAL_MODEL_COST_MAP`). It
has list prices: discounts for cached prompts and batches are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

NANO = 10**9


@dataclass(frozen=True)
class Price:
    """Nano-dollars per token of a prompt and of a reply. source: the map that says so"""

    prompt: int
    reply: int
    source: str

    def of(self, prompt_tokens: int, reply_tokens: int) -> int:
        return self.prompt * prompt_tokens + self.reply * reply_tokens


def price_of(model: str) -> Price | None:
    """None where the map does not know the model."""
    import litellm

    entries = (litellm.model_cost.get(name, {}) for name in (model, model.partition("/")[2]))
    costs = ([entry.get(name) for name in ("input_cost_per_token", "output_cost_per_token")] for entry in entries)
    found = next((each for each in costs if None not in each), None)
    if found is None:
        return None
    return Price(round(found[0] * NANO), round(found[1] * NANO), f"litellm {version('litellm')}")


def dollars(nano: int) -> str:
    """`$0.0042`, `$1.20`, `$1,203`."""
    value = nano / NANO
    return f"${value:,.0f}" if value >= 100 else f"${value:.2f}" if value >= 0.1 else f"${value:.2g}"
