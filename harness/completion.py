"""One completion of the policy's server: what is asked, when it is asked again, what an odd answer is called.

litellm's `acompletion` and ART's own converter, as in upstream's `rollout_tau_bench_task` (OpenPipe/ART,
dev/tau-bench). Nothing foreign leaves this module: an answer is a Reply, a refusal of a full context is ContextFull,
every other refusal an EngineError, and what may be better next time is asked three times and then an EpisodeError.

The prompt's token ids are asked for on the first turn and the last one only: on retail they are 5,000 numbers, and
every answer that carries them costs the client as much again as all the rest of the call.
"""

import asyncio
import importlib.util
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import litellm
import openai
from litellm.types.utils import ChoiceLogprobs
from pydantic import ValidationError

from harness.episode import Turn
from harness.errors import EngineError, EpisodeError, MissingLogprobs

PROVIDER = "hosted_vllm/"
ATTEMPTS = 3
PAUSE = 0.4  # seconds before the second attempt; doubled before each further one

# What servers say of a prompt that leaves no room for a reply. vLLM says five things, and the one for a prompt that
# fills the context to the last token speaks of the room that is left.
FULL = re.compile(
    r"context[ _]?(length|window)|maximum model length|max_tokens must be at least 1, got (0|-\d)", re.IGNORECASE
)
PASSING = (408, 425, 429)  # refusals that may pass; so does every status from 500 on but 501
ADVICE = {
    401: "Does the server know the API key that it is asked with?",
    403: "Does the server know the API key that it is asked with?",
    404: "Does the server serve this model name? Its adapter may have been unloaded, or another server has its port.",
    413: "The request is too large for the server, or for what stands between it and the harness.",
}
LOOK = "The server's log says more."
ROUNDING = 1e-3  # nats by which the log-prob of a token that is certain may be above 0
NO_LOGPROBS = (
    "the reply has no log-probs although they were requested, or not one finite number for each sampled token, or one "
    "above 0. Check that nothing between the harness and vLLM drops `logprobs`"
)
NO_IDS = (
    "sends no {what}; the harness compares token ids, so the server must be a vLLM that knows {option}, with nothing "
    "between that drops it."
)
_LONE = re.compile("[\ud800-\udfff]")


def _of_art(module: str) -> Any:
    """A module of ART's `utils`, from its file: the package around it loads torch and transformers, which a process
    that plays episodes has no use for."""
    package = importlib.util.find_spec("art")
    assert package and package.origin
    file = Path(package.origin).with_name("utils") / f"{module}.py"
    spec = importlib.util.spec_from_file_location(f"art_utils_{module}", file)
    assert spec and spec.loader
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


convert_litellm_choice_to_openai = _of_art("litellm").convert_litellm_choice_to_openai
_of_art("suppress_litellm_serialization_warnings").suppress_litellm_serialization_warnings()


class ContextFull(Exception):
    """The prompt leaves the model no room for a reply."""


class OddReply(Exception):
    """An answer that is no completion: what is odd about it."""


@dataclass(frozen=True)
class Request:
    """What is asked of the server.

    base_url, api_key: of the server that answers `model`, which is litellm's name, provider prefix included
    """

    base_url: str
    api_key: str
    model: str
    messages: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]]
    temperature: float
    max_tokens: int
    seed: int
    with_prompt_ids: bool


@dataclass(frozen=True)
class Reply:
    """The turn, with the model's name where its weights will stand; prompt_tokens: 0 where the server does not say."""

    turn: Turn
    prompt_tokens: int


async def complete(request: Request, requests: asyncio.Semaphore, need_logprobs: bool) -> Reply:
    """The server's reply; `requests` bounds how many are under way.

    Raises ContextFull, EngineError for any other refusal, and EpisodeError after ATTEMPTS failures, MissingLogprobs
    if the last one was a reply without the log-probs that are needed.
    """
    failure: Exception = OddReply()
    for attempt in range(ATTEMPTS):
        await asyncio.sleep(PAUSE * 2 ** (attempt - 1) if attempt else 0)
        try:
            async with requests:
                response = await _send(request)
            reply = _reply(response, request)
        except openai.OpenAIError as error:  # litellm's base class
            failure = _passing(request, error)
        except OddReply as error:
            failure = error
        else:
            if reply.turn.logprobs is not None or not need_logprobs:
                return reply
            failure = MissingLogprobs(NO_LOGPROBS)
    kind = MissingLogprobs if isinstance(failure, MissingLogprobs) else EpisodeError
    raise kind(f"{ATTEMPTS} requests for {request.model} failed, the last with: {failure}") from failure


async def _send(request: Request) -> Any:
    return await litellm.acompletion(
        model=request.model,
        api_base=request.base_url,
        api_key=request.api_key,
        messages=list(request.messages),
        tools=list(request.tools) or None,
        temperature=request.temperature,
        max_completion_tokens=request.max_tokens,
        seed=request.seed % 2**31,
        logprobs=True,
        # The first gives the sampled ids in the log-probs' place of the text, the second the prompt's as well.
        extra_body={"return_tokens_as_token_ids": True, "return_token_ids": request.with_prompt_ids},
        num_retries=0,
        timeout=300,
    )


def _passing(request: Request, error: openai.OpenAIError) -> Exception:
    """What failed, if the same request may succeed when it is sent again. Raises ContextFull and EngineError."""
    status = status_of(error)
    if status == 501 or (400 <= status < 500 and status not in PASSING):
        if FULL.search(str(error)):
            raise ContextFull(str(error)) from error
        raise EngineError(
            f"The server at {request.base_url} refused a request for {request.model} ({status}): {error} "
            f"{ADVICE.get(status, LOOK)}"
        ) from error
    first = chain(error)[-1]
    if isinstance(first, ValidationError) and first.title == ChoiceLogprobs.__name__:
        return MissingLogprobs(NO_LOGPROBS)  # a number that JSON does not know is sent as null
    if "Invalid response object" in str(error):  # with a traceback
        return OddReply(f"the reply is no chat completion: {type(first).__name__}: {first}")
    return error


def status_of(error: BaseException) -> int:
    """The HTTP status that the server sent; 200 or 500 from litellm where there was none.

    It is on the first errors of the chain. litellm's own classes go by words as well: a refusal that counts 429 tokens
    is a rate limit to them.
    """
    statuses = [getattr(each, "status_code", None) for each in chain(error)]
    return next((status for status in reversed(statuses) if isinstance(status, int)), 0)


def chain(error: BaseException) -> list[BaseException]:
    """The error, and before each the one that it came from."""
    found, link = [], error
    while link is not None and not isinstance(link, StopIteration):
        found.append(link)
        link = link.__cause__ or link.__context__  # type: ignore[assignment]
    return found


def _reply(response: Any, request: Request) -> Reply:
    """Raises OddReply, and EngineError where the server never gives the token ids."""
    first = _first_choice(response)
    try:
        choice = convert_litellm_choice_to_openai(first)
    except Exception as error:  # whatever a server may send is odd in a way of its own
        raise OddReply(f"the reply is no chat completion: {type(error).__name__}: {error}") from error
    sampled = (getattr(first, "provider_specific_fields", None) or {}).get("token_ids")
    tokens = choice.logprobs.content if choice.logprobs else None
    calls = choice.message.tool_calls or ()
    turn = Turn(
        _prompt_ids(response, request) if request.with_prompt_ids else None,
        tuple(_id(t.token, request) for t in tokens or ()) if sampled is None else tuple(sampled),
        _logprobs(tokens or (), sampled),
        None if choice.message.content is None else clean(choice.message.content),
        # The server draws random ids; ours depend on the position alone.
        tuple(_call(f"call_{len(request.messages)}_{i}", call) for i, call in enumerate(calls)),
        choice.finish_reason,
        response.model.removeprefix(PROVIDER),
        _carried_temperature(response),
    )
    return Reply(turn, getattr(getattr(response, "usage", None), "prompt_tokens", 0) or 0)


def _carried_temperature(response: Any) -> float:
    """That litellm sent, which drops options that it thinks a model does not know; NaN for none."""
    sent = (getattr(response, "_hidden_params", None) or {}).get("optional_params") or {}
    return float(sent.get("temperature", math.nan))


def _first_choice(response: Any) -> Any:
    if not response.choices:
        raise OddReply("the reply holds no choice")
    if not response.model:
        raise OddReply("the reply does not say which model answered")
    first = response.choices[0]
    if any(call.function is None or not call.function.name for call in first.message.tool_calls or ()):
        raise OddReply("the reply calls a tool without a name")
    if getattr(first, "logprobs", None) is not None and first.logprobs.content is None:
        first.logprobs = None  # dropped, and ART's converter takes their place for full
    return first


def _call(identity: str, call: Any) -> dict[str, str]:
    name, arguments = clean(call.function.name), clean_json(call.function.arguments)
    return {"id": identity, "name": name, "arguments": arguments}


def _prompt_ids(response: Any, request: Request) -> tuple[int, ...]:
    ids = getattr(response, "prompt_token_ids", None)
    if not ids:
        raise EngineError(
            f"The server at {request.base_url} {NO_IDS.format(what='prompt_token_ids', option='`return_token_ids`')}"
        )
    return tuple(ids)


def _id(token: str, request: Request) -> int:
    _, colon, number = token.partition("token_id:")
    if not colon or not number.isdecimal():
        option = "`return_tokens_as_token_ids`"
        raise EngineError(f"The server at {request.base_url} {NO_IDS.format(what='sampled token ids', option=option)}")
    return int(number)


def _logprobs(tokens: Sequence[Any], sampled: Sequence[int] | None) -> tuple[float, ...] | None:
    """None unless there is a log-prob for each sampled token: a finite number, not above 0."""
    found = tuple(token.logprob for token in tokens)
    whole = bool(found) and (sampled is None or len(found) == len(sampled))
    return found if whole and all(math.isfinite(p) and p <= ROUNDING for p in found) else None


def clean(text: str) -> str:
    """The text with U+FFFD for each half of a character: no encoder, and so no server and no tokenizer, takes those."""
    return _LONE.sub("\ufffd", text)


def clean_json(text: str) -> str:
    """The same for JSON text, which may hold them as escapes, too. What is no JSON stays as it is."""
    try:
        plain = json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError):
        return clean(text)
    return clean(plain) if _LONE.search(plain) else text
