"""domain=retail_generated: generated retail tasks to train on, others of held-out customers to validate on.

Policy text, tools, evaluator and users are those of tau2's retail domain. Training tasks are of the customers that
demonstrations may be of; held-out ones are of the customers of tau2's held-out tasks, whom no demonstration shows.
These customers are in two halves: `verdict`, and `tuning` for whoever tunes a policy or a rate first.

A task is drawn from its number, the seed and the name of its set alone: a longer list starts with the shorter one.
Kind, customer and words are drawn independently for each task, so no groups of variants are declared: the tasks are a
sample of what the generator makes for the customers of its half.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from random import Random

from harness.env import tau2_tasks
from harness.env.domain import Domain, Scripted, ScriptedConversation, Withholding
from harness.env.environment import Step
from harness.env.retail_tasks.agent import faultless, idle, played, thorough
from harness.env.retail_tasks.generator import RetailTask, generate, known
from harness.env.retail_tasks.requests import KINDS
from harness.env.retail_tasks.worlds import HALVES, Population
from harness.errors import ConfigError, closest

NAME = "retail_generated"
Tasks = list[RetailTask]
UNSEEN, OFFICIAL = "unseen_kinds", "retail"  # names of further validation sets


class GeneratedRetail(Domain):
    """The domain, and beside each task what is to be reached in it.

    validation_sets: `retail`, tau2's own held-out tasks; `unseen_kinds` where some kinds are never trained on
    """

    def __init__(
        self,
        retail: Domain,
        train: Sequence[RetailTask],
        test: Sequence[RetailTask],
        unseen: Sequence[RetailTask],
        transfer_ends: bool = False,
    ) -> None:
        self._retail = retail
        self._generated = {task.world.task.id: task for task in (*train, *test, *unseen)}
        worlds = [task.world for task in self._generated.values()] + [retail.world(i) for i in retail.test_ids]
        further = {UNSEEN: _ids(unseen)} if unseen else {}
        further[OFFICIAL] = list(retail.test_ids)
        super().__init__(NAME, worlds, _ids(train), _ids(test), transfer_ends, validation_sets=further)

    def task(self, task_id: str) -> RetailTask:
        """Raises KeyError for an id that does not exist."""
        if task_id in self._retail.test_ids:
            return known(self._retail, task_id)
        return self._generated[task_id]

    def solution(self, task_id: str) -> Iterator[Step]:
        """See `harness.env.environment.Solved`."""
        task = self.task(task_id)
        return faultless(task, task.goals)

    def bounds(self, task_ids: Sequence[str]) -> tuple[float, float]:
        """See `harness.env.environment.Bounded`."""
        floor = [self._earned(task_id, lambda task, talk: idle()) for task_id in task_ids]
        ceiling = [self._earned(task_id, self._without_mistakes) for task_id in task_ids]
        return sum(floor) / len(floor), sum(ceiling) / len(ceiling)

    def _earned(self, task_id: str, agent: Callable[[RetailTask, ScriptedConversation], Iterator[Step]]) -> float:
        """The agent's reward on a task, with one luck of its user; for a user who is a model, with the scripted one."""
        task = self.task(task_id)
        users = self.users if isinstance(self.users, Withholding) else Scripted()
        conversation = users.start(task.world, 0, self.transfer_ends)
        return played(task, agent(task, conversation), conversation).outcome.reward

    def _without_mistakes(self, task: RetailTask, conversation: ScriptedConversation) -> Iterator[Step]:
        if isinstance(self.users, Withholding):
            return thorough(task, task.goals, conversation)
        return faultless(task, task.goals)


def load(
    *,
    tasks: int = 30,
    validation_tasks: int = 60,
    task_seed: int = 0,
    requests: int = 1,
    kinds: Sequence[str] | None = None,
    unseen_kinds: Sequence[str] = (),
    customers: str = "verdict",
    transfer_ends: bool = False,
) -> GeneratedRetail:
    """tasks, validation_tasks: how many to train on, and in each generated validation set.

    requests: of a task; kinds: of requests (`requests.KINDS`), None: all
    unseen_kinds: of these no task is trained on; each task of the validation set `unseen_kinds` begins with one
    customers: the half of the held-out customers, `tuning` or `verdict`
    Takes about 1 s, and 10 ms for each generated task. Raises ConfigError for what cannot be generated.
    """
    seen, unseen = _kinds(kinds, unseen_kinds)
    if customers not in HALVES:
        raise ConfigError(f"env.customers is {customers!r}; expected one of {', '.join(HALVES)}.")
    retail, training, held_out = _retail(), _population(None), _population(customers)

    def drawn(name: str, count: int, of: Population, among: Sequence[str], first: Sequence[str] = ()) -> Tasks:
        made = []
        for number in range(count):
            random = Random(f"{NAME}/{task_seed}/{name}/{number}")
            try:
                task = generate(of, random, requests, among, first or None)
            except ValueError as error:
                text = f"env.requests={requests} asks for too much: {error}. Lower it, or give more kinds."
                raise ConfigError(text) from None
            made.append(_named(task, f"{name}_{number:03d}.{'+'.join(task.kinds)}", retail.system_prompt))
        return made

    return GeneratedRetail(
        retail,
        drawn("train", tasks, training, seen),
        drawn(customers, validation_tasks, held_out, seen),
        drawn(f"{customers}_unseen", validation_tasks, held_out, (*seen, *unseen), unseen) if unseen else [],
        transfer_ends,
    )


@cache
def _retail() -> Domain:
    """Read once in a process, and never changed."""
    return tau2_tasks.load("retail")


@cache
def _population(half: str | None) -> Population:
    return Population(_retail(), half)


def kinds_of(task_ids: Sequence[str]) -> Mapping[str, int]:
    """How many requests of each kind these generated tasks have, by their ids."""
    found = [kind for task_id in task_ids for kind in task_id.partition(".")[2].split("+")]
    return {kind: found.count(kind) for kind in KINDS if kind in found}


def _kinds(kinds: Sequence[str] | None, unseen: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    for option, given in (("env.kinds", kinds or ()), ("env.unseen_kinds", unseen)):
        for kind in given:
            if kind not in KINDS:
                raise ConfigError(f"{option} names {kind!r}.{closest(kind, KINDS)} Kinds: {', '.join(KINDS)}.")
    if kinds is not None and (both := [kind for kind in kinds if kind in unseen]):
        raise ConfigError(f"{both[0]} is in env.kinds and in env.unseen_kinds; expected it in one of them.")
    seen = tuple(kind for kind in KINDS if kind in (KINDS if kinds is None else kinds) and kind not in unseen)
    if not seen:
        raise ConfigError(
            "No kind of request is left to train on. Give more in env.kinds, or fewer in env.unseen_kinds."
        )
    return seen, tuple(kind for kind in KINDS if kind in unseen)


def _named(task: RetailTask, task_id: str, policy: str) -> RetailTask:
    """The task under this id, with the domain's policy text; its database is its own."""
    renamed = task.world.task.model_copy(update={"id": task_id})
    return replace(task, world=replace(task.world, task=renamed, policy=policy, own=True))


def _ids(tasks: Sequence[RetailTask]) -> list[str]:
    return [task.world.task.id for task in tasks]
