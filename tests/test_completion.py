"""One completion, over a real connection: which answers are replies, which are asked for again, what the others are."""

import asyncio
import math

import litellm
import pytest

from harness.completion import ContextFull, Request, clean, clean_json, complete
from harness.errors import EngineError, EpisodeError, MissingLogprobs
from tests.fake_server import completion, logprobs, refusal, serving, settled


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr("harness.completion.PAUSE", 0)
    monkeypatch.setattr("litellm.suppress_debug_info", True)


def ask(*answers, need_logprobs=True, temperature=0.7):
    """The reply, and how often the server was asked."""

    async def once(url):
        messages = [{"role": "user", "content": "Begin."}]
        request = Request(url, "key", "hosted_vllm/p@1", messages, (), temperature, 32, 5, True)
        return await complete(request, asyncio.Semaphore(1), need_logprobs)

    with serving(*answers) as (url, asked):
        try:
            return settled(once(url)), len(asked)
        except Exception as error:
            error.asked = len(asked)
            raise


def test_a_reply_has_the_tokens_that_were_served_and_sampled():
    reply, asked = ask(completion())
    turn = reply.turn
    assert (turn.prompt_ids, turn.output_ids, turn.logprobs) == ((7, 8, 9), (1, 2), (-0.1, -0.2))
    assert (turn.content, turn.answered_by, turn.temperature, reply.prompt_tokens) == ("Done.", "p@1", 0.7, 3)
    assert asked == 1


@pytest.mark.parametrize("temperature", [0.7, 0.0])
def test_a_turn_has_the_temperature_that_the_request_carried(temperature, monkeypatch):
    assert ask(completion(), temperature=temperature)[0].turn.temperature == temperature
    send = litellm.acompletion
    monkeypatch.setattr("litellm.acompletion", lambda temperature, **others: send(**others))
    assert math.isnan(ask(completion(), temperature=temperature)[0].turn.temperature)


FULL = [
    "max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)",
    "max_tokens must be at least 1, got -6.",
    "The decoder prompt (length 1030) is longer than the maximum model length of 1024.",
    "This model's maximum context length is 1024 tokens. However, your prompt contains at least 1025 input tokens.",
    "Input length (429) exceeds model's maximum context length (428).",  # a rate limit to litellm
]


@pytest.mark.parametrize("text", FULL)
def test_every_refusal_of_a_full_context_is_told_from_the_others(text):
    with pytest.raises(ContextFull) as full:
        ask(refusal(400, text))
    assert full.value.asked == 1


@pytest.mark.parametrize("text", ["top_k must be at least 1, got 0.", "max_tokens must be at least 1, got a word"])
def test_another_refusal_is_not_taken_for_a_full_context(text):
    with pytest.raises(EngineError, match="got"):
        ask(refusal(400, text))


REFUSED = [
    (400, "log says more"),
    (401, "API key"),
    (403, "API key"),
    (404, "this model name"),
    (409, "log says more"),
    (413, "too large"),
    (422, "log says more"),
    (501, "log says more"),
]


@pytest.mark.parametrize(("status", "advice"), REFUSED)
def test_a_refusal_is_an_engine_error_that_says_what_to_do_and_is_not_asked_again(status, advice):
    with pytest.raises(EngineError, match=rf"http://127.* refused .* \({status}\).*{advice}") as refused:
        ask(refusal(status), completion())
    assert refused.value.asked == 1


def test_words_in_a_refusal_do_not_make_it_a_rate_limit():
    with pytest.raises(EngineError):
        ask(refusal(413, "Request too large: 429 parts"), completion())


PASSING = [
    *(refusal(status) for status in (408, 429, 500, 502, 503, 504, 507)),
    (200, b"<html>gateway</html>"),
    (200, b""),
    (502, b"<html>gateway</html>"),
    None,  # the connection is dropped
]


@pytest.mark.parametrize("answer", PASSING)
def test_what_may_pass_is_asked_again_and_then_missing(answer):
    reply, asked = ask(answer, answer, completion())
    assert (reply.turn.content, asked) == ("Done.", 3)
    with pytest.raises(EpisodeError, match=r"3 requests for hosted_vllm/p@1 failed") as missing:
        ask(answer)
    assert missing.value.asked == 3


ODD = [
    (completion() | {"choices": []}, "the reply holds no choice"),
    (completion() | {"choices": None}, "the reply is no chat completion"),
    (completion(message=None), "the reply is no chat completion"),
    (completion(message={"role": "user", "content": "Hi."}), "Only assistant messages"),
    (completion(calls=[(None, "{}")]), "calls a tool without a name"),
    (completion(calls=[("", "{}")]), "calls a tool without a name"),
    (completion(finish="abort"), "the reply is no chat completion"),
    (completion() | {"model": None}, "does not say which model answered"),
    ([1], "the reply is no chat completion"),
]


@pytest.mark.parametrize(("body", "named"), ODD)
def test_an_odd_reply_is_asked_for_again_and_then_named(body, named):
    assert ask(body, completion())[1] == 2
    with pytest.raises(EpisodeError, match=named):
        ask(body)


NO_IDS = [
    ({name: value for name, value in completion().items() if name != "prompt_token_ids"}, "return_token_ids"),
    (completion(logprobs=logprobs(-0.1, token="word{}")), "return_tokens_as_token_ids"),
]


@pytest.mark.parametrize(("body", "option"), NO_IDS)
def test_a_server_that_gives_no_token_ids_is_named_with_the_option_that_it_lacks(body, option):
    with pytest.raises(EngineError, match=option):
        ask(body)


DROPPED = [
    None,
    {"content": None},
    {"content": []},
    logprobs(math.nan, -0.2),
    logprobs(-0.1, -math.inf),
    logprobs(math.inf, -0.2),
    logprobs(-0.1, 0.2),
]


@pytest.mark.parametrize("dropped", DROPPED)
def test_logprobs_that_are_no_numbers_are_as_good_as_none(dropped):
    with pytest.raises(MissingLogprobs, match="not one finite number for each") as missing:
        ask(completion(logprobs=dropped))
    assert missing.value.asked == 3
    reply, asked = ask(completion(logprobs=dropped), need_logprobs=False)
    assert (reply.turn.logprobs, asked) == (None, 1)


def test_a_token_that_is_certain_may_be_rounded_above_0():
    assert ask(completion(logprobs=logprobs(1e-6, -0.2)))[0].turn.logprobs == (1e-6, -0.2)


@pytest.mark.parametrize("sampled", [[1], [1, 2, 3]])
def test_another_number_of_logprobs_than_of_sampled_tokens_is_as_good_as_none(sampled):
    assert ask(completion(token_ids=sampled), completion(token_ids=[1, 2]))[1] == 2
    reply, _ = ask(completion(token_ids=sampled), need_logprobs=False)
    assert (reply.turn.logprobs, reply.turn.output_ids) == (None, tuple(sampled))


def test_a_number_that_json_does_not_know_arrives_as_null_and_is_missing():
    with pytest.raises(MissingLogprobs):
        ask(completion(logprobs=logprobs(None, -0.2)))


def test_halves_of_a_character_are_replaced_in_texts_names_and_arguments():
    body = completion("caf\udce9", [("get\ud83d", '{"a": "\\ud83d", "b": "\\ud83d\\ude00", "c": "\\\\ud83d"}')])
    turn = ask(body)[0].turn
    assert turn.content == "caf\ufffd"
    (call,) = turn.tool_calls
    assert (call["name"], call["arguments"]) == ("get\ufffd", '{"a": "\ufffd", "b": "\U0001f600", "c": "\\\\ud83d"}')


@pytest.mark.parametrize("text", ['{"a":  1.0}', "not json", '{"a": "\\ud83d\\ude00"}', "[" * 100_000, "1" * 5_000])
def test_arguments_that_can_be_encoded_stay_as_they_are(text):
    assert clean_json(text) == text and clean(text) == text
