"""Three agents without a model: each domain can be solved, doing nothing earns little, chance is reproducible."""

from functools import cache
from random import Random

import pytest

from harness.env import agents, bounds, load_environment
from harness.env.environment import Call
from harness.seams import Outcome
from tests.env.test_load import Talk, World


@cache
def environment(name):
    return load_environment(SOURCES[name])


SINGLE = ("0", "1", "6", "7", "5", "9", "17")
SOURCES = {
    "mock": {"_target_": "harness.env.load_domain", "name": "mock"},
    "retail": {"_target_": "harness.env.load_domain", "name": "retail"},
    "retail_single": {"_target_": "harness.env.load_domain", "name": "retail", "only": SINGLE},
    "airline": {"_target_": "harness.env.load_domain", "name": "airline"},
    "retail_generated": {"_target_": "harness.env.retail_tasks.environment.load", "tasks": 10, "validation_tasks": 10},
}
FLOORS = {  # of the training and the held-out tasks: some ask for nothing that can be done
    "mock": (0, 0),
    "retail": (5 / 74, 2 / 40),
    "retail_single": (0, 0),
    "airline": (13 / 30, 6 / 20),
    "retail_generated": (0, 0),
}


@pytest.mark.parametrize("name", SOURCES)
def test_the_oracle_solves_every_task_and_the_floor_only_what_asks_for_nothing(name):
    made = environment(name)
    for ids, least in zip((made.train_ids, made.test_ids), FLOORS[name], strict=True):
        assert bounds(made, ids) == (pytest.approx(least), 1.0)


@pytest.mark.parametrize("name", ["mock", "airline"])
def test_the_random_agent_calls_tools_and_does_the_same_again(name):
    made, task = environment(name), environment(name).train_ids[3]

    def steps():
        heard = ["You are user_ada, and task_17 is done."]
        return [step for step, _ in zip(agents.random(made, task, heard), range(30), strict=False)]

    calls = [step for step in steps() if isinstance(step, Call)]
    assert steps() == steps() and 20 < len(calls) < 30
    required = {tool["function"]["name"]: tool["function"]["parameters"].get("required", []) for tool in made.tools}
    assert all(set(required[call.name]) <= set(call.arguments) for call in calls)
    assert len({agents.play(made, task, agents.random).outcome for _ in range(2)}) == 1


SCHEMAS = [
    ({"type": "string"}, ("one", "two")),
    ({"enum": ["pending", "completed"], "type": "string"}, ("pending", "completed")),
    ({"const": "x"}, ("x",)),
    ({"type": "boolean"}, (True, False)),
    ({"anyOf": [{"type": "null"}, {"const": 3}]}, (None, 3)),
    ({"$ref": "#/$defs/Mode"}, ("4g",)),
    ({"type": "array", "items": {"const": 1}}, ([1], [1, 1])),
    ({"type": "object", "properties": {"a": {"const": 1}}}, ({"a": 1},)),
    ({}, ("one", "two")),
]


@pytest.mark.parametrize(("schema", "values"), SCHEMAS)
def test_arguments_fit_their_schema(schema, values):
    drawn = [agents.fitting(schema, Random(i), ("one", "two"), {"Mode": {"const": "4g"}}) for i in range(20)]
    assert all(value in values for value in drawn) and all(value in drawn for value in values)


def test_numbers_fit_their_schema():
    assert isinstance(agents.fitting({"type": "integer"}, Random(0), (), {}), int)
    assert isinstance(agents.fitting({"type": "number"}, Random(0), (), {}), float)


class Pays(Talk):
    """Pays who calls the tool."""

    called = False

    def call_tool(self, call_id, name, arguments):
        self.called = True
        return "1"

    def outcome(self, stopped):
        return Outcome(float(self.called and stopped), 0, 0, 0, 0, None)


class Paying(World):
    def start(self, task_id, seed):
        return Pays()

    def solution(self, task_id):
        return [Call("add", {})] if task_id != "t2" else []


def test_what_the_environment_itself_says_of_its_bounds_comes_first():
    made = Paying()
    assert bounds(made, ["t0", "t1", "t2", "t3"]) == (0.0, 0.75)
    made.bounds = lambda ids: (0.1, 0.9)
    assert bounds(made, ["t0"]) == (0.1, 0.9)


def test_an_environment_without_solutions_has_no_bounds_and_can_be_played_all_the_same():
    made = World()
    assert bounds(made, made.test_ids) is None and not agents.has_solutions(made)
    made.start = lambda task_id, seed: Pays()
    assert agents.play(made, "t0", agents.floor) == agents.Played(Outcome(0.0, 0, 0, 0, 0, None), True, 1)


class Asked(Pays):
    async def reply(self, text):
        import asyncio

        await asyncio.sleep(0)
        return None


def test_a_user_who_is_a_model_is_not_asked():
    made = Paying()
    made.digest, made.start = "asked", lambda task_id, seed: Asked()
    assert bounds(made, ["t0"]) is None
    with pytest.raises(agents.Awaits):
        agents.play(made, "t0", agents.floor)


class Endless(Pays):
    async def reply(self, text):
        return "Go on."


def test_an_episode_without_an_end_is_cut_and_not_stopped():
    made = Paying()
    made.start = lambda task_id, seed: Endless()
    played = agents.play(made, "t0", agents.oracle)
    assert (played.stopped, played.replies, played.outcome.reward) == (False, agents.REPLIES, 0.0)


class Ends(Pays):
    @property
    def done(self):
        return self.called


def test_a_tool_that_ends_the_conversation_ends_the_episode():
    made = Paying()
    made.start = lambda task_id, seed: Ends()
    assert agents.play(made, "t0", agents.oracle) == agents.Played(Outcome(1.0, 0, 0, 0, 0, None), True, 1)
