"""Episodes, each computed once -> `art.Trajectory`. How one is played: `episode_player.py`.

Every choice is kept, as in upstream's `rollout_tau_bench_task` (OpenPipe/ART, dev/tau-bench). What a fix changes is
asked of its seam.
"""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import art
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_message import ChatCompletionMessage
from openai.types.chat.chat_completion_message_tool_call import ChatCompletionMessageToolCall, Function
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob

from harness.env import Environment
from harness.episode import EPISODE_VERSION, SCRIPTED, Episode, Turn
from harness.episode_player import PROVIDER, Job, Plays, Sampling
from harness.errors import EngineError, EpisodeError, MissingLogprobs
from harness.project_player import player_of
from harness.records.store import Store, digest
from harness.seams import Seams

__all__ = ["PROVIDER", "Rollouts", "Sampling", "SourcedEpisode", "choice_of", "gather_groups", "trajectory"]


@dataclass(frozen=True)
class SourcedEpisode:
    """An episode and where it came from. shared_with: the run that computed it, None if this one did.

    seed: that it was asked for with; it is part of the key
    again: the run had asked for it before, and found it
    """

    episode: Episode
    key: str
    shared_with: str | None
    seed: int | None = None
    again: bool = field(default=False, compare=False)

    @property
    def computed(self) -> bool:
        """Whether the run had to play it, in this start or in one before that was stopped."""
        return self.shared_with is None and not self.again


@dataclass
class Rollouts:
    """Episodes of one sweep's policies, each computed once.

    endpoint: base URL and API key of the server that answers a model name (without provider prefix)
    serve: keeps the adapter behind a model name loaded while the context is open
    weights: digest of the weights behind a model name (without provider prefix)
    alive: raises EngineError once the server is gone, so that its end is not taken for missing episodes, nor what then
        answers on its port for the server
    in_flight: requests to the server at once, over all runs
    player: plays the episodes; None: one in this process
    exact: greedy decoding repeats itself (see `Evidence.exact`)
    user: who talks to the policy (see `Episode.user`)
    batch_invariant: the server computes with other kernels, so what it answers is kept apart
    """

    domain: Environment
    policy_digest: str
    store: Store
    endpoint: Callable[[str], tuple[str, str]]
    serve: Callable[[str], AbstractAsyncContextManager[None]]
    weights: Callable[[str], str]
    alive: Callable[[], None] = lambda: None
    in_flight: int = 48
    player: Plays | None = None
    exact: bool = True
    user: Mapping[str, Any] = field(default_factory=lambda: dict(SCRIPTED))
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        self._player = self.player or player_of(self.domain, self.in_flight)
        self._without_logprobs: set[str] = set()  # weights of which a reply came without them
        self._had: set[tuple[str, str]] = set()  # run, key of an episode

    async def episode(
        self, run: str, model: str, task_id: str, sampling: Sampling, seed: int, need_logprobs: bool
    ) -> SourcedEpisode:
        """The episode of `model` (litellm's name) on a task. Raises EpisodeError if infrastructure failed,
        which a reply without log-probs is when they are needed.

        Who needs no log-probs shares the episode of those who do, and has one of its own only where they do not come:
        an episode without them must not be found by who needs them.
        """
        name = model.removeprefix(PROVIDER)

        async def get(with_logprobs: bool) -> SourcedEpisode:
            async def compute() -> bytes:
                async with self.serve(name):
                    job = Job(*self.endpoint(name), model, task_id, sampling, seed, with_logprobs, self.user)
                    return (await self._play(job)).to_bytes()

            key = self._key(name, task_id, sampling, seed, with_logprobs)
            found = await self.store.get("episodes", key, run, compute)
            again = self.store.reuse and (run, key) in self._had
            self._had.add((run, key))
            return SourcedEpisode(Episode.from_bytes(found.value), key, found.shared_with, seed, again)

        def stored(with_logprobs: bool) -> bool:
            key = self._key(name, task_id, sampling, seed, with_logprobs)
            return self.store.reuse and self.store.file("episodes", key).exists()

        # One that is stored goes first, so that a run that is continued finds what it had.
        without = not need_logprobs and (
            stored(False) or (self.weights(name) in self._without_logprobs and not stored(True))
        )
        try:
            return await get(with_logprobs=not without)
        except MissingLogprobs:
            self._without_logprobs.add(self.weights(name))  # so that not every episode is asked for three times first
            if need_logprobs:
                raise
            return await get(with_logprobs=False)

    def _key(self, name: str, task_id: str, sampling: Sampling, seed: int, with_logprobs: bool) -> str:
        """Of all that an episode depends on, and of what its caller needs of it."""
        return digest(
            "episode",
            EPISODE_VERSION,
            self.weights(name),
            self.policy_digest,
            self.domain.digest,
            self.domain.task_digest(task_id),
            dict(self.user),
            vars(sampling),
            seed,
            "with log-probs" if with_logprobs else "without",
            *(("batch invariant",) if self.batch_invariant else ()),
        )

    async def _play(self, job: Job) -> Episode:
        try:
            episode = await self._player.play(job)
        except EpisodeError as error:
            self._count(error.spent)
            self.alive()
            raise
        self._count(episode.spent)
        self.alive()
        # A player knows names; what they stand for is known here.
        turns = (replace(turn, answered_by=self.weights(turn.answered_by)) for turn in episode.turns)
        return replace(episode, turns=tuple(turns))

    def _count(self, spent: Mapping[str, int] | None) -> None:
        """What users cost, beside what the store counts."""
        self.store.counts.update({f"user/{name}": value for name, value in (spent or {}).items()})


async def gather_groups(
    tasks: Sequence[str], rollouts_per_group: int, rollout: Callable[[str, int], Awaitable[art.Trajectory]]
) -> list[art.TrajectoryGroup]:
    """ART's gathering of one group per task, in the order of tasks and rollout numbers.

    An EpisodeError leaves its rollout out of the group: missing data. When no rollout is left, that is no data but a
    fault: EngineError with the last reason. Anything else is raised, which ART's gathering alone would not do. ART
    collects rollouts as they complete; the order decides how they are packed and so, in the last digits, what is
    learned, therefore it must not depend on who finished first.
    """
    fatal: list[BaseException] = []
    missing: list[EpisodeError] = []

    async def guarded(task: str, number: int) -> art.Trajectory:
        try:
            return await rollout(task, number)
        except EpisodeError as error:
            missing.append(error)
            raise
        except BaseException as error:
            fatal.append(error)
            raise

    groups = await art.gather_trajectory_groups(
        # of coroutines ART makes a coroutine, which its types say of __new__ and mypy reads of __init__
        (art.TrajectoryGroup(guarded(t, i) for i in range(rollouts_per_group)) for t in tasks),  # type: ignore[misc]
        max_exceptions=math.inf,
    )
    if fatal:
        raise fatal[0]
    if missing and len(missing) == len(tasks) * rollouts_per_group:
        raise EngineError(f"Not one of {len(missing)} rollouts could be played. {missing[-1]}") from missing[-1]
    for group in groups:
        group.trajectories.sort(key=lambda t: int(t.metadata["rollout"] or 0))
    return groups


def trajectory(asked: SourcedEpisode, number: int, seams: Seams, tools: list[dict[str, Any]]) -> art.Trajectory:
    """The trajectory that an arm makes of an episode. Raises EpisodeError if log-probs must be there and are not.

    An empty one has no token to train, and ART (0.5.18, `tokenize_trajectory_groups`) counts its reward in the mean and
    the spread of its group.
    """
    episode = asked.episode
    kept = episode.messages if seams.reward.trains_on(episode.outcome) else ()
    messages: list[Any] = [  # dictionaries, which ART types one by one
        seams.logprobs.keep(choice_of(episode.turns[m])) if isinstance(m, int) else m for m in kept
    ]
    attached: list[Any] | None = seams.tools.attach(tools)
    return art.Trajectory(
        messages_and_choices=messages,
        tools=attached,
        reward=seams.reward.training_reward(episode.outcome),
        metrics={"raw_reward": episode.outcome.reward},
        metadata={"task": episode.task_id, "episode": asked.key, "rollout": number},
    )


def choice_of(turn: Turn) -> Choice:
    """The turn as ART keeps it; log-probs carry token ids, as vLLM's `return_tokens_as_token_ids` gives them."""
    calls = [
        ChatCompletionMessageToolCall(
            id=c["id"], type="function", function=Function(name=c["name"], arguments=c["arguments"])
        )
        for c in turn.tool_calls
    ]
    content = [
        ChatCompletionTokenLogprob(token=f"token_id:{i}", logprob=p, top_logprobs=[])
        for i, p in zip(turn.output_ids, turn.logprobs or (), strict=turn.logprobs is not None)
    ]
    return Choice(
        index=0,
        finish_reason=turn.finish_reason,  # type: ignore[arg-type]
        message=ChatCompletionMessage(role="assistant", content=turn.content, tool_calls=calls or None),  # type: ignore[arg-type]
        logprobs=ChoiceLogprobs(content=content) if turn.logprobs is not None else None,
    )
