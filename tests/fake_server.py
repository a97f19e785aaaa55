"""A server on loopback that answers chat completions from a list, and keeps what it was asked."""

import asyncio
import json
import threading
from collections.abc import Coroutine
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER


def completion(content: str | None = "Done.", calls=(), finish="stop", **changed: Any) -> dict[str, Any]:
    """A vLLM server's answer of two tokens. calls: (name, arguments); changed: keys of the choice."""
    message = {"role": "assistant", "content": content, "tool_calls": [_call(*each) for each in calls]}
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": logprobs(-0.1, -0.2)} | changed
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return {"id": "c", "model": "p@1", "choices": [choice], "usage": usage, "prompt_token_ids": [7, 8, 9]}


def _call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": "random", "type": "function", "function": {"name": name, "arguments": arguments}}


def logprobs(*values: float | None, token="token_id:{}") -> dict[str, Any]:
    return {"content": [_token(token.format(i), v) for i, v in enumerate(values, start=1)]}


def _token(token: str, value: float | None) -> dict[str, Any]:
    return {"token": token, "logprob": value, "bytes": None, "top_logprobs": []}


def refusal(status: int, message: str = "no") -> tuple[int, dict[str, Any]]:
    return status, {"error": {"message": message, "type": "BadRequestError", "param": None, "code": status}}


def settled(work: Coroutine[Any, Any, Any]) -> Any:
    """Runs the work, and what litellm does after it."""

    async def both() -> Any:
        before = asyncio.all_tasks()  # nest_asyncio, which ART applies, runs this in a loop that is there already
        try:
            return await work
        finally:
            started = asyncio.all_tasks() - before - {GLOBAL_LOGGING_WORKER._worker_task}
            if started:
                await asyncio.wait(started, timeout=5)  # they queue what is left to do
            GLOBAL_LOGGING_WORKER.start()  # forgets what another loop left
            await GLOBAL_LOGGING_WORKER.clear_queue()
            await GLOBAL_LOGGING_WORKER.stop()

    return asyncio.run(both())


@contextmanager
def serving(*answers: Any):
    """(base URL, requests). Answers: a body, (status, body, headers…), or None, which drops the connection; bytes go as
    they are; a function is given the request and returns one of these. The last one is given again and again."""
    left, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["content-length"])))
            asked.append(request)
            answer = left.pop(0) if len(left) > 1 else left[0]
            answer = answer(request) if callable(answer) else answer
            if answer is None:
                self.close_connection = True
                return
            status, body, *headers = answer if isinstance(answer, tuple) else (200, answer)
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(raw)))
            for name, value in headers:
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1", asked
        finally:
            server.shutdown()
            thread.join()
