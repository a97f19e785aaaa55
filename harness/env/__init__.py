"""The worlds that the policy acts in, and their users. No model, no tokens, no network.

    environment.py  Environment, Conversation: what the harness needs of a world; yours needs no more
    project.py      Project: an ART project's tasks and own rollout, in the place of an environment
    agents.py       oracle, floor, random: three agents without a model, for any environment
    load.py         plain data -> Environment, with an early word on what is wrong
    domain.py       tau2's worlds: one task played call by call, scored by tau2's official evaluators
    overlay.py      copy-on-write databases: an episode costs what it touches, not what the database holds
    user.py         scripted users: who speaks next, and when they stop
    withholding.py  the withholding user: luck, facts that are told when they are asked for; tau2_role.py: what a model
                    is told that plays the user
    mock.py         domain=mock: a seeded generator of small tasks over tau2's mock tools
    tau2_tasks.py   domain=retail, airline: tau2's own tasks with their official splits
    telecom_solo.py  domain=telecom_solo: tau2's telecom without a user: a ticket, and the customer's phone as tools
    tau1.py         domain=tau1_retail, tau1_airline: tau-bench v1, from a checkout whose path is given
    retail_tasks/   domain=retail_generated: generated tasks on small worlds; warm starts are shown others of them
    search_qa/      env=search_qa: questions about an inbox, a positive control without tau2

A world knows nothing of policies, fixes, rollouts or the store: it is asked for a conversation, told what the policy
said, and judges. Whoever plays knows `Environment` and `Conversation`, and none of the files behind them.

Start with `load_domain("mock")`, then `.start(task_id)`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from loguru import logger

logger.disable("tau2")  # before its first import, which warns of a missing .env; its tools log every answer

from harness.env.agents import bounds  # noqa: E402
from harness.env.environment import (  # noqa: E402
    AwaitedUser,
    Conversation,
    Environment,
    Role,
    declared_user,
    spent_in,
    task_groups,
    validation_sets,
)
from harness.env.load import load_environment  # noqa: E402
from harness.errors import ConfigError  # noqa: E402
from harness.seams import Outcome  # noqa: E402

if TYPE_CHECKING:
    from harness.env.domain import Domain

__all__ = [
    "DOMAINS",
    "AwaitedUser",
    "Conversation",
    "Environment",
    "Outcome",
    "Role",
    "bounds",
    "declared_user",
    "load_domain",
    "load_environment",
    "spent_in",
    "task_groups",
    "validation_sets",
]

DOMAINS = ("mock", "retail", "airline", "telecom_solo")


def load_domain(
    name: str, *, tasks: int = 75, seed: int = 0, only: Sequence[str] | None = None, transfer_ends: bool = False
) -> Domain:
    """The domain of this name. `tasks` and `seed` shape the generated `mock` tasks; the others are fixed.

    only: ids of the tasks to keep, in any order; each stays in its split. None: all
    transfer_ends: see `Domain`
    Takes about 1 s (tau2's import), for airline 2 s. Raises ConfigError for an unknown name or id.
    """
    if name == "mock":
        from harness.env import mock

        domain: Domain = mock.load(tasks=tasks, seed=seed, transfer_ends=transfer_ends)
    elif name == "telecom_solo":
        from harness.env import telecom_solo

        domain = telecom_solo.load(transfer_ends)
    elif name in DOMAINS:
        from harness.env import tau2_tasks

        domain = tau2_tasks.load(name, transfer_ends)
    else:
        near = difflib.get_close_matches(name, DOMAINS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"No domain is called {name!r}.{hint} Valid: {', '.join(DOMAINS)}.")
    return domain if only is None else domain.part(only)
