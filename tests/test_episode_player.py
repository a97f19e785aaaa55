"""One episode as it is played: what is asked of the server, what is kept, how it ends.

What a single answer of the server is taken for: test_completion.py.
"""

import asyncio
import json
from dataclasses import replace
from functools import cache

import litellm
import pytest

from harness.backend.context import Contexts
from harness.env import load_domain
from harness.env.domain import ScriptedConversation
from harness.env.user import UNHEARD
from harness.episode_player import EpisodePlayer, Job, Sampling
from harness.errors import EngineError, EpisodeError
from harness.factors import derive_seed
from harness.policy import MICRO
from harness.rollout import SourcedEpisode, trajectory
from harness.seams import Outcome, Rendering
from tests.fakes import SEAMS

TASK = "mock_000"  # its user has one line, so the first text ends the conversation
TWO_LINES = "mock_003"


@cache
def domain():
    return load_domain("mock")


def job(task=TASK, max_turns=6, need_logprobs=True, max_prompt_tokens=1000):
    sampling = Sampling(0.7, 32, max_turns, max_prompt_tokens)
    return Job("http://server/v1", "key", "hosted_vllm/p@1", task, sampling, 5, need_logprobs)


def text(said="Done.", finish="stop", logprobs=True):
    return {"content": said, "finish": finish, "logprobs": logprobs}


def call(name="get_users", arguments="{}"):
    return {**text(None, "tool_calls"), "call": {"name": name, "arguments": arguments}}


def refused(message):
    return litellm.exceptions.BadRequestError(message, "p@1", "hosted_vllm")


def response(reply, request):
    tokens = [{"token": f"token_id:{i}", "logprob": -i / 10, "bytes": None, "top_logprobs": []} for i in (1, 2)]
    message = {"role": "assistant", "content": reply["content"]}
    if "call" in reply:
        message["tool_calls"] = [{"id": "random", "type": "function", "function": reply["call"]}]
    choice = {"index": 0, "message": message, "finish_reason": reply["finish"]}
    if reply["logprobs"]:
        choice["logprobs"] = {"content": tokens}
    made = litellm.ModelResponse(choices=[choice], model="hosted_vllm/p@1")
    made._hidden_params = {"optional_params": {"temperature": request["temperature"]}}
    made.usage = litellm.Usage(prompt_tokens=10 * len(request["messages"]))
    if request["extra_body"]["return_token_ids"]:
        made.prompt_token_ids = list(range(10 * len(request["messages"])))
    return made


@pytest.fixture
def served(monkeypatch):
    """Plays a job against these replies; returns the episode and the requests."""

    def play(replies, asked, world=None):
        left, requests = list(replies), []

        async def acompletion(**request):
            requests.append({**request, "messages": list(request["messages"])})
            reply = left.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return response(reply, request)

        monkeypatch.setattr(litellm, "acompletion", acompletion)
        monkeypatch.setattr("harness.completion.PAUSE", 0)
        return asyncio.run(EpisodePlayer(world or domain(), 4).play(asked)), requests

    return play


def prompt_ids(episode):
    return [None if turn.prompt_ids is None else len(turn.prompt_ids) for turn in episode.turns]


def test_the_first_tool_call_is_answered_and_the_users_stop_ends_the_episode(served):
    episode, requests = served([call(), text()], job())
    assert episode.end == "user_stop"
    assert [m if isinstance(m, int) else m["role"] for m in episode.messages] == ["system", "user", 0, "tool", 1]
    assert [m["role"] for m in requests[1]["messages"]] == ["system", "user", "assistant", "tool"]
    assert [r["seed"] for r in requests] == [5, 6]
    assert episode.turns[0].tool_calls[0]["id"] == "call_2_0"  # depends on the position alone
    assert (episode.turns[0].output_ids, episode.turns[0].logprobs) == ((1, 2), (-0.1, -0.2))
    assert {(turn.answered_by, turn.temperature) for turn in episode.turns} == {("p@1", 0.7)}
    assert (episode.user, episode.outcome.raised) == ({"kind": "scripted"}, None)


def test_prompt_ids_are_kept_of_the_first_turn_and_the_last(served):
    episode, _ = served([call(), call(), text(), call(), text()], job(TWO_LINES))
    # After the user's last line any text may end it, so ids are asked for from there on.
    assert prompt_ids(episode)[0] == 20 and prompt_ids(episode)[1:3] == [None, None]
    assert prompt_ids(episode)[-1] == 10 * 10


def test_a_turn_that_ends_the_episode_unforeseen_is_looked_up_with_one_token_more(served):
    episode, requests = served([call(), text(finish="length"), text()], job(TWO_LINES))
    assert episode.end == "length" and len(episode.turns) == 2
    assert requests[2]["messages"] == requests[1]["messages"] and requests[2]["max_completion_tokens"] == 1
    assert prompt_ids(episode) == [20, 40]


def test_a_full_context_ends_the_episode_and_its_last_answered_prompt_is_looked_up(served):
    full = refused("max_tokens must be at least 1, got 0.")
    episode, requests = served([call(), call(), full, text()], job(TWO_LINES))
    assert episode.end == "length" and len(episode.turns) == 2
    assert requests[3]["messages"] == requests[1]["messages"]
    assert prompt_ids(episode) == [20, 40]


def test_a_context_that_the_first_prompt_fills_ends_an_episode_without_a_turn(served):
    episode, requests = served([refused("This model's maximum context length is 8 tokens.")], job())
    assert (episode.end, episode.turns, episode.outcome.reward, len(requests)) == ("length", (), 0.0, 1)
    assert [message["role"] for message in episode.messages] == ["system", "user"]


def test_a_reply_to_a_prompt_past_the_limit_is_kept_and_acted_upon_and_is_the_last(served):
    episode, requests = served([call(), call(), text()], job(TWO_LINES, max_prompt_tokens=39))
    assert (episode.end, len(episode.turns)) == ("prompt_limit", 2)  # 20 tokens, then 40
    assert [m if isinstance(m, int) else m["role"] for m in episode.messages][-2:] == [1, "tool"]
    assert requests[2]["max_completion_tokens"] == 1  # its prompt's ids are looked up
    assert served([call(), call(), text()], job(max_prompt_tokens=40))[0].end == "user_stop"


def test_an_episode_that_is_over_keeps_its_end_past_the_limit(served):
    episode, _ = served([text()], job(max_prompt_tokens=1))
    assert episode.end == "user_stop"


@pytest.mark.parametrize("arguments", ['{"summary": "x"}', "{}"])
def test_a_handover_ends_the_episode_where_the_environment_says_so(served, arguments):
    replies = [call("transfer_to_human_agents", arguments), text()]
    assert served(list(replies), job())[0].end == "user_stop"
    episode, _ = served(replies, job(), load_domain("mock", transfer_ends=True))
    assert (episode.end, len(episode.turns)) == ("done", 1)
    assert [m if isinstance(m, int) else m["role"] for m in episode.messages] == ["system", "user", 0, "tool"]


HANDOVER = "mock_011"  # asks for a deletion alone, so that the handover is all that is to be done


def test_what_a_tool_has_ended_is_judged_as_what_the_user_has_ended(served):
    world = load_domain("mock", transfer_ends=True)
    good, _ = served([call("transfer_to_human_agents", '{"summary": "x"}')], job(HANDOVER), world)
    assert (good.end, good.outcome.reward, good.outcome.actions_matched) == ("done", 1.0, 1)


@pytest.mark.parametrize("arguments", ["", "{}", "null", "not json", '{"bogus": 1}'])
def test_a_call_that_the_tool_refused_earns_nothing(served, arguments):
    refused_call = call("transfer_to_human_agents", arguments)
    for world in (domain(), load_domain("mock", transfer_ends=True)):
        episode, _ = served([refused_call, text()], job(HANDOVER), world)
        assert episode.messages[3]["content"].startswith("Error")
        assert (episode.outcome.reward, episode.outcome.actions_matched) == (0.0, 0)


def test_an_empty_reply_is_no_answer(served):
    episode, requests = served([text(""), text(" \n"), text()], job())
    assert [r["messages"][-1]["content"] for r in requests[1:]] == [UNHEARD, UNHEARD]
    assert (episode.end, len(episode.turns)) == ("user_stop", 3)


def test_the_turn_limit_ends_the_episode_with_the_last_prompt_at_hand(served):
    episode, requests = served([call(), call(), call()], job(max_turns=3))
    assert (episode.end, episode.outcome.reward, len(requests)) == ("turn_limit", 0.0, 3)
    assert prompt_ids(episode)[-1] == 60


class Lucky:
    """A world whose user says the seed and stops at once."""

    name, system_prompt, tools, closing, done = "lucky", "caf\udce9", [], True, False

    def start(self, task_id, seed):
        self.seed = seed
        return self

    async def opening(self):
        return f"\ud83d {self.seed}"

    async def reply(self, text):
        return None

    def outcome(self, stopped):
        return Outcome(float(stopped), 0, 0, 0, 0, None)


def test_the_users_luck_and_identity_come_from_the_job_and_what_they_say_can_be_encoded(served):
    user = {"kind": "a model", "model": "m"}
    episode, requests = served([text()], replace(job(), user=user), Lucky())
    assert [m["content"] for m in requests[0]["messages"]] == ["caf\ufffd", f"\ufffd {derive_seed(5, 'user')}"]
    assert episode.user == user


def test_a_lost_connection_is_tried_again_with_the_same_request(served):
    lost = litellm.exceptions.APIConnectionError("lost", "hosted_vllm", "p@1")
    episode, requests = served([lost, text()], job())
    assert len(episode.turns) == 1 and requests[0] == requests[1]


def test_a_server_that_stays_away_is_missing_data(served):
    lost = litellm.exceptions.APIConnectionError("lost", "hosted_vllm", "p@1")
    with pytest.raises(EpisodeError, match="3 requests for hosted_vllm/p@1 failed"):
        served([lost] * 3, job())


@pytest.mark.parametrize("needed", [True, False])
def test_a_reply_without_logprobs_is_asked_for_again_where_they_are_needed(served, needed):
    episode, requests = served([text(logprobs=False), text()], job(need_logprobs=needed))
    assert len(requests) == 1 + needed
    assert (episode.turns[0].logprobs is None) is not needed


@pytest.mark.parametrize("before", [[], [call()]])
def test_a_refused_request_is_no_missing_data(served, before):
    with pytest.raises(EngineError, match="refused"):
        served([*before, refused("no such tool parser")], job())


# As the policy writes them, as the next prompt holds them, what upstream's loop raises over them.
ODD = [
    ("not json", '"not json"', "JSONDecodeError: Expecting value"),
    ("[1]", "[1]", "ValidationError: kwargs is list"),
    ('"x"', '"x"', "ValidationError: kwargs is str"),
    ("[" * 100_000, json.dumps("[" * 100_000), "ValueError: the text is nested too deeply"),
    ('{"user": 1}', '{"user": 1}', None),
]


@pytest.mark.parametrize(("arguments", "sent", "raised"), ODD, ids=range(len(ODD)))
def test_odd_arguments_are_answered_by_the_tool_and_what_upstream_would_have_raised_is_remembered(
    served, arguments, sent, raised
):
    episode, requests = served([call("create_task", arguments), call("create_task", "{"), text()], job())
    assert episode.messages[3]["content"].startswith("Error:")
    assert requests[1]["messages"][2]["tool_calls"][0]["function"]["arguments"] == sent
    assert episode.outcome.raised.startswith(raised or "JSONDecodeError: Expecting property name")
    assert episode.turns[0].tool_calls[0]["arguments"] == arguments


NOTHING = [("{}", None), ("", "JSONDecodeError"), (" ", "JSONDecodeError"), ("null", "ValidationError")]


@pytest.mark.parametrize(("arguments", "raised"), NOTHING)
def test_a_tool_that_takes_nothing_is_called_with_nothing(served, arguments, raised):
    episode, requests = served([call("get_users", arguments), text()], job())
    assert "user_id" in episode.messages[3]["content"]
    assert requests[1]["messages"][2]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert (episode.outcome.raised or "None").startswith(raised or "None")


HALVES = ['{"task_id": "\\ud83d", "status": "completed"}', '{"user_id": "user_ada", "title": "caf\\udce9"}']


@pytest.mark.parametrize("arguments", HALVES)
def test_halves_of_a_character_reach_no_tool_and_the_trajectory_is_tokenised(served, arguments):
    name = "update_task_status" if "status" in arguments else "create_task"
    episode, requests = served([call(name, arguments), text()], job())
    json.dumps(requests[1]["messages"], ensure_ascii=False).encode()
    json.dumps(episode.messages, ensure_ascii=False).encode()
    made = trajectory(SourcedEpisode(episode, "key", None), 0, SEAMS, domain().tools)
    assert Contexts(str(MICRO), domain().tools).ids_of(made, Rendering())


@pytest.mark.parametrize("reward", [-1.0, 2.0, float("nan")])
def test_a_reward_that_is_no_share_is_refused_since_statistics_take_it_for_one(served, monkeypatch, reward):
    monkeypatch.setattr(ScriptedConversation, "outcome", lambda self, stopped: Outcome(reward, 0, 0, 0, 0, None))
    with pytest.raises(EngineError, match="env=mock judges task mock_000 with reward .*; expected 0 to 1"):
        served([text()], job())
