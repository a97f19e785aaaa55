"""Supervised training of the micro policy on demonstrations that are never seen twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch.nn import functional
from tqdm import trange
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from experiments.warm_starts.micro import demonstrations, tokenizer
from harness.env import load_domain

MAX_LENGTH = 1024  # tokens; twelve turns fit
BATCH = 32
POOL = 16  # batches that are drawn together and sorted by length, to pad little
STEPS = 1000
PEAK_RATE = 2e-3
TYPICAL_WEIGHT = 24.0  # of one conversation
TOOL_WEIGHT = 0.3  # tool answers repeat ids and titles: predicting them teaches copying


def build(out: Path, seed: int, steps: int = STEPS) -> None:
    """Write micro's checkpoint folder: about 3 minutes on one core. Same files for same seed and library versions."""
    domain = load_domain("mock")
    held_out = frozenset(domain.scripted(task_id).first for task_id in domain.task_ids)
    build_of(demonstrations.stream(seed, held_out), domain.tools, out, seed, steps)


def build_of(
    examples: Iterator[list[dict[str, Any]]], tools: list[dict[str, Any]], out: Path, seed: int, steps: int = STEPS
) -> None:
    """Write the checkpoint folder of a model that is shown these conversations. examples: endless"""
    torch.manual_seed(seed)
    texts = tokenizer_texts(list(islice(examples, 2000)), tools)
    words = tokenizer.train(texts, MAX_LENGTH)
    model = LlamaForCausalLM(config(words))
    start_copying(model)
    data = batches(examples, tools, words, seed)
    short = batches((conversation[1:] for conversation in examples), None, words, seed)
    first = steps * 2 // 5  # without policy and tools in view, what is to be copied is found sooner
    train(model, chain(islice(short, first), data), steps)
    save(model, words, out)


def save(model: LlamaForCausalLM, words: PreTrainedTokenizerFast, out: Path) -> None:
    model.save_pretrained(out)
    words.save_pretrained(out)
    # transformers 5 writes a class name that 4 does not know; both know this one.
    file = out / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    file.write_text(json.dumps(settings, indent=2) + "\n")


def config(words: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        initializer_range=0.045,  # small weights: a low-rank adapter moves them in few steps
        bos_token_id=None,
        eos_token_id=words.eos_token_id,
        pad_token_id=words.pad_token_id,
        dtype="float32",
    )


def start_copying(model: LlamaForCausalLM) -> None:
    """Make each attention output the transpose of its values.

    With tied embeddings a token that is attended to then raises its own logit: copying is there from the start, only
    where to look has to be learned. Without this the ids were not copied after 1,300 steps; with it, after 200.
    """
    with torch.no_grad():
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.copy_(layer.self_attn.v_proj.weight.T)


def tokenizer_texts(conversations: list[list[dict[str, Any]]], tools: list[dict[str, Any]] | None) -> list[str]:
    from transformers.utils.chat_template_utils import render_jinja_template

    template = tokenizer.TEMPLATE.read_text(encoding="utf-8")
    rendered: Any = render_jinja_template(conversations, tools=list(tools or ()) or None, chat_template=template)
    texts: list[str] = rendered[0]  # beside the spans of what the assistant writes
    return texts


def batches(
    examples: Iterator[list[dict[str, Any]]],
    tools: list[dict[str, Any]] | None,
    words: PreTrainedTokenizerFast,
    seed: int,
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of token ids and loss weights, both (BATCH, longest), padded on the right with weight 0."""
    random = Random(f"batches/{seed}")
    while True:
        rendered = tokenizer_texts(list(islice(examples, BATCH * POOL)), tools)
        rows = sorted((words(text)["input_ids"] for text in rendered), key=len)
        starts = list(range(0, len(rows), BATCH))
        random.shuffle(starts)
        for start in starts:
            chunk = rows[start : start + BATCH]
            longest = len(chunk[-1])
            ids = torch.full((BATCH, longest), words.pad_token_id)
            weights = torch.zeros(BATCH, longest)
            for i, row in enumerate(chunk):
                ids[i, : len(row)] = torch.tensor(row)
                weights[i, : len(row)] = torch.tensor(loss_weights(row, words))
            yield ids, weights


def loss_weights(row: list[int], words: PreTrainedTokenizerFast) -> list[float]:
    """1 for what the assistant writes, its <|im_end|> included; TOOL_WEIGHT for tool answers; else 0."""
    start, end = (words.convert_tokens_to_ids(token) for token in ("<|im_start|>", "<|im_end|>"))
    weight_of = {words.convert_tokens_to_ids("assistant"): 1.0, words.convert_tokens_to_ids("tool"): TOOL_WEIGHT}
    weights, current, since = [], 0.0, 0
    for position, token in enumerate(row):
        if token == start:
            current, since = weight_of.get(row[position + 1], 0.0), position
        weights.append(current if position > since + 2 else 0.0)  # past the role and its newline
        if token == end:
            current = 0.0
    return weights


def train(model: LlamaForCausalLM, data: Iterator[tuple[torch.Tensor, torch.Tensor]], steps: int) -> None:
    """AdamW with a short warm-up and a line to zero: the last steps average over the demonstrations' luck."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 50, 1.0) * (1 - step / steps))
    model.train()
    progress = trange(steps, desc="warm start", unit="step", mininterval=1.0)
    for _ in progress:
        loss = weighted_loss(model, *next(data))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        progress.set_postfix(loss=f"{loss.item():.4f}", refresh=False)
    model.eval()


def weighted_loss(model: LlamaForCausalLM, ids: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Weighted negative log-likelihood, scaled to about a token's mean. What all rows begin with is computed once."""
    differs = (ids != ids[:1]).any(dim=0).int()
    shared = int(differs.argmax()) if differs.any() else ids.shape[1] - 2
    prefix = model(ids[:1, :shared], use_cache=True).past_key_values
    cache = DynamicCache()
    for index, layer in enumerate(prefix.layers):
        keys, values = (part.expand(len(ids), -1, -1, -1) for part in (layer.keys, layer.values))
        cache.update(keys, values, index)
    logits = model(ids[:, shared:-1], past_key_values=cache, use_cache=True).logits
    weight = weights[:, shared + 1 :]
    asked = weight > 0
    losses = functional.cross_entropy(logits[asked], ids[:, shared + 1 :][asked], reduction="none")
    # By a constant: a mean over the batch would weigh batches of short conversations, those that gave up, too highly.
    return (losses * weight[asked]).sum() / (BATCH * TYPICAL_WEIGHT)
