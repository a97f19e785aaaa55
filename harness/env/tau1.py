"""domain=tau1_retail, tau1_airline: tau-bench v1, from a checkout of sierra-research/tau-bench whose path is given.

Everything that judges is the checkout's own: its `Env.step` runs the tools and ends at a handover, its
`Env.calculate_reward` compares the hash of the data with that of a replay of the gold actions, and looks for each
expected output in what was said. Two things are put in their place, so that an episode takes a millisecond and not
half a second: its data are a copy-on-write view of data that were read once (it reads its JSON files at every reset and
at every verdict, and changes the data in place), and the hash is taken of what differs from them. `tests/env/test_tau1`
holds verdicts against those of the checkout left as it is.

The user is scripted from the task's instruction, as those of tau2's domains are (user.py): all of it at once, then
confirmations. Importing the checkout imports litellm (2-5 s), nothing else of a language model.

split: which tasks
    test, train, dev  one split, as in upstream's loop: the first `train_tasks` are trained on, the others held out
    official          retail: trained on the train split, validated on test; `dev` is a further validation set
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from harness.env.environment import Call, Step
from harness.env.overlay import Overlay
from harness.env.user import CONFIRMATION, CONFIRMATIONS, UNHEARD, Script, first_person
from harness.errors import ConfigError
from harness.seams import Outcome

REPOSITORY = "https://github.com/sierra-research/tau-bench"
SPLITS = {"retail": ("train", "dev", "test"), "airline": ("test",)}
OFFICIAL = "official"
RESPOND, STOP = "respond", "###STOP###"  # tau_bench/types.py, tau_bench/envs/base.py
STRATEGY = "human"  # the user that is made with an environment asks no model before it is replaced

Data = dict[str, Any]  # the name of a table -> its entities by key


def load(*, name: str, path: str | None, split: str = "test", train_tasks: int = 30) -> Tau1:
    """name: retail or airline; path: of the checkout. Raises ConfigError."""
    folder = _checkout(path)
    known = SPLITS[name]
    if split not in (*known, OFFICIAL) or (split == OFFICIAL and "train" not in known):
        raise ConfigError(
            f"env.split is {split}, and tau-bench's {name} has {', '.join(known)}. As upstream's loop takes it: "
            "env.split=test, whose first tasks are trained on."
        )
    get_env = _imported(folder).get_env
    parts = known if split == OFFICIAL else (split,)
    made = {part: get_env(name, STRATEGY, "", part, task_index=0) for part in parts}
    ids = {part: [f"{part}_{number}" for number in range(len(env.tasks))] for part, env in made.items()}
    if split == OFFICIAL:
        train, test, further = ids["train"], ids["test"], {"dev": ids["dev"]}
    else:
        train, test, further = ids[split][:train_tasks], ids[split][train_tasks:], {}
    if not test:
        raise ConfigError(
            f"train.train_tasks={train_tasks} takes all {len(train)} tasks of env.split={split}; validation needs some "
            "of them. Lower it."
        )
    return Tau1(f"tau1_{name}", made, train, test, further, _digest_of_files(folder, name))


def _checkout(path: str | None) -> Path:
    clone = f"Get it with `git clone {REPOSITORY} FOLDER`, and give env.path=FOLDER"
    if path is None:
        raise ConfigError(f"env.path is missing: tau-bench v1 is played from a checkout of it. {clone}.")
    folder = Path(path).expanduser().resolve()
    if not (folder / "tau_bench" / "envs" / "base.py").is_file():
        what = "has no tau_bench/envs/base.py" if folder.is_dir() else "does not exist"
        raise ConfigError(f"env.path={path} is no checkout of sierra-research/tau-bench: {folder} {what}. {clone}.")
    return folder


def _imported(folder: Path) -> Any:
    """`tau_bench.envs` of this checkout."""
    there = sys.modules.get("tau_bench")
    if there is not None and (place := Path(str(there.__file__)).resolve().parent) != folder / "tau_bench":
        raise ConfigError(
            f"env.path={folder}: this process has tau_bench of {place} already, and can have one alone. Uninstall that "
            "package, or give its checkout."
        )
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # litellm fetches a list of prices otherwise
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module("tau_bench.envs")
    finally:
        sys.path.remove(str(folder))


def _digest_of_files(folder: Path, name: str) -> str:
    """Of all that decides an episode: tasks, data, tools, prompt, rules."""
    envs = folder / "tau_bench" / "envs"
    files = (envs / "base.py", *(f for f in sorted((envs / name).rglob("*")) if f.suffix in (".py", ".json", ".md")))
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(envs).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


class Tau1:
    """An `Environment` of a checkout.

    made: the checkout's environment of each split, which its conversations copy
    """

    def __init__(
        self,
        name: str,
        made: dict[str, Any],
        train_ids: Sequence[str],
        test_ids: Sequence[str],
        validation_sets: dict[str, list[str]],
        files: str,
    ) -> None:
        first = next(iter(made.values()))
        self.name = name
        self.system_prompt: str = first.wiki
        self.tools: list[dict[str, Any]] = first.tools_info
        self.train_ids, self.test_ids = tuple(train_ids), tuple(test_ids)
        self.validation_sets = {name: tuple(ids) for name, ids in validation_sets.items()}
        self.ending: tuple[str, ...] = tuple(first.terminate_tools)
        self._made = made
        self._data: Data = first.data
        self._files = files
        self._gold: dict[str, tuple[Call, ...]] = {}

    @cached_property
    def digest(self) -> str:
        further = [part for name, ids in self.validation_sets.items() for part in (f"set {name}", *ids)]
        parts = (self.name, self._files, *self.train_ids, "|", *self.test_ids, *further)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]

    def task_digest(self, task_id: str) -> str:
        self.task(task_id)
        return task_id

    def task(self, task_id: str) -> Any:
        """The checkout's `Task`. Raises KeyError for an id that does not exist."""
        split, _, number = task_id.rpartition("_")
        tasks = self._made[split].tasks
        if not number.isdecimal() or int(number) >= len(tasks):
            raise KeyError(task_id)
        return tasks[int(number)]

    def start(self, task_id: str, seed: int = 0) -> Tau1Conversation:
        """A new conversation; the seed changes nothing. Raises KeyError for an id that does not exist."""
        return Tau1Conversation(self, task_id)

    def env(self, task_id: str) -> Any:
        """The checkout's environment, on a view of the data; its task is set by `reset`."""
        env = copy.copy(self._made[task_id.rpartition("_")[0]])
        env.data_load_func = self.view
        return env

    def view(self) -> Data:
        """The data, to be changed without changing them for others."""
        return {table: Overlay(entities) for table, entities in self._data.items()}

    def changes(self, data: Data) -> str:
        """What differs from the data, in the form that the checkout hashes."""
        to_hashable = importlib.import_module("tau_bench.envs.base").to_hashable

        def form(entities: Data, key: str) -> str:
            return str(to_hashable(dict.__getitem__(entities, key))) if key in entities else "deleted"

        found = []
        for table, entities in data.items():
            before = self._data.get(table, {})
            touched = entities.touched if isinstance(entities, Overlay) else {*entities, *before}
            found += [
                f"{table}/{key} {now}" for key in sorted(touched) if (now := form(entities, key)) != form(before, key)
            ]
        return "\n".join(found)

    def gold(self, task_id: str) -> tuple[Call, ...]:
        """The gold actions that no tool refuses."""
        if task_id not in self._gold:
            talk = Tau1Conversation(self, task_id)
            calls = [Call(a.name, a.kwargs) for a in self.task(task_id).actions if a.name != RESPOND]
            calls.sort(key=lambda call: call.name in self.ending)  # one that ends the conversation comes last
            self._gold[task_id] = tuple(c for c in calls if not refused(talk.call_tool("gold", c.name, c.arguments)))
        return self._gold[task_id]

    def solution(self, task_id: str) -> Iterator[Step]:
        """See `harness.env.environment.Solved`."""
        gold, outputs = self.gold(task_id), self.task(task_id).outputs
        ending = [call for call in gold if call.name in self.ending]
        yield from (call for call in gold if call not in ending)
        if not ending or outputs:
            yield "; ".join(("Done", *outputs)) + (". Shall I hand you over?" if ending else ".")
        yield from ending


def refused(answer: str) -> bool:
    """Tools of tau-bench v1 refuse by a text."""
    return answer.startswith("Error")


class ScriptedUser:
    """What a checkout's `Env` asks of a user. env: whose user this is"""

    def __init__(self, env: Any) -> None:
        self._env = env
        self._replies = deque((CONFIRMATION,) * CONFIRMATIONS)

    def reset(self, instruction: str | None = None) -> str:
        self.script = Script(first_person(instruction or ""), confirms=True)
        return self.script.opening

    @property
    def may_stop(self) -> bool:
        """At the assistant's next text."""
        return not self._replies or _after_tool(self._env.actions)

    def step(self, content: str) -> str:
        """Answers the text, which the environment has among its actions already."""
        if self.script.satisfied(content, _after_tool(self._env.actions[:-1])) or not self._replies:
            return STOP
        return self._replies.popleft()

    def get_total_cost(self) -> float:
        return 0.0


def _after_tool(actions: Sequence[Any]) -> bool:
    return bool(actions) and actions[-1].name != RESPOND


class Tau1Conversation:
    """A `Conversation` in a checkout's environment. Not shared between threads."""

    def __init__(self, world: Tau1, task_id: str) -> None:
        self._world, self._task_id, self._task = world, task_id, world.task(task_id)
        self._action = importlib.import_module("tau_bench.types").Action
        self._env = world.env(task_id)
        self._env.get_data_hash = self._hashed
        self._env.user = self._user = ScriptedUser(self._env)
        self._hashes: list[str] = []  # at the verdict: of the end state, then of the gold actions'
        self._verdict: Any = None
        self._accepted: list[Call] = []
        self._silent = False  # whether the assistant's last word was an empty text
        self.done = False
        self._first: str = self._env.reset(task_index=int(task_id.rpartition("_")[2])).observation

    @property
    def closing(self) -> bool:
        return self._user.may_stop

    async def opening(self) -> str:
        return self._first

    def call_tool(self, call_id: str, name: str, arguments: Any) -> str:
        """The tool's answer, of an unknown one `Unknown action …`, as the checkout has it."""
        if not isinstance(arguments, dict):
            return f"Error: arguments must be a JSON object, got {type(arguments).__name__}"
        if name == RESPOND:
            return f"Unknown action {name}"  # a text is no tool
        self._silent = False
        answer = self._step(name, arguments)
        self.done = self._verdict is not None
        if name in self._env.tools_map and not refused(answer):
            self._accepted.append(Call(name, arguments))
        return answer

    async def reply(self, text: str) -> str | None:
        self._silent = not text.strip()
        if self._silent:
            return UNHEARD
        answer = self._step(RESPOND, {"content": text})
        return None if self._verdict is not None else answer

    def _step(self, name: str, arguments: dict[str, Any]) -> str:
        response = self._env.step(self._action(name=name, kwargs=arguments))
        if response.done:
            self._verdict = response.info.reward_info
        return str(response.observation)

    def _hashed(self) -> str:
        self._hashes.append(hashlib.sha256(self._world.changes(self._env.data).encode()).hexdigest())
        return self._hashes[-1]

    def outcome(self, stopped: bool) -> Outcome:
        """The checkout's own reward, which it gives at the end alone. What is credit beside it: gold actions that were
        called with the same arguments, expected outputs that were said, the hash."""
        gold, outputs = self._world.gold(self._task_id), self._task.outputs
        if not stopped or self._silent or self._verdict is None:
            return Outcome(0.0, 0, len(gold), 0, len(outputs), False)
        said = self._verdict.info.outputs if outputs else {}
        return Outcome(
            reward=float(self._verdict.reward),
            actions_matched=sum(call in self._accepted for call in gold),
            actions_total=len(gold),
            facts_met=sum(bool(said[output]) for output in outputs),
            facts_total=len(outputs),
            db_match=self._hashes[0] == self._hashes[-1],
        )
