"""tau-bench v1 from a checkout: its verdicts, its ending at a handover, its splits, data that nobody else sees change.

On a small stand-in with its interface (tau_bench_stand_in), and on the real one where TAU_BENCH_CHECKOUT names one.
"""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path
from random import Random

import pytest

from harness.env import bounds, load_environment, validation_sets
from harness.env.environment import Call
from harness.env.user import CONFIRMATION, UNHEARD
from harness.errors import ConfigError
from harness.fixes.split import Crash, Off, On, Overlap
from harness.sweep import plan

STAND_IN = Path(__file__).parent / "tau_bench_stand_in"
REAL = os.environ.get("TAU_BENCH_CHECKOUT")
CHECKOUTS = [STAND_IN, *([Path(REAL)] if REAL else [])]
SPLITS = {STAND_IN: (5, 2, 8, 8), "real": (500, 20, 115, 50)}  # retail train, dev, test; airline test


def forget():
    for name in [name for name in sys.modules if name.partition(".")[0] == "tau_bench"]:
        del sys.modules[name]


@pytest.fixture(scope="module", params=CHECKOUTS, ids=lambda path: path.name)
def checkout(request):
    """A process has one tau_bench; here one after the other."""
    forget()
    yield request.param
    forget()


@pytest.fixture
def stand_in():
    forget()
    yield str(STAND_IN)
    forget()


def world(path, name="retail", train_tasks=3, **options):
    path = path and str(path)
    options |= {"name": name, "path": path, "train_tasks": train_tasks}
    return load_environment({"_target_": "harness.env.tau1.load", **options})


def say(talk, text):
    return asyncio.run(talk.reply(text))


def finish(talk, text):
    """Whether the user stops: the text is said until then."""
    return any(say(talk, text) is None for _ in range(8))


def calls_of(made, task_id):
    return [step for step in made.solution(task_id) if isinstance(step, Call)]


def test_every_task_can_be_solved_and_few_by_doing_nothing(checkout):
    for name in ("retail", "airline"):
        made = world(checkout, name)
        floor, ceiling = bounds(made, (*made.train_ids, *made.test_ids))
        assert ceiling == 1.0 and 0 < floor < 0.5


class Stops:
    """A user of the checkout's own environment who stops at the first text."""

    def reset(self, instruction=None):
        return instruction

    def step(self, content):
        return "###STOP###"

    def get_total_cost(self):
        return 0.0


def stock(name, task_id, calls, text):
    """The reward of the checkout left as it is: it reads its files again and hashes all data. 0 until it ends."""
    from tau_bench.envs import get_env
    from tau_bench.types import Action

    split, _, number = task_id.rpartition("_")
    env = get_env(name, "human", "", split, task_index=0)
    env.user = Stops()
    env.reset(task_index=int(number))
    for call in calls:
        response = env.step(Action(name=call.name, kwargs=call.arguments))
        if response.done:
            return response.reward
    return env.step(Action(name="respond", kwargs={"content": text})).reward


def spoilt(calls, how, luck):
    """The calls, one of them lost, another's argument changed, or a number of another type."""
    victim = luck.randrange(len(calls))
    if how == "lost":
        return [call for place, call in enumerate(calls) if place != victim]
    if how == "changed":
        arguments = {name: [] if isinstance(old, list) else "x" for name, old in calls[victim].arguments.items()}
        return [Call(call.name, arguments) if place == victim else call for place, call in enumerate(calls)]
    if how == "typed":
        numbers = {float: int, int: float}
        return [Call(c.name, {k: numbers.get(type(v), type(v))(v) for k, v in c.arguments.items()}) for c in calls]
    return calls


@pytest.mark.parametrize("name", ["retail", "airline"])
def test_verdicts_equal_those_of_the_checkout_left_as_it_is(checkout, name):
    made, luck, seen = world(checkout, name), Random(0), set()
    acting = [i for i in (*made.train_ids, *made.test_ids) if calls_of(made, i)]
    for task_id in luck.sample(acting, min(len(acting), 7 if checkout == STAND_IN else 3)):
        text = "; ".join(("Done", *made.task(task_id).outputs))
        for how in ("gold", "lost", "changed", "typed"):
            calls, talk = spoilt(calls_of(made, task_id), how, luck), made.start(task_id, 0)
            for call in calls:
                if not talk.done:
                    talk.call_tool("c", call.name, call.arguments)
            stopped = talk.done or finish(talk, text)
            reward = talk.outcome(stopped).reward
            assert reward == stock(name, task_id, calls, text), (task_id, how)
            seen.add(reward)
    assert seen == {0.0, 1.0}


def test_nobody_sees_what_an_episode_changes(checkout):
    made = world(checkout)
    before = json.dumps(made._data, sort_keys=True)
    for task_id in made.train_ids:
        talk = made.start(task_id, 0)
        for call in calls_of(made, task_id):
            talk.call_tool("c", call.name, call.arguments)
        finish(talk, "Done.")
    assert json.dumps(made._data, sort_keys=True) == before


def test_the_splits_are_those_of_the_benchmark(checkout):
    train, dev, test, airline = SPLITS.get(checkout, SPLITS["real"])
    official = world(checkout, split="official")
    assert (len(official.train_ids), len(official.test_ids)) == (train, test)
    assert len(validation_sets(official)["dev"]) == dev
    one = world(checkout, split="test")
    assert (len(one.train_ids), len(one.test_ids), validation_sets(one)) == (3, test - 3, {})
    assert one.test_ids[0] == "test_3"
    other = world(checkout, "airline")
    assert len(other.train_ids) + len(other.test_ids) == airline


def test_its_prompt_and_tools_are_the_checkouts_own(checkout):
    made = world(checkout)
    from tau_bench.envs import get_env

    env = get_env("retail", "human", "", "test", task_index=0)
    assert (made.system_prompt, made.tools) == (env.wiki, env.tools_info)


CANCEL = Call("cancel_pending_order", {"order_id": "#W1", "reason": "no longer needed"})


def test_the_user_says_all_at_once_then_confirms_then_stops_at_a_report(stand_in):
    talk = world(stand_in).start("test_0", 0)
    assert asyncio.run(talk.opening()).startswith("I am User 1. I want to cancel my order #W1")
    assert not talk.closing
    talk.call_tool("c", "get_order_details", {"order_id": "#W1"})
    assert talk.closing and say(talk, "Shall I cancel it?") == CONFIRMATION and not talk.closing
    talk.call_tool("c", CANCEL.name, CANCEL.arguments)
    assert say(talk, "Done.") is None
    outcome = talk.outcome(stopped=True)
    assert (outcome.reward, outcome.actions_matched, outcome.actions_total, outcome.db_match) == (1.0, 2, 2, True)


def test_a_user_who_is_only_talked_to_stops_after_some_confirmations(stand_in):
    talk = world(stand_in).start("test_0", 0)
    answers = [say(talk, "Let me see.") for _ in range(5)]
    assert answers == [CONFIRMATION] * 4 + [None] and talk.outcome(True).reward == 0.0


@pytest.mark.parametrize("nothing", ["", " \n"])
def test_an_empty_text_is_no_answer(stand_in, nothing):
    talk = world(stand_in).start("test_4", 0)  # whose gold action is refused, so that nothing is to be done
    assert [say(talk, nothing) for _ in range(8)] == [UNHEARD] * 8
    assert talk.outcome(stopped=True).reward == 0.0
    assert finish(talk, "That order does not exist.") and talk.outcome(stopped=True).reward == 1.0
    assert talk.outcome(stopped=False).reward == 0.0


def test_a_handover_ends_the_conversation_and_is_judged(stand_in):
    made = world(stand_in)
    talk = made.start("test_0", 0)
    assert talk.call_tool("c", "transfer_to_human_agents", {"summary": "x"}) == "Transfer successful" and talk.done
    assert talk.outcome(stopped=True).reward == 0.0
    hand = made.start("test_3", 0)
    for step in made.solution("test_3"):
        hand.call_tool("c", step.name, step.arguments) if isinstance(step, Call) else say(hand, step)
    assert hand.done and hand.outcome(stopped=True).reward == 1.0


def test_an_episode_that_did_not_end_earns_nothing(stand_in):
    talk = world(stand_in).start("test_0", 0)
    talk.call_tool("c", CANCEL.name, CANCEL.arguments)
    outcome = talk.outcome(stopped=False)
    assert (outcome.reward, outcome.actions_matched, outcome.db_match) == (0.0, 0, False)


def test_a_gold_call_that_the_tool_refuses_is_no_credit(stand_in):
    talk = world(stand_in).start("test_0", 0)
    talk.call_tool("c", CANCEL.name, CANCEL.arguments | {"reason": "ordered by mistake"})
    assert talk.call_tool("c", CANCEL.name, CANCEL.arguments) == "Error: no pending order"
    assert finish(talk, "Done.") and talk.outcome(stopped=True).actions_matched == 0


def test_what_was_said_and_called_is_credit_where_the_reward_is_none(stand_in):
    talk = world(stand_in).start("test_1", 0)  # what does #W2 cost?
    talk.call_tool("c", "get_order_details", {"order_id": "#W2"})
    talk.call_tool("c", CANCEL.name, CANCEL.arguments)  # nobody asked for it
    say(talk, "It costs 12.5.")
    outcome = talk.outcome(stopped=True)
    assert (outcome.reward, outcome.db_match) == (0.0, False)
    assert (outcome.actions_matched, outcome.facts_met, outcome.facts_total) == (1, 1, 1)


WRONG = [
    ("no_such_tool", {}, "Unknown action no_such_tool"),
    ("respond", {"content": "hello"}, "Unknown action respond"),
    (CANCEL.name, {"order": 1}, "Error: "),
    (CANCEL.name, {"data": {}, "order_id": "#W1", "reason": "x"}, "Error: "),
    (CANCEL.name, "#W1", "Error: arguments must be a JSON object, got str"),
]


@pytest.mark.parametrize(("name", "arguments", "said"), WRONG)
def test_wrong_calls_are_answered_by_text(stand_in, name, arguments, said):
    talk = world(stand_in).start("test_0", 0)
    assert talk.call_tool("c", name, arguments).startswith(said) and not talk.done


def test_conversations_are_the_same_for_all_seeds_and_tasks_have_to_exist(stand_in):
    made = world(stand_in)
    assert len({asyncio.run(made.start("test_2", seed).opening()) for seed in (0, 1)}) == 1
    for unknown in ("test_8", "test_x", "train_0"):
        with pytest.raises(KeyError):
            made.start(unknown, 0)


def test_the_digest_follows_files_and_split_and_not_the_place(stand_in, tmp_path):
    digests = {world(stand_in).digest, world(stand_in, train_tasks=4).digest, world(stand_in, split="official").digest}
    forget()
    moved = tmp_path / "moved"
    shutil.copytree(STAND_IN, moved)
    assert len(digests) == 3 and world(moved).digest in digests
    (moved / "tau_bench" / "envs" / "retail" / "wiki.md").write_text("Be brief.")
    assert world(moved).digest not in digests


REFUSED = [
    ({"path": None}, "env.path is missing.*git clone https://github.com/sierra-research/tau-bench FOLDER"),
    ({"path": "/nowhere"}, "env.path=/nowhere is no checkout .* does not exist. Get it with `git clone"),
    ({"path": str(STAND_IN.parent)}, "has no tau_bench/envs/base.py"),
    ({"name": "airline", "split": "official"}, "tau-bench's airline has test. As upstream's"),
    ({"name": "airline", "split": "train"}, "env.split is train, and tau-bench's airline has test"),
    ({"train_tasks": 8}, "train.train_tasks=8 takes all 8 tasks of env.split=test"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_cannot_be_played_is_refused_with_the_command(stand_in, options, said):
    with pytest.raises(ConfigError, match=said):
        world(**({"path": stand_in} | options))


def test_a_process_has_one_checkout(stand_in, tmp_path):
    world(stand_in)
    shutil.copytree(STAND_IN, tmp_path / "other")
    with pytest.raises(ConfigError, match="this process has tau_bench of .*tau_bench_stand_in"):
        world(tmp_path / "other")


def test_its_options_arrive_and_the_path_is_absolute(sweep_config, monkeypatch):
    monkeypatch.chdir(STAND_IN.parent)
    forget()
    config = sweep_config("env=tau1_airline", f"env.path={STAND_IN.name}", "train.train_tasks=3")
    assert Path(config.env.source["path"]) == STAND_IN
    made = load_environment(config.env.source)
    assert (made.name, len(made.train_ids), len(made.test_ids)) == ("tau1_airline", 3, 5)
    assert config.shared["env"]["_target_"] == "harness.sections.Tau1EnvConfig"
    forget()


def test_the_levels_of_split_are_upstreams_on_airline(checkout):
    made = world(checkout, "airline")
    task_ids = (*made.train_ids, *made.test_ids)
    past = Off().split(task_ids, 3, len(task_ids)).validation
    assert past.count(None) == 3 and past[0] == "test_3"
    assert Crash().split(task_ids, 3, len(task_ids)).validation == past and Crash.raises
    assert On().split(task_ids, 3, len(task_ids)).validation == made.test_ids
    assert Overlap().split(task_ids, 3, 5).validation[:3] == made.train_ids


def test_the_whole_of_one_split_leaves_no_id_past_the_end(stand_in, sweep_config):
    """As upstream's 30 + 85 are the 115 test tasks of retail."""
    options = ("env=tau1_retail", f"env.path={stand_in}", "train.train_tasks=3", "train.val_tasks=5")
    with pytest.raises(ConfigError, match="fix/split=off would have no effect: 3 \\+ 5 ids fit into the 8 tasks"):
        plan.preview(sweep_config(*options, "fix/split=off"))
    sweep = plan.preview(sweep_config(*options))
    assert sweep.reference_ids == ("test_3", "test_4", "test_5", "test_6", "test_7")
