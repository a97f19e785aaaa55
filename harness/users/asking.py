"""One reply of a user model: found in the store, or asked for through litellm.

What may be better next time (429, 5xx, a lost connection, no answer in time, an answer that is none) is asked again,
after a pause that doubles or that the endpoint names; then it is a UserError: the episode is missing data. An endpoint
that refuses the key or the model is an EngineError: nobody can go on. An answer without text, or with tool calls, is
asked for again with another seed.
"""

from __future__ import annotations

import asyncio
import os
import re
from asyncio import sleep
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import litellm
import openai

from harness.completion import chain, clean, status_of
from harness.env import Role
from harness.errors import EngineError, UserError
from harness.factors import derive_seed
from harness.records.store import digest
from harness.sections import UserConfig
from harness.users.prices import Price, price_of
from harness.users.provider import key_of, provider_of
from harness.users.replies import Replies

ATTEMPTS = 6
PAUSE, PAUSE_AT_MOST = 1.0, 60.0  # seconds before the second attempt, doubled before each further one
ODD_AT_MOST = 2  # answers that cannot be used, of one message
PASSING = (408, 409, 425, 429)  # refusals that may pass; so does every status from 500 on but 501
NOBODY = {
    401: "Does the endpoint know the key? It is read from the environment alone.",
    403: "May this key use this model?",
    404: "Does the endpoint serve this model name? litellm's names are PROVIDER/MODEL; user.api_base is up to /v1.",
}
SECRET = re.compile(r"(KEY|TOKEN|SECRET|PASSWORD)$")


class OddAnswer(Exception):
    """An answer that cannot be used: what is odd about it."""


@dataclass(frozen=True)
class Spent:
    """What was paid for, and what was found instead.

    calls: requests that were answered; found: messages that the store had
    nanodollars: at litellm's list prices; unpriced: calls of a model whose price is not known
    """

    calls: int = 0
    found: int = 0
    prompt_tokens: int = 0
    reply_tokens: int = 0
    nanodollars: int = 0
    unpriced: int = 0

    def and_(self, other: Spent) -> Spent:
        return Spent(**{name: value + getattr(other, name) for name, value in vars(self).items()})


Pay = Callable[[Spent], None]


@dataclass
class UserModel:
    """The model behind all users of a process.

    key: None: litellm finds its provider's own in the environment
    sends_seed: whether the provider takes one; else the user is a source of noise
    """

    options: UserConfig
    replies: Replies
    price: Price | None
    key: str | None
    sends_seed: bool
    requests: asyncio.Semaphore = field(repr=False)

    @classmethod
    def of(cls, options: UserConfig, store: Path, reuse: bool = True, at_once: int | None = None) -> UserModel:
        """store, reuse: see `Replies`. Raises ConfigError where the model cannot be asked."""
        litellm.suppress_debug_info = True  # it prints advice at every error otherwise
        provider = provider_of(options.model or "")
        supported = litellm.get_supported_openai_params(options.model or "", provider) or []
        return cls(
            options,
            Replies(store, reuse),
            price_of(options.model or ""),
            key_of(options),
            "seed" in supported,
            asyncio.Semaphore(at_once or options.at_once),
        )

    async def reply(self, messages: list[dict[str, str]], seed: int, role: Role, opens: bool, pay: Pay) -> str:
        """The user's next message. opens: whether it is the first, which must not end the conversation.

        pay: told what each answer cost, or that one was found
        Raises UserError, and EngineError where nobody can go on.
        """
        key = digest("user reply", self.options.identity(), messages, seed, opens)
        text, asked = await self.replies.get(key, lambda: self._asked(messages, seed, role, opens, pay))
        if not asked:
            pay(Spent(found=1))
        return text

    async def _asked(self, messages: list[dict[str, str]], seed: int, role: Role, opens: bool, pay: Pay) -> str:
        odd, failure, pause = 0, "", PAUSE
        for attempt in range(ATTEMPTS):
            if attempt:
                await sleep(min(pause, PAUSE_AT_MOST))
                pause *= 2
            try:
                async with self.requests:
                    response = await self._send(messages, derive_seed(seed, "again", odd) if odd else seed)
                pay(self._cost(response))
                return text_of(response, role, opens)
            except openai.OpenAIError as error:  # litellm's base class
                failure = self._passing(error)
                pause = max(pause, _named_pause(error))
            except OddAnswer as error:
                failure, pause, odd = str(error), 0.0, odd + 1
                if odd == ODD_AT_MOST:
                    break
        raise UserError(f"{attempt + 1} requests for the user model failed, the last with: {failure}")

    async def _send(self, messages: list[dict[str, str]], seed: int) -> Any:
        options = self.options
        given = {
            "api_base": options.api_base,
            "api_key": self.key,
            "temperature": options.temperature,
            "max_tokens": options.max_tokens,
            "seed": seed if self.sends_seed else None,
        }
        return await litellm.acompletion(
            model=options.model or "",
            messages=list(messages),
            num_retries=0,
            max_retries=0,
            timeout=options.seconds,
            **{name: value for name, value in given.items() if value is not None},
        )

    def _cost(self, response: Any) -> Spent:
        usage = getattr(response, "usage", None)
        prompt, reply = (getattr(usage, name, 0) or 0 for name in ("prompt_tokens", "completion_tokens"))
        cost = self.price.of(prompt, reply) if self.price else 0
        return Spent(1, 0, prompt, reply, cost, 0 if self.price else 1)

    def _passing(self, error: openai.OpenAIError) -> str:
        """What failed, if the same request may succeed when it is sent again. Raises EngineError and UserError."""
        status, text = status_of(error), without_secrets(str(error), self.key)
        if status == 501 or (400 <= status < 500 and status not in PASSING):
            place = f" at {self.options.api_base}" if self.options.api_base else ""
            said = f"The user model {self.options.model}{place} refused a request ({status}): {text}"
            if status in NOBODY:
                raise EngineError(f"{said} {NOBODY[status]}") from None
            raise UserError(said) from None
        return text


def text_of(response: Any, role: Role, opens: bool) -> str:
    """Raises OddAnswer."""
    choices = getattr(response, "choices", None)
    if not choices:
        raise OddAnswer("the answer holds no choice")
    message = choices[0].message
    if getattr(message, "tool_calls", None):
        raise OddAnswer("the answer calls a tool, and the user has none")
    text = clean(message.content or "")
    if not text.strip():
        raise OddAnswer(f"the answer has no text (finish_reason {choices[0].finish_reason})")
    if opens and role.ends(text):
        raise OddAnswer("the opening ends the conversation")
    return text


def without_secrets(text: str, key: str | None = None) -> str:
    """The text without the key, and without what else the environment keeps under a name such as OPENAI_API_KEY."""
    known = {value for name, value in os.environ.items() if SECRET.search(name.upper()) and len(value) > 7}
    for secret in sorted(known | ({key} if key and len(key) > 7 else set()), key=len, reverse=True):
        text = text.replace(secret, "…")
    return text


def _named_pause(error: openai.OpenAIError) -> float:
    """Seconds that the endpoint asks to wait; 0 where it does not."""
    headers = [
        getattr(each, "litellm_response_headers", None) or getattr(each, "headers", None) for each in chain(error)
    ]
    headers += [getattr(getattr(each, "response", None), "headers", None) for each in chain(error)]
    named = next((each["retry-after"] for each in headers if each and "retry-after" in each), "")
    return float(named) if re.fullmatch(r"\d+(\.\d+)?", named) else 0.0
