"""One question to an OpenAI-compatible endpoint, with log-probs and, from a vLLM, token ids. Standard library only."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from harness.errors import ConfigError, EngineError
from harness.probe.material import Ids, Logprobs

TIMEOUT = 60  # seconds
OF_VLLM = {"return_token_ids": True, "return_tokens_as_token_ids": True}
PREFIX = "token_id:"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Answer:
    """tokens: as the server names them; tops: the most probable tokens at the first place, with their log-probs."""

    model: str
    text: str
    tokens: tuple[str, ...]
    logprobs: Logprobs | None
    tops: Mapping[str, float]
    finish_reason: str | None
    prompt_tokens: int | None
    prompt_ids: Ids | None
    output_ids: Ids | None


@dataclass
class Endpoint:
    """url: up to /v1; key: sent as a bearer token, '' for none"""

    url: str
    key: str = ""
    extras: bool = field(default=True, init=False)  # whether the server takes what only vLLM knows

    def models(self) -> list[str]:
        """The names that are served; none where the server does not say."""
        try:
            found = self._send("/models", None)
        except (EngineError, Refused):
            return []
        return [str(each.get("id")) for each in found.get("data") or ()]

    def ask(
        self,
        model: str,
        messages: Sequence[Mapping[str, Any]],
        *,
        temperature: float = 0.0,
        tokens: int = 16,
        tools: Sequence[Mapping[str, Any]] = (),
    ) -> Answer:
        """Raises ConfigError where the server refuses the request, EngineError where it does not answer."""
        body = {
            "model": model,
            "messages": list(messages),
            "temperature": temperature,
            "max_tokens": tokens,
            "seed": 0,
            "logprobs": True,
            "top_logprobs": 5,
        } | ({"tools": list(tools)} if tools else {})
        try:
            return _answer(self._send("/chat/completions", body | (OF_VLLM if self.extras else {})), self.url)
        except Refused as refused:
            if refused.status not in (400, 422) or not self.extras:
                raise ConfigError(f"{self.url} refused a request for {model!r} ({refused.status}): {refused}") from None
        self.extras = False
        return self.ask(model, messages, temperature=temperature, tokens=tokens, tools=tools)

    def _send(self, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self.key}"} if self.key else {})
        data = None if body is None else json.dumps(body).encode()
        try:
            request = urllib.request.Request(self.url.rstrip("/") + path, data, headers)
            local = urlsplit(self.url).hostname in LOOPBACK
            opener = urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if local else []))
            with opener.open(request, timeout=TIMEOUT) as response:
                found = json.loads(response.read())
        except urllib.error.HTTPError as error:
            raise Refused(error.code, _said(error.read())) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", error)
            raise EngineError(f"{self.url} gave no answer: {reason}. Does a server listen there, under /v1?") from None
        if not isinstance(found, dict):
            raise EngineError(f"{self.url} answered with JSON that is no object. Is it an OpenAI-compatible endpoint?")
        return found


class Refused(Exception):
    """An answer with an error's status."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


def _said(raw: bytes) -> str:
    """The message of an error, in one line."""
    text = raw.decode("utf-8", "replace")
    try:
        found = json.loads(text)
        text = str((found.get("error") or found).get("message") or text)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:300]


def _answer(found: Mapping[str, Any], url: str) -> Answer:
    try:
        choice = found["choices"][0]
        text = choice["message"].get("content") or ""
    except (KeyError, IndexError, TypeError, AttributeError):
        raise EngineError(f"{url} answered, and with no chat completion: {json.dumps(found)[:200]}") from None
    content = (choice.get("logprobs") or {}).get("content")
    tokens = tuple(str(each.get("token")) for each in content or ())
    ids = choice.get("token_ids") or _numbers(tokens)
    first = (content or [{}])[0].get("top_logprobs") or ()
    prompt = found.get("prompt_token_ids") or choice.get("prompt_token_ids")
    return Answer(
        model=str(found.get("model") or ""),
        text=text,
        tokens=tokens,
        logprobs=None if content is None else tuple(each.get("logprob") for each in content),
        tops={str(each["token"]): float(each["logprob"]) for each in first if each.get("logprob") is not None},
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=(found.get("usage") or {}).get("prompt_tokens"),
        prompt_ids=None if prompt is None else tuple(prompt),
        output_ids=None if ids is None else tuple(ids),
    )


def _numbers(tokens: Sequence[str]) -> list[int] | None:
    """The ids that `return_tokens_as_token_ids` puts in the place of texts."""
    named = [token.removeprefix(PREFIX) for token in tokens if token.startswith(PREFIX)]
    return list(map(int, named)) if named and len(named) == len(tokens) else None
