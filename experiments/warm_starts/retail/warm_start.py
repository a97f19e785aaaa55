"""Supervised training of smollm2_135m on packed rows of demonstrations.

Cost: 1,200 rows of 20,480 tokens, some 9,000 conversations, took 281 s on an H200 that another program used as well,
87,500 tokens a second (experiments/LOG.md, 2).
"""

from __future__ import annotations

import hashlib
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm
from transformers import AutoModelForCausalLM
from transformers.utils.logging import disable_progress_bar

from experiments.warm_starts.retail import agent, low_rank
from experiments.warm_starts.retail.demonstrations import demonstrate
from experiments.warm_starts.retail.low_rank import LowRank, Manifest
from experiments.warm_starts.retail.packed_rows import CONTEXT, Renderer, Row, Rows, Tokens, pack
from harness.engine.attention import DENSE, FLEX, KINDS, implementation, kind_for, packed_attention
from harness.engine.fused import fuse
from harness.env import load_domain
from harness.env.domain import Domain
from harness.env.retail_tasks import generator
from harness.errors import ConfigError, HarnessError

CHECKED = 12  # demonstrations whose tokens are compared with the served ones before anything is trained
WARM_UP = 0.04  # of the training
CLIP = 1.0
FLEX_GAP = 0.1  # mean difference of log-probs in bfloat16 above which two kinds of attention are not the same
BETAS = (0.9, 0.98)
BRIEF = "You help the customers of a shop."

Say = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """steps: gradient steps of one row each; minutes: the training ends then at the latest, its rate run down.

    row_tokens: a multiple of 128; rank, scale: of the adapter; workers: processes that make rows, 0 for none
    more: the folder of an adapter to train on from, on the rows after its last, with a schedule of its own
    faultless: whether the agent decides rightly always, instead of at the rates of `agent.RIGHT`
    brief: a line instead of the policy and the tools, to try the training without a GPU
    """

    seed: int = 0
    steps: int = 1200
    minutes: float = 7.0
    row_tokens: int = 20480
    rank: int = 64
    scale: float = 1.0
    learning_rate: float = 1e-3
    workers: int = 6
    more: Path | None = None
    faultless: bool = False
    brief: bool = False

    @property
    def right(self) -> dict[str, float]:
        return agent.ALWAYS if self.faultless else agent.RIGHT


def warm_start(base: Path, base_digest: str, out: Path, settings: Settings, device: str, say: Say) -> Manifest:
    """Trains and writes the adapter to `out`. Raises ConfigError if tokens are not those that would be served, or if
    the adapter to go on from was made otherwise than `settings` say."""
    domain = load_domain("retail")
    prompt, tools = (BRIEF, None) if settings.brief else (domain.system_prompt, domain.tools)
    renderer = Renderer(base, prompt, tools)
    rows = Rows(domain, renderer, settings.seed, settings.row_tokens, settings.right)
    shown = rows.examples(CHECKED)
    for messages in shown:
        renderer.check(messages)
    say(f"system prompt {len(renderer.prefix)} tokens; {CHECKED} demonstrations have the served tokens")
    demonstrations = hashlib.sha256(repr(shown).encode()).hexdigest()[:16]
    before = earlier(settings, base_digest, demonstrations)
    taken = before[1].rows if before else 0
    with made(rows, range(taken, taken + settings.steps), settings.workers) as stream:  # before CUDA: it forks
        model, layers = prepare(base, settings, device)
        if before:
            low_rank.restore(layers, before[0])
            say(f"goes on from {settings.more}, after its {taken} rows")
        say(f"{sum(p.numel() for p in trained(layers)) / 1e6:.1f} M parameters are trained on {device}")
        settle_attention(model, settings.row_tokens, say)
        started = time.monotonic()
        steps, loss = train(model, layers, stream, settings, say)
        seconds = time.monotonic() - started
    say(f"{steps} steps in {seconds:.0f} s, loss {loss:.4f}")
    measured = evaluate(model, domain, renderer, settings.row_tokens)
    say("greedy on the held-out tasks' demonstrations: " + ", ".join(f"{k} {v:.3f}" for k, v in measured.items()))
    manifest = Manifest(
        base=base_digest,
        demonstrations=demonstrations,
        seed=settings.seed,
        steps=steps,
        row_tokens=settings.row_tokens,
        rank=settings.rank,
        scale=settings.scale,
        learning_rate=settings.learning_rate,
        context=CONTEXT,
        right=settings.right,
        seconds=round(seconds, 1),
        loss=round(loss, 5),
        device=torch.cuda.get_device_name() if device == "cuda" else device,
        measured=measured,
        before=asdict(before[1]) if before else None,
    )
    low_rank.save(low_rank.tensors(layers), manifest, out)
    say(f"{out} holds the adapter")
    return manifest


def earlier(settings: Settings, base: str, demonstrations: str) -> tuple[dict[str, Tensor], Manifest] | None:
    """The adapter to go on from, if any. Raises ConfigError if it was made otherwise: its rows would not be those
    before ours."""
    if settings.more is None:
        return None
    adapter, manifest = low_rank.load(settings.more)
    same = ("seed", "row_tokens", "rank", "scale", "right")
    ours = {name: getattr(settings, name) for name in same} | {"base": base, "demonstrations": demonstrations}
    for name, value in ours.items():
        if (theirs := getattr(manifest, name)) != value:
            raise ConfigError(
                f"{settings.more} was trained with {name} {theirs}, this training has {value}. Give the options that "
                "it was trained with, or start anew without --more."
            )
    return adapter, manifest


def prepare(base: Path, settings: Settings, device: str) -> tuple[Any, dict[str, LowRank]]:
    """The base model with a fresh adapter: bfloat16 on a GPU, float32 on a CPU."""
    torch.manual_seed(settings.seed)
    disable_progress_bar()
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    kind = implementation(kind_for(device))
    model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=dtype, attn_implementation=kind)
    model.to(device)
    if device != "cpu":
        fuse(model)  # the norms
    return model, low_rank.attach(model, settings.rank, settings.scale)


def trained(layers: dict[str, LowRank]) -> list[torch.nn.Parameter]:
    return [parameter for layer in layers.values() for parameter in (layer.down, layer.up)]


def train(
    model: Any, layers: dict[str, LowRank], rows: Iterator[Row], settings: Settings, say: Say
) -> tuple[int, float]:
    """Steps taken, and the mean loss of the last tenth of them. A linear warm-up, then half a cosine to zero.

    Runs out of memory once: then activations are recomputed in the backward pass, slower, and that is said.
    """
    parameters = trained(layers)
    on_gpu = parameters[0].device.type == "cuda"
    adam = torch.optim.AdamW(parameters, lr=0.0, betas=BETAS, weight_decay=0.0, fused=on_gpu)
    model.train()
    losses: list[Tensor] = []
    started, tokens = time.monotonic(), 0
    bar = tqdm(total=settings.steps, desc="warm start", unit="step", mininterval=2.0)
    for row in rows:
        spent = (time.monotonic() - started) / 60 / settings.minutes
        progress = max(len(losses) / settings.steps, spent)
        if progress >= 1.0:
            break
        for group in adam.param_groups:
            group["lr"] = settings.learning_rate * rate(progress)
        try:
            losses.append(backward(model, row))
        except torch.cuda.OutOfMemoryError:
            if model.is_gradient_checkpointing:
                raise
            say("out of memory: activations are recomputed from here on")
            adam.zero_grad(set_to_none=True)
            torch.cuda.empty_cache()
            model.gradient_checkpointing_enable({"use_reentrant": False})
            continue
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        adam.step()
        adam.zero_grad(set_to_none=True)
        tokens += len(row.ids)
        bar.update()
        if len(losses) % 20 == 0:
            recent = torch.stack(losses[-20:]).mean().item()
            if not math.isfinite(recent):
                raise HarnessError(f"The loss is {recent} at step {len(losses)}; try a lower --rate.")
            speed = tokens / (time.monotonic() - started)
            bar.set_postfix(loss=f"{recent:.4f}", tokens_s=f"{speed:,.0f}", refresh=False)
    bar.close()
    model.eval()
    if not losses:
        raise HarnessError("No step was taken in the minutes given.")
    say(f"loss {losses[0].item():.4f} at the first step")
    last = torch.stack(losses[-max(1, len(losses) // 10) :])
    return len(losses), last.mean().item()


def rate(progress: float) -> float:
    """The share of the peak learning rate at a share of the training."""
    if progress < WARM_UP:
        return (progress + 0.002) / (WARM_UP + 0.002)
    return 0.5 * (1 + math.cos(math.pi * (progress - WARM_UP) / (1 - WARM_UP)))


def backward(model: Any, row: Row) -> Tensor:
    """Mean negative log-likelihood of what the assistant writes; its gradient is added to the parameters'."""
    logits, targets = predictions(model, row)
    loss = functional.cross_entropy(logits.float(), targets)
    loss.backward()
    return loss.detach()


def predictions(model: Any, row: Row) -> tuple[Tensor, Tensor]:
    """Logits [trained tokens, vocabulary] and ids [trained tokens] of what the assistant writes in a row."""
    device = model.device
    ids, positions, group, parent, wanted = (
        torch.from_numpy(part).to(device).unsqueeze(0)
        for part in (row.ids, row.positions, row.group, row.parent, row.trained)
    )
    hidden = model.model(
        input_ids=ids.long(),
        position_ids=positions.long(),
        attention_mask=packed_attention(group, parent, model.dtype, attention_of(model)),
        use_cache=False,
    ).last_hidden_state
    return model.lm_head(hidden[:, :-1][wanted[:, 1:]]), ids[wanted].long()


def attention_of(model: Any) -> str:
    return next(kind for kind in KINDS if implementation(kind) == model.config._attn_implementation)


def settle_attention(model: Any, row_tokens: int, say: Say) -> None:
    """On a GPU: compiles flex attention and compares it with dense masks; where it fails, those are used, and said.

    On a row of the length that will be trained on: another length would be compiled for again.
    """
    if attention_of(model) != FLEX:
        return
    numbers = list(range(1000, 2200))
    tried = iter([Tokens(numbers[512:900], [True] * 388), Tokens(numbers, [True] * 1200), Tokens([0] * row_tokens, [])])
    row = pack(numbers[:512], tried, row_tokens)
    started = time.monotonic()
    fault = ""
    try:
        flex = trial(model, row)
        seconds = time.monotonic() - started
    except Exception as error:  # whatever the compiler raises: the dense masks need no compiler
        fault = f"{type(error).__name__}: {str(error)[:300]}"
    model.set_attn_implementation(implementation(DENSE))
    if not fault:
        try:
            gap = (flex - trial(model, row)).abs().mean().item()
        except torch.cuda.OutOfMemoryError:
            gap = 0.0
            say("no memory for dense masks of this length: flex attention is taken unchecked")
        torch.cuda.empty_cache()
        if gap < FLEX_GAP:
            model.set_attn_implementation(implementation(FLEX))
            say(f"flex attention: ready after {seconds:.0f} s, mean gap of log-probs to dense masks {gap:.4f}")
            return
        fault = f"its log-probs are off by {gap:.3f} on average"
    say(f"flex attention is not used ({fault}); dense masks instead, about three times slower")


def trial(model: Any, row: Row) -> Tensor:
    """Log-probs of a row's trained tokens, with a backward pass."""
    logits, targets = predictions(model, row)
    losses = functional.cross_entropy(logits.float(), targets, reduction="none")
    losses.mean().backward()
    model.zero_grad(set_to_none=True)
    return losses.detach()


@torch.no_grad()
def evaluate(model: Any, domain: Domain, renderer: Renderer, row_tokens: int) -> dict[str, float]:
    """How often greedy decoding writes what a faultless agent would, on the held-out tasks, given its past.

    turns: share of assistant turns right to the last token; episodes: of tasks with all turns right, a lower bound
    of what the policy can do where its decisions are right (the deliberately wrong ones count as errors here).
    """
    turns: list[float] = []
    episodes: list[float] = []
    for task_id in domain.test_ids:
        shown = demonstrate(generator.known(domain, task_id), Random(0), agent.ALWAYS)
        tokens = renderer.conversation(shown.messages)
        if len(tokens.ids) + len(renderer.prefix) > min(CONTEXT, row_tokens):
            continue
        row = pack(renderer.prefix, iter([tokens]), row_tokens)
        logits, targets = predictions(model, row)
        right = (logits.argmax(-1) == targets).cpu().numpy()
        where = np.flatnonzero(row.trained)
        parts = np.split(right, np.flatnonzero(np.diff(where) > 1) + 1)
        turns += [float(part.all()) for part in parts]
        episodes.append(float(right.all()))
    if not episodes:
        return {}
    return {"turns": round(float(np.mean(turns)), 4), "episodes": round(float(np.mean(episodes)), 4)}


_rows: Rows | None = None  # of a process that makes rows


def _start(rows: Rows) -> None:
    global _rows
    _rows = rows


def _row(number: int) -> Row:
    assert _rows is not None
    return _rows.row(number)


@contextmanager
def made(rows: Rows, numbers: range, workers: int) -> Iterator[Iterator[Row]]:
    """These rows in order, made ahead by forked processes, or one by one in this process without any."""
    if workers == 0:
        yield map(rows.row, numbers)
        return
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # its threads do not survive a fork
    with multiprocessing.get_context("fork").Pool(workers, _start, (rows,)) as pool:
        yield pool.imap(_row, numbers)
