"""Chats tokenised by pieces have the ids that the tokenizer itself gives; ART's trained turns show calls as asked."""

import copy

import pytest

from harness.backend.tokenizer import by_pieces, showing_calls, tokenizer_of
from harness.policy import MICRO
from tests.backend.conftest import TOOLS
from tests.backend.templates import TEXTS

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Close  task_7 <|im_end|> now"},
    {"role": "assistant", "content": "Which one?"},
]


@pytest.mark.parametrize("options", [{}, {"add_generation_prompt": True}, {"continue_final_message": True}])
def test_a_chat_has_the_same_ids_on_the_first_call_and_later(tokenizer, options):
    fast = by_pieces(tokenizer)
    expected = tokenizer.apply_chat_template(CHAT, tools=TOOLS, return_dict=False, **options)
    for _ in range(3):
        assert fast.apply_chat_template(CHAT, tools=TOOLS, return_dict=False, **options) == expected


def test_any_other_call_is_the_tokenizers_own(tokenizer):
    fast = by_pieces(tokenizer)
    for options in ({}, {"add_special_tokens": False, "truncation": True, "max_length": 3}):
        assert fast("Close task_7, please", **options) == tokenizer("Close task_7, please", **options)
    batch = ["one", "two  three"]
    assert fast(batch, add_special_tokens=False) == tokenizer(batch, add_special_tokens=False)


def test_pieces_are_tokenised_once(tokenizer, monkeypatch):
    fast = by_pieces(tokenizer)
    for _ in range(40):  # the first ones are checked against the tokenizer itself
        fast.apply_chat_template(CHAT, tools=TOOLS)
    monkeypatch.setattr(type(tokenizer), "__call__", lambda *_, **__: pytest.fail("tokenised again"))
    fast.apply_chat_template(CHAT, tools=TOOLS)


def test_all_that_ask_for_a_checkpoint_share_its_pieces():
    assert tokenizer_of(str(MICRO)) is tokenizer_of(str(MICRO), "once") is not tokenizer_of(str(MICRO), "twice")


TOKEN = "<|reserved_54|>"  # in the place of a trained turn, as ART chooses it
CALL = {"id": "call_1", "type": "function", "function": {"name": "close", "arguments": "{}"}}
TRAINED = [
    {"role": "user", "content": "Close task_7"},
    {"role": "assistant", "content": TOKEN, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "{}"},
    {"role": "assistant", "content": TOKEN},
]


def shown(tokenizer, template, calls, conversation=TRAINED, **options):
    made = showing_calls(tokenizer, calls)
    made.chat_template = TEXTS[template]
    ids = made.apply_chat_template(conversation, tools=TOOLS, continue_final_message=True, **options)["input_ids"]
    return tokenizer.decode(ids)


@pytest.mark.parametrize("template", ["micro", "qwen", "stock", "either"])
def test_calls_are_left_out_beside_arts_token_whatever_the_template(tokenizer, template):
    text = shown(tokenizer, template, "once")
    assert f"<|im_start|>assistant\n{TOKEN}<|im_end|>\n" in text and text.endswith(f"assistant\n{TOKEN}")


@pytest.mark.parametrize("template", ["micro", "qwen", "stock"])
def test_calls_are_shown_beside_arts_token_even_by_a_template_that_knows_it(tokenizer, template):
    text = shown(tokenizer, template, "twice")
    assert f"<|im_start|>assistant\n{TOKEN}<tool_call>" in text and text.endswith(f"assistant\n{TOKEN}")
    assert tokenizer.encode(text, add_special_tokens=False).count(tokenizer.convert_tokens_to_ids(TOKEN)) == 2


def test_what_stock_art_shows_twice_is_what_its_own_tokenizer_renders(tokenizer):
    tokenizer = copy.copy(tokenizer)
    tokenizer.chat_template = TEXTS["stock"]
    whole = tokenizer.apply_chat_template(TRAINED, tools=TOOLS, continue_final_message=True, tokenize=False)
    assert shown(tokenizer, "stock", "twice") == whole


@pytest.mark.parametrize("calls", ["once", "twice"])
def test_a_turn_that_is_not_trained_keeps_its_calls(tokenizer, calls):
    context = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well.", "tool_calls": [CALL]}]
    text = shown(tokenizer, "micro", calls, [*context, *TRAINED[2:]])
    assert "Well.<tool_call>" in text


@pytest.mark.parametrize("calls", ["once", "twice"])
def test_a_chat_that_does_not_go_on_is_the_tokenizers_own(tokenizer, calls):
    made = showing_calls(tokenizer, calls)
    for options in ({}, {"add_generation_prompt": True}, {"tokenize": False}):
        assert made.apply_chat_template(TRAINED, tools=TOOLS, **options) == tokenizer.apply_chat_template(
            TRAINED, tools=TOOLS, **options
        )
