"""An environment from plain data: loaded by its target, and refused with a reason where it cannot be used."""

import pytest

from harness.env import Conversation, Environment, declared_user, load_domain, load_environment, task_groups
from harness.errors import ConfigError

HERE = "tests.env.test_load"
TOOL = {"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {"properties": {}}}}


class Talk:
    closing, done = True, False

    async def opening(self):
        return "Begin."

    def call_tool(self, call_id, name, arguments):
        return "1"

    async def reply(self, text):
        return None

    def outcome(self, stopped):
        raise NotImplementedError


class World:
    name, system_prompt, digest = "world", "Help.", "1"

    def __init__(self, tasks=4):
        self.train_ids, self.test_ids, self.tools = ["a", "b"], [f"t{i}" for i in range(tasks)], [TOOL]

    def task_digest(self, task_id):
        return task_id

    def start(self, task_id, seed):
        return Talk()


def changed(**what):
    """A world with these attributes."""

    def make():
        made = World()
        for name, value in what.items():
            setattr(made, name, value)
        return made

    return make


class Hasty(Talk):
    def reply(self, text):
        return None


def mute():
    return changed(start=lambda task_id, seed: object())()


def hasty():
    return changed(start=lambda task_id, seed: Hasty())()


numbered, repeated, toolless = changed(train_ids=[1, 2]), changed(test_ids=["a"]), changed(tools=[{"name": "add"}])
a_dict, constant = dict, 5
grouped, nameless = changed(task_groups={"t0": "sum", "t1": "sum"}), changed(task_groups=["t0", "t1"])
absent = changed(task_groups={"t9": "sum"})
modelled = changed(user={"kind": "model", "model": "m"})
kindless, borrowed = changed(user={"model": "m"}), changed(user={"kind": "llm"})
opaque, timed = changed(user={"kind": 5}), changed(user={"kind": "model", "since": object()})


def failing():
    raise FileNotFoundError("tasks.json")


def test_a_target_is_called_with_the_rest_of_its_source():
    assert list(load_environment({"_target_": f"{HERE}.World", "tasks": 2}).test_ids) == ["t0", "t1"]


def test_the_domains_of_tau2_are_environments_like_any_other():
    source = {"_target_": "harness.env.load_domain", "name": "mock", "tasks": 40}
    assert load_environment(source).digest == load_domain("mock", tasks=40).digest


@pytest.mark.parametrize("protocol", [Environment, Conversation])
def test_every_member_of_a_protocol_says_what_it_means_or_has_a_telling_name(protocol):
    members = [getattr(protocol, n) for n in vars(protocol) if not n.startswith("_")]
    assert sum(bool(m.__doc__) for m in members) >= len(members) - 1


REFUSED = [
    ("nowhere.envs.load", "no module 'nowhere' can be imported.*PYTHONPATH"),
    (f"{HERE}.Wrld", f"Did you mean {HERE}.World"),
    ("load", "expected the dotted path"),
    (f"{HERE}.constant", "is a int; expected a function or class"),
    (f"{HERE}.failing", r"raised FileNotFoundError: tasks.json \(.*test_load.py, line \d+\)"),
    (f"{HERE}.a_dict", "gave a dict without name, system_prompt, tools"),
    (f"{HERE}.mute", r"start\('a', 0\) gave a object without closing, done, opening, call_tool"),
    (f"{HERE}.hasty", "reply of the Hasty .* is not awaited; expected `async def reply`"),
    (f"{HERE}.numbered", "task id 1 is no text"),
    (f"{HERE}.repeated", "task 'a' is listed twice"),
    (f"{HERE}.toolless", "is no tool schema"),
    (f"{HERE}.nameless", r"task_groups is \['t0', 't1'\]; expected the name of a group by task id"),
    (f"{HERE}.kindless", r"user is \{'model': 'm'\}; expected who the user is as plain data, with a kind"),
    (f"{HERE}.borrowed", "a kind that is none of scripted, withholding, llm"),
    (f"{HERE}.opaque", "expected who the user is as plain data"),
    (f"{HERE}.timed", "expected who the user is as plain data"),
    (f"{HERE}.absent", "task_groups names task 't9', which is in neither train_ids nor test_ids"),
]


@pytest.mark.parametrize(("target", "message"), REFUSED)
def test_what_cannot_be_used_is_refused_with_the_reason(target, message):
    with pytest.raises(ConfigError, match=message):
        load_environment({"_target_": target})


def test_an_environment_may_say_which_tasks_are_variants_of_one_another():
    made = load_environment({"_target_": f"{HERE}.grouped"})
    assert task_groups(made) == {"t0": "sum", "t1": "sum"}
    assert task_groups(load_environment({"_target_": f"{HERE}.World"})) == {}


def test_an_environment_may_say_who_its_user_is():
    assert declared_user(load_environment({"_target_": f"{HERE}.modelled"})) == {"kind": "model", "model": "m"}
    assert declared_user(load_environment({"_target_": f"{HERE}.World"})) is None


def test_an_argument_that_it_does_not_take_is_named():
    with pytest.raises(ConfigError, match=r"takes \(tasks=4\), and env gives it size.*choose env=own and add only its"):
        load_environment({"_target_": f"{HERE}.World", "size": 3})
