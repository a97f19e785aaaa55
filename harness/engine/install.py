"""The server's own environment: vLLM and what it imports, apart from the trainer's (their pins disagree)."""

import os
from pathlib import Path

def ensure_server_env() -> Path:
    return Path(os.environ.get("HARNESS_VLLM_PYTHON", "/tmp/w/sv/bin/python"))
