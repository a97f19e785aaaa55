"""What an episode promises, without a model: gold actions win, doing nothing does not, tau2's own evaluators agree."""

import asyncio
import json
from functools import cache
from random import Random

import pytest
from tau2.evaluator.evaluator_action import ActionEvaluator
from tau2.evaluator.evaluator_communicate import CommunicateEvaluator
from tau2.evaluator.evaluator_env import EnvironmentEvaluator

from harness.env import DOMAINS, load_domain
from harness.env.domain import Domain, ScriptedConversation
from harness.env.overlay import overlay
from harness.env.user import UNHEARD
from harness.errors import ConfigError

SCRIPTED = ("mock", "retail", "airline")


@cache
def domain(name: str) -> Domain:
    return load_domain(name)


def finish(episode: ScriptedConversation, *texts: str) -> bool:
    """Say the texts, then 'ok' until the user stops."""
    answer: str | None = episode.first
    for text in (*texts, *["ok"] * 10):
        answer = episode.answer(text)
        if answer is None:
            break
    return answer is None


def play_gold(name: str, task_id: str) -> tuple[ScriptedConversation, bool]:
    episode, criteria = domain(name).start(task_id), domain(name).world(task_id).task.evaluation_criteria
    for i, action in enumerate(criteria.actions or []):
        episode.call_tool(f"call_{i}", action.name, action.arguments)
    return episode, finish(episode, "Done: " + "; ".join(criteria.communicate_info or []))


@pytest.mark.parametrize("name", SCRIPTED)
def test_gold_actions_and_facts_score_one_on_every_task(name):
    for task_id in domain(name).task_ids:
        episode, stopped = play_gold(name, task_id)
        outcome = episode.outcome(stopped)
        assert outcome.reward == 1.0, task_id
        assert (outcome.actions_matched, outcome.facts_met) == (outcome.actions_total, outcome.facts_total), task_id
        assert outcome.db_match is True


@pytest.mark.parametrize("name", SCRIPTED)
def test_doing_nothing_scores_zero_where_something_had_to_be_done(name):
    for task_id in domain(name).task_ids:
        world, episode = domain(name).world(task_id), domain(name).start(task_id)
        if world.gold or world.task.evaluation_criteria.communicate_info or name == "mock":
            assert episode.outcome(finish(episode)).reward == 0.0, task_id


def test_an_episode_that_the_user_did_not_end_meets_no_check():
    episode, _ = play_gold("mock", "mock_000")
    outcome = episode.outcome(stopped=False)
    assert outcome.reward == outcome.actions_matched == outcome.facts_met == 0 and outcome.db_match is False
    assert outcome.actions_total > 0


def test_a_part_of_a_domain_keeps_splits_and_order():
    whole = domain("retail")
    part = whole.part(["9", "0", "5"])
    assert (part.train_ids, part.test_ids, part.task_ids) == (("0",), ("5", "9"), ("0", "5", "9"))
    assert part.digest != whole.digest and part.task_digest("5") == whole.task_digest("5")


NO_PART = [(["0", "5", "x7"], "holds x7: domain retail has no such"), (["5"], "0 training tasks and 1")]


@pytest.mark.parametrize(("ids", "said"), NO_PART)
def test_a_part_that_cannot_be_used_is_refused(ids, said):
    with pytest.raises(ConfigError, match=said):
        domain("retail").part(ids)


def official_reward(name: str, task_id: str, episode: ScriptedConversation) -> float:
    """tau2's way: replay the whole conversation and the gold actions in new environments, compare their hashes."""
    world = domain(name).world(task_id)
    task = world.task.model_copy(update={"initial_state": None})  # `world.database` already has it

    def constructor(solo_mode: bool = False):
        environment = world.environment()
        environment.tools.db = world.database.model_copy(deep=True)  # a plain copy, no overlay
        return environment

    reward = EnvironmentEvaluator.calculate_reward(constructor, task, episode.messages).reward
    reward *= CommunicateEvaluator.calculate_reward(task, episode.messages).reward
    if "ACTION" in [kind.value for kind in task.evaluation_criteria.reward_basis]:
        reward *= ActionEvaluator.calculate_reward(task, episode.messages).reward
    return reward


@pytest.mark.parametrize(("name", "count"), [("mock", 75), ("retail", 6), ("airline", 3)])
def test_verdicts_equal_those_of_the_official_evaluators_that_replay(name, count):
    """On gold, on gold with one action lost, and on gold with one argument changed."""
    random, seen = Random(0), set()
    for task_id in random.sample(domain(name).task_ids, count):
        actions = domain(name).world(task_id).task.evaluation_criteria.actions or []
        for corruption in ("none", "lost", "changed"):
            episode = domain(name).start(task_id)
            victim = random.randrange(len(actions)) if actions else 0
            for i, action in enumerate(actions):
                if i == victim and corruption == "lost":
                    continue
                changed = i == victim and corruption == "changed"
                arguments = {k: "pending" if changed else v for k, v in action.arguments.items()}
                episode.call_tool(f"call_{i}", action.name, arguments)
            facts = domain(name).world(task_id).task.evaluation_criteria.communicate_info or []
            stopped = finish(episode, "Done: " + "; ".join(facts))
            reward = episode.outcome(stopped).reward
            assert reward == official_reward(name, task_id, episode), (task_id, corruption)
            seen.add(reward)
    assert seen == {0.0, 1.0}


@pytest.mark.parametrize("name", SCRIPTED)
def test_episodes_leave_the_shared_database_as_it_was(name):
    before = domain(name).world(domain(name).task_ids[0]).database.get_hash()
    for task_id in domain(name).task_ids[:40]:
        play_gold(name, task_id)
    assert domain(name).world(domain(name).task_ids[0]).database.get_hash() == before


def test_an_overlay_shows_the_same_database():
    base = domain("retail").world("0").database
    assert overlay(base).get_hash() == base.get_hash()


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("no_such_tool", {}),
        ("create_task", {"user": "user_1"}),
        ("create_task", {"user_id": "user_1", "title": 7}),
        ("update_task_status", {"task_id": ["task_1"], "status": "completed"}),
        ("update_task_status", {"tool_name": "x", "requestor": "user"}),
        ("update_task_status", "task_1"),
        ("update_task_status", None),
    ],
)
def test_wrong_calls_are_answered_by_text(tool, arguments):
    assert domain("mock").start("mock_000").call_tool("c", tool, arguments).startswith("Error:")


def test_calls_without_arguments_earn_no_partial_credit():
    # tau2's comparison lets them match where a task names no compare_args, as retail's do.
    task_id = "0"
    episode, actions = domain("retail").start(task_id), domain("retail").world(task_id).task.evaluation_criteria.actions
    for i, action in enumerate(actions):
        episode.call_tool(f"call_{i}", action.name, {})
    assert episode.outcome(True).actions_matched == 0


def test_a_gold_action_that_the_tool_refuses_counts_for_none():
    world = domain("retail").world("105")  # its exchange costs more than the gift card holds
    assert len(world.task.evaluation_criteria.actions) == 1 and world.actions == []
    episode, stopped = play_gold("retail", "105")
    assert episode.outcome(stopped).actions_total == 0


def test_a_call_that_the_tool_refuses_matches_no_action():
    task_id = next(i for i in domain("mock").task_ids if names(i) == ["transfer_to_human_agents"])
    paid = set()
    for arguments in ({"summary": "x"}, {}, {"bogus": 1}, None):
        episode = domain("mock").start(task_id)
        refused = episode.call_tool("c", "transfer_to_human_agents", arguments).startswith("Error")
        outcome = episode.outcome(finish(episode))
        paid.add((refused, outcome.reward, outcome.actions_matched))
    assert paid == {(False, 1.0, 1), (True, 0.0, 0)}


def names(task_id: str) -> list[str]:
    return [action.name for action in domain("mock").world(task_id).task.evaluation_criteria.actions]


@pytest.mark.parametrize("name", SCRIPTED)
@pytest.mark.parametrize("nothing", ["", "  \n"])
def test_an_empty_text_is_the_last_word_of_no_rewarded_episode(name, nothing):
    for task_id in domain(name).task_ids:
        criteria = domain(name).world(task_id).task.evaluation_criteria
        episode = domain(name).start(task_id)
        for i, action in enumerate(criteria.actions or []):
            episode.call_tool(f"call_{i}", action.name, action.arguments)
        assert [episode.answer(nothing) for _ in range(10)] == [UNHEARD] * 10
        assert episode.outcome(stopped=True).reward == 0.0, task_id
        said = finish(episode, "Done: " + "; ".join(criteria.communicate_info or []))
        assert episode.outcome(said).reward == 1.0, task_id


def test_conversations_with_a_script_are_the_same_for_all_seeds():
    one, other = (domain("mock").start("mock_003", seed) for seed in (0, 1))
    assert [one.first, one.answer("Done.")] == [other.first, other.answer("Done.")]


def test_a_script_is_awaited_as_any_user():
    async def play(episode):
        return await episode.opening(), await episode.reply(""), await episode.reply("Done.")

    opening = domain("mock").start("mock_000").first
    assert asyncio.run(play(domain("mock").start("mock_000", 0))) == (opening, UNHEARD, None)


@pytest.mark.parametrize("name", SCRIPTED)
def test_a_handover_ends_the_conversation_by_tau_bench_v1s_rule_alone(name):
    for ends in (False, True):
        world = load_domain(name, transfer_ends=ends)
        episode = world.start(world.task_ids[0])
        assert not episode.done
        episode.call_tool("c", "transfer_to_human_agents", {"summary": "x"})
        assert episode.done is ends
        assert (world.digest == domain(name).digest) is not ends
        part = world.part([world.train_ids[0], world.test_ids[0]])
        assert part.transfer_ends is ends


def test_tools_are_openai_schemas_in_the_order_in_which_they_are_sent():
    for tool in domain("mock").tools:
        assert list(tool) == ["type", "function"]
        assert list(tool["function"]) == ["name", "description", "parameters"]
    assert json.loads(json.dumps(domain("mock").tools)) == domain("mock").tools


def test_an_unknown_domain_is_answered_with_the_nearest_and_the_valid_names():
    with pytest.raises(ConfigError, match=r"'retial'.*Did you mean 'retail'\?.*mock, retail, airline"):
        load_domain("retial")
    assert {*SCRIPTED, "telecom_solo"} == set(DOMAINS)


def test_an_unknown_task_is_a_key_error():
    with pytest.raises(KeyError):
        domain("mock").start("mock_075")


@pytest.mark.parametrize(("name", "train", "test"), [("mock", 30, 45), ("retail", 74, 40), ("airline", 30, 20)])
def test_splits_are_the_official_ones_and_disjoint(name, train, test):
    d = domain(name)
    assert (len(d.train_ids), len(d.test_ids)) == (train, test)
    assert not set(d.train_ids) & set(d.test_ids)
    assert set(d.train_ids) | set(d.test_ids) == set(d.task_ids)
