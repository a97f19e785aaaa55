"""A faster start on a CPU, loaded by vLLM in each of its processes (entry point `vllm.general_plugins`).

symptom    the engine's process imports torch and vLLM again after the server's has
mechanism  vLLM's CPU platform sets VLLM_WORKER_MULTIPROC_METHOD to spawn whatever was asked
fix        fork, vLLM's default where the platform does not object
evidence   tests/engine/test_server_real.py runs on it; experiments/benchmarks/server_start.py times both
"""

import os
from typing import Any


def apply() -> None:
    """Called by vLLM. Changes nothing on other platforms."""
    from vllm.platforms import current_platform

    if not current_platform.is_cpu():
        return
    platform = type(current_platform)
    configure = platform.check_and_update_config.__func__
    if getattr(configure, "forks", False):
        return

    def check_and_update_config(cls: Any, vllm_config: Any) -> None:
        configure(cls, vllm_config)
        os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "fork"

    check_and_update_config.forks = True  # type: ignore[attr-defined]
    platform.check_and_update_config = classmethod(check_and_update_config)
