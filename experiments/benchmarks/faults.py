"""What becomes of faults: each is put into a small real sweep, and has to be seen, labelled, and kept to its own run.

    python -m experiments.benchmarks.faults [--only served trainer] [--at-once 2] [--out results/faults.json]

The sweeps are started as a user starts them, on a CPU, with the real trainer process; tests/stand_in_server.py stands
in for vLLM and computes its log-probs from the adapters that it is given. A fault of the server befalls the sampled
requests of one seed from the second step on; a fault of the trainer is a level of a fix at the seam `update`
(faulty.py), a fault of the environment a task of it (faulty.py); processes get a signal; files are changed between two
starts. The bounds of a hang are the product's own: such a sweep takes two minutes and more.

seen: failed, INVALID, missing (rollouts left out and said), repaired (the run is valid all the same), refused (nothing
starts), unseen. within: steps from the fault to the step in which it is seen, 0 being the same one. others: the other
runs of the sweep have completed and are valid. Ends with 1 where a row is not as expected.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from experiments.benchmarks import faulty
from harness.env import load_domain
from harness.launch.quiet import quiet
from harness.records.load import RecordedRun, load_sweep

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "stand_in_server.py"
STEP = 2  # in which every fault comes, as the records count
TASKS, GROUPS = 30, 2  # to train on; of a step
WITHIN = 1800  # seconds of a sweep at most
SMALL = [
    "tracking=off",
    "backend.device=cpu",
    "backend.in_flight=16",
    f"train.groups_per_step={GROUPS}",
    "train.rollouts_per_group=4",
    f"train.train_tasks={TASKS}",
    "train.val_tasks=4",
    "validation.max_tasks=2",
    "validation.every=2",
]


@dataclass(frozen=True)
class Row:
    """One fault. text: what the harness says of it."""

    fault: str
    where: str
    expected: str
    seen: str
    within: int | None
    others: bool
    text: str = ""
    seconds: float | None = None  # from the fault to the line that says so, where it is one of a process

    @property
    def good(self) -> bool:
        in_time = self.within in (0, 1) or self.seen in ("refused", "repaired")
        return self.seen == self.expected and self.others and in_time


@dataclass(frozen=True)
class Served:
    """A fault of the server. expected: a label; says: what the label's text must hold."""

    name: str
    expected: str
    says: str
    options: dict[str, object]


def served(name: str, kind: str, expected: str, says: str = "", **options: object) -> Served:
    return Served(name, expected, says, {"kind": kind, **options})


NONE_PLAYED = "Not one of 8 rollouts could be played"
NO_LOGPROBS = "not one finite number for each sampled token"
SERVED = (
    *(served(f"{status}, once", status, "repaired", times=1) for status in ("429", "500", "503")),
    *(served(f"{status}, one rollout for ever", status, "missing", one=True) for status in ("429", "500", "503")),
    *(served(f"{status}, for all", status, "failed", NONE_PLAYED) for status in ("429", "500", "503")),
    served("malformed JSON, once", "malformed", "repaired", times=1),
    served("malformed JSON, for all", "malformed", "failed", NONE_PLAYED),
    served("empty list of choices, for all", "no_choices", "failed", "the reply holds no choice"),
    served("connection cut in an answer, once", "cut", "repaired", times=1),
    served("connection cut in every answer", "cut", "failed", NONE_PLAYED),
    served("answers 3 s late", "slow", "repaired"),
    served("log-probs missing", "no_logprobs", "failed", NO_LOGPROBS),
    served("a log-prob is NaN", "nan_logprobs", "failed", NO_LOGPROBS),
    served("a log-prob is positive", "positive_logprobs", "failed", NO_LOGPROBS),
    served("token ids of the prompt missing", "no_prompt_ids", "failed", "return_token_ids"),
    served("ids of sampled tokens missing", "no_sampled_ids", "failed", "return_tokens_as_token_ids"),
    served("another model's name answers", "other_model", "INVALID", "0% of rollouts were answered"),
    served("the adapter of the step before answers", "stale", "INVALID", "log-probs are"),
    served("an adapter file is cut off", "cut_adapter", "failed", "refused adapter"),
    served("an adapter is refused", "refused_adapter", "failed", "refused adapter"),
    # last: its seed trains in the first step, and so moves away from the base
    served("the base answers for an adapter", "base", "INVALID", "log-probs are"),
)
TRAINER = {
    "nan_loss": ("NaN loss", "failed", "gradient of a training step is nan"),
    "infinite_norm": ("infinite gradient norm", "failed", "gradient of a training step is inf"),
    "infinite_rate": ("a step to weights that are not finite", "failed", "not finite"),
    "out_of_memory": ("out of memory", "failed", "memory"),
}
WORLD = {
    "user": ("the user raises", "the user's service did not answer"),
    "task": ("a task id that does not exist", "no-such-task"),
    "tool": ("a tool raises", "the tool's database is gone"),
}


class Sweep:
    """A sweep in a folder of its own, and what it says, each line with the time at which it came."""

    def __init__(self, folder: Path, overrides: Sequence[str], faults: Sequence[dict[str, object]] = ()) -> None:
        self.folder, self.results = folder / "sweep", folder
        folder.mkdir(exist_ok=True)
        server = folder / "server"
        asked = json.dumps({"weights": True, "faults": list(faults)})
        server.write_text(f"#!/bin/sh\nSTAND_IN='{asked}' exec {sys.executable} {STAND_IN} \"$@\"\n")
        server.chmod(0o755)
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH", ""))))
        self.environment = os.environ | {"HARNESS_VLLM_PYTHON": str(server), "PYTHONPATH": path, "PYTHONHASHSEED": "0"}
        self.command = [sys.executable, "-m", "harness", *overrides, *SMALL, "sweep=sweep", f"results={folder}"]
        self.said: list[tuple[float, str]] = []

    def run(self, meanwhile: Callable[[psutil.Process], None] = lambda _: None) -> int:
        """The exit code. meanwhile: called in a thread with the process."""
        output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        with subprocess.Popen(self.command, env=self.environment, cwd=ROOT, **output) as process:  # type: ignore[call-overload]
            watch = threading.Timer(WITHIN, process.kill)
            watch.start()
            threading.Thread(target=meanwhile, args=(psutil.Process(process.pid),), daemon=True).start()
            for line in process.stdout:
                self.said.append((time.monotonic(), line.rstrip()))
            watch.cancel()
        (self.results / "said.txt").write_text(self.text)
        return int(process.returncode)

    @property
    def text(self) -> str:
        return "\n".join(line for _, line in self.said)

    def when(self, words: str) -> float | None:
        return next((at for at, line in self.said if words in line), None)

    def runs(self) -> list[RecordedRun]:
        return list(load_sweep(self.folder).runs) if (self.folder / "plan.jsonl").exists() else []

    def steps_of(self, run: str) -> int:
        """Steps that a run has recorded so far."""
        file = self.folder / "runs" / run / "steps.jsonl"
        return file.read_text().count("\n") if file.exists() else 0


def judged(run: RecordedRun) -> tuple[str, int | None, str]:
    """Label, step in which it was seen, and the text, of a run that a fault befell."""
    if run.state == "failed":
        return "failed", len(run.steps) + 1, run.error or ""
    if run.state != "completed":
        return f"unseen: {run.state}", None, ""
    if not run.valid:
        wrong = [check.step for check in run.checks if check.took_effect is False]
        return "INVALID", min(wrong, default=None), run.invalid[0][1]
    missing = [step["step"] for step in run.steps if step["missing"]]
    if missing:
        return "missing", missing[0], next((text for text in run.findings if "missing" in text), "unseen")
    return "repaired", None, ""


def sound(runs: Sequence[RecordedRun]) -> bool:
    """Whether all of them completed, are valid and miss nothing."""
    return bool(runs) and all(judged(run)[0] == "repaired" and len(run.steps) >= STEP for run in runs)


def row(fault: str, where: str, expected: str, says: str, run: RecordedRun, others: bool) -> Row:
    seen, step, text = judged(run)
    if seen == expected and says not in text:
        seen = f"{seen}, otherwise"
    return Row(fault, where, expected, seen, None if step is None else step - STEP, others, text)


def in_server(folder: Path) -> Iterator[Row]:
    """One seed for each fault of the server, and one without."""
    faults = [{"model": f".*seed{n}@1", **each.options} for n, each in enumerate(SERVED, 1)]
    seeds = ",".join(map(str, range(len(SERVED) + 1)))
    sweep = Sweep(folder, ["-m", f"seed={seeds}", f"train.steps={STEP}"], faults)
    sweep.run()
    runs = {run.seed: run for run in sweep.runs()}
    log = "".join(file.read_text(errors="replace") for file in sweep.folder.glob("logs/**/vllm.log"))
    sane = [n for n, each in enumerate(SERVED, 1) if each.expected == "repaired"]
    for n, each in enumerate(SERVED, 1):
        others = sound([runs[other] for other in (0, *sane) if other != n and other in runs])
        if n not in runs or not re.search(rf"fault {each.options['kind']} befell .*seed{n}@1\n", log):
            yield Row(each.name, "server", each.expected, "never came", None, others)
            continue
        yield row(each.name, "server", each.expected, each.says, runs[n], others)


def in_trainer(folder: Path) -> Iterator[Row]:
    """One arm for each fault of an update, and one without."""
    conf = levels(folder)
    overrides = ["--config-dir", str(conf), "-m", f"fix/fault=on,{','.join(TRAINER)}", f"train.steps={STEP + 1}"]
    sweep = Sweep(folder, overrides)
    sweep.run()
    runs = {run.levels.get("fault"): run for run in sweep.runs()}
    for level, (fault, expected, says) in TRAINER.items():
        others = sound([runs["on"]] if "on" in runs else [])
        if level not in runs:
            yield Row(fault, "trainer", expected, "never came", None, others)
            continue
        yield row(fault, "trainer", expected, says, runs[level], others)


def in_world(folder: Path) -> Iterator[Row]:
    """One seed for each fault of the environment, and one without: each meets a task in its second step alone."""
    from harness.batches import iterate

    domain = load_domain("mock")
    tasks = list(domain.train_ids)[:TASKS]
    calls = {
        task for task in tasks if "task_" in domain.scripted(task).first
    }  # in these the stand-in calls a tool at once
    batches = {seed: [next(each) for each in [iterate(tasks, GROUPS, seed)] for _ in range(STEP)] for seed in range(4)}
    broken = {}
    for seed, kind in enumerate(WORLD, 1):
        met = {task for other, steps in batches.items() if other != seed for step in steps for task in step}
        fit = calls if kind == "tool" else set(tasks)
        broken[next(t for t in batches[seed][STEP - 1] if t in fit - met - {tasks[0]})] = kind
    own = ["env=own", "env._target_=experiments.benchmarks.faulty.load", "+env.tasks=75"]
    given = ",".join(f"{task}:{kind}" for task, kind in broken.items())
    sweep = Sweep(folder, ["-m", "seed=0,1,2,3", f"train.steps={STEP}", *own, f"+env.broken={{{given}}}"])
    sweep.run()
    runs = {run.seed: run for run in sweep.runs()}
    for seed, (fault, says) in enumerate(WORLD.values(), 1):
        others = sound([runs[0]] if 0 in runs else [])
        if seed not in runs:
            yield Row(fault, "environment", "failed", "never came", None, others)
            continue
        yield row(fault, "environment", "failed", says, runs[seed], others)


def in_process(folder: Path, fault: str, part: str, how: signal.Signals, says: str, *options: str) -> Iterator[Row]:
    """A signal to the trainer or to the first player once a run has recorded a step."""
    sweep = Sweep(folder, ["-m", "seed=0,1", "train.steps=4", *options])
    sent: list[float] = []

    def strike(process: psutil.Process) -> None:
        while process.is_running() and not sweep.steps_of("all_on/seed=0"):
            time.sleep(0.05)
        found = [each for each in process.children(recursive=True) if part in " ".join(each.cmdline())]
        if found:
            found[0].send_signal(how)
            sent.append(time.monotonic())

    sweep.run(strike)
    yield mended(fault, part.rpartition(".")[2].partition("_")[0], sweep, says, sent)


def mended(fault: str, where: str, sweep: Sweep, says: str, sent: Sequence[float]) -> Row:
    """Of a process that is lost and replaced: every run of the sweep completes, and a line says what happened."""
    said = sweep.when(says)
    line = next((line for _, line in sweep.said if says in line), "")
    others = sound(sweep.runs())
    seen = "never came" if not sent else "unseen" if said is None else "repaired" if others else "seen"
    seconds = round(said - sent[0], 1) if said and sent else None
    return Row(fault, where, "repaired", seen, 0 if said else None, others, line.partition(" Its log")[0], seconds)


def no_answer(folder: Path) -> Iterator[Row]:
    """The trainer answers for itself, and never for an update."""
    conf = levels(folder)
    sweep = Sweep(folder, ["--config-dir", str(conf), "-m", "fix/fault=on,never", "train.steps=3"])
    begun: list[float] = []

    def watch(process: psutil.Process) -> None:
        while process.is_running() and not begun:
            if sweep.steps_of("all_on_with_fault=never/seed=0"):
                begun.append(time.monotonic())
            time.sleep(0.05)

    sweep.run(watch)
    yield mended("an update that never arrives", "trainer", sweep, "computed nothing for", begun)


def in_files(folder: Path) -> Iterator[Row]:
    """A finished sweep, of which stored results are changed and one run has lost a line: the same command."""
    sweep = Sweep(folder, ["-m", "seed=0,1", f"train.steps={STEP}"])
    sweep.run()
    before = [(run.name, [step["update"] for step in run.steps]) for run in sweep.runs()]
    steps = sweep.folder / "runs" / "all_on" / "seed=0" / "steps.jsonl"
    for kind in ("episodes", "updates"):
        for file in sorted(sweep.folder.glob(f"store/{kind}/*/*")):
            if b'"all_on/seed=0"' in (raw := file.read_bytes()).partition(b"\n")[0]:
                file.write_bytes(raw[:-9] + bytes([raw[-9] ^ 1]) + raw[-8:])
                break
    steps.write_text(steps.read_text().splitlines(keepends=True)[0])
    again = Sweep(folder, ["-m", "seed=0,1", f"train.steps={STEP}"])
    again.run()
    same = before == [(run.name, [step["update"] for step in run.steps]) for run in again.runs()]
    others = sound(again.runs()) and same
    line = next((line for _, line in again.said if "were damaged" in line), "")
    seen = "repaired" if "2 stored results were damaged" in line and others else "unseen"
    for fault in ("a stored episode changed", "a stored update changed"):
        yield Row(fault, "files", "repaired", seen, None, others, line)


def in_config(folder: Path) -> Iterator[Row]:
    sweep = Sweep(folder, ["train.steps=[1,2]"])
    code = sweep.run()
    refused = code == 2 and not sweep.folder.exists()
    yield Row("config of the wrong shape", "config", "refused", "refused" if refused else "unseen", 0, True, sweep.text)


def levels(folder: Path) -> Path:
    """A folder for --config-dir that has the levels of the fix `fault`."""
    group = folder / "conf" / "fix" / "fault"
    group.mkdir(parents=True, exist_ok=True)
    for each in faulty.CLASSES:
        (group / f"{each.level}.yaml").write_text(f"_target_: {each.__module__}.{each.__name__}\n")
    return folder / "conf"


TRAINER_PROCESS, PLAYER_PROCESS = "harness.engine.trainer_process", "harness.player_pool"
PLAYERS = ("rollout.players=2",)
KILLED, STOPPED = "ended (status -9)", "gave no answer"
MATRIX: dict[str, Callable[[Path], Iterator[Row]]] = {
    "trainer_stopped": lambda f: in_process(f, "process hangs", TRAINER_PROCESS, signal.SIGSTOP, STOPPED),
    "player_stopped": lambda f: in_process(f, "process hangs", PLAYER_PROCESS, signal.SIGSTOP, STOPPED, *PLAYERS),
    "no_answer": no_answer,
    "served": in_server,
    "trainer": in_trainer,
    "world": in_world,
    "trainer_killed": lambda f: in_process(f, "process dies", TRAINER_PROCESS, signal.SIGKILL, KILLED),
    "player_killed": lambda f: in_process(f, "process dies", PLAYER_PROCESS, signal.SIGKILL, KILLED, *PLAYERS),
    "files": in_files,
    "config": in_config,
}


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Faults with the same outcome share a line."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for each in rows:
        within = {None: "–", 0: "its step", 1: "the next step"}.get(each.within, f"{each.within} steps")
        within += f", {each.seconds:.0f} s" if each.seconds is not None else ""
        mark = "" if each.good else " **(not as expected)**"
        lines.setdefault((each.where, each.expected, each.seen + mark, within, _yes(each.others)), []).append(
            each.fault
        )
    yield "| where | fault | expected | seen | within | others finish |"
    yield "|---|---|---|---|---|---|"
    for (where, *rest), faults in lines.items():
        yield f"| {where} | {'; '.join(faults)} | {' | '.join(rest)} |"


def _yes(said: bool) -> str:
    return "yes" if said else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=MATRIX, default=list(MATRIX), help="sweeps of the matrix")
    parser.add_argument("--at-once", type=int, default=2, help="sweeps at once")
    parser.add_argument("--keep", type=Path, help="folder of the sweeps, which stays")
    parser.add_argument("--out", type=Path, help="file for the rows, as JSON")
    options = parser.parse_args()
    quiet()
    with tempfile.TemporaryDirectory() as made, ThreadPoolExecutor(options.at_once) as pool:
        kept = options.keep or Path(made)
        kept.mkdir(parents=True, exist_ok=True)
        found = pool.map(lambda name: list(MATRIX[name](kept / name)), options.only)
        rows = [each for part in found for each in part]
    print("\n".join(table(rows)))
    bad = [each for each in rows if not each.good]
    for each in bad:
        print(f"not as expected: {each.where}, {each.fault}: {each.seen}. {each.text}")
    if options.out:
        lines = ",\n".join(json.dumps(asdict(each), ensure_ascii=False) for each in rows)
        options.out.write_text(f"[\n{lines}\n]\n".replace(str(kept), "FOLDER"), encoding="utf-8")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
