"""How many steps the state machines of the suite take, and that they take them.

    STEPS=1000000 .venv/bin/python -m pytest tests/records/*_states.py tests/engine/*_states.py

Without STEPS 10,000 in all. The same steps every time: nothing is drawn by chance and nothing is kept.
"""

import asyncio
import gc
import os
import time
from collections import Counter

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, run_state_machine_as_test

STEPS = int(os.environ.get("STEPS", 10_000))
SHARES = {"store": 0.4, "records": 0.2, "slots": 0.4}
LENGTH = 50  # steps of an example
AT_ONCE = 200  # examples; the next ones have another seed
TAKEN: Counter[type] = Counter()  # steps that were really taken, by machine


class Loop(asyncio.SelectorEventLoop):
    """An event loop whose time stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__()
        self.set_exception_handler(lambda *_: None)  # tasks of killed engines, and cancelled ones

    def time(self) -> float:
        return self.now

    def settle(self) -> None:
        """Runs until everything waits."""
        while True:
            self.call_soon(self.stop)
            self.run_forever()
            if not self._ready and not (self._scheduled and self._scheduled[0].when() <= self.now):
                return


class Machine(RuleBasedStateMachine):
    """Counts its steps, and after each looks at what must always be so."""

    @invariant()
    def looked(self):
        TAKEN[type(self)] += 1
        self.always()

    def always(self) -> None:
        raise NotImplementedError


def explore(machine: type[Machine], name: str) -> None:
    """Takes the steps of a machine's share; name: of SHARES. Fails where fewer were taken."""
    steps, begun, number = int(STEPS * SHARES[name]), time.process_time(), 0
    TAKEN[machine] = 0
    while TAKEN[machine] < steps and number < steps:
        examples = min(-(-(steps - TAKEN[machine]) // LENGTH), AT_ONCE)
        run_state_machine_as_test(
            seed(number)(machine),
            settings=settings(
                max_examples=examples,
                stateful_step_count=LENGTH,
                derandomize=True,
                database=None,
                deadline=None,
                phases=(Phase.generate,),
                suppress_health_check=list(HealthCheck),
            ),
        )
        number += 1
    # Python code that runs in a garbage collection while a source is parsed, as hypothesis's clock does, makes CPython
    # 3.11 fail in later tests: "AST constructor recursion depth mismatch"
    gc.callbacks[:] = [each for each in gc.callbacks if not each.__module__.startswith("hypothesis")]
    print(f"{name}: {TAKEN[machine]} steps in {time.process_time() - begun:.1f} s of CPU time")
    assert TAKEN[machine] >= steps
