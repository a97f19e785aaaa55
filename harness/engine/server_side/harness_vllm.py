"""Corrections to vLLM, loaded by vLLM in each of its processes (entry point group `vllm.general_plugins`)."""
def apply() -> None:
    pass
