"""Stands where a server, a trainer and an environment would: made-up episodes, and what was asked of them."""

from types import SimpleNamespace
from typing import Any

import art
import numpy as np

from harness.backend import ScoredReply, Trained
from harness.backend.context import ContextKind
from harness.episode import Episode, Turn
from harness.factors import Arm, Run
from harness.fixes import endpoint, exploration, logprobs, reward, split, tools
from harness.rollout import SourcedEpisode
from harness.seams import Outcome, Rendering, Seams

SEAMS = Seams(endpoint.On(), tools.On(), exploration.On(), reward.On(), logprobs.On(), split.On())
RUN = Run(Arm.of({"endpoint": "on", "tools": "off"}), seed=5)
TOOLS = [{"type": "function", "function": {"name": "close"}}]


def turn(
    ids=(7,), by="weights of policy@0", content="Done.", calls=(), logprobs: bool = True, temperature: float = 1.0
) -> Turn:
    kept = (-0.1,) * len(ids) if logprobs else None
    return Turn((1, 2), tuple(ids), kept, content, tuple(calls), "stop", by, temperature)


def outcome(success=0.0, met=0, end="user_stop", raised: str | None = None) -> Outcome:
    """met: of the four actions; the task has no other check."""
    return Outcome(success, met, 4, 0, 0, None, end, raised)


def episode(task, *turns: Turn, success=0.0, met=0, end="user_stop", raised: str | None = None) -> Episode:
    turns = turns or (turn(),)
    messages = ({"role": "user", "content": f"please {task}"}, *range(len(turns)))
    return Episode(task, messages, turns, outcome(success, met, end, raised), 0.1)


def without_room(task) -> Episode:
    """An episode whose first prompt fills the context."""
    return Episode(task, ({"role": "user", "content": f"please {task}"},), (), outcome(end="length"), 0.1)


class Rollouts:
    """Stands for `harness.rollout.Rollouts`.

    play: (task, model, seed) -> Episode, or raises EpisodeError
    shared: tasks whose episodes another run had computed
    calls: what was asked for, in order
    """

    def __init__(self, task_ids, play=None, exact=True, shared=()):
        self.domain = SimpleNamespace(train_ids=tuple(task_ids), test_ids=(), tools=TOOLS)
        self.play = play or (lambda task, model, seed: episode(task))
        self.exact = exact
        self.shared = shared
        self.calls: list[SimpleNamespace] = []

    def weights(self, name: str) -> str:
        return f"weights of {name}"

    async def episode(self, run, model, task_id, sampling, seed, need_logprobs) -> SourcedEpisode:
        self.calls.append(
            SimpleNamespace(
                run=run, model=model, task=task_id, sampling=sampling, seed=seed, need_logprobs=need_logprobs
            )
        )
        played = self.play(task_id, model, seed)
        return SourcedEpisode(
            played, f"key of {task_id} {seed}", "another/seed=5" if task_id in self.shared else None, seed
        )


class Policy:
    """Stands for `art.TrainableModel`: registered at step 0; its current name moves with every update."""

    def __init__(self, pinned: str | None = "policy@0"):
        self.inference_model_name = pinned
        self.step = 0

    def get_inference_name(self) -> str:
        return f"policy@{self.step}"


class Backend:
    """Stands for `harness.backend.Backend`; updates: (groups, options) of every training call.

    contexts: what it says was trained
    scores: by model name, the trainer's log-prob of every token; names that are not in it cannot be scored
    scored: what was asked to be scored, as (name, replies), in order
    """

    def __init__(
        self, metrics: dict[str, float] | None = None, scores: dict[str, float] | None = None, contexts: Any = ()
    ):
        self.metrics = metrics or {}
        self.scores = scores or {}
        self.contexts = contexts
        self.scored: list[tuple[str, list[ScoredReply]]] = []
        self.updates: list[tuple[list[art.TrajectoryGroup], dict[str, Any]]] = []

    async def train(self, model, trajectory_groups, **options):
        self.updates.append((list(trajectory_groups), options))
        model.step += 1
        return SimpleNamespace(metrics=self.metrics)

    async def score(self, name, replies):
        self.scored.append((name, list(replies)))
        if name not in self.scores:
            return None
        return [np.full(len(reply.output_ids), self.scores[name], np.float32) for reply in replies]

    def trained(self, model) -> Trained:
        return Trained(f"update {model.step}", None)

    def trained_contexts(self, model):
        return self.contexts

    def row_length(self, wanted: int) -> int:
        return wanted - 1


class Contexts:
    """Stands for `harness.backend.context.Contexts`: what it finds, in the order of the trained contexts.

    length: tokens of every episode, or by task
    """

    def __init__(self, *found: ContextKind, length: int = 10, **by_task: int):
        self.found, self.default, self.by_task = found, length, by_task
        self.attached: list[Any] = []
        self.renderings: set[Rendering] = set()

    def judge(self, trained, asked) -> list[ContextKind]:
        return list(self.found[: len(trained)])

    def length(self, asked: SourcedEpisode, attached, rendering: Rendering) -> int:
        self.attached.append(attached)
        self.renderings.add(rendering)
        return self.by_task.get(asked.episode.task_id, self.default)


class Records:
    """Stands for `RunRecords`: lines in the order in which they were added."""

    def __init__(self):
        self.lines: list[tuple[str, dict[str, Any]]] = []
        self.trajectories: list[dict[str, Any]] = []

    def add(self, name, line):
        self.lines.append((name, line))

    def write_trajectories(self, rows):
        self.lines.append(("trajectories", {}))
        self.trajectories = rows

    def of(self, name) -> list[dict[str, Any]]:
        return [line for kind, line in self.lines if kind == name]
