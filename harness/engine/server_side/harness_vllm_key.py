"""No route answers without the API key, loaded by vLLM as ASGI middleware (option `--middleware`).

symptom    /invocations answers chats, and /tokenize, /metrics, /openapi.json and others answer, without a key
mechanism  vLLM checks the key on a few prefixes only (/v1 and, in newer versions, some more)
fix        every HTTP request and websocket is refused but GET /health, which says nothing but that the server is up
evidence   tests/engine/test_server_key.py; tests/engine/test_server_real.py asks every route that vLLM has

Standard library only.
"""

import hmac
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

BODY = b'{"error": "Unauthorized"}'


class KeyRequired:
    """Lets requests through that carry `Authorization: Bearer <VLLM_API_KEY>`; answers others with 401."""

    def __init__(self, app: App) -> None:
        self.app = app
        # a server without a key would let everybody in: KeyError ends it at its start
        self.expected = f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or self._may_pass(scope):
            await self.app(scope, receive, send)
        elif kind == "http":
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": BODY})
        else:
            await send({"type": "websocket.close", "code": 1008})  # before it was accepted: HTTP's 403

    def _may_pass(self, scope: Message) -> bool:
        if (scope["type"], scope.get("method"), scope["path"]) == ("http", "GET", "/health"):
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        return len(given) == 1 and hmac.compare_digest(given[0], self.expected)
