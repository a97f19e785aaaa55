"""Conversations of the scripted agent in tau2's real environment, as chat messages without the system message."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from experiments.warm_starts.retail import agent
from harness.env import Outcome
from harness.env.domain import Domain
from harness.env.retail_tasks import generator
from harness.env.retail_tasks.agent import Message, played
from harness.env.retail_tasks.generator import RetailTask
from harness.env.retail_tasks.worlds import Population

TRAINING_SHARE = 0.12  # of demonstrations that show a task of tau2's training split
RELABELLED = 0.75  # of these under new ids


@dataclass(frozen=True)
class Demonstration:
    """messages: from the user's opening on; wrong: the decisions that the agent took wrongly."""

    messages: list[Message]
    wrong: tuple[str, ...]
    outcome: Outcome


def demonstrate(task: RetailTask, random: Random, right: dict[str, float]) -> Demonstration:
    """Plays the task as the agent decides. `right`: see `agent.RIGHT`."""
    goals, gives_up, wrong = agent.decide(task, random, right)
    shown = played(task, agent.play(task, goals, gives_up))
    return Demonstration(shown.messages, wrong, shown.outcome)


class Source:
    """Endless fresh demonstrations. No held-out task, customer or order is ever shown."""

    def __init__(self, domain: Domain, right: dict[str, float]) -> None:
        self._right = right
        self._population = Population(domain)
        training = (generator.of_training(domain, task_id) for task_id in domain.train_ids)
        self.training = [task for task in training if is_mastered(task)]

    def stream(self, seed: str) -> Iterator[Demonstration]:
        random = Random(f"retail/{seed}")
        while True:
            yield demonstrate(self._task(random), random, self._right)

    def _task(self, random: Random) -> RetailTask:
        if random.random() >= TRAINING_SHARE:
            return generator.generate(self._population, random)
        task = random.choice(self.training)
        return generator.relabelled(task, random) if random.random() < RELABELLED else task


def is_mastered(task: RetailTask) -> bool:
    """Whether the agent earns the full reward when it decides rightly; else a demonstration would teach an error."""
    return demonstrate(task, Random(0), agent.ALWAYS).outcome.reward == 1.0
