"""One episode played: the policy's replies on one side, an environment (`harness.env`) on the other.

Follows upstream's `rollout_tau_bench_task` (OpenPipe/ART, dev/tau-bench): the first tool call of a reply is executed,
and the prompt's limit is looked at after the reply was acted upon, so that an episode that is over keeps its reward.
How one reply is asked for: completion.py.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import litellm

from harness.completion import PROVIDER, ContextFull, Reply, Request, clean, complete
from harness.env import Conversation, Environment, spent_in
from harness.episode import SCRIPTED, Episode, Turn
from harness.errors import EngineError, EpisodeError
from harness.factors import derive_seed

__all__ = ["PROVIDER", "EpisodePlayer", "Job", "Plays", "Sampling"]


@dataclass(frozen=True)
class Sampling:
    """How a policy is decoded, and what ends an episode.

    temperature: 0 is greedy; max_tokens: per reply; max_turns: replies at most
    max_prompt_tokens: an episode ends after a reply to a longer prompt
    """

    temperature: float
    max_tokens: int
    max_turns: int
    max_prompt_tokens: int = 20_000  # upstream's


@dataclass(frozen=True)
class Job:
    """An episode to play.

    base_url, api_key: of the server that answers `model`, which is litellm's name, provider prefix included
    seed: of the first reply, the following ones count up from it; the user's luck is drawn from it, too
    need_logprobs: a reply without log-probs is asked for again
    user: who talks to the policy (see `Episode.user`)
    """

    base_url: str
    api_key: str
    model: str
    task_id: str
    sampling: Sampling
    seed: int
    need_logprobs: bool
    user: Mapping[str, Any] = field(default_factory=lambda: dict(SCRIPTED))


class Plays(Protocol):
    async def play(self, job: Job) -> Episode:
        """The episode; `answered_by` of its turns is the model name that the server says has answered.

        Raises EpisodeError if infrastructure failed in all attempts: MissingLogprobs where log-probs are needed and did
        not come. Raises EngineError if the server refuses the request.
        """
        ...


class EpisodePlayer:
    """Plays episodes in this process, any number at once.

    in_flight: requests to the server at once
    """

    def __init__(self, domain: Environment, in_flight: int) -> None:
        litellm.suppress_debug_info = True  # it prints advice at every error otherwise
        self.domain = domain
        self._requests = asyncio.Semaphore(in_flight)

    async def play(self, job: Job) -> Episode:
        """See `Plays`."""
        env = self.domain.start(job.task_id, derive_seed(job.seed, "user"))
        try:
            return await self._play(job, env)
        except EpisodeError as error:
            error.spent = spent_in(env)
            raise

    async def _play(self, job: Job, env: Conversation) -> Episode:
        started = time.perf_counter()
        messages = [_message("system", self.domain.system_prompt), _message("user", await env.opening())]
        kept: list[dict[str, Any] | int] = list(messages)
        turns: list[Turn] = []
        sent = 0  # messages in the last request that was answered
        end, raised = "turn_limit", None
        for number in range(job.sampling.max_turns):
            # Where a turn is sure to be the first or may be the last. Those that end unforeseen are looked up below.
            with_prompt_ids = not turns or env.closing or number == job.sampling.max_turns - 1
            try:
                reply = await self._reply(job, messages, number, with_prompt_ids)
            except ContextFull:
                end = "length"
                break
            turn, sent = reply.turn, len(messages)
            kept.append(len(turns))
            turns.append(turn)
            if turn.finish_reason == "length":
                end = "length"
                break
            raised = raised or _raised(turn)
            answer = await self._act(env, turn, messages)
            if answer is None:
                end = "user_stop"
                break
            messages.append(answer)
            kept.append(answer)
            if env.done:
                end = "done"
                break
            if reply.prompt_tokens > job.sampling.max_prompt_tokens:
                end = "prompt_limit"
                break
        if turns and turns[-1].prompt_ids is None:
            turns[-1] = replace(turns[-1], prompt_ids=await self._prompt_ids(job, messages[:sent]))
        judged = env.outcome(stopped=end in ("user_stop", "done"))
        if not 0.0 <= judged.reward <= 1.0:
            raise EngineError(
                f"env={self.domain.name} judges task {job.task_id} with reward {judged.reward}; expected 0 to 1, where "
                "1.0 is success: intervals are about such rewards."
            )
        outcome = replace(judged, end=end, raised=raised)
        seconds = time.perf_counter() - started
        return Episode(job.task_id, tuple(kept), tuple(turns), outcome, seconds, dict(job.user), spent_in(env))

    async def _act(self, env: Conversation, turn: Turn, messages: list[dict[str, Any]]) -> dict[str, Any] | None:
        """Does what the turn says and adds it to `messages`; the message that answers it, None if the user stops."""
        if turn.tool_calls:
            call = turn.tool_calls[0]  # faithful to upstream: the others are dropped
            messages.append(_message("assistant", turn.content or "") | {"tool_calls": [_sent(call)]})
            result = env.call_tool(call["id"], call["name"], _arguments(call["arguments"]))
            return {"role": "tool", "tool_call_id": call["id"], "name": call["name"], "content": clean(result)}
        messages.append(_message("assistant", turn.content or ""))
        said = await env.reply(turn.content or "")
        return None if said is None else _message("user", said)

    async def _reply(self, job: Job, messages: list[dict[str, Any]], number: int, with_prompt_ids: bool) -> Reply:
        request = Request(
            job.base_url,
            job.api_key,
            job.model,
            messages,
            self.domain.tools,
            job.sampling.temperature,
            job.sampling.max_tokens,
            job.seed + number,
            with_prompt_ids,
        )
        return await complete(request, self._requests, job.need_logprobs)

    async def _prompt_ids(self, job: Job, messages: list[dict[str, Any]]) -> tuple[int, ...]:
        """The prompt's ids of a request that was answered before, from one for a single token."""
        once = replace(job, sampling=replace(job.sampling, max_tokens=1), need_logprobs=False)
        return (await self._reply(once, messages, 0, True)).turn.prompt_ids or ()


def _message(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": clean(content)}


def _sent(call: dict[str, str]) -> dict[str, Any]:
    """A call as the next prompt holds it. A server may read the arguments as JSON and refuse all else, so text that is
    none is sent as a JSON string, and none at all as {}."""
    text = call["arguments"]
    try:
        arguments = text if _parsed(text) is not None else "{}"
    except ValueError:
        arguments = json.dumps(text)
    return {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": arguments}}


def _arguments(text: str) -> dict[str, Any]:
    """A call's arguments, none for an empty text and null; other text that is no JSON object goes to the tool as it is
    and is refused there."""
    try:
        parsed = _parsed(text)
    except ValueError:
        parsed = text
    if parsed is None:
        return {}
    return parsed if isinstance(parsed, dict) else {"arguments": text}


def _raised(turn: Turn) -> str | None:
    """What upstream's loop raises over the turn's first call: `json.loads`, or pydantic's check of `Action.kwargs`."""
    if not turn.tool_calls:
        return None
    text = turn.tool_calls[0]["arguments"]
    try:
        parsed = _loaded(text)
    except ValueError as error:
        return f"{type(error).__name__}: {error}"
    return None if isinstance(parsed, dict) else f"ValidationError: kwargs is {type(parsed).__name__}, expected a dict"


def _parsed(text: str) -> Any:
    """The text as JSON; None for blank text. Raises ValueError."""
    return _loaded(text) if text.strip() else None


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("the text is nested too deeply") from error
