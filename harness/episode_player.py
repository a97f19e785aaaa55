"""One episode played: the policy behind litellm, on the other side an environment (`harness.env`).

Follows upstream's `rollout_tau_bench_task` (OpenPipe/ART, dev/tau-bench): litellm's `acompletion`, the first tool call
of a reply is executed, every choice is converted by ART's own converter.

The prompt's token ids are asked for on the first turn and the last one only: on retail they are 5,000 numbers, and
every answer that carries them costs the client as much again as all the rest of the call.
"""

import asyncio
import json
import time
from dataclasses import dataclass, replace
from typing import Any, Protocol

import litellm
from art.utils.litellm import convert_litellm_choice_to_openai

from harness.env import Environment
from harness.episode import Episode, Turn
from harness.errors import EngineError, EpisodeError

PROVIDER = "hosted_vllm/"
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
class Job:
    """An episode to play.

    base_url, api_key: of the server that answers `model`, which is litellm's name, provider prefix included
    seed: of the first reply; the following ones count up from it
    need_logprobs: a reply without log-probs is asked for again
    """

    base_url: str
    api_key: str
    model: str
    task_id: str
    sampling: Sampling
    seed: int
    need_logprobs: bool


class Plays(Protocol):
    async def play(self, job: Job) -> Episode:
        """The episode; `answered_by` of its turns is the model name that the server says has answered.

        Raises EpisodeError if infrastructure failed in all attempts, which a reply without log-probs is when they are
        needed; EngineError if the server refuses the request.
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
        started = time.perf_counter()
        env = self.domain.start(job.task_id)
        messages: list[dict[str, Any]] = [
            {"role": "system", "content": self.domain.system_prompt},
            {"role": "user", "content": env.opening},
        ]
        kept: list[dict[str, Any] | int] = list(messages)
        turns: list[Turn] = []
        sent = 0  # messages in the last request that was answered
        end = "turn_limit"
        for number in range(job.sampling.max_turns):
            # Where a turn is sure to be the first or may be the last. Those that end unforeseen are looked up below.
            with_prompt_ids = not turns or env.closing or number == job.sampling.max_turns - 1
            try:
                turn = await self._turn(job, messages, job.seed + number, with_prompt_ids)
            except litellm.exceptions.BadRequestError as error:  # ContextWindowExceededError is one
                if "context" not in str(error).lower() or not turns:
                    raise EngineError(f"The server refused a request for {job.model}: {error}") from error
                end = "length"
                break
            sent = len(messages)
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
        if turns[-1].prompt_ids is None:
            turns[-1] = replace(turns[-1], prompt_ids=await self._prompt_ids(job, messages[:sent]))
        outcome = env.outcome(stopped=end == "user_stop")
        return Episode(job.task_id, tuple(kept), tuple(turns), outcome, end, time.perf_counter() - started)

    async def _turn(self, job: Job, messages: list[dict[str, Any]], seed: int, with_prompt_ids: bool) -> Turn:
        failure: Exception | str = ""
        for attempt in range(ATTEMPTS):
            await asyncio.sleep(0.2 * 2**attempt if attempt else 0)
            try:
                response = await self._complete(job, messages, seed, job.sampling.max_tokens, with_prompt_ids)
            except RETRYABLE as error:
                failure = error
                continue
            turn = _as_turn(response, len(messages), with_prompt_ids)
            if turn.logprobs is not None or not job.need_logprobs:
                return turn
            failure = "the reply carries no log-probs although they were requested"
        raise EpisodeError(f"{ATTEMPTS} requests for {job.model} failed, the last with: {failure}")

    async def _prompt_ids(self, job: Job, messages: list[dict[str, Any]]) -> tuple[int, ...]:
        """The prompt's ids of a request that was answered before, from one for a single token."""
        once = replace(job, sampling=replace(job.sampling, max_tokens=1), need_logprobs=False)
        return (await self._turn(once, messages, job.seed, True)).prompt_ids or ()

    async def _complete(
        self, job: Job, messages: list[dict[str, Any]], seed: int, max_tokens: int, with_prompt_ids: bool
    ) -> Any:
        async with self._requests:
            return await litellm.acompletion(
                model=job.model,
                api_base=job.base_url,
                api_key=job.api_key,
                messages=messages,
                tools=self.domain.tools or None,
                temperature=job.sampling.temperature,
                max_completion_tokens=max_tokens,
                seed=seed % 2**31,
                logprobs=True,
                # The first gives the sampled ids in the log-probs' place of the text, the second the prompt's as well.
                extra_body={"return_tokens_as_token_ids": True, "return_token_ids": with_prompt_ids},
                num_retries=0,
                timeout=300,
            )


def _as_turn(response: Any, position: int, with_prompt_ids: bool) -> Turn:
    choice = convert_litellm_choice_to_openai(response.choices[0])
    calls = [
        # The server draws random ids; ours depend on the position alone.
        {"id": f"call_{position}_{i}", "name": c.function.name, "arguments": c.function.arguments}
        for i, c in enumerate(choice.message.tool_calls or [])
        if c.type == "function"  # all that a server with a tool parser sends
    ]
    tokens = choice.logprobs.content if choice.logprobs else None
    return Turn(
        tuple(response.prompt_token_ids) if with_prompt_ids else None,
        tuple(int(t.token.removeprefix("token_id:")) for t in tokens or ()),
        tuple(t.logprob for t in tokens) if tokens else None,
        choice.message.content,
        tuple(calls),
        choice.finish_reason,
        response.model.removeprefix(PROVIDER),
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
