"""What is said of a chat template before vLLM and ART use it."""

import json

import pytest

from harness.errors import ConfigError
from harness.policy import MICRO, hub, load_policy, smollm2, template, template_warnings

TOKENIZER = MICRO / "tokenizer.json"
SENTINEL = "<|reserved_54|>"
TOOLS = [{"type": "function", "function": {"name": "look_up", "description": "Looks.", "parameters": {}}}]

# ChatML as most models have it: a turn's text, then its calls
DOUBLED = """
{%- for tool in tools or [] -%}{{ tool | tojson }}{%- endfor -%}
{%- for message in messages -%}
  {{- '<|im_start|>' + message.role + '\n' + (message.content or '') -}}
  {%- if message.tool_calls -%}
    {%- for call in message.tool_calls -%}
      {{- '<tool_call>' + call.function.name + (call.function.arguments | tojson) + '</tool_call>' -}}
    {%- endfor -%}
  {%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endfor -%}
"""
ONE_PLACE = DOUBLED.replace("if message.tool_calls", "if message.tool_calls and not message.content")


def warnings(text, tools=TOOLS):
    return template.check("mine", text, TOKENIZER, tools)


def test_our_own_templates_need_no_warning():
    assert template_warnings(load_policy("micro"), TOOLS) == []


def test_the_qwen_template_needs_no_warning():
    assert warnings(hub.qwen_template(MICRO)) == []


def test_of_a_template_that_shows_text_and_calls_it_is_said_what_stock_art_makes_of_it():
    (said,) = warnings(DOUBLED)
    assert "policy=mine" in said and "twice" in said and "fix/toolcalls=on, the default" in said


def test_of_calls_in_one_place_alone_nothing_is_said():
    assert warnings(ONE_PLACE) == []


def test_without_tools_there_is_no_call_to_show_twice():
    assert warnings(DOUBLED, tools=[]) == []
    assert not template.doubles_calls("mine", DOUBLED, [])


@pytest.mark.parametrize("name", ["micro", "qwen", "smollm2"])
def test_stock_art_would_show_the_calls_of_our_templates_twice_if_they_did_not_know_its_token(name):
    text = {
        "micro": MICRO / "chat_template.jinja",
        "qwen": hub.TEMPLATE,
        "smollm2": smollm2.TEMPLATE,
    }[name].read_text()
    assert template.doubles_calls("ours", text.replace("SENTINELS", json.dumps([SENTINEL])), TOOLS)


def test_calls_in_one_place_alone_are_never_shown_twice():
    assert template.doubles_calls("mine", DOUBLED, TOOLS)
    assert not template.doubles_calls("mine", ONE_PLACE, TOOLS)


REFUSED = [
    (DOUBLED.replace("tool | tojson", "''"), "does not show the tools"),
    (DOUBLED.replace("message.content or ''", "message.content[::-1]"), "does not stay one token"),
    (DOUBLED.replace("endfor", "endfro"), "cannot be rendered"),
    ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_a_template_that_cannot_serve_is_refused(text, message):
    with pytest.raises(ConfigError, match=message):
        warnings(text)


def test_a_folders_template_is_the_file_or_the_one_for_tools_in_its_tokenizer_config(tmp_path):
    config = tmp_path / "tokenizer_config.json"
    config.write_text("{}")
    assert template.read(tmp_path) is None
    config.write_text(
        '{"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]}'
    )
    assert template.read(tmp_path) == "b"
    (tmp_path / "chat_template.jinja").write_text("c")
    assert template.read(tmp_path) == "c"
