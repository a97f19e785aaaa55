"""Ids from pieces are the tokenizer's own ids, and where they are not, the server goes back to those."""

import asyncio
import importlib.util
from types import SimpleNamespace

import pytest
from transformers import AutoTokenizer

from harness.engine.server_process import SERVER_SIDE
from harness.env import load_domain
from harness.policy import load_policy, smollm2


def load():
    spec = importlib.util.spec_from_file_location("harness_vllm_tokens", SERVER_SIDE / "harness_vllm_tokens.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tokens = load()
POLICIES = ["micro", *(["smollm2_135m_raw"] if smollm2.checkpoint().is_dir() else [])]
ODD = (
    "",
    " ",
    "<|im_end|>",
    "two  spaces\n\n and a tab\t<|im_start|> user\n",
    "an <|im_end|>end inside, <|im_e, and <|endoftext|><|endoftext|>",
    'naïve – 你好 🙂 #W2378156 {"order_id": 7}',
)


@pytest.fixture(params=POLICIES)
def tokenizer(request):
    return AutoTokenizer.from_pretrained(load_policy(request.param).path)


def conversation(tokenizer, turns):
    domain = load_domain("mock")
    messages = [{"role": "system", "content": domain.system_prompt}, {"role": "user", "content": "Close task_1."}]
    for i in range(turns):
        messages += [{"role": "assistant", "content": f"Which one, {i}?"}, {"role": "user", "content": ODD[i]}]
    return tokenizer.apply_chat_template(messages, tools=domain.tools, add_generation_prompt=True, tokenize=False)


def test_pieces_give_the_ids_of_the_whole(tokenizer):
    pieces = tokens.Pieces(tokenizer)
    pieces.unchecked = 0
    assert pieces.usable
    for text in (*ODD, *(conversation(tokenizer, turns) for turns in range(len(ODD)))):
        assert pieces.encode(text) == pieces.whole(text), text


def test_what_was_seen_is_not_tokenised_again(tokenizer):
    pieces = tokens.Pieces(tokenizer)
    pieces.unchecked = 0
    pieces.encode(conversation(tokenizer, 1))
    before = pieces._ids.cache_info().misses
    pieces.encode(conversation(tokenizer, 2))
    assert pieces._ids.cache_info().misses - before <= 4  # two messages, each at most with its role's piece


class Added:
    lstrip = rstrip = single_word = normalized = False

    def __str__(self):
        return "<s>"


class Whole:
    """A tokenizer whose ids depend on what stands before: the number of characters so far."""

    def __init__(self, **flags):
        token = Added()
        vars(token).update(flags)
        self.added_tokens_decoder = {1: token}

    def __call__(self, text, **_):
        return SimpleNamespace(input_ids=[text.index(c) for c in text])


def test_a_tokenizer_that_looks_at_the_whole_text_switches_it_off(caplog):
    pieces = tokens.Pieces(Whole())
    assert pieces.encode("ab<s>ba") == Whole()("ab<s>ba").input_ids
    assert not pieces.usable and "tokenised whole" in caplog.text


@pytest.mark.parametrize("flag", ["lstrip", "rstrip", "single_word", "normalized"])
def test_a_special_token_that_reaches_beyond_itself_is_left_alone(flag):
    assert not tokens.Pieces(Whole(**{flag: True})).usable


def test_vllms_tokenizer_is_asked_only_where_pieces_do_not_serve(tokenizer):
    class Microbatch:
        def __init__(self):
            self.tokenizer, self.asked = tokenizer, []

        async def encode(self, prompt, **kwargs):
            self.asked.append(kwargs)
            return tokenizer(prompt, **kwargs).input_ids

    tokens.patch(Microbatch)
    tokens.patch(Microbatch)
    server, text = Microbatch(), conversation(tokenizer, 1)
    kwargs = {"truncation": True, "max_length": 8000, "add_special_tokens": False}
    expected = tokenizer(text, add_special_tokens=False).input_ids
    assert asyncio.run(server.encode(text, **kwargs)) == expected and server.asked == []
    asyncio.run(server.encode(text, **kwargs | {"add_special_tokens": True}))
    assert len(server.asked) == 1
