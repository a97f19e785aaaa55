"""tau2's telecom without a user: official verdicts, no text but the last, nothing that depends on other tasks."""

import asyncio
import json
import subprocess
import sys
from functools import cache
from random import Random

import pytest
from tau2.domains.telecom.environment import get_environment
from tau2.domains.telecom.user_tools import TelecomUserTools
from tau2.evaluator.evaluator_action import ActionEvaluator
from tau2.evaluator.evaluator_env import EnvironmentEvaluator

from harness.env import agents, bounds, load_domain, load_environment
from harness.env.environment import Call
from harness.env.telecom_solo import DONE, STOP


@cache
def domain():
    return load_domain("telecom_solo")


def test_the_split_is_the_official_one_and_every_task_can_be_solved():
    assert (len(domain().train_ids), len(domain().test_ids)) == (74, 40)
    assert not set(domain().train_ids) & set(domain().test_ids)
    for ids in (domain().train_ids, domain().test_ids):
        assert bounds(domain(), ids) == (0.0, 1.0)


def official(task_id, messages):
    """tau2's way: replay the conversation in a new environment, then look at it."""
    vpn = TelecomUserTools.default_vpn_details.model_copy()
    task = domain().world(task_id).task
    try:
        reward = EnvironmentEvaluator.calculate_reward(get_environment, task, messages, solo_mode=True).reward
    finally:
        TelecomUserTools.default_vpn_details = vpn  # tau2 leaves it broken for the next task
    if "ACTION" in [kind.value for kind in task.evaluation_criteria.reward_basis]:
        reward *= ActionEvaluator.calculate_reward(task, messages).reward
    return reward


def gold(task_id, corruption, luck):
    steps = list(domain().solution(task_id))
    victim = luck.randrange(len(steps) - 1)
    if corruption == "lost":
        del steps[victim]
    if corruption == "twice":
        steps.insert(victim, steps[victim])
    return steps


@pytest.mark.parametrize("corruption", ["none", "lost", "twice"])
def test_verdicts_equal_those_of_the_official_evaluators_that_replay(corruption):
    luck, seen = Random(corruption), set()
    for task_id in luck.sample(domain().task_ids, 25):
        talk = domain().start(task_id)
        for number, step in enumerate(gold(task_id, corruption, luck)):
            talk.call_tool(f"call_{number}", step.name, step.arguments)
        reward = talk.outcome(stopped=talk.done).reward
        assert reward == official(task_id, talk.messages), task_id
        seen.add(reward)
    assert seen == {"none": {1.0}, "lost": {0.0, 1.0}, "twice": {0.0, 1.0}}[corruption]


def test_verdicts_on_random_calls_equal_the_official_ones():
    for task_id in Random(0).sample(domain().task_ids, 12):
        talk, heard = domain().start(task_id), ["555-123-2002 C1001 L1002 B1001 John Smith"]
        calls = (step for step in agents.random(domain(), task_id, heard) if isinstance(step, Call))
        for number, call in zip(range(25), calls, strict=False):
            talk.call_tool(f"call_{number}", call.name, call.arguments)
            if talk.done:
                break
        assert talk.outcome(stopped=True).reward == official(task_id, talk.messages), task_id


def first_task(what):
    return next(task_id for task_id in domain().task_ids if what in task_id)


def solved(end):
    """A solved task up to its end, which is given."""
    talk = domain().start(first_task("airplane_mode_on"))
    *calls, _ = domain().solution(first_task("airplane_mode_on"))
    for number, call in enumerate(calls):
        talk.call_tool(f"call_{number}", call.name, call.arguments)
        assert not talk.done
    return talk, end(talk)


@pytest.mark.parametrize("text", ["All done.", "", " \n"])
def test_a_text_is_an_agent_error_that_ends_the_episode_and_earns_nothing(text):
    talk, said = solved(lambda talk: asyncio.run(talk.reply(text)))
    outcome = talk.outcome(stopped=True)
    assert said is None and (outcome.reward, outcome.actions_matched, outcome.facts_met) == (0.0, 0, 0)
    assert outcome.facts_total > 0 and outcome.actions_total > 0


@pytest.mark.parametrize("end", [lambda t: asyncio.run(t.reply(f"Bye {STOP}")), lambda t: t.call_tool("d", DONE, {})])
def test_the_stop_word_and_the_tool_done_end_it_well(end):
    talk, _ = solved(end)
    outcome = talk.outcome(stopped=True)
    assert outcome.reward == 1.0 and outcome.facts_met == outcome.facts_total > 0 and outcome.db_match is None
    assert talk.outcome(stopped=False).reward == 0.0


def test_assertions_that_hold_and_gold_calls_are_credit():
    task_id = first_task("data_usage_exceeded")
    talk = domain().start(task_id)
    steps = [step for step in domain().solution(task_id) if step.name == "refuel_data"]
    talk.call_tool("call_0", steps[0].name, steps[0].arguments)
    outcome = talk.outcome(stopped=True)
    assert outcome.reward == 0.0 and outcome.actions_matched == 1 < outcome.actions_total
    assert 0 < outcome.facts_met < outcome.facts_total


def test_wrong_calls_are_answered_by_text_and_match_nothing():
    talk = domain().start(acted())
    for name, arguments in (("no_such", {}), ("refuel_data", {"gb": 1}), ("transfer_to_human_agents", {}), ("x", "y")):
        assert talk.call_tool("c", name, arguments).startswith("Error")
    assert talk.outcome(stopped=True).actions_matched == 0


def test_a_handover_that_the_tool_refuses_is_none():
    """tau2 looks at names and arguments alone, and of a handover at its name alone."""
    task_id = acted()
    (handover,) = [step for step in domain().solution(task_id) if step.name == "transfer_to_human_agents"]
    paid = []
    for arguments in (handover.arguments, {}):
        talk = domain().start(task_id)
        talk.call_tool("c", handover.name, arguments)
        paid.append((talk.outcome(stopped=True).reward, official(task_id, talk.messages)))
    assert paid == [(1.0, 1.0), (0.0, 1.0)]


def acted():
    """A task whose reward also needs its calls."""
    return next(i for i in domain().task_ids if len(domain().world(i).criteria.reward_basis) > 1)


def test_a_handover_ends_the_episode_where_it_is_asked_for():
    for ends in (False, True):
        made = load_environment({"_target_": "harness.env.load_domain", "name": "telecom_solo", "transfer_ends": ends})
        talk = made.start(made.train_ids[0], 0)
        talk.call_tool("c", "transfer_to_human_agents", {"summary": "x"})
        assert talk.done is ends and (made.digest == domain().digest) is not ends
        assert made.part([made.train_ids[0], made.test_ids[0]]).tools == domain().tools


def test_a_new_bill_has_the_same_id_in_every_episode():
    answers = []
    for _ in range(2):
        talk = domain().start(domain().train_ids[0])
        talk.call_tool("c", "refuel_data", {"customer_id": "C1002", "line_id": "L1004", "gb_amount": 1})
        answers.append(talk.call_tool("c", "get_bills_for_customer", {"customer_id": "C1002"}))
    assert answers[0] == answers[1] and "Data refueling" in answers[0]


def vpn(task_id):
    talk = domain().start(task_id)
    for name in ("disconnect_vpn", "connect_vpn"):
        talk.call_tool("c", name, {})
    return talk.call_tool("c", "check_vpn_status", {})


def test_a_vpn_is_broken_where_the_task_breaks_it_and_nowhere_else():
    broken = next(i for i in domain().task_ids if "break_vpn" in domain().world(i).task.model_dump_json())
    whole = next(i for i in domain().task_ids if "break_vpn" not in domain().world(i).task.model_dump_json())
    assert "poor" in vpn(broken) and "excellent" in vpn(whole) and "poor" in vpn(broken)


def test_the_prompt_and_the_tools_are_those_of_tau2s_solo_agent():
    """Read from its source; here from the agent itself, in a process of its own since it changes litellm's settings."""
    code = (
        "import json, sys; from tau2.agent.llm_agent import LLMSoloAgent as A;"
        "from tau2.domains.telecom.environment import get_environment as g, get_tasks;"
        "e, t = g(solo_mode=True), get_tasks('base')[0];"
        "a = A(e.get_tools() + e.get_user_tools(), e.get_policy(), t);"
        "print(json.dumps([t.id, a.system_prompt, [x.openai_schema for x in a.tools]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    task_id, prompt, tools = json.loads(done.stdout.splitlines()[-1])
    ticket = asyncio.run(domain().start(task_id).opening())
    assert prompt == f"{domain().system_prompt}\n{ticket}"
    assert tools == domain().tools


def test_neither_the_domain_nor_its_load_imports_litellm():
    code = (
        "import sys; from harness.env import load_domain; load_domain('telecom_solo'); print('litellm' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_its_options_arrive(sweep_config):
    config = sweep_config("env=telecom_solo")
    assert load_environment(config.env.source).name == "telecom_solo"
