"""Kills processes of small sweeps (-9) at random moments, goes on with them, and compares them with one left alone.

    python -m experiments.benchmarks.kills kills=300 server=stand_in seed=0
    python -m experiments.benchmarks.kills kills=20 server=real
    python -m experiments.benchmarks.kills kills=12 layouts=ray roles="ray worker,raylet,gcs" seed=1

A sweep is killed and started again until it completes. Moments are drawn evenly over the length of an undisturbed
sweep, start and end included; of the roles that have a process then, one that was hit seldom is drawn sooner. A kill
counts if its process still lived. Prints a table by role and writes each kill to results/kills.json (out=FILE), where
another seed is added. The exit code is 1 if anything was lost, doubled, left over or other than undisturbed, or a
resume took more than LIMIT seconds beyond loading.

    at_once         sweeps side by side
    layouts, roles  these alone, with commas between them
    device=cuda     on a GPU, with the real server and a policy of 16 bits (smollm2_135m_raw, unless policy is given)
    keep=FOLDER     keeps the sweeps
"""

import hashlib
import json
import os
import platform
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil

from harness.machine.gpu import gpus
from harness.records.json_files import read_object
from harness.records.schema import FILES

ROOT = Path(__file__).parents[2]
STAND_IN = ROOT / "tests" / "stand_in_server.py"
LIMIT = 60.0  # seconds that a resume may take beyond loading
GONE_WITHIN = 60.0  # seconds for the processes of a command that has ended
LOOK = 0.1  # seconds between two looks at a sweep
ENDED = (0, 3)  # exit codes of a complete sweep; 3: no endpoint check holds with the stand-in
TINY = [
    *("+ablation=smoke", "train.steps=2", "train.groups_per_step=2", "train.rollouts_per_group=4"),
    *("validation.every=1", "validation.max_tasks=3", "train.val_tasks=50"),
]
ON_CPU = ("backend.device=cpu",)
LAYOUTS: dict[str, list[str]] = {
    "plain": [],
    "one": ["rollout.players=1"],
    "several": ["backend.engines=2"],
    "ray": ["backend.engines=2", "hydra/launcher=ray", "hydra.launcher.address=local"],
}
# By what a command line holds, the first that fits: the guard's holds the server's.
ROLES = {
    "engine": "harness.launch.engine_process",
    "trainer": "harness.engine.trainer_process",
    "player": "harness.player_pool",
    "guard": "engine/guard.py",
    "server": "vllm.entrypoints.openai.api_server",
    "server's core": "VLLM::",
    "wandb": "harness.tracking.wandb_process",
    "wandb-core": "wandb-core",
    "ray worker": "ray::EngineActor",
    "raylet": "raylet/raylet ",
    "gcs": "gcs/gcs_server ",
}
VIEWS = ("wandb", "wandb-core")  # a sweep goes on without them, and nothing is resumed
READY = re.compile(r" started$|: ready on ")

Lines = dict[str, tuple[str, ...]]  # what is committed: of each file of records its whole lines, of an entry its digest


@dataclass
class Kill:
    """at: seconds after the start of its command

    loading: seconds from the kill until an engine was ready, or the sweep complete where none was needed any more
    seconds: of the resume beyond loading: until something new was computed or recorded; None where no engine was
        needed, or another kill came first
    left: processes that outlived their command
    """

    sweep: int
    layout: str
    role: str
    at: float
    resumed: bool = False
    seconds: float | None = None
    loading: float | None = None
    lost: int = 0
    doubled: int = 0
    left: int = 0


@dataclass(frozen=True)
class Asked:
    """The command line, as name=value."""

    kills: int = 300
    server: str = "stand_in"
    seed: int = 0
    at_once: int = 1
    device: str = "cpu"
    policy: str = ""
    layouts: tuple[str, ...] = ("one", "one", "several", "one", "several", "ray")
    roles: tuple[str, ...] = ("main", *ROLES)
    out: str = str(ROOT / "results" / "kills.json")
    keep: str = ""

    @classmethod
    def of(cls, words: Sequence[str]) -> "Asked":
        given = dict(word.split("=", 1) for word in words)
        if unknown := given.keys() - set(cls.__dataclass_fields__):
            sys.exit(f"kills: unknown {', '.join(unknown)}; known are {', '.join(cls.__dataclass_fields__)}")
        numbers = {name: int(given.pop(name)) for name in ("kills", "seed", "at_once") if name in given}
        if given.get("server") == "real":
            given.setdefault("layouts", "one")
        lists = {name: tuple(given.pop(name).split(",")) for name in ("layouts", "roles") if name in given}
        known = {"layouts": tuple(LAYOUTS), "roles": ("main", *ROLES)}
        for name, wished in lists.items():
            if wrong := [each for each in wished if each not in known[name]]:
                sys.exit(f"kills: {name}={','.join(wrong)} is unknown; known are {', '.join(known[name])}")
        return cls(**numbers, **lists, **given)  # type: ignore[arg-type]


class Command:
    """One start of a sweep: its output, and every process that it was seen to have."""

    def __init__(self, results: Path, overrides: Sequence[str], env: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "harness", *TINY, *overrides, f"results={results}"]
        self.begun = time.monotonic()
        self.process = subprocess.Popen(
            command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self.output: list[str] = []
        self.ready: list[float] = []  # when an engine was
        self.seen = {psutil.Process(self.process.pid): "main"}
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.output.append(line)
            if READY.search(line.rstrip()):
                self.ready.append(time.monotonic())

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def look(self) -> None:
        """Notes the processes that are there now."""
        try:
            for process in psutil.Process(self.process.pid).children(recursive=True):
                role = role_of(process)  # a fork has its parent's command line at first, one that ended has none
                if process not in self.seen or role != "other":
                    self.seen[process] = role
        except psutil.Error:
            pass

    def living(self) -> dict[str, list[psutil.Process]]:
        """By role, but for what we have no role for."""
        found: dict[str, list[psutil.Process]] = {}
        for process, role in self.seen.items():
            if role != "other" and alive(process):
                found.setdefault(role, []).append(process)
        return found

    def left(self) -> list[str]:
        """What outlives the command, which has ended; it is killed."""
        deadline = time.monotonic() + GONE_WITHIN
        while (there := [p for p in self.seen if alive(p)]) and time.monotonic() < deadline:
            time.sleep(LOOK)
        names = []
        for process in there:
            try:
                names.append(f"{self.seen[process]} {process.pid}: {' '.join(process.cmdline())[:200]}")
                process.kill()
            except psutil.Error:
                continue
        self._reading.join()
        assert self.process.stdout
        self.process.stdout.close()
        return names


def role_of(process: psutil.Process) -> str:
    try:
        command = " ".join(process.cmdline())
        return next((role for role, sign in ROLES.items() if sign in command), "other")
    except psutil.Error:
        return "other"


def alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def committed(folder: Path) -> Lines:
    """What the records and the store of a sweep hold. A torn last line is not committed."""
    found: Lines = {}
    for path in folder.glob("runs/*/*/*.jsonl"):
        if path.stem in FILES:
            whole = path.read_bytes().rpartition(b"\n")[0]
            found[str(path.relative_to(folder))] = tuple(whole.decode(errors="replace").splitlines())
    for path in folder.glob("store/*/*/[!.]*"):
        found[str(path.relative_to(folder))] = (hashlib.sha256(path.read_bytes()).hexdigest(),)
    return found


def lost(before: Lines, after: Lines) -> int:
    return sum(len(set(lines) - set(after.get(name, ()))) for name, lines in before.items())


def doubled(lines: Lines) -> int:
    """Lines of one file that have one key."""
    keys: Counter[tuple[str, ...]] = Counter()
    for name, each in lines.items():
        if name.startswith("runs/"):
            records = map(json.loads, each)
            keys.update((name, str(record["step"]), str(record.get("factor"))) for record in records)
    return sum(count - 1 for count in keys.values())


def counted_twice(folder: Path, lines: Lines) -> int:
    """Episodes and updates that the runs count as computed beyond those that are stored; negative: not counted."""
    reuse = read_object(folder / "reuse.json")
    return sum(
        int(reuse[kind]["computed"]) - sum(name.startswith(f"store/{kind}/") for name in lines)
        for kind in ("episodes", "updates")
    )


@dataclass(frozen=True)
class Ending:
    """What a complete sweep comes to."""

    states: dict[str, str]
    effects: str
    seconds: float = 0.0

    @classmethod
    def of(cls, folder: Path, seconds: float = 0.0) -> "Ending":
        states = {
            str(path.parent.relative_to(folder)): str(read_object(path).get("state"))
            for path in sorted(folder.glob("runs/*/*/status.json"))
        }
        return cls(states, (folder / "effects.json").read_text(), seconds)


def undisturbed(results: Path, env: Mapping[str, str], layout: str = "one", options: Sequence[str] = ON_CPU) -> Ending:
    """Raises RuntimeError with the command's output if it does not complete."""
    command = Command(results, [*options, *LAYOUTS[layout]], env)
    while command.code is None:
        command.look()
        time.sleep(LOOK)
    took = time.monotonic() - command.begun
    if command.code not in ENDED or command.left():
        raise RuntimeError(f"the undisturbed sweep ended with {command.code}:\n{''.join(command.output)}")
    return Ending.of(results / "smoke", took)


@dataclass
class Budget:
    """Kills that are left to do, and how often each role was hit. allowed: roles that may be hit"""

    left: int
    allowed: Sequence[str] = ("main", *ROLES)
    hits: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def draw(self, living: Sequence[str], rng: random.Random) -> str | None:
        roles = [role for role in living if role in self.allowed]
        with self.lock:
            if self.left <= 0 or not roles:
                return None
            self.left -= 1
            (role,) = rng.choices(roles, [1 / (1 + self.hits[role]) ** 2 for role in roles])
            self.hits[role] += 1
            return role

    def put_back(self, role: str) -> None:
        with self.lock:
            self.left += 1
            self.hits[role] -= 1


class KilledSweep:
    """One sweep that is killed and started again until it completes. faults: what should not have been, in words."""

    def __init__(
        self,
        number: int,
        layout: str,
        results: Path,
        env: Mapping[str, str],
        seed: int,
        options: Sequence[str] = ON_CPU,
        server: str = "stand_in",
    ) -> None:
        self.number, self.layout, self.results, self.env, self.options = number, layout, results, env, options
        self.server = server
        self.folder = results / "smoke"
        self.rng = random.Random(f"{seed}/{number}")
        self.kills: list[Kill] = []
        self.faults: list[str] = []
        self._before: Lines = {}  # what was committed at the last kill
        self._open: tuple[Kill, float] | None = None  # the last kill, until the sweep has resumed, and when it was

    def run(self, whole: Ending, budget: Budget) -> None:
        """Returns when the sweep is complete, or a start that nobody killed has failed."""
        while True:
            hit = len(self.kills)
            command = Command(self.results, [*self.options, *LAYOUTS[self.layout]], self.env)
            self._follow(command, whole.seconds, budget)
            left = command.left()
            if left:
                self.faults.append(f"left over: {left}")
                if self.kills:
                    self.kills[-1].left += len(left)
            if command.code in ENDED:
                self._resumed(time.monotonic(), self._ready_since(command))
                break
            if len(self.kills) == hit:
                self.faults.append(f"a start ended with {command.code}:\n{''.join(command.output[-40:])}")
                return
        self._compare(whole)

    def _follow(self, command: Command, length: float, budget: Budget) -> None:
        """Until the command ends. A command that survives a kill is killed again."""
        moment = self._draw(length)
        entries = self._entries()
        while command.code is None:
            command.look()
            now = time.monotonic()
            ready = self._ready_since(command)
            if self._open and ready is not None and (there := self._entries()) != entries:
                entries = there
                self._resumed(now, ready)
            elif ready is None:
                entries = self._entries()
            if now >= moment:
                self._kill(command, budget)
                moment = self._draw(length)
            time.sleep(LOOK)

    def _draw(self, length: float) -> float:
        return time.monotonic() + self.rng.uniform(0, 1.05 * length)

    def _kill(self, command: Command, budget: Budget) -> None:
        there = command.living()
        role = budget.draw(sorted(there), self.rng)
        if role is None:
            return
        victim = self.rng.choice(there[role])
        before = committed(self.folder)
        try:
            victim.kill()
        except psutil.Error:  # it had ended: this was no kill
            budget.put_back(role)
            return
        now = time.monotonic()
        self._account(before)
        self.kills.append(Kill(self.number, self.layout, role, round(now - command.begun, 2)))
        if role not in VIEWS:
            self._open = self.kills[-1], now
        self._before = before

    def _ready_since(self, command: Command) -> float | None:
        """When an engine was ready after the last kill."""
        if self._open is None:
            return None
        return next((at for at in command.ready if at > self._open[1]), None)

    def _resumed(self, now: float, ready: float | None) -> None:
        if self._open is not None:
            kill, killed = self._open
            kill.loading = round((ready or now) - killed, 2)
            kill.seconds = None if ready is None else round(now - ready, 2)
            self._open = None

    def _entries(self) -> tuple[int, int]:
        """Changes as soon as something new is computed or recorded."""
        records = [*self.folder.glob("runs/*/*/*.jsonl"), *self.folder.glob("runs/*/*/status.json")]
        return len(list(self.folder.glob("store/*/*/[!.]*"))), sum(path.stat().st_size for path in records)

    def _account(self, after: Lines) -> None:
        """What the last kill has lost or doubled, from what is there now."""
        if self.kills:
            self.kills[-1].lost += lost(self._before, after)
            self.kills[-1].doubled += max(0, doubled(after) - doubled(self._before))

    def _compare(self, whole: Ending) -> None:
        after = committed(self.folder)
        self._account(after)
        for kill in self.kills:
            kill.resumed = True
        ours = Ending.of(self.folder)
        if ours.states != whole.states:
            self.faults.append(f"runs: {ours.states}, undisturbed {whole.states}")
        if self.server == "stand_in" and ours.effects != whole.effects:
            self.faults.append(f"{self.folder}/effects.json is not that of the undisturbed sweep")
        if twice := counted_twice(self.folder, after):
            self.faults.append(f"the runs count {twice} more as computed than are stored")
        self.faults += [f"{k}: {n}" for k in self.kills for n in [k.lost + k.doubled] if n]
        self.faults += [f"{k}: the resume took too long" for k in self.kills if (k.seconds or 0) > LIMIT]


def environment(server: str, folder: Path, device: str = "cpu") -> dict[str, str]:
    """What the sweeps are started with."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    env = os.environ | {"PYTHONPATH": path, "WANDB_MODE": "offline"}
    if device != "cpu":
        return env
    env["CUDA_VISIBLE_DEVICES"] = ""
    env.pop("HARNESS_VLLM_PYTHON", None)
    if server == "stand_in":
        program = folder / "vllm-python"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} {STAND_IN} "$@"\n')
        program.chmod(0o755)
        env["HARNESS_VLLM_PYTHON"] = str(program)
    return env


@contextmanager
def workplace(keep: str) -> Iterator[Path]:
    if keep:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="kills-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class Record:
    """results/kills.json: by server the sweeps and each kill. Another seed is added, the same one replaced."""

    def __init__(self, asked: Asked) -> None:
        self.path, self.server, self.seed = Path(asked.out), asked.server, asked.seed
        self.cards = "".join(f", {gpu.name}" for gpu in gpus()) if asked.device == "cuda" else ""
        self.kills: list[Kill] = []
        self.faults: list[str] = []
        self.sweeps = 0

    def write(self) -> None:
        kept = read_object(self.path)
        others = [part for part in kept.get(self.server, []) if part["seed"] != self.seed]
        ours = {
            "seed": self.seed,
            "sweeps": self.sweeps,
            "machine": f"{os.cpu_count()} cores, {platform.machine()}{self.cards}",
            "faults": self.faults,
            "kills": [asdict(kill) for kill in self.kills],
        }
        text = json.dumps(kept | {self.server: [*others, ours]}, indent=1)
        flat = re.sub(r"\{\s+(\"sweep\": [^}]*?)\s+\}", lambda m: "{" + re.sub(r"\s*\n\s*", " ", m[1]) + "}", text)
        self.path.write_text(flat + "\n")


def table(kills: Sequence[Kill]) -> str:
    lines = [
        "| killed | kills | resumed | lines lost | doubled | left over | resume beyond loading, s: mean | max |",
        "|---|---|---|---|---|---|---|---|",
    ]
    roles = [role for role in ("main", *ROLES) if any(kill.role == role for kill in kills)]
    for role in (*roles, "all"):
        of = [kill for kill in kills if role in (kill.role, "all")]
        seconds = [kill.seconds for kill in of if kill.seconds is not None]
        took = f"{sum(seconds) / len(seconds):.1f} | {max(seconds):.1f}" if seconds else "– | –"
        sums = (sum(getattr(kill, what) for kill in of) for what in ("resumed", "lost", "doubled", "left"))
        lines.append(f"| {role} | {len(of)} | {' | '.join(map(str, sums))} | {took} |")
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    asked = Asked.of(words)
    budget, record, lock = Budget(asked.kills, asked.roles), Record(asked), threading.Lock()
    with workplace(asked.keep) as folder:
        env = environment(asked.server, folder, asked.device)
        policy = asked.policy or ("smollm2_135m_raw" if asked.device == "cuda" else "micro")
        options = [f"backend.device={asked.device}", f"policy={policy}"]
        whole = undisturbed(folder / "undisturbed", env, options=options)
        print(f"undisturbed: {whole.seconds:.0f} s, {len(whole.states)} runs", flush=True)

        def sweep(number: int) -> None:
            if budget.left <= 0:
                return
            layout = asked.layouts[number % len(asked.layouts)]
            killed = KilledSweep(number, layout, folder / f"sweep-{number}", env, asked.seed, options, asked.server)
            killed.run(whole, budget)
            with lock:
                record.sweeps += 1
                record.kills += killed.kills
                record.faults += [f"sweep {number} ({layout}): {fault}" for fault in killed.faults]
                record.write()
                roles = ", ".join(kill.role for kill in killed.kills)
                print(f"sweep {number} ({layout}): {roles or 'no kill'}", *killed.faults, sep="\n  ", flush=True)

        with ThreadPoolExecutor(asked.at_once) as threads:
            numbers = iter(range(100 * asked.kills))
            while budget.left > 0:
                list(threads.map(sweep, [next(numbers) for _ in range(asked.at_once)]))
    print(table(record.kills))
    return int(bool(record.faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
