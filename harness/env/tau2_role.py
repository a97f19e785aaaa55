"""What tau2 tells the model that plays the user of a task: its own guidelines, and the task's scenario.

As `UserSimulator.system_prompt` of tau2 (user/user_simulator.py), which is not imported: with it comes `llm_utils`, and
that sets `litellm.drop_params` for the whole process: a parameter that an endpoint does not know would be dropped
in silence.
"""

from __future__ import annotations

from functools import cache

from tau2.data_model.tasks import Task
from tau2.utils import DATA_DIR

from harness.env.environment import Role

GUIDELINES = DATA_DIR / "tau2" / "user_simulator" / "simulation_guidelines.md"
STOPS = ("###STOP###", "###TRANSFER###", "###OUT-OF-SCOPE###")  # tau2/user/base.py; all three end as the user's stop


def role_of(task: Task) -> Role:
    return Role(f"{_guidelines()}\n\n<scenario>\n{task.user_scenario}\n</scenario>".strip(), STOPS)


@cache
def _guidelines() -> str:
    return str(GUIDELINES.read_text(encoding="utf-8"))
