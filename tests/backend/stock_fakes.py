"""Stands where Unsloth and vLLM would: a service with ART's `ModelService` interface, and a server that answers.

Everything between is real: `art.local.LocalBackend`, its registration, tokenisation, packing, steps and names.
"""

import http.server
import json
import sys
import threading
import types
from pathlib import Path
from typing import ClassVar

import torch
from art.local.checkpoints import get_last_checkpoint_dir
from art.preprocessing.pack import packed_tensors_from_dir
from art.utils.get_model_step import get_step_from_dir
from art.utils.output_dirs import get_step_checkpoint_dir
from safetensors.torch import save_file


class FakeUnslothService:
    """Writes adapters as Unsloth's service does: a zero one at step 0, a moved one after each update."""

    made: ClassVar[list["FakeUnslothService"]] = []

    def __init__(self, model_name, base_model, config, output_dir):
        self.model_name, self.base_model, self.config, self.output_dir = model_name, base_model, config, output_dir
        self.closed = 0
        self.rows = []  # packed tensors of each update
        self.rates = []
        self.registered = []
        self.made.append(self)

    def _save(self, step, scale):
        folder = Path(get_step_checkpoint_dir(self.output_dir, step))
        folder.mkdir(parents=True, exist_ok=True)
        name = "base_model.model.model.layers.0.self_attn.q_proj"
        tensors = {f"{name}.lora_A.weight": torch.ones(8, 4), f"{name}.lora_B.weight": torch.full((4, 8), scale)}
        save_file(tensors, folder / "adapter_model.safetensors")

    async def start_openai_server(self, config):
        if get_last_checkpoint_dir(self.output_dir) is None:
            self._save(0, 0.0)
        self.openai_config = config
        self.server = FakeServer(config["server_args"]["port"])
        return "127.0.0.1", self.server.port

    async def vllm_engine_is_sleeping(self):
        return False

    async def register_lora_for_step(self, step, checkpoint_dir):
        self.registered.append((step, Path(checkpoint_dir).name))

    async def train(self, disk_packed_tensors, config, _config, verbose=False):
        tensors = packed_tensors_from_dir(**disk_packed_tensors)
        self.rows.append(tensors)
        self.rates.append(config.learning_rate)
        # ART's get_log_fn: the transformers trainer's logs under ART's names, and the loss function's metrics
        for _ in range(tensors["tokens"].shape[0]):
            yield {"loss/train": 0.5, "loss/grad_norm": 0.1, "loss/entropy": 1.0, "loss/learning_rate": 1e-4}
        step = get_step_from_dir(self.output_dir) + 1
        self._save(step, float(step))

    async def aclose(self):
        self.close()

    def close(self):
        self.closed += 1
        self.server.close()


class FakeServer:
    """vLLM's /v1/completions on a free port; `drift` moves every log-probability."""

    def __init__(self, port):
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append((self.path, body))
                count = body["max_tokens"]
                logprobs = {"tokens": ["token_id:1"] * count, "token_logprobs": [-1.0 - server.drift] * count}
                data = json.dumps({"choices": [{"logprobs": logprobs} for _ in body["prompt"]]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.asked, self.drift = [], 0.0
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self._open = True

    def close(self):
        if self._open:
            self._open = False
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()


def install(monkeypatch):
    """The fake in the place of `art.unsloth.service`, in this process; the list of services that are made."""
    module = types.ModuleType("art.unsloth.service")
    module.UnslothService = FakeUnslothService
    monkeypatch.setitem(sys.modules, "art.unsloth.service", module)
    monkeypatch.setattr("art.local.backend.move_to_child_process", lambda service, process_name: service)
    monkeypatch.setenv("IMPORT_UNSLOTH", "0")  # LocalBackend sets it, for its child process
    FakeUnslothService.made = []
    return FakeUnslothService.made
