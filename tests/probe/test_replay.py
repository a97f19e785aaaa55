"""An environment of somebody's own is asked what it does with the recorded replies, whatever it is written like."""

import pytest

from harness.errors import ConfigError
from harness.probe import check
from harness.probe.replay import arguments_of
from tests.probe.sums import Sum, Sums, sums
from tests.probe.test_references import another_sum, one, rollouts, verdicts


def test_a_user_that_follows_no_script_is_not_replayed_and_its_tools_are():
    world = Sums()
    world.user = {"kind": "model"}
    given = sums() | {"environment": world}
    another_sum(given)
    found = verdicts(given)
    assert found["user_says_otherwise"] == found["success_not_as_judged"] == "cannot tell"
    assert found["environment_answers_otherwise"] == "present"


def test_an_environment_that_raises_everywhere_is_no_finding():
    given = sums()
    for rollout in rollouts(given):
        rollout["task"] = "0 0"
    assert verdicts(given)["environment_raises"] == "cannot tell"


def test_conversations_that_were_played_alike_are_replayed_once(monkeypatch):
    started = []
    monkeypatch.setattr(Sum, "opening", lambda self: started.append(1) or f"{self.numbers[0]} + {self.numbers[1]}?")
    check(**sums())
    assert len(started) == 4 * 3


@pytest.mark.parametrize("odd", ["mock", Sums, object()], ids=["a name", "a class", "no world"])
def test_what_is_no_environment_is_refused(odd):
    with pytest.raises(ConfigError, match="system_prompt and start"):
        check([], environment=odd)


def test_an_outcome_of_another_kind_is_said_and_stops_no_trainer(monkeypatch):
    monkeypatch.setattr(Sum, "outcome", lambda self, stopped: 1.0)
    (found,) = [f for f in check(**sums()) if f.symptom == "environment_raises"]
    assert "outcome() gives float, and not harness.probe.Outcome" in found.text


def test_every_member_of_an_environment_may_be_awaited(monkeypatch):
    start, outcome = Sums.start, Sum.outcome

    async def started(self, task, seed):
        return start(self, task, seed)

    async def judged(self, stopped):
        return outcome(self, stopped)

    monkeypatch.setattr(Sums, "start", started)
    monkeypatch.setattr(Sum, "outcome", judged)
    found = verdicts(sums())
    assert found["environment_raises"] == found["success_not_as_judged"] == "absent"


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ('{"a": 1}', {"a": 1}),
        ({"a": 1}, {"a": 1}),
        ("", {}),
        (None, {}),
        ("null", {}),
        ("[1]", {"arguments": "[1]"}),
        ("no JSON", {"arguments": "no JSON"}),
    ],
)
def test_whatever_the_policy_wrote_reaches_a_tool_as_an_object(text, arguments):
    assert arguments_of({"name": "add", "arguments": text}) == arguments


@pytest.mark.parametrize(("messages", "verdict"), [(4, "absent"), (5, "present")])
def test_a_tool_may_end_the_conversation(messages, verdict, monkeypatch):
    monkeypatch.setattr(Sum, "call_tool", lambda self, call, name, given: setattr(self, "done", True) or "3")
    rollout = one(sums())
    given = {"messages": rollout["messages"][:messages], "task": "1 2", "end": "done"}
    assert verdicts({"trajectories": [given], "environment": Sums()})["episode_ends_elsewhere"] == verdict
