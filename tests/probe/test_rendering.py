"""What a trainer's template makes of rollouts: with the micro tokenizer, and as the trainer's own code renders them."""

from dataclasses import replace

import pytest
from transformers import AutoTokenizer

from harness.backend.context import Contexts
from harness.errors import ConfigError
from harness.fixes import tools
from harness.policy import MICRO
from harness.probe import examined, material_of
from harness.probe.rendering import rendered, template_of, words_of
from harness.rollout import trajectory
from harness.seams import Rendering
from tests.backend.templates import STOCK, call_text, checkpoint, play
from tests.backend.test_context import TOOLS
from tests.fakes import SEAMS
from tests.probe.loops import CALL, TOOL

WORDS = words_of(MICRO)
SECOND = {"type": "function", "function": {"name": "send", "description": "Sends.", "parameters": {"type": "object"}}}
SCHEMAS = [TOOL, SECOND]


def chat(attached, *, ids=False, calls=(CALL,), thought=""):
    """A conversation with a call and a text, as it was said; with ids: as the micro tokenizer spells the replies."""
    first = {"role": "assistant", "content": thought, "tool_calls": list(calls)}
    messages = [{"role": "user", "content": "Add."}, first]
    messages += [{"role": "tool", "tool_call_id": "c", "content": "3"}, {"role": "assistant", "content": "It is 3."}]
    spelled = (
        '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call><|im_end|>',
        "It is 3.<|im_end|>",
    )
    turns = (
        [{"output_ids": WORDS.encode(text), "logprobs": None, "finish_reason": "stop"} for text in spelled]
        if ids
        else None
    )
    return {"messages": messages, "turns": turns, "tools": attached, "reward": 1.0}


def found(given, template=STOCK, sent=SCHEMAS):
    material = material_of([given], sent_tools=sent, tokenizer=WORDS)
    return {f.symptom: f for f in examined(rendered(material, template, WORDS, "STOCK"))}


def test_without_tools_the_first_token_that_differs_is_where_they_would_stand():
    finding = found(chat(None))["tools_not_trained"]
    assert finding.verdict == "present"
    assert "⟦system⟧" in finding.shown[1] and "⟦user⟧" in finding.shown[2]
    assert found(chat(SCHEMAS))["tools_not_trained"].verdict == "absent"


def test_tools_in_another_key_order_are_named_where_the_template_shows_the_order():
    turned = [dict(reversed(tool.items())) for tool in SCHEMAS]
    assert found(chat(turned))["tool_keys_reordered"].verdict == "present"
    assert found(chat(SCHEMAS))["tool_keys_reordered"].verdict == "absent"
    signatures = template_of(MICRO)  # shows the tools key by key
    described = [{**SECOND, "function": {**SECOND["function"], "parameters": {"properties": {}}}}]
    turned = [dict(reversed(tool.items())) for tool in described]
    assert found(chat(turned), signatures, described)["tool_keys_reordered"].verdict == "absent"


def test_calls_that_stand_beside_the_sampled_text_are_doubled_as_art_renders_them():
    assert found(chat(SCHEMAS, ids=True))["calls_doubled"].verdict == "present"
    once = STOCK.replace("in message.tool_calls or []", "in []")
    assert found(chat(SCHEMAS, ids=True), once)["calls_doubled"].verdict == "absent"


def test_thinking_that_a_template_drops_is_named():
    strips = STOCK.replace("+ message.content -", "+ message.content.split('</think>')[-1] -")
    thinking = chat(SCHEMAS, thought="<think>One and two are three.</think>")
    assert found(thinking, strips)["thinking_stripped"].verdict == "present"
    assert found(thinking)["thinking_stripped"].verdict == "absent"


@pytest.mark.parametrize("template", ["micro", "qwen", "stock", "either"])
@pytest.mark.parametrize("level", [tools.On(), tools.Off()], ids=["tools", "no tools"])
def test_it_renders_as_art_does(template, level, tmp_path):
    folder = checkpoint(tmp_path, template)
    played = play(AutoTokenizer.from_pretrained(folder), TOOLS, call_text("task_7"), "Done.")
    made = trajectory(played, 0, replace(SEAMS, tools=level), TOOLS)
    (rollout,) = rendered(material_of([made]), template_of(folder), words_of(folder), template).rollouts
    assert list(rollout.trained_ids) == Contexts(str(folder), TOOLS).ids_of(made, Rendering("stock", "twice"))


def test_a_rollout_with_its_trained_ids_keeps_them():
    given = chat(SCHEMAS) | {"trained_ids": [1, 2, 3]}
    (rollout,) = rendered(material_of([given]), STOCK, WORDS, "STOCK").rollouts
    assert rollout.trained_ids == (1, 2, 3)


def test_what_is_no_tokenizer_or_template_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"tokenizer.json is no tokenizer.json"):
        words_of(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        template_of(tmp_path / "none.jinja")
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(ConfigError, match="has no chat template: name its file with --template"):
        template_of(tmp_path)
    with pytest.raises(ConfigError, match="chat template of MINE cannot be rendered for a conversation with user"):
        rendered(material_of([chat(None)]), "{{ 1 / 0 }}{{ raise_exception('no') }}", WORDS, "MINE")
