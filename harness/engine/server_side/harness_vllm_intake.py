"""New requests are taken in some at a time, loaded by vLLM in each of its processes (`vllm.general_plugins`).

symptom    256 episodes at once get 3,000 to 5,000 tokens a second, where the captured decoding steps alone reach 16,000
mechanism  a step with a prompt in it cannot be captured (`cudagraph_mode` FULL captures it on Hopper and answers NaN,
           as in pytorch/torchtitan#3685) and takes five times as long with adapters; hundreds of short turns bring a
           new prompt to nearly every step
fix        requests wait until their waiting, summed over them in steps, is as much as all running ones would lose by
           taking them in: the break-even of waiting against stopping. With nothing running none waits
evidence   tests/engine/test_server_intake.py: the rule alone. Off unless asked for: what it brings was not measured
           (experiments/benchmarks/rollout_speed.py --intake 4); the two steps took 79 and 16 ms for SmolLM2-135M with
           adapters and 256 requests on an H100
"""

import logging
import os
from typing import Any

EXTRA = "HARNESS_VLLM_INTAKE"  # environment variable: steps that all running requests lose; 0 switches this off


def apply() -> None:
    """Called by vLLM. Changes nothing unless `EXTRA` is set."""
    extra = float(os.environ.get(EXTRA) or 0)
    if not extra:
        return
    from vllm.v1.core.sched.interface import PauseState
    from vllm.v1.core.sched.scheduler import Scheduler

    patch(Scheduler, PauseState.UNPAUSED, PauseState.PAUSED_NEW, extra)
    logging.getLogger("vllm.harness_intake").info("New requests wait for one another: %g steps for each running", extra)


def patch(scheduler_class: Any, usual: Any, paused: Any, extra: float) -> None:
    """Replaces the class's `schedule()`. Idempotent: vLLM may call a plugin more than once.

    usual, paused: the `_pause_state` in which all go on, and the one in which no new request begins
    """
    original = scheduler_class.schedule
    if getattr(original, "by_intake", False):
        return

    def schedule(self: Any, *args: Any, **options: Any) -> Any:
        if self._pause_state != usual or not holds(self, extra):
            return original(self, *args, **options)
        self._pause_state = paused
        try:
            return original(self, *args, **options)
        finally:
            self._pause_state = usual

    schedule.by_intake = True  # type: ignore[attr-defined]
    scheduler_class.schedule = schedule


def holds(scheduler: Any, extra: float) -> bool:
    """Whether those that wait are left waiting for one more step."""
    waiting, running = len(scheduler.waiting), len(scheduler.running)
    waited = getattr(scheduler, "_waited", 0) + waiting if waiting else 0
    hold = 0 < waited < extra * running
    scheduler._waited = waited if hold else 0
    return hold
