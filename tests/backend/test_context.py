"""The traps on the way from served to trained tokens, each with its cure standing."""

from dataclasses import replace

import pytest

from harness.backend.context import Contexts
from harness.episode import Episode, Turn
from harness.rollout import SourcedEpisode
from harness.seams import Outcome

# Key order as the server renders it; pydantic turns each tool into function-then-type inside ART.
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "close",
            "description": "Close a task.",
            "parameters": {"type": "object", "properties": {"id": {"type": "string"}}},
        },
    }
]
CALL = '<tool_call>\n{"name": "close", "arguments": {"id": "task_7"}}\n</tool_call>'
OUTCOME = Outcome(1.0, 1, 1, 0, 0, True)


@pytest.fixture
def asked(tokenizer):
    """A tool call, its result and a closing text, tokenised as the server would."""
    call = {"id": "call_2_0", "name": "close", "arguments": '{"id": "task_7"}'}
    start = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Close task_7"}]
    sent = {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": call["id"], "type": "function", "function": {"name": "close", "arguments": call["arguments"]}}
        ],
    }
    result = {"role": "tool", "tool_call_id": call["id"], "content": '{"status": "completed"}'}

    def turn(messages, text, content, calls):
        prompt = tokenizer.apply_chat_template(
            messages, tools=TOOLS, add_generation_prompt=True, tokenize=True, return_dict=False
        )
        output = [*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id]
        return Turn(tuple(prompt), tuple(output), (-0.1,) * len(output), content, calls, "stop", "base", 1.0)

    turns = (turn(start, CALL, None, (call,)), turn([*start, sent, result], "All done.", "All done.", ()))
    return SourcedEpisode(Episode("t", (*start, 0, result, 1), turns, OUTCOME, 0.1), "key", None)


@pytest.fixture
def contexts(tokenizer):
    return Contexts(tokenizer, "vllm_openai")


def test_with_the_tools_attached_the_trainer_sees_what_was_served(asked, contexts):
    comparison = contexts.compare(asked, TOOLS)
    assert comparison.opening and comparison.whole


def test_without_tools_the_trainer_sees_a_context_that_was_never_served(asked, contexts):
    comparison = contexts.compare(asked, None)
    assert not comparison.opening and not comparison.whole


def test_tools_in_another_key_order_are_rendered_the_same(asked, tokenizer):
    """ART's default order is not the server's: the micro template names the keys, so either order will do."""
    assert Contexts(tokenizer, "default").compare(asked, TOOLS).whole


def test_an_odd_spelling_of_a_call_is_no_fault_of_the_switch(asked, contexts):
    first, second = asked.episode.turns
    odd = replace(first, output_ids=(*first.output_ids[:3], *first.output_ids[2:]), logprobs=(*first.logprobs, -0.1))
    comparison = contexts.compare(replace(asked, episode=replace(asked.episode, turns=(odd, second))), TOOLS)
    assert comparison.opening and not comparison.whole


def test_a_tool_call_in_the_middle_is_rendered_once(asked, contexts, tokenizer):
    ids = contexts.trained_ids(asked.episode, TOOLS)
    assert tokenizer.decode(ids).count('"arguments": {"id"') == 1
