"""Stands in for vLLM's server process where a test is not about vLLM: real ids of policy micro, scripted replies.

Started as the server is (`stand_in` in conftest.py makes HARNESS_VLLM_PYTHON of it), ready in a second. A reply is a
function of the conversation, the temperature and the seed alone: two sweeps of one command get the same replies,
whatever was trained and however they were batched. So its log-probs are nobody's weights: no endpoint check holds.

FAKE_ASKED names a file that gets a JSON line for each chat completion: what was asked, the prompt as token ids.
"""

import hashlib
import json
import os
import random
import re
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from jinja2 import Environment
from tokenizers import Tokenizer

PAUSE = 0.02  # seconds that a reply takes, on average
SOLVED = 0.6  # share of the replies that do what is asked


class Policy:
    """The tokenizer and template of a checkpoint, and what it says."""

    def __init__(self, folder: str) -> None:
        self.tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
        made = Environment(trim_blocks=True, lstrip_blocks=True)
        made.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
        with open(f"{folder}/chat_template.jinja") as file:
            self.template = made.from_string(file.read())

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def prompt(self, body: dict[str, Any]) -> list[int]:
        shown = {"messages": body["messages"], "tools": body.get("tools"), "add_generation_prompt": True}
        return self.ids(self.template.render(**shown))

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        """A chat completion: it sets the status that the user asks for, or the other one."""
        greedy = not body.get("temperature")
        luck = [body["messages"], body.get("temperature"), None if greedy else body.get("seed")]
        draw = random.Random(hashlib.sha256(json.dumps(luck, sort_keys=True).encode()).digest())
        time.sleep(2 * PAUSE * draw.random())
        last = body["messages"][-1]
        task = re.search(r"task_\d+", str(last["content"])) if last["role"] == "user" else None
        calls, text = [], "All done."
        if task:
            wanted = "pending" if re.search("pending|reopen", last["content"]) else "completed"
            other = {"pending": "completed", "completed": "pending"}[wanted]
            arguments = {"task_id": task[0], "status": wanted if draw.random() < SOLVED else other}
            call = {"name": "update_task_status", "arguments": arguments}
            text = f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
            calls = [{"id": "c", "type": "function", "function": call | {"arguments": json.dumps(arguments)}}]
        output = self.ids(text + "<|im_end|>")
        prompt = self.prompt(body)
        content = [
            {"token": f"token_id:{i}", "logprob": -0.05 - 0.5 * draw.random(), "bytes": None, "top_logprobs": []}
            for i in output
        ]
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": None if calls else text, "tool_calls": calls},
            "finish_reason": "tool_calls" if calls else "stop",
            "logprobs": {"content": content} if body.get("logprobs") else None,
            "token_ids": output,
        }
        counts = {"prompt_tokens": len(prompt), "completion_tokens": len(output)}
        usage = counts | {"total_tokens": len(prompt) + len(output)}
        made = {"id": "c", "object": "chat.completion", "created": 1, "model": body["model"], "choices": [choice]}
        return made | {"usage": usage, "prompt_token_ids": prompt}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    policy: ClassVar[Policy]

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers.get("Authorization") != f"Bearer {os.environ['VLLM_API_KEY']}":
            self.answer({"error": "Unauthorized"}, 401)
        elif self.path.endswith("/chat/completions"):
            reply = self.policy.reply(body)
            if path := os.environ.get("FAKE_ASKED"):
                other = {name: value for name, value in body.items() if name not in ("messages", "tools")}
                with open(path, "a") as file:
                    file.write(json.dumps(other | {"prompt": reply["prompt_token_ids"]}, sort_keys=True) + "\n")
            self.answer(reply)
        elif self.path.endswith("/completions"):  # the check of the base policy
            tokens = {"tokens": ["t"] * body["max_tokens"], "token_logprobs": [-0.1] * body["max_tokens"]}
            choices = [{"index": i, "text": "", "logprobs": tokens} for i in range(len(body["prompt"]))]
            self.answer({"choices": choices})
        else:  # adapters come and go
            self.answer({})

    def answer(self, body: dict[str, Any], status: int = 200) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Nothing: the log is the test's."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    option = {name: value for name, value in zip(sys.argv, sys.argv[1:], strict=False)}
    Handler.policy = Policy(option["--model"])
    Server(("127.0.0.1", int(option["--port"])), Handler).serve_forever()
