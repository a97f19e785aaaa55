"""One episode: the policy behind litellm, the environment behind tau2 -> `art.Trajectory`.

Follows upstream's `rollout_tau_bench_task` (OpenPipe/ART, dev/tau-bench): litellm's `acompletion`, the
first tool call of a reply is executed, every choice is kept and converted by ART's own converter. What a
fix changes is asked of its seam.
"""

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import art
import litellm
from art.utils.litellm import convert_litellm_choice_to_openai
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_message import ChatCompletionMessage
from openai.types.chat.chat_completion_message_tool_call import ChatCompletionMessageToolCall, Function
from openai.types.chat.chat_completion_token_logprob import ChatCompletionTokenLogprob

from harness.env import Domain
from harness.episode import Episode, Turn
from harness.errors import EngineError, EpisodeError
from harness.seams import Seams
from harness.store import Store, digest

PROVIDER = "hosted_vllm/"
# Part of every key in the store: raise it when a change here or in the environment changes what an episode is.
RESULTS_VERSION = 1
# Faults of the connection or the server: the same request may succeed when it is sent again.
RETRYABLE = (
    litellm.exceptions.APIConnectionError,
    litellm.exceptions.InternalServerError,
    litellm.exceptions.RateLimitError,
    litellm.exceptions.ServiceUnavailableError,
    litellm.exceptions.Timeout,
)
ATTEMPTS = 3


@dataclass(frozen=True)
class Sampling:
    """How a policy is decoded. temperature 0 is greedy; max_tokens per reply; max_turns replies at most."""

    temperature: float
    max_tokens: int
    max_turns: int


@dataclass(frozen=True)
class Asked:
    """An episode and where it came from. shared_with: the run that computed it, None if this one did."""

    episode: Episode
    key: str
    shared_with: str | None


@dataclass
class Rollouts:
    """Episodes of one sweep's policies, each computed once.

    endpoint: base URL and API key of the server that answers a model name (without provider prefix)
    serve: keeps the adapter behind a model name loaded while the context is open
    weights: digest of the weights behind a model name (without provider prefix)
    alive: raises EngineError once the server is gone, so that its end is not taken for missing episodes
    in_flight: requests to the server at once, over all runs
    """

    domain: Domain
    policy_digest: str
    store: Store
    endpoint: Callable[[str], tuple[str, str]]
    serve: Callable[[str], AbstractAsyncContextManager[None]]
    weights: Callable[[str], str]
    alive: Callable[[], None] = lambda: None
    in_flight: int = 48

    def __post_init__(self) -> None:
        self._requests = asyncio.Semaphore(self.in_flight)

    async def episode(
        self, run: str, model: str, task_id: str, sampling: Sampling, seed: int, need_logprobs: bool
    ) -> Asked:
        """The episode of `model` (litellm's name) on a task. Raises EpisodeError if infrastructure failed,
        which a reply without log-probs is when they are needed."""
        key = digest(
            "episode",
            RESULTS_VERSION,
            self.weights(model.removeprefix(PROVIDER)),
            self.policy_digest,
            self.domain.digest,
            self.domain.task_digest(task_id),
            [sampling.temperature, sampling.max_tokens, sampling.max_turns],
            seed,
        )

        async def compute() -> bytes:
            async with self.serve(model.removeprefix(PROVIDER)):
                return (await self._play(model, task_id, sampling, seed, need_logprobs)).to_bytes()

        found = await self.store.get("episodes", key, run, compute)
        return Asked(Episode.from_bytes(found.value), key, found.shared_with)

    async def _play(
        self, model: str, task_id: str, sampling: Sampling, seed: int, need_logprobs: bool
    ) -> Episode:
        started = time.perf_counter()
        env = self.domain.start(task_id)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": self.domain.system_prompt},
            {"role": "user", "content": env.opening},
        ]
        kept: list[dict[str, Any] | int] = list(messages)
        turns: list[Turn] = []
        end = "turn_limit"
        for number in range(sampling.max_turns):
            try:
                turn = await self._complete(model, messages, sampling, seed + number, need_logprobs)
            except litellm.exceptions.BadRequestError as error:  # ContextWindowExceededError is one
                if "context" not in str(error).lower() or not turns:
                    raise EngineError(f"The server refused a request for {model}: {error}") from error
                end = "length"
                break
            kept.append(len(turns))
            turns.append(turn)
            if turn.finish_reason == "length":
                end = "length"
                break
            if turn.tool_calls:
                call = turn.tool_calls[0]  # faithful to upstream: the others are dropped
                messages.append(_assistant(turn.content, [call]))
                result = env.call_tool(call["id"], call["name"], _arguments(call["arguments"]))
                answer = {"role": "tool", "tool_call_id": call["id"], "content": result}
            else:
                messages.append(_assistant(turn.content, []))
                said = env.reply(turn.content or "")
                if said is None:
                    end = "user_stop"
                    break
                answer = {"role": "user", "content": said}
            messages.append(answer)
            kept.append(answer)
        outcome = env.outcome(stopped=end == "user_stop")
        return Episode(task_id, tuple(kept), tuple(turns), outcome, end, time.perf_counter() - started)

    async def _complete(
        self, model: str, messages: list[dict[str, Any]], sampling: Sampling, seed: int, need_logprobs: bool
    ) -> Turn:
        failure: Exception | str = ""
        base_url, api_key = self.endpoint(model.removeprefix(PROVIDER))
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(0.2 * 2**attempt if attempt else 0)
            try:
                async with self._requests:
                    response = await litellm.acompletion(
                        model=model,
                        api_base=base_url,
                        api_key=api_key,
                        messages=messages,
                        tools=self.domain.tools,
                        temperature=sampling.temperature,
                        max_completion_tokens=sampling.max_tokens,
                        seed=seed % 2**31,
                        logprobs=True,
                        extra_body={"return_tokens_as_token_ids": True, "return_token_ids": True},
                        num_retries=0,
                        timeout=300,
                    )
            except RETRYABLE as error:
                self.alive()
                failure = error
                continue
            turn = self._turn(response, len(messages))
            if turn.logprobs is not None or not need_logprobs:
                return turn
            failure = "the reply carries no log-probs although they were requested"
        raise EpisodeError(f"{ATTEMPTS} requests for {model} failed, the last with: {failure}")

    def _turn(self, response: Any, position: int) -> Turn:
        choice = convert_litellm_choice_to_openai(response.choices[0])
        calls = [
            # The server draws random ids; ours depend on the position alone.
            {"id": f"call_{position}_{i}", "name": c.function.name, "arguments": c.function.arguments}
            for i, c in enumerate(choice.message.tool_calls or [])
        ]
        tokens = choice.logprobs.content if choice.logprobs else None
        answered = response.model.removeprefix(PROVIDER)
        return Turn(
            tuple(response.prompt_token_ids),
            tuple(int(t.token.removeprefix("token_id:")) for t in tokens or ()),
            tuple(t.logprob for t in tokens) if tokens else None,
            choice.message.content,
            tuple(calls),
            choice.finish_reason,
            self.weights(answered),
        )


async def gather_groups(
    tasks: Sequence[str], rollouts_per_group: int, rollout: Callable[[str, int], Awaitable[art.Trajectory]]
) -> list[art.TrajectoryGroup]:
    """ART's gathering of one group per task, in the order of tasks and rollout numbers.

    An EpisodeError leaves its rollout out of the group: missing data. Anything else is raised, which ART's
    gathering alone would not do. ART collects rollouts as they complete; the order decides how they are packed
    and so, in the last digits, what is learned, therefore it must not depend on who finished first.
    """
    fatal: list[BaseException] = []

    async def guarded(task: str, number: int) -> art.Trajectory:
        try:
            return await rollout(task, number)
        except EpisodeError:
            raise
        except BaseException as error:
            fatal.append(error)
            raise

    groups = await art.gather_trajectory_groups(
        (art.TrajectoryGroup(guarded(t, i) for i in range(rollouts_per_group)) for t in tasks),
        max_exceptions=math.inf,
    )
    if fatal:
        raise fatal[0]
    for group in groups:
        group.trajectories.sort(key=lambda t: int(t.metadata["rollout"] or 0))
    return groups


def trajectory(asked: Asked, number: int, seams: Seams, tools: list[dict[str, Any]]) -> art.Trajectory:
    """The trajectory that an arm makes of an episode. Raises EpisodeError if log-probs must be there and are not."""
    episode = asked.episode
    return art.Trajectory(
        messages_and_choices=[
            seams.logprobs.keep(choice_of(episode.turns[m])) if isinstance(m, int) else m
            for m in episode.messages
        ],
        tools=seams.tools.attach(tools),
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


def _assistant(content: str | None, calls: list[dict[str, str]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": content or ""}
    if calls:
        message["tool_calls"] = [
            {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
            for c in calls
        ]
    return message


def _arguments(text: str) -> dict[str, Any]:
    """A call's arguments; text that is no JSON object goes to the tool as it is and is refused there."""
    try:
        parsed = json.loads(text)
    except json.JSONDecodeError:
        parsed = None
    return parsed if isinstance(parsed, dict) else {"arguments": text}
