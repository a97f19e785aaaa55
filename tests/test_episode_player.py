"""One episode as it is played: what is asked of the server, what is kept, when it is asked again, how it ends."""

import asyncio
import json
from functools import cache

import litellm
import pytest

from harness.env import load_domain
from harness.episode_player import EpisodePlayer, Job, Sampling
from harness.errors import EngineError, EpisodeError

TASK = "mock_000"  # its user has one line, so the first text ends the conversation
TWO_LINES = "mock_003"


@cache
def domain():
    return load_domain("mock")


def job(task=TASK, max_turns=6, need_logprobs=True):
    return Job("http://server/v1", "key", "hosted_vllm/p@1", task, Sampling(0.7, 32, max_turns), 5, need_logprobs)


def text(said="Done.", finish="stop", logprobs=True):
    return {"content": said, "finish": finish, "logprobs": logprobs}


def call(name="get_users", arguments="{}"):
    return {**text(None, "tool_calls"), "call": {"name": name, "arguments": arguments}}


def response(reply, request):
    tokens = [{"token": f"token_id:{i}", "logprob": -i / 10, "bytes": None, "top_logprobs": []} for i in (1, 2)]
    message = {"role": "assistant", "content": reply["content"]}
    if "call" in reply:
        message["tool_calls"] = [{"id": "random", "type": "function", "function": reply["call"]}]
    choice = {"index": 0, "message": message, "finish_reason": reply["finish"]}
    if reply["logprobs"]:
        choice["logprobs"] = {"content": tokens}
    made = litellm.ModelResponse(choices=[choice], model="hosted_vllm/p@1")
    if request["extra_body"]["return_token_ids"]:
        made.prompt_token_ids = list(range(10 * len(request["messages"])))
    return made


@pytest.fixture
def served(monkeypatch):
    """Plays a job against these replies; returns the episode and the requests."""

    def play(replies, asked):
        left, requests = list(replies), []

        async def acompletion(**request):
            requests.append({**request, "messages": list(request["messages"])})
            reply = left.pop(0)
            if isinstance(reply, Exception):
                raise reply
            return response(reply, request)

        async def at_once(_seconds):
            return None

        monkeypatch.setattr(litellm, "acompletion", acompletion)
        monkeypatch.setattr("harness.episode_player.asyncio.sleep", at_once)
        return asyncio.run(EpisodePlayer(domain(), 4).play(asked)), requests

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
    assert {turn.answered_by for turn in episode.turns} == {"p@1"}


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
    full = litellm.exceptions.ContextWindowExceededError("context length", "p@1", "hosted_vllm")
    episode, requests = served([call(), call(), full, text()], job(TWO_LINES))
    assert episode.end == "length" and len(episode.turns) == 2
    assert requests[3]["messages"] == requests[1]["messages"]
    assert prompt_ids(episode) == [20, 40]


def test_the_turn_limit_ends_the_episode_with_the_last_prompt_at_hand(served):
    episode, requests = served([call(), call(), call()], job(max_turns=3))
    assert (episode.end, episode.outcome.reward, len(requests)) == ("turn_limit", 0.0, 3)
    assert prompt_ids(episode)[-1] == 60


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


def test_a_refused_first_request_is_no_missing_data(served):
    refused = litellm.exceptions.BadRequestError("no such tool parser", "p@1", "hosted_vllm")
    with pytest.raises(EngineError, match="refused"):
        served([refused], job())


@pytest.mark.parametrize("arguments", ["not json", "[1]", json.dumps({"user": 1})])
def test_odd_arguments_are_answered_by_the_tool(served, arguments):
    episode, _ = served([call("create_task", arguments), text()], job())
    assert episode.messages[3]["content"].startswith("Error:")
