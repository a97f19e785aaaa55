"""A server process with vLLM's answers and no model, run as `python fake_vllm.py PORT MODE`.

MODE: ok; dies (ends with a message before it listens); silent (never listens); drifts (the base answers otherwise
once the server has started); rounds (it does from the second time on, by .05 nats); unsteady (likewise, by .3); shares
(SO_REUSEPORT, which vllm 0.20 sets: others of the same user may listen there, too). In mode ok a child process sleeps
on, as an engine process would.
"""

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

PORT, MODE = int(sys.argv[1]), sys.argv[2]
loaded: set[str] = set()
computing = threading.Lock()
asked = 0


def compute():
    """For a second, in which nobody is answered."""
    with computing:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            pass


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, {})

    def do_POST(self):
        global asked
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/load_lora_adapter":
            if "missing" in body["lora_path"]:
                return self.answer(404, {"error": {"message": "No adapter found"}})
            loaded.add(body["lora_name"])
            return self.answer(200, {})
        if self.path == "/v1/unload_lora_adapter":
            loaded.discard(body["lora_name"])
            return self.answer(200, {})
        if body.get("prompt") == "die":
            print("RuntimeError: out of cheese", flush=True)
            sys.stdout.flush()
            subprocess.os._exit(3)
        if body.get("prompt") == "pid":
            return self.answer(200, {"choices": [{"text": str(os.getpid())}]})
        if body.get("prompt") == "compile":
            threading.Thread(target=compute).start()
            return self.answer(200, {})
        with computing:
            asked += 1
        at_start = 4  # requests until the check has its measure
        begins, drift = {"drifts": (at_start, 0.3), "rounds": (1, 0.05), "unsteady": (1, 0.3)}.get(MODE, (0, 0.0))
        logprobs = {"tokens": ["token_id:1"], "token_logprobs": [-1.0 - drift * (asked > begins)]}
        return self.answer(200, {"choices": [{"logprobs": logprobs}]})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


if MODE == "dies":
    sys.exit("ValueError: this model has no tokenizer")
if MODE == "silent":
    time.sleep(600)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
Path(os.environ["VLLM_RPC_BASE_PATH"], "socket").touch()  # vLLM leaves its sockets behind


class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        if MODE == "shares":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()


Server(("127.0.0.1", PORT), Handler).serve_forever()
