"""The micro policy's tokenizer: byte-level BPE, trained on what the policy reads and writes.

Splits keep the JSON around values in one piece, so that a tool call is about a dozen tokens and each decision
(which tool, which status, another call or a text) falls on one of them. A number up to 99 is one token, as is a word
of a title: an id is copied by one look at it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATE = Path(__file__).parent / "chat_template.jinja"
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# Not "special" in the tokenizers sense: vLLM strips special tokens from the text that its tool parser reads.
MARKS = ("<tool_call>", "</tool_call>")
MERGES = 800

PIECES = "|".join(
    (
        r'\{"name": "[a-z_]+", "arguments": \{(?:"[a-z_]+": "?)?',  # a call up to its first value
        r'"?, "[a-z_]+": "?',  # from one JSON value to the next
        r'\{"[a-z_]+": "?',
        r'"\}+',
        r"\p{N}{1,2}",
        r" ?[\p{L}_]+",
        r" ?[^\s\p{L}\p{N}_]+",
        r"\s+",
    )
)


def train(texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer with its chat template. Deterministic in `texts`.

    ART marks trained turns with the highest token id that a prompt does not contain, and looks that token up by its
    text: the top of the *base* vocabulary must therefore hold tokens that are never split and never used.
    """
    pieces = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pieces
    learner.add_special_tokens([*CONTROL, *MARKS])
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=256 + len(CONTROL) + len(MARKS) + MERGES,
            special_tokens=[*CONTROL, *MARKS],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    learned = json.loads(learner.to_str())["model"]
    vocabulary, merges = dict(learned["vocab"]), [tuple(pair) for pair in learned["merges"]]
    reserved = [f"<|reserved_{i}|>" for i in range(8 + -(len(vocabulary) + 8) % 64)]
    for token in reserved:
        vocabulary[token] = len(vocabulary)

    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    tokenizer.pre_tokenizer = pieces
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in (*CONTROL, *reserved)])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
        chat_template=TEMPLATE.read_text(encoding="utf-8"),
    )
