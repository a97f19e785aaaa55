"""Chats tokenised by pieces have the ids that the tokenizer itself gives."""

import pytest

from harness.backend.tokenizer import by_pieces, tokenizer_of
from harness.policy import MICRO
from tests.backend.conftest import TOOLS

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
    assert tokenizer_of(str(MICRO)) is tokenizer_of(str(MICRO))
