"""tau2's retail and airline domains: official tasks, splits, tools and policy; users that confirm (`user.confirming`).

Telecom is left out: its users act on their own phones, which a script without a model cannot do.

No groups of variants are declared: tau2 names none, and each task has a request of its own. But tasks share customers:
15 of retail's 40 held-out tasks are of 7 customers that have two or three (36 and 38, 101 and 102 are nearly the same
request), 4 of airline's 20 are of 2.
"""

from __future__ import annotations

import importlib

from harness.env.domain import Domain, TaskWorld
from harness.env.user import confirming


def load(name: str, transfer_ends: bool = False) -> Domain:
    """`name` is "retail" or "airline". Reads tau2's JSON once (1-2 s)."""
    upstream = importlib.import_module(f"tau2.domains.{name}.environment")
    environment = upstream.get_environment()
    toolkit, database = type(environment.tools), environment.tools.db
    tasks = upstream.get_tasks(None)
    split = upstream.get_tasks_split()
    worlds = [TaskWorld(task, confirming(task), database, toolkit, environment.get_policy()) for task in tasks]
    known = {task.id for task in tasks}
    train, test = ([i for i in split[part] if i in known] for part in ("train", "test"))
    return Domain(name, worlds, train, test, transfer_ends)
