"""Served prompts beside the chat template's rendering: what a server may spell otherwise, and what it may not."""

import json

import pytest

from harness.probe import check
from tests.probe.sums import TOOL, Letters

TEMPLATE = """{% for tool in tools %}{{ tool | tojson }}
{% endfor %}{% for m in messages %}<{{ m.role }}> {{ m.content }}
{% endfor %}"""
MESSAGES = [{"role": "system", "content": "ab"}, {"role": "user", "content": "ba"}]
SAID = {"role": "assistant", "content": "c"}
LINES = [json.dumps(TOOL), "<system> ab", "<user> ba"]
KEYS_REVERSED = json.dumps(dict(reversed(TOOL.items())))


def verdict(*lines):
    prompt = Letters().encode("\n".join([*lines, ""]))
    turns = [{"prompt_ids": prompt, "output_ids": Letters().encode("c")}]
    rollout = {"messages": [*MESSAGES, SAID], "turns": turns, "tools": [TOOL], "sent_tools": [TOOL]}
    found = check([[rollout]], template=TEMPLATE, tokenizer=Letters())
    return next(each.verdict for each in found if each.symptom == "prompts_not_rendered")


def test_a_prompt_is_the_templates_rendering():
    assert verdict(*LINES) == "absent"


def test_a_server_may_write_the_keys_of_tools_in_another_order():
    assert LINES[0] != KEYS_REVERSED and verdict(KEYS_REVERSED, *LINES[1:]) == "absent"


@pytest.mark.parametrize(
    "lines",
    [
        [LINES[0], LINES[2], LINES[1]],
        [LINES[0], "<system> ba", "<user> ab"],
        [LINES[0].replace("add", "dda"), *LINES[1:]],
    ],
    ids=["messages swapped", "texts swapped", "a tool's name spelled otherwise"],
)
def test_the_same_letters_in_another_order_are_another_prompt(lines):
    assert verdict(*lines) == "present"
