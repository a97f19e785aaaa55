"""Text decoded behind the end of a prompt is the text that is decoded behind the whole prompt."""

import importlib.util
import random
from types import SimpleNamespace

import pytest
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream

from harness.engine.server_process import SERVER_SIDE
from harness.policy import MICRO, smollm2


def load():
    spec = importlib.util.spec_from_file_location("harness_vllm_text", SERVER_SIDE / "harness_vllm_text.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


text = load()
FOLDERS = [MICRO, *([smollm2.checkpoint()] if smollm2.checkpoint().is_dir() else [])]
WORDS = ("order", " #W2378156", " naïve", " – ", "你好", " 🙂", "\n\n", "<|im_end|>", '{"id": 7}', "  ", "👩‍👩‍👧")


class AsVllm:
    """The part of vLLM's `FastIncrementalDetokenizer` that is replaced."""

    def __init__(self, tokenizer, request):
        self.tokenizer, self.skip_special_tokens = tokenizer, True
        self.given = request.prompt_token_ids
        self.stream = DecodeStream(ids=self.given, skip_special_tokens=True)

    def text(self, ids):
        return [self.stream.step(self.tokenizer, each) or "" for each in ids]


class Patched(AsVllm):
    pass


text.patch(Patched, DecodeStream)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_each_step_gives_the_text_that_it_gives_behind_the_whole_prompt(folder):
    tokenizer, draw = Tokenizer.from_file(str(folder / "tokenizer.json")), random.Random(0)
    for _ in range(60):
        ids = tokenizer.encode("".join(draw.choices(WORDS, k=80)), add_special_tokens=False).ids
        whole = [n for n in range(40, len(ids)) if not tokenizer.decode(ids[:n]).endswith("\ufffd")]
        cut = draw.choice(whole)  # a prompt ends with a whole character; the tail may begin in the middle of one
        request = SimpleNamespace(prompt_token_ids=ids[:cut])
        assert Patched(tokenizer, request).text(ids[cut:]) == AsVllm(tokenizer, request).text(ids[cut:])


def test_a_stream_holds_the_end_of_the_prompt_alone():
    made = []
    patched = type("Other", (AsVllm,), {})
    text.patch(patched, lambda ids, skip_special_tokens: made.append((ids, skip_special_tokens)))
    text.patch(patched, None)  # a second time changes nothing
    patched(None, SimpleNamespace(prompt_token_ids=list(range(100))))
    assert made == [(list(range(100 - text.TAIL, 100)), True)]
    patched(None, SimpleNamespace(prompt_token_ids=[1, 2]))
    assert len(made) == 1


def test_a_request_without_ids_is_left_alone():
    bare = type("Bare", (), {"__init__": lambda self, tokenizer, request: None})
    text.patch(bare, None)
    assert vars(bare(None, SimpleNamespace(prompt_token_ids=None))) == {}
