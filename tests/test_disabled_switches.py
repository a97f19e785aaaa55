"""No check passes with its switch disabled.

Every level of every fix is run with the check of one level and the acts of another: the loop is real, the server, the
trainer and the environment are made up but behave as theirs do. The check must never say that the switch took effect,
and at some step must say that it did not.

A new fix, and a new level of one, is walked by itself. What it reads must be something that `World` moves.
"""

import asyncio
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import permutations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import harness.fixes
from harness.backend import TrainedContext
from harness.backend.context import ContextKind
from harness.episode import Turn
from harness.factors import Factor
from harness.fixes import endpoint, registry
from harness.loop import run_loop
from harness.rollout import Sampling
from harness.seams import Check, Rendering, Seams
from harness.validation import ReferenceProtocol
from tests.fakes import RUN, SEAMS, Backend, Contexts, Policy, Records, Rollouts, episode, turn

TASKS = tuple(f"task_{n}" for n in range(7))  # five are trained on; with six to validate on, ids run past the end
STEPS = 3
TOKENS = 12  # of each reply
ENDS = ("user_stop", "user_stop", "turn_limit", "length")


def logprob(name: str) -> float:
    """Of every token, under the weights behind a name: each step moves them."""
    return -0.1 * (int(name.rpartition("@")[2]) + 1)


def stale(name: str) -> float:
    """The same where the server has the adapter of the step before under each name."""
    model, _, step = name.rpartition("@")
    return logprob(f"{model}@{max(int(step) - 1, 0)}")


def advantages(rewards: list[float]) -> list[float]:
    """As ART computes them of a group."""
    return [float((reward - np.mean(rewards)) / (np.std(rewards) + 1e-6)) for reward in rewards]


def sampled(trajectory: Any) -> list[int]:
    """The token ids that carry log-probs."""
    choices = [m for m in trajectory.messages_and_choices if not isinstance(m, dict) and m.logprobs]
    return [int(t.token.removeprefix("token_id:")) for choice in choices for t in choice.logprobs.content]


class Trainer(Backend):
    """Trains the tokens that carry log-probs, and scores with the weights of each step. The ids of what it trains say
    whether the tools were attached, and which rollout it is.

    keys: of the episodes of the rollouts; versions: of the weights, by step
    """

    def __init__(self, rendering: Rendering):
        super().__init__()
        self.rendering = rendering
        self.keys: list[str] = []
        self.versions = [0]

    def weights(self, name: str) -> str:
        return f"weights of version {self.versions[int(name.rpartition('@')[2])]}"

    async def train(self, model, trajectory_groups, **options):
        kept = [
            len(choice.logprobs.content)
            for group in trajectory_groups
            for trajectory in group.trajectories
            for choice in trajectory.messages_and_choices
            if not isinstance(choice, dict) and choice.logprobs
        ]
        rollouts = [trajectory for group in trajectory_groups for trajectory in group.trajectories]
        computed = [a for group in trajectory_groups for a in advantages([t.reward for t in group.trajectories])]
        given = list(computed)
        if self.rendering.advantages == "shuffled":
            trained = [n for n, advantage in enumerate(computed) if advantage]
            for n, other in zip(trained, np.random.default_rng(model.step).permutation(trained), strict=True):
                given[n] = computed[other]
        self.keys = [str(trajectory.metadata["episode"]) for trajectory in rollouts]
        self.contexts = [
            TrainedContext(
                ids := (int(trajectory.tools is not None), n, *sampled(trajectory)),
                tuple(range(2, len(ids))),
                given[n],
                computed[n],
            )
            for n, trajectory in enumerate(rollouts)
            if kept and (computed[n] or not any(computed))  # the other fixes are judged by all that was trained
        ]
        self.versions.append(self.versions[-1] + (options["learning_rate"] > 0))
        self.metrics = {"data/step_trainer_tokens": sum(kept), "data/step_num_gradient_steps": float(bool(kept))}
        return await super().train(model, trajectory_groups, **options)

    async def score(self, name, replies):
        return [np.full(len(reply.output_ids), logprob(name), np.float32) for reply in replies]


class Tokenised(Contexts):
    """Contexts as they come of tools that were attached or not and of the run's rendering; each has a call before its
    last turn."""

    def __init__(self, rendering: Rendering, trainer: Trainer):
        super().__init__()
        self.trainer = trainer
        order = "served" if rendering.tool_order == "served" else "stock_order"
        self.openings = {0: frozenset({"no_tools"}), 1: frozenset({order})}
        self.rest = frozenset({"served" if rendering.calls == "once" else "twice"})

    def judge(self, trained, asked):
        return [
            ContextKind(self.trainer.keys[context.ids[1]], self.openings[context.ids[0]], self.rest, True)
            for context in trained
        ]


class World:
    """A run of the loop: the server answers with the weights of the name, and as greedily as it is asked to. Episodes
    end in every way, and earn every reward.

    served: log-prob of every token that the server samples under a name
    """

    def __init__(self, seams: Seams, exact: bool, served: Callable[[str], float] = logprob):
        self.served = served
        self.trainer = Trainer(seams.context(Rendering()))
        self.rollouts = Rollouts(TASKS, self.play, exact)
        self.rollouts.weights = self.trainer.weights
        config = SimpleNamespace(
            run=RUN,
            seams=seams,
            train=SimpleNamespace(
                steps=STEPS,
                groups_per_step=3,
                rollouts_per_group=8,
                train_tasks=5,
                val_tasks=6,
                learning_rate=0.01,
                packed_sequence_length=512,
                loss="cispo",
                epsilon=None,
                epsilon_high=None,
            ),
            rollout=SimpleNamespace(max_tokens=32, max_turns=6, max_prompt_tokens=20_000),
            validation=SimpleNamespace(every=1),
        )
        protocol = ReferenceProtocol(TASKS[5:], Sampling(0.0, 32, 6))
        fakes = (
            Policy(),
            self.trainer,
            self.rollouts,
            Tokenised(seams.context(Rendering()), self.trainer),
            protocol,
            Records(),
            lambda *_: None,
        )
        self.checks: list[Check] = asyncio.run(run_loop(config, *fakes))

    def play(self, task, model, seed):
        name, temperature = model.removeprefix("hosted_vllm/"), self.rollouts.calls[-1].sampling.temperature
        luck = seed % 97 if temperature else int(task[-1])
        reply = turn(range(luck, luck + TOKENS), self.rollouts.weights(name))
        reply = replace(reply, logprobs=(self.served(name),) * TOKENS)
        if "temperature" in {field.name for field in fields(Turn)}:
            reply = replace(reply, temperature=temperature)
        end, met = ENDS[luck % 4], luck % 5
        stopped = end == "user_stop"
        raised = None if luck % 7 else "a call whose arguments are no JSON object"
        return episode(task, reply, success=float(stopped and met == 4), met=met * stopped, end=end, raised=raised)


MODULES = [importlib.import_module(f"harness.fixes.{m.name}") for m in pkgutil.iter_modules(harness.fixes.__path__)]


def levels(factor: Factor) -> list[Any]:
    """The strategies of a fix, one of each level."""
    found = [each for module in MODULES for each in vars(module).values() if getattr(each, "factor", None) is factor]
    assert sorted(each.level for each in found) == sorted(factor.levels)
    return [each() for each in found]


class Disabled:
    """Says what one level says, does what another one does."""

    def __init__(self, says: Any, does: Any):
        self.factor, self.level, self.needs, self.check = says.factor, says.level, says.needs, says.check
        self._does = does

    def __getattr__(self, name: str) -> Any:
        return getattr(self._does, name)


def seams_with(strategy: Any) -> Seams:
    """All fixes on but for this strategy: at its own seam, or at an open one."""
    name = strategy.factor.name
    if name in {field.name for field in fields(Seams)}:
        return replace(SEAMS, **{name: strategy})
    return replace(SEAMS, further=(strategy,))


def effects(strategy: Any, exact: bool, **server: Any) -> list[bool | None]:
    """What the strategy's check says at each step."""
    checks = World(seams_with(strategy), exact, **server).checks
    return [check.took_effect for check in checks if check.factor == strategy.factor.name]


HONEST = [level for factor in registry.own() for level in levels(factor)]
DISABLED = [Disabled(*pair) for factor in registry.own() for pair in permutations(levels(factor), 2)]


def _name(strategy):
    does = f" that does {strategy._does.level}" if isinstance(strategy, Disabled) else ""
    return f"{strategy.factor.name}={strategy.level}{does}"


NUMBERS = pytest.mark.parametrize("exact", [True, False], ids=["float32", "16 bits"])


@NUMBERS
@pytest.mark.parametrize("strategy", HONEST, ids=_name)
def test_a_switch_that_works_is_seen_in_this_world(strategy, exact):
    found = effects(strategy, exact)
    assert True in found and False not in found


@NUMBERS
@pytest.mark.parametrize("strategy", DISABLED, ids=_name)
def test_a_switch_that_is_disabled_never_passes_and_is_caught(strategy, exact):
    found = effects(strategy, exact)
    assert True not in found
    assert False in found


@NUMBERS
def test_a_stale_adapter_under_the_right_name_is_caught(exact):
    assert effects(endpoint.On(), exact, served=stale) == [None, False, False]


def test_every_fix_has_each_of_its_levels_disabled():
    assert {(d.factor.name, d.level) for d in DISABLED} == {
        (factor.name, level) for factor in registry.own() for level in factor.levels
    }
