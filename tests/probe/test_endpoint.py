"""An endpoint on loopback that answers rightly, or with one fault, and what the probe says of it."""

import json
import math
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.commands import run_command
from harness.probe.asking import Endpoint
from harness.probe.endpoint import ask, examined

NAMES = ("base", "p@0", "p@1", "p@2")
SHIFT = {"base": 0.0, "p@0": 0.0, "p@1": 0.3, "p@2": 0.5}  # how far an adapter moves the log-probs


class Sound:
    """What a sound server answers; a fault overrides one method. It counts what it was asked."""

    strict = False  # refuses what only vLLM knows

    def __init__(self):
        self.asked: list[dict] = []

    def answered_by(self, model):
        return model

    def shift(self, model):
        return SHIFT[model]

    def logprob(self, request, n):
        return -0.2 - 0.1 * (n % 5) - self.shift(request["model"])

    def tops(self, request):
        return {"token_id:7": -0.2, "token_id:8": -2.2}

    def prompt(self, request):
        return [1, 5, 6] + [9] * (10 if request.get("tools") else 0)

    def answer(self, request):
        self.asked.append(request)
        if self.strict and "return_token_ids" in request:
            return 400, {"error": {"message": "Unknown parameter: return_token_ids"}}
        if request["model"] not in NAMES:
            return 404, {"error": {"message": f"The model `{request['model']}` does not exist."}}
        count = request["max_tokens"]
        content = [
            {"token": f"token_id:{7 + n}", "logprob": self.logprob(request, n), "top_logprobs": []}
            for n in range(count)
        ]
        content[0]["top_logprobs"] = [{"token": t, "logprob": p} for t, p in self.tops(request).items()]
        choice = {"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "length"}
        return 200, {
            "model": self.answered_by(request["model"]),
            "choices": [choice | {"logprobs": {"content": content}, "token_ids": [7 + n for n in range(count)]}],
            "usage": {"prompt_tokens": len(self.prompt(request))},
            "prompt_token_ids": self.prompt(request),
        }


class Unloaded(Sound):
    def shift(self, model):
        return 0.0


class Pinned(Sound):
    def shift(self, model):
        return SHIFT["p@1" if model != "base" else "base"]


class Otherwise(Sound):
    def answered_by(self, model):
        return "base"


class Unsteady(Sound):
    def logprob(self, request, n):
        return super().logprob(request, n) - 0.3 * (4 < len(self.asked) <= 8)  # the second time


class Dropping(Sound):
    def logprob(self, request, n):
        return None


class Certain(Sound):
    def logprob(self, request, n):
        return -0.0


class Scaled(Sound):
    def tops(self, request):
        raw = {token: p / (request["temperature"] or 1.0) for token, p in super().tops(request).items()}
        total = math.log(sum(map(math.exp, raw.values())))
        return {token: p - total for token, p in raw.items()}


class Toolless(Sound):
    def prompt(self, request):
        return [1, 5, 6]


class Twice(Sound):
    def prompt(self, request):
        return [1, *super().prompt(request)]


@contextmanager
def serving(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._send(200, {"data": [{"id": name} for name in NAMES]})

        def do_POST(self):
            self._send(*server.answer(json.loads(self.rfile.read(int(self.headers["content-length"])))))

        def _send(self, status, body):
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}/v1"
        finally:
            listening.shutdown()
            thread.join()


def findings(server, adapters=("p@1", "p@2")):
    with serving(server) as url:
        return {f.symptom: f for f in examined(ask(Endpoint(url), "base", adapters))}


def test_of_a_sound_endpoint_every_symptom_is_absent():
    found = findings(Sound())
    assert {f.verdict for f in found.values()} == {"absent"} and len(found) == 9


FAULTS = [
    (Unloaded, {"adapter_answers_as_base", "adapters_answer_alike"}),
    (Pinned, {"adapters_answer_alike"}),
    (Otherwise, {"another_model_answers"}),
    (Unsteady, {"greedy_answers_differ"}),
    (Dropping, {"logprobs_missing"}),
    (Certain, {"logprobs_all_zero"}),
    (Scaled, {"logprobs_of_another_temperature"}),
    (Toolless, {"tools_ignored"}),
    (Twice, {"bos_twice"}),
]


@pytest.mark.parametrize(("fault", "symptoms"), FAULTS, ids=lambda p: p.__name__ if isinstance(p, type) else "")
def test_a_faulty_endpoint_is_named(fault, symptoms):
    present = {name for name, f in findings(fault()).items() if f.verdict == "present"}
    if fault is Certain:  # such log-probs tell no two models apart
        present -= {"adapter_answers_as_base", "adapters_answer_alike"}
    assert present == symptoms


def test_before_the_first_update_an_adapter_answers_as_the_base_does():
    assert findings(Sound(), ("p@0",))["adapter_answers_as_base"].verdict == "cannot tell"


def test_without_adapters_only_what_needs_none_is_told():
    found = findings(Sound(), ())
    unknown = {name for name, f in found.items() if f.verdict == "cannot tell"}
    assert unknown == {"adapter_answers_as_base", "adapters_answer_alike"}


def test_a_server_that_refuses_what_only_vllm_knows_is_asked_without():
    server = Sound()
    server.strict = True
    assert {f.verdict for f in findings(server).values()} == {"absent"}
    refused = ["return_token_ids" in request for request in server.asked]
    assert refused == [True] + [False] * (len(refused) - 1)


def test_each_question_is_asked_greedily_with_log_probs_and_few_tokens():
    server = Sound()
    findings(server)
    assert len(server.asked) == 20
    assert all(request["logprobs"] and request["max_tokens"] <= 16 for request in server.asked)
    assert sorted({request["temperature"] for request in server.asked}) == [0.0, 0.5, 2.0]


@pytest.mark.parametrize(("fault", "code"), [(Sound, 0), (Toolless, 3)])
def test_the_commands_exit_code_says_whether_a_symptom_is_present(fault, code, capsys):
    with serving(fault()) as url:
        assert run_command("probe", ["--url", url, "--model", "base", "--adapter", "p@1", "--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["present"] == ["tools_ignored"] * (code == 3)
    assert {f["symptom"] for f in said["findings"]} >= {"tools_ignored", "bos_twice"}


def test_a_name_that_is_not_served_is_refused_with_those_that_are(capsys):
    with serving(Sound()) as url:
        assert run_command("probe", ["--url", url, "--model", "base", "--adapter", "p@7"]) == 2
    assert "serves no 'p@7'; it serves base, p@0, p@1, p@2." in capsys.readouterr().err


def test_an_endpoint_that_is_not_there_is_said_and_no_wrong_input(capsys):
    assert run_command("probe", ["--url", "http://127.0.0.1:9/v1", "--model", "base"]) == 1
    assert "http://127.0.0.1:9/v1 gave no answer" in capsys.readouterr().err
