"""How far answers in company differ from answers alone, as measured on this machine: kept, found again, put in words.

A measurement belongs to the hardware, the policy, the environment, vLLM's version and the server's settings; with any
of these another one is needed. harness/launch/certificate.py measures. Standard library only.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from harness.machine import inventory

COMMAND = "python -m harness certificate"


@dataclass(frozen=True)
class Difference:
    """Between two times that the same rows were asked. A row: one prompt, one way of sampling, one reply.

    rows, same: rows, and those whose token ids are all the same
    tokens: compared log-probs, those before a row's first token that differs
    largest, mean: absolute difference of these (nats)
    """

    rows: int
    same: int
    tokens: int
    largest: float
    mean: float

    def text(self) -> str:
        if self.same == self.rows and self.largest == 0:
            return f"all {self.rows} the same bit for bit"
        return f"{self.same} of {self.rows} with the same tokens, log-probs by up to {self.largest:.2g} nats" + (
            f" (mean {self.mean:.2g})"
        )


@dataclass(frozen=True)
class Certificate:
    """subject: what was measured, see `subject`; again: alone and once more alone; company: alone and in company.

    beside: requests under way at once in company, and the adapters that they asked
    seconds: that the questions took, without the engine's start; measured: when
    """

    subject: Mapping[str, Any]
    again: Difference
    company: Difference
    beside: Mapping[str, int]
    seconds: float
    measured: str

    def record(self) -> dict[str, Any]:
        """Plain data; `of_record` reads it."""
        return asdict(self)

    def text(self) -> str:
        """One sentence without its end."""
        return (
            f"answers in company ({self.beside['requests']} requests at once, {self.beside['adapters']} adapters) "
            f"against answers alone: {self.company.text()}; alone twice: {self.again.text()}"
        )

    def title(self) -> str:
        what = self.subject
        invariant = ", batch invariant" if what["settings"].get("batch_invariant") else ""
        return f"policy {what['policy']}, env {what['env']}, {what['vllm']} on {what['hardware']}{invariant}"


def hardware(gpus: list[str]) -> str:
    """The cards, or the processor and its cores."""
    if gpus:
        return ", ".join(sorted(set(gpus)))
    return f"{inventory.cpu()} ({os.cpu_count()} cores)"


def folder() -> Path:
    return inventory.cache() / "certificates"


def _file(subject: Mapping[str, Any]) -> Path:
    return folder() / f"{hashlib.sha256(json.dumps(subject, sort_keys=True).encode()).hexdigest()[:16]}.json"


def keep(certificate: Certificate) -> Path:
    """The file, written whole or not at all."""
    path = _file(certificate.subject)
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_text(json.dumps(certificate.record(), indent=1) + "\n")
    new.replace(path)
    return path


def find(subject: Mapping[str, Any]) -> Certificate | None:
    """None where it was not measured, or is damaged."""
    return _read(_file(subject))


def all_known() -> list[Certificate]:
    """Those of this cache, the latest first; of other hardware, too, where machines share it."""
    found = [each for path in folder().glob("*.json") if (each := _read(path))]
    return sorted(found, key=lambda each: each.measured, reverse=True)


def _read(path: Path) -> Certificate | None:
    try:
        return of_record(json.loads(path.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def of_record(record: Mapping[str, Any]) -> Certificate:
    return Certificate(**{**record, "again": Difference(**record["again"]), "company": Difference(**record["company"])})
