"""An ART project's own rollout in the harness: what it is given, what becomes of its requests, what is kept."""

import asyncio
import json
from dataclasses import replace

import art
import litellm
import pytest
from art.utils.litellm import convert_litellm_choice_to_openai
from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler
from openai import AsyncOpenAI

from harness.env import load_environment
from harness.env.project import Project
from harness.episode import Episode
from harness.episode_player import EpisodePlayer
from harness.errors import ConfigError, EngineError, EpisodeError
from harness.fixes import reward
from harness.project_player import ProjectPlayer, player_of
from harness.seams import Outcome
from tests.test_episode_player import call, domain, job, refused, response, text

TOOLS = [{"type": "function", "function": {"name": "get_users", "description": "", "parameters": {"type": "object"}}}]
ASKED = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Who is there?"}]


async def with_openai(model, messages, **options):
    """The first choice, asked for as ART's examples do."""
    options = {"tools": TOOLS, "temperature": 0.1, **options}
    async with AsyncOpenAI(base_url=model.inference_base_url, api_key=model.inference_api_key, max_retries=0) as client:
        answer = await client.chat.completions.create(model=model.get_inference_name(), messages=messages, **options)
    return answer.choices[0]


async def with_litellm(model, messages, **options):
    """As Art-E does."""
    options = {"tools": TOOLS, "max_completion_tokens": 8, **options}
    name = f"hosted_vllm/{model.get_inference_name()}"
    client = AsyncHTTPHandler()  # not litellm's own, which outlives the event loop
    answer = await litellm.acompletion(
        model=name,
        base_url=model.inference_base_url,
        api_key=model.inference_api_key,
        messages=messages,
        client=client,
        **options,
    )
    await client.close()
    return convert_litellm_choice_to_openai(answer.choices[0])


async def rollout(model, task, ask=with_openai, **options):
    """Two turns: a call and a text."""
    made = art.Trajectory(messages_and_choices=list(ASKED), tools=TOOLS, reward=task["reward"], metrics=task["metrics"])
    first = await ask(model, ASKED, **options)
    made.messages_and_choices.append(first)
    (called,) = first.message.tool_calls
    answer = {"role": "tool", "tool_call_id": called.id, "content": "Ada"}
    made.messages_and_choices.append(answer)
    made.messages_and_choices.append(await ask(model, made.messages(), **options))
    return made


def project(played=rollout, **changes):
    tasks = {"a": {"reward": 1.5, "metrics": {"success": 1}}, "b": {"reward": 0.3, "metrics": {}}}
    fields = dict(name="mine", rollout=played, train={"a": tasks["a"]}, validation={"b": tasks["b"]}, tools=TOOLS)
    return Project(**fields | {"version": "1"} | changes)


@pytest.fixture
def served(monkeypatch):
    """Plays a job of a project against these replies of vLLM's server: the episode, and what that server was asked."""

    def play(replies, played=rollout, asked=None, **changes):
        left, requests, real = list(replies), [], litellm.acompletion

        async def acompletion(**request):
            if request.get("api_base") != "http://server/v1":
                return await real(**request)  # the rollout's own
            requests.append(request)
            reply = left.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return response(reply, request)

        monkeypatch.setattr(litellm, "acompletion", acompletion)
        monkeypatch.setattr("harness.completion.PAUSE", 0)

        player = ProjectPlayer(project(played, **changes), 4)
        return asyncio.run(player.play(asked or job("a"))), requests

    return play


@pytest.mark.parametrize("ask", [with_openai, with_litellm])
def test_name_temperature_seed_and_logprobs_are_the_harness_s_and_messages_and_tools_the_rollout_s(served, ask):
    episode, requests = served([call(), text()], lambda model, task: rollout(model, task, ask))
    for number, request in enumerate(requests):
        assert (request["model"], request["temperature"], request["seed"]) == ("hosted_vllm/p@1", 0.7, 5 + number)
        assert request["logprobs"] and request["extra_body"]["return_token_ids"]
        assert request["tools"] == TOOLS
    assert requests[0]["messages"] == ASKED
    assert [m["role"] for m in requests[1]["messages"]] == ["system", "user", "assistant", "tool"]
    assert requests[0]["max_completion_tokens"] == (8 if ask is with_litellm else 32)  # never above rollout.max_tokens
    assert [m if isinstance(m, int) else m["role"] for m in episode.messages] == ["system", "user", 0, "tool", 1]
    assert {(turn.output_ids, turn.logprobs, turn.temperature) for turn in episode.turns} == {
        ((1, 2), (-0.1, -0.2), 0.7)
    }
    assert [len(turn.prompt_ids) for turn in episode.turns] == [20, 40]


def test_requests_of_one_rollout_at_the_same_time_have_seeds_of_their_own(served):
    async def twice(model, task):
        await asyncio.gather(*(with_openai(model, ASKED) for _ in range(2)))
        return art.Trajectory(messages_and_choices=list(ASKED), reward=0.5)

    _, requests = served([text(), text()], twice)
    assert sorted(request["seed"] for request in requests) == [5, 6]


def test_success_is_what_is_validated_and_the_projects_reward_what_is_trained(served):
    outcome = served([call(), text()])[0].outcome
    assert (outcome.reward, outcome.shaped, outcome.end) == (1.0, 1.5, "user_stop")
    assert (reward.On().training_reward(outcome), reward.Off().training_reward(outcome)) == (1.5, 1.0)


def test_without_a_metric_of_success_the_reward_is_both(served):
    outcome = served([call(), text()], asked=job("b"))[0].outcome
    assert (outcome.reward, outcome.shaped) == (0.3, 0.3)


@pytest.mark.parametrize(
    ("reward", "metrics", "said"),
    [
        (-0.3, {}, "the reward, which stands for its success, -0.3; expected 0 to 1"),
        (1.5, {}, "the reward, which stands for its success, 1.5"),
        (0.5, {"success": 2}, "the metric 'success' 2.0"),
        (0.5, {"success": float("nan")}, "the metric 'success' nan"),
    ],
)
def test_success_that_is_no_share_is_refused_since_statistics_take_it_for_one(served, reward, metrics, said):
    tasks = {"a": {"reward": reward, "metrics": metrics}}
    with pytest.raises(EngineError, match=said):
        served([call(), text()], train=tasks)


def test_a_reply_that_was_cut_off_is_said_to_end_the_episode(served):
    assert served([call(), text(finish="length")])[0].end == "length"


def test_equal_rewards_are_equal_binary_fractions():
    shaped = {reward.On().training_reward(Outcome(0.0, 0, 0, 0, 0, None, shaped=1 / 3)) for _ in range(6)}
    assert len(shaped) == 1 and sum([*shaped] * 6) / 6 == shaped.pop()


def test_the_episode_is_stored_and_found_again(served):
    episode, _ = served([call(), text()])
    assert Episode.from_bytes(episode.to_bytes()) == episode


def test_a_choice_that_was_made_up_or_changed_is_refused(served):
    async def forged(model, task):
        made = await rollout(model, task)
        made.messages_and_choices[2].message.content = "I looked."
        made.messages_and_choices[2].logprobs = None
        return made

    with pytest.raises(EngineError, match="holds a choice that no request of its rollout gave"):
        served([call(), text()], forged)


def test_a_choice_without_logprobs_is_known_by_what_it_says(served):
    async def stripped(model, task):
        made = await rollout(model, task)
        for each in made.messages_and_choices:
            if not isinstance(each, dict):
                each.logprobs = None
        return made

    assert len(served([call(), text()], stripped)[0].turns) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"top_p": 0.5}, "has 'top_p', which is not passed on"),
        ({"n": 2}, "asks for n=2, and only 1 is passed on"),
        ({"stream": True}, "asks for stream=True"),
        ({"tools": TOOLS * 2}, "sends 2 tools, and its Project names 1 others"),
        ({"tools": [{"type": "function", "function": {"name": "other"}}]}, "and its Project names 1 others"),
    ],
)
def test_a_request_that_would_not_be_the_arms_is_refused(served, options, said):
    with pytest.raises(EngineError, match=said):
        served([call(), text()], lambda model, task: rollout(model, task, **options))


def test_a_failure_of_the_server_is_missing_data_whatever_the_rollout_makes_of_it(served):
    async def careless(model, task):
        try:
            return await rollout(model, task)
        except Exception:
            return art.Trajectory(reward=0.0)  # faithful to what many rollouts do

    with pytest.raises(EpisodeError, match="3 requests for hosted_vllm/p@1 failed"):
        served([litellm.exceptions.InternalServerError("no", "hosted_vllm", "p@1")] * 3, careless)


def test_a_rollout_that_raises_is_missing_data_and_its_line_is_named(served):
    async def broken(model, task):
        raise KeyError("answer")

    with pytest.raises(EpisodeError, match=r"rollout of task a raised KeyError: 'answer' \(.*test_project_player.py"):
        served([], broken)


def test_a_full_context_and_too_many_replies_end_the_episode_without_reward(served):
    full = refused("This model's maximum context length is 1024 tokens")
    episode, _ = served([call(), full])
    assert (episode.end, episode.outcome.reward, episode.outcome.shaped) == ("length", 0.0, None)
    assert [m if isinstance(m, int) else m["role"] for m in episode.messages] == ["system", "user", 0, "tool"]
    assert served([call()], asked=job("a", max_turns=1))[0].end == "turn_limit"


def test_nobody_without_the_key_is_answered(served):
    async def other(model, task):
        model.inference_api_key = "another"
        return await rollout(model, task)

    with pytest.raises(EpisodeError, match="raised AuthenticationError"):
        served([call()], other)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_reward_that_is_no_number_is_refused(served, number):
    async def odd(model, task):
        made = await rollout(model, task)
        made.reward = number
        return made

    with pytest.raises(EngineError, match="expected a finite number"):
        served([call(), text()], odd)


def test_further_histories_are_refused(served):
    async def branching(model, task):
        made = await rollout(model, task)
        made.additional_histories.append(art.trajectories.History(messages_and_choices=list(ASKED)))
        return made

    with pytest.raises(EngineError, match="further histories"):
        served([call(), text()], branching)


def a_project():
    return project()


def test_a_project_is_loaded_in_the_place_of_an_environment():
    made = load_environment({"_target_": f"{__name__}.a_project"})
    assert isinstance(player_of(made, 4), ProjectPlayer)
    assert isinstance(player_of(domain(), 4), EpisodePlayer)
    assert (list(made.train_ids), list(made.test_ids)) == (["a"], ["b"])


def test_its_digest_changes_with_version_tools_and_ids_and_a_tasks_with_its_content():
    base = project()
    assert project().digest == base.digest
    for other in ({"version": "2"}, {"tools": []}, {"train": {"c": 1}}):
        assert project(**other).digest != base.digest
    changed = replace(base, train={"a": {"reward": 2.0, "metrics": {}}})
    assert changed.task_digest("a") != base.task_digest("a")
    assert replace(base, train={"a": object()}).task_digest("a") == "a"


def test_a_task_in_both_sets_is_refused():
    with pytest.raises(ConfigError, match="Task 'a' of project mine is in train and validation"):
        project(validation={"a": {}})


def test_json_of_the_outcome_is_as_before_where_no_rollout_shaped_a_reward():
    stored = json.loads(Episode("t", (), (), Outcome(0.0, 0, 0, 0, 0, None), 0.1).to_bytes())
    assert "shaped" not in stored["outcome"]
