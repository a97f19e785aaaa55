"""The traps on the way from served to trained tokens, each with its cure standing."""

import pytest

from harness.backend.context import Contexts, served_ids
from harness.episode import Episode, Turn
from harness.rollout import Asked
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
        return Turn(tuple(prompt), tuple(output), (-0.1,) * len(output), content, calls, "stop", "base")

    turns = (turn(start, CALL, None, (call,)), turn([*start, sent, result], "All done.", "All done.", ()))
    return Asked(Episode("t", (*start, 0, result, 1), turns, OUTCOME, "user_stop", 0.1), "key", None)


def test_with_the_tools_attached_the_trainer_sees_what_was_served(asked, tokenizer):
    contexts = Contexts(tokenizer, TOOLS)
    assert contexts.trained_ids(asked.episode, TOOLS) == served_ids(asked.episode)
    assert contexts.equal(asked, TOOLS) is True


def test_without_tools_the_trainer_sees_a_context_that_was_never_served(asked, tokenizer):
    assert Contexts(tokenizer, TOOLS).equal(asked, None) is False


def test_a_tool_call_in_the_middle_is_rendered_once(asked, tokenizer):
    ids = Contexts(tokenizer, TOOLS).trained_ids(asked.episode, TOOLS)
    assert tokenizer.decode(ids).count('"arguments": {"id"') == 1
