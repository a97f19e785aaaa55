"""A reply's text is decoded behind the end of its prompt, loaded by vLLM in each of its processes (general plugin).

symptom    a request with a prompt of 5,000 tokens costs the server's one thread 3 ms more than a short one
mechanism  vLLM hands the whole prompt to tokenizers' `DecodeStream`, which decodes it with the first new token
fix        the stream gets the prompt's last tokens: enough to know how the text goes on
evidence   tests/engine/test_server_text.py; experiments/benchmarks/reply_text.py times both
"""

from typing import Any

TAIL = 32  # tokens; a character has four bytes, so four at most


def apply() -> None:
    """Called by vLLM. Changes nothing in versions that decode in another way."""
    try:
        from tokenizers.decoders import DecodeStream
        from vllm.v1.engine.detokenizer import FastIncrementalDetokenizer
    except ImportError:
        return
    patch(FastIncrementalDetokenizer, DecodeStream)


def patch(detokenizer_class: Any, stream_class: Any) -> None:
    """Replaces the class's constructor. Idempotent: vLLM may call a plugin more than once."""
    original = detokenizer_class.__init__
    if getattr(original, "behind_the_end", False):
        return

    def __init__(self: Any, tokenizer: Any, request: Any) -> None:
        original(self, tokenizer, request)
        ids, special = request.prompt_token_ids, getattr(self, "skip_special_tokens", None)
        if ids is not None and len(ids) > TAIL and special is not None and hasattr(self, "stream"):
            self.stream = stream_class(ids=list(ids[-TAIL:]), skip_special_tokens=special)

    __init__.behind_the_end = True  # type: ignore[attr-defined]
    detokenizer_class.__init__ = __init__
