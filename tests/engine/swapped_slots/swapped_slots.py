"""A planted fault: vLLM's LoRA index names another slot than the one that an adapter was written to.

Loaded by vLLM in each of its processes (entry point `vllm.general_plugins`). While a file `on` lies beside this one,
every adapter that is loaded answers from the slot of the next one. Names, integer ids, files and weights stay right.
"""

from pathlib import Path
from typing import Any

ON = Path(__file__).with_name("on")


def apply() -> None:
    """Called by vLLM, possibly more than once."""
    from vllm.lora.model_manager import LoRAModelManager

    original = LoRAModelManager._set_adapter_mapping
    if getattr(original, "swaps", False):
        return

    def _set_adapter_mapping(self: Any, mapping: Any) -> None:
        right = self.lora_index_to_id
        self.lora_index_to_id = swapped(right) if ON.exists() else right
        try:
            original(self, mapping)
        finally:
            self.lora_index_to_id = right

    _set_adapter_mapping.swaps = True  # type: ignore[attr-defined]
    LoRAModelManager._set_adapter_mapping = _set_adapter_mapping


def swapped(index_to_id: list[int | None]) -> list[int | None]:
    """The ids of the slots that are taken, each one slot further."""
    taken = [slot for slot, number in enumerate(index_to_id) if number is not None]
    further = list(index_to_id)
    for slot, after in zip(taken, taken[1:] + taken[:1], strict=True):
        further[after] = index_to_id[slot]
    return further
