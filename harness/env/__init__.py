"""The world that the policy acts in: tau2's environments, tools and official evaluators, without an LLM.

    domain.py     Domain, Episode, Outcome: one task played and scored
    overlay.py    copy-on-write databases: an episode costs what it touches, not what the database holds
    user.py       scripted users: who speaks next, and when they stop
    mock.py       a seeded generator of small tasks over tau2's mock tools
    tau2_tasks.py  tau2's own retail and airline tasks with their official splits

Start with `load_domain("mock")`, then `domain.start(task_id)`.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from loguru import logger

logger.disable("tau2")  # before its first import, which warns of a missing .env; its tools log every answer

from harness.env.domain import Domain, Episode, Outcome  # noqa: E402
from harness.errors import ConfigError  # noqa: E402

__all__ = ["DOMAINS", "Domain", "Episode", "Outcome", "load_domain"]

DOMAINS = ("mock", "retail", "airline")


def load_domain(name: str, *, tasks: int = 75, seed: int = 0, only: Sequence[str] | None = None) -> Domain:
    """The domain of this name. `tasks` and `seed` shape the generated `mock` tasks; the others are fixed.

    only: ids of the tasks to keep, in any order; each stays in its split. None: all
    Takes about 1 s (tau2's import), for airline 2 s. Raises ConfigError for an unknown name or id.
    """
    if name == "mock":
        from harness.env import mock

        domain = mock.load(tasks=tasks, seed=seed)
    elif name in DOMAINS:
        from harness.env import tau2_tasks

        domain = tau2_tasks.load(name)
    else:
        near = difflib.get_close_matches(name, DOMAINS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"No domain is called {name!r}.{hint} Valid: {', '.join(DOMAINS)}.")
    return domain if only is None else domain.part(only)
