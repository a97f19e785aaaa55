"""A scripted conversation, replayed through the real loop with every fix of a baseline off.

The loop, the player, the environment, the litellm client and the configuration are real. A server on loopback answers
from the script; the trainer keeps what it is given.
"""

from collections.abc import Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

from hydra import compose, initialize_config_dir

from harness.config import typed
from harness.env import load_environment
from harness.factors import AS_LAUNCHED, NOTE, derive_seed
from harness.loop import run_loop
from harness.paths import CONF
from harness.records.store import Store
from harness.rollout import Rollouts, Sampling, SourcedEpisode
from harness.validation import ReferenceProtocol
from tests import fakes
from tests.fake_server import completion, refusal, serving, settled

# The script. The customer of this task asks for a new task, then for a deletion, which the policy must hand over.
SEED, TASK = 2, "mock_003"  # in the first batch of this seed
OPENING, DELETION = 'Can you create a task "Paint room" for user_dan.', "Please remove task_54."
CREATED = '{"task_id": "task_6", "title": "Paint room", "description": null, "status": "pending"}'
CREATE = ("create_task", '{"user_id": "user_dan", "title": "Paint room"}')
LOOK = ("get_users", "{}")
HANDOVER = ("transfer_to_human_agents", '{"summary": "task_54"}')
DONE = completion("Done.")
CUT = completion("I will", finish="length")


def calls(*named: tuple[str, str], prompt_tokens: int = 9) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": 2, "total_tokens": prompt_tokens + 2}
    return completion(None, named, "tool_calls") | {"usage": usage}


# The group of six rollouts of TASK, by number: how each ends, and what the policy says.
ENDS: dict[str, list[dict[str, Any]]] = {
    # two calls in one reply; a handover, which ends the episode; a prompt over the limit when all is done
    "success": [calls(CREATE, LOOK), completion("It is done."), calls(HANDOVER, prompt_tokens=20_001)],
    "failure": [calls(HANDOVER)],
    "prompt over the limit": [calls(LOOK, prompt_tokens=20_001)],
    "cut reply": [CUT],
    "turn limit": [calls(LOOK)] * 30,
    # what comes after it is a success, which upstream never sees
    "exception": [calls(("create_task", "{no JSON")), calls(CREATE), completion("It is done."), calls(HANDOVER)],
}
# Another group: arguments of a call, and whether upstream's loop raises over them.
ODD, ODD_TASK = {"": True, "null": True, "[1]": True, "3": True, '"x"': True, "{}": False}, "mock_009"
LOST = "mock_014"  # whose first rollout fails: the server is broken
# First replies in validation. The fourth task's second request fills the model's context.
VALIDATED = {
    "mock_031": CUT,
    "mock_032": calls(("create_task", "null")),
    "mock_033": refusal(500),
    "mock_034": calls(LOOK),
}
FULL = refusal(400, "This model's maximum context length is 32768 tokens.")
REFERENCE = "mock_040"  # the one task that our reference validation asks
STOPPED = "mock_000"  # whose user stops after the first text


def script() -> Mapping[int, Any]:
    """Answers by the seed that a request carries, which names the rollout and the turn."""
    answers: dict[int, Any] = {}
    for number, replies in enumerate(ENDS.values()):
        answers |= {seed_of(TASK, number, turn): reply for turn, reply in enumerate(replies)}
    for number, arguments in enumerate(ODD):
        answers[seed_of(ODD_TASK, number)] = calls(("get_users", arguments))
    answers[seed_of(LOST, 0)] = refusal(500)
    for purpose in ((0, "validation"), (SEED, "reported")):
        answers |= {derive_seed(*purpose, task): reply for task, reply in VALIDATED.items()}
        answers[derive_seed(*purpose, "mock_034") + 1] = FULL
    return answers


def seed_of(task: str, number: int, turn: int = 0, step: int = 0) -> int:
    return (derive_seed(SEED, "train", step, task, number) + turn) % 2**31


class Watched(Rollouts):
    """Rollouts that keep what was asked for."""

    async def episode(self, run, model, task_id, sampling, seed, need_logprobs):
        self.asked.append(SimpleNamespace(model=model, task=task_id, seed=seed))
        found = await super().episode(run, model, task_id, sampling, seed, need_logprobs)
        self.found[found.key] = found
        return found


OFF = {
    NOTE: ("endpoint", "tools", "exploration", "reward", "logprobs", "split"),
    AS_LAUNCHED: ("tools", "reward", "toolorder"),
}
TASKS = {NOTE: 75, AS_LAUNCHED: 115}  # the note's case, fewer than 30 + 85; retail's test split has 115


def configured(baseline: str, steps: int = 2, **levels: str):
    """All fixes of the baseline off, but for these levels; sizes as upstream's."""
    chosen = dict.fromkeys(OFF[baseline], "off") | levels
    sizes = ["rollout=upstream", "train=upstream", f"train.steps={steps}", "validation.every=10", f"seed={SEED}"]
    world = [f"env.tasks={TASKS[baseline]}", *(["env.transfer_ends=true"] if baseline == NOTE else [])]
    fixes = [f"fix/{factor}={level}" for factor, level in chosen.items()]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return typed(compose("config", [f"baseline={baseline}", *fixes, *sizes, *world]))


@asynccontextmanager
async def held(name: str):
    yield


class Replay:
    """A run of the loop, and all that was seen of it. Each model name stands for weights of its own."""

    def __init__(self, baseline: str, folder, steps: int = 2, **levels: str):
        sweep = configured(baseline, steps, **levels)
        self.baseline, self.config, self.domain = baseline, sweep.runs[0], load_environment(sweep.env.source)
        self.trainer, self.records = fakes.Backend(), fakes.Records()
        answers = script()
        with serving(lambda request: answers.get(request["seed"], DONE)) as (url, self.requests):
            self.rollouts = Watched(
                self.domain, "policy", Store(folder), lambda _: (url, "default"), held, lambda name: name, in_flight=4
            )
            self.rollouts.asked, self.rollouts.found = [], {}
            settled(
                run_loop(
                    self.config,
                    fakes.Policy(),
                    self.trainer,
                    self.rollouts,
                    fakes.Contexts(),
                    ReferenceProtocol((REFERENCE,), Sampling(0.0, 1024, 30)),
                    self.records,
                    lambda *_: None,
                )
            )

    def group(self, task: str) -> list[Any]:
        """The trajectories of a task in the first step."""
        groups = (group.trajectories for group in self.trainer.updates[0][0])
        return next(group for group in groups if group[0].metadata["task"] == task)

    def wire(self, number: int) -> list[dict[str, Any]]:
        """The requests of a rollout of TASK, in order."""
        turns = {seed_of(TASK, number, turn): turn for turn in range(30)}
        return sorted((r for r in self.requests if r["seed"] in turns), key=lambda r: turns[r["seed"]])

    def episode(self, number: int) -> SourcedEpisode:
        """Of a rollout of TASK."""
        return self.rollouts.found[self.group(TASK)[number].metadata["episode"]]

    def rolled_out(self, step: int) -> list[Any]:
        """What was asked for to train on."""
        seeds = {seed_of(asked.task, n, step=step) for asked in self.rollouts.asked for n in range(6)}
        return [asked for asked in self.rollouts.asked if asked.seed in seeds]

    def validated(self) -> list[Any]:
        """What the arm's own validation asked for: with the reference's luck where it decodes greedily as well."""
        greedy = self.config.seams.exploration.temperature == 0.0
        purpose = (0, "validation") if greedy else (SEED, "reported")
        asked = [each for each in self.rollouts.asked if each.seed == derive_seed(*purpose, each.task)]
        return [each for each in asked if each.task != REFERENCE]
