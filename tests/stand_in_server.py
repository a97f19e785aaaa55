"""Stands in for vLLM's server process where a test is not about vLLM: real ids of policy micro, scripted replies.

Started as the server is (`stand_in` in conftest.py makes HARNESS_VLLM_PYTHON of it), ready in a second. A reply is a
function of the conversation, the temperature and the seed alone: two sweeps of one command get the same replies,
whatever was trained and however they were batched. So its log-probs are nobody's weights: no endpoint check holds.

FAKE_ASKED names a file that gets a JSON line for each chat completion: what was asked, the prompt as token ids.

The environment variable STAND_IN, JSON, may say otherwise:

    weights     true: log-probs are those of the adapter that was asked, computed with transformers
    faults      a list of {"model": regular expression of the model names, "kind": see KINDS, "times": null for ever}:
                what befalls sampled (not greedy) requests for these models; with "one": true always the same request
"""

import hashlib
import json
import math
import os
import random
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

from jinja2 import Environment
from tokenizers import Tokenizer

PAUSE = 0.02  # seconds that a reply takes, on average
SOLVED = 0.6  # share of the replies that do what is asked
SLOW = 3.0  # seconds that a slow answer takes longer

# What may befall a request: an answer of this status, one that is not whole, one that says something wrong.
STATUSES = ("429", "500", "503")
TORN = ("malformed", "cut", "no_choices")
WRONG = ("no_logprobs", "nan_logprobs", "positive_logprobs", "no_prompt_ids", "no_sampled_ids", "other_model")
WEIGHTS = ("stale", "base")  # those of the step before, or none, answer under the adapter's name
ADAPTERS = ("cut_adapter", "refused_adapter")  # at its load
KINDS = (*STATUSES, *TORN, *WRONG, *WEIGHTS, *ADAPTERS, "slow")


class Faults:
    """Those that STAND_IN names, and how often each is still to come."""

    def __init__(self, faults: list[dict[str, Any]]) -> None:
        self.faults = [{"times": None, "one": False, "on": None} | fault for fault in faults]
        if unknown := {fault["kind"] for fault in self.faults} - set(KINDS):
            raise SystemExit(f"no fault is called {unknown}")
        self.lock = threading.Lock()

    def kind(self, model: str, request: str, kinds: tuple[str, ...]) -> str | None:
        """Of what befalls this request, if it is one of these kinds."""
        with self.lock:
            for fault in self.faults:
                if fault["kind"] not in kinds or fault["times"] == 0 or not re.fullmatch(fault["model"], model):
                    continue
                if fault["one"] and (fault["on"] or request) != request:
                    continue
                fault["on"] = request
                if fault["times"] is not None:
                    fault["times"] -= 1
                print(f"fault {fault['kind']} befell {model}", flush=True)
                return str(fault["kind"])
        return None


class Weights:
    """The log-probs of a checkpoint with adapters."""

    def __init__(self, folder: str) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(1)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self.base = {name: p.detach() for name, p in self.model.named_parameters()}  # tied ones once
        self.adapters: dict[str, dict[str, Any]] = {}
        self.lock = threading.Lock()

    def load(self, name: str, folder: str) -> None:
        """Raises what safetensors raises of a file that is not whole."""
        from safetensors.torch import load_file

        tensors = load_file(f"{folder}/adapter_model.safetensors")
        with open(f"{folder}/adapter_config.json") as file:
            config = json.load(file)
        merged = dict(self.base)
        for key, b in tensors.items():
            if ".lora_B." in key:
                module = key.removeprefix("base_model.model.").replace(".lora_B.", ".")
                a = tensors[key.replace(".lora_B.", ".lora_A.")]
                merged[module] = self.base[module] + config["lora_alpha"] / config["r"] * (b.float() @ a.float())
        self.adapters[name] = merged

    def logprobs(self, name: str, prompt: list[int], output: list[int]) -> list[float]:
        import torch

        ids = torch.tensor([prompt + output])
        with self.lock, torch.no_grad():
            state = self.adapters.get(name, self.base)
            logits = torch.func.functional_call(self.model, state, (ids,)).logits[0, len(prompt) - 1 : -1]
        return torch.log_softmax(logits, -1).gather(1, torch.tensor(output).unsqueeze(1)).squeeze(1).tolist()


class Policy:
    """The tokenizer and template of a checkpoint, and what it says."""

    def __init__(self, folder: str, weights: Weights | None = None) -> None:
        self.weights = weights
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

    def reply(self, body: dict[str, Any], weights: str = "") -> dict[str, Any]:
        """A chat completion: it sets the status that the user asks for, or the other one.

        weights: the adapter that answers, where it is not the one that is asked
        """
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
        if self.weights and body.get("logprobs"):
            logprobs = self.weights.logprobs(weights or body["model"], prompt, output)
        else:
            logprobs = [-0.05 - 0.5 * draw.random() for _ in output]
        content = [
            {"token": f"token_id:{i}", "logprob": p, "bytes": None, "top_logprobs": []}
            for i, p in zip(output, logprobs, strict=True)
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
    faults: ClassVar[Faults]

    def do_GET(self) -> None:
        self.answer({})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if self.headers.get("Authorization") != f"Bearer {os.environ['VLLM_API_KEY']}":
            self.answer({"error": "Unauthorized"}, 401)
        elif self.path.endswith("/chat/completions"):
            self.complete(body)
        elif self.path.endswith("/completions"):  # the check of the base policy
            tokens = {"tokens": ["t"] * body["max_tokens"], "token_logprobs": [-0.1] * body["max_tokens"]}
            choices = [{"index": i, "text": "", "logprobs": tokens} for i in range(len(body["prompt"]))]
            self.answer({"choices": choices})
        elif self.path.endswith("/load_lora_adapter"):
            self.load(body["lora_name"], body["lora_path"])
        else:  # adapters go
            self.answer({})

    def complete(self, body: dict[str, Any]) -> None:
        request = json.dumps([body["messages"], body.get("seed")])
        sampled = (*STATUSES, *TORN, *WRONG, *WEIGHTS, "slow")
        kind = self.faults.kind(body["model"], request, sampled) if body.get("temperature") else None
        if kind in STATUSES:
            return self.answer({"error": {"message": "an injected fault", "code": int(kind)}}, int(kind))
        answers = "base" if kind == "base" else ""
        if kind == "stale":
            name, _, step = body["model"].rpartition("@")
            answers = f"{name}@{int(step) - 1}"
        reply = self.policy.reply(body, answers)
        if path := os.environ.get("FAKE_ASKED"):
            other = {name: value for name, value in body.items() if name not in ("messages", "tools")}
            with open(path, "a") as file:
                file.write(json.dumps(other | {"prompt": reply["prompt_token_ids"]}, sort_keys=True) + "\n")
        choice = reply["choices"][0]
        tokens = (choice["logprobs"] or {}).get("content", [])
        if kind == "slow":
            time.sleep(SLOW)
        elif kind == "no_choices":
            reply["choices"] = []
        elif kind == "no_logprobs":
            choice["logprobs"] = None
        elif kind in ("nan_logprobs", "positive_logprobs"):
            tokens[-1]["logprob"] = math.nan if kind == "nan_logprobs" else 0.5
        elif kind == "no_prompt_ids":
            del reply["prompt_token_ids"]
        elif kind == "no_sampled_ids":
            del choice["token_ids"]
            tokens[-1]["token"] = "word"
        elif kind == "other_model":
            reply["model"] = "another-model"
        self.answer(reply, shown={"malformed": 0.5, "cut": 0.5}.get(kind or "", 1.0), cut=kind == "cut")
        return None

    def load(self, name: str, folder: str) -> None:
        kind = self.faults.kind(name, folder, ADAPTERS)
        try:
            if kind == "refused_adapter":
                raise OSError("an injected fault")
            if kind == "cut_adapter":
                file = f"{folder}/adapter_model.safetensors"
                os.truncate(file, os.path.getsize(file) // 2)
            if self.policy.weights:
                self.policy.weights.load(name, folder)
        except Exception as error:
            return self.answer({"error": {"message": f"{type(error).__name__}: {error}", "code": 400}}, 400)
        return self.answer({})

    def answer(self, body: dict[str, Any], status: int = 200, shown: float = 1.0, cut: bool = False) -> None:
        """shown: share of the text that is sent; cut: the connection is closed in the middle of it, without notice."""
        raw = json.dumps(body).encode()
        if not cut:
            raw = raw[: int(shown * len(raw))]
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw[: int(shown * len(raw))] if cut else raw)
        self.close_connection = cut

    def log_message(self, *_: Any) -> None:
        """Nothing: the log is the test's."""


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256


if __name__ == "__main__":
    option = {name: value for name, value in zip(sys.argv, sys.argv[1:], strict=False)}
    asked = json.loads(os.environ.get("STAND_IN", "{}"))
    Handler.policy = Policy(option["--model"], Weights(option["--model"]) if asked.get("weights") else None)
    Handler.faults = Faults(asked.get("faults", []))
    Server(("127.0.0.1", int(option["--port"])), Handler).serve_forever()
