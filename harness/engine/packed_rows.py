"""The rows of an update: which of ART's packed rows a gradient step trains on, and in which shape they are computed.

Tensors are those of ART's `PackedTensors`, each [rows, tokens]; padding has group id -1. `ours` marks the tokens of the
groups that a gradient step trains on.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.engine.art_loss import shift_tensor

if TYPE_CHECKING:
    from art.preprocessing.pack import PackedTensors

Rows = dict[str, torch.Tensor]
Reply = tuple[Sequence[int], Sequence[int]]  # ids of a prompt, and of what was sampled after it

# What ART fills the rest of a row with, where it is not zero (`art/preprocessing/pack.py`).
PADDING = {"tokens": -100, "group_ids": -1, "parent_ids": -1, "logprobs": math.nan}


@dataclass(frozen=True)
class Amount:
    """tokens: of the rows without padding; computed: with it; trained: that get a gradient; pairs: attended."""

    tokens: int = 0
    computed: int = 0
    trained: int = 0
    pairs: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(
            self.tokens + other.tokens,
            self.computed + other.computed,
            self.trained + other.trained,
            self.pairs + other.pairs,
        )


def minibatches(tensors: "PackedTensors", groups_per_step: int) -> Iterator[Rows]:
    """The packed rows of some groups after another, [rows, tokens]; a token of another group trains nothing."""
    packed = {key: value for key, value in tensors.items() if isinstance(value, torch.Tensor)}
    parents = packed["parent_ids"]
    groups = list(dict.fromkeys(parents[parents != -1].tolist()))  # in the order in which ART packed them
    steps = math.ceil(len(groups) / groups_per_step)
    for chunk in torch.tensor(groups).tensor_split(steps):
        ours = torch.isin(parents, chunk)
        rows = ours.any(dim=1)
        batch, ours = {key: value[rows] for key, value in packed.items()}, ours[rows]
        yield batch | {
            "assistant_mask": batch["assistant_mask"] & ours,
            "logprobs": batch["logprobs"].masked_fill(~ours, math.nan),
            "advantages": batch["advantages"].masked_fill(~ours, 0.0),
            "weights": batch["weights"].masked_fill(~ours, 0.0),
            "ours": ours,
        }


def trimmed(batch: Rows) -> Rows:
    """Without the columns that are padding in every row."""
    used = int((batch["group_ids"] != -1).any(dim=0).nonzero().max()) + 1
    return {key: value[:, :used] for key, value in batch.items()}


def single_rows(batch: Rows, multiple: int) -> Iterator[Rows]:
    """Each row by itself, [1, tokens], without other groups' tokens, padded to a multiple of tokens.

    No token looks at those that are left out, and the first token after them is never trained: ART begins what a
    rollout does not share with one token of its prompt. Rows without a trained token are left out as well, except
    that one row always remains.
    """
    training = trained(batch).any(dim=1)
    if not training.any():
        training[0] = True
    for row in training.nonzero().squeeze(1).tolist():
        ours = batch["ours"][row]
        yield padded({key: value[row, ours].unsqueeze(0) for key, value in batch.items()}, multiple)


def padded(batch: Rows, multiple: int) -> Rows:
    """The rows with padding as ART's, up to a multiple of tokens."""
    missing = -batch["tokens"].shape[1] % multiple
    pad = torch.nn.functional.pad
    return {key: pad(value, (0, missing), value=PADDING.get(key, 0)) for key, value in batch.items()}


def reply_rows(replies: Sequence[Reply], most_tokens: int) -> Iterator[Rows]:
    """Rows of replies to be scored, each [1, tokens], as `minibatches` gives rows; the replies in their order.

    Replies of a row stand behind one copy of what their prompts begin with. A reply's own part begins with a token of
    its prompt, since the token before an output predicts its first. A row has `most_tokens` at most, or one reply.
    """
    shared = common_prefix([tuple(prompt[:-1]) for prompt, _ in replies])
    row: list[Reply] = []
    tokens = shared
    for prompt, output in replies:
        own = len(prompt) + len(output) - shared
        if row and tokens + own > most_tokens:
            yield _row_of(row, shared)
            row, tokens = [], shared
        row.append((prompt, output))
        tokens += own
    if row:
        yield _row_of(row, shared)


def _row_of(replies: Sequence[Reply], shared: int) -> Rows:
    """The replies behind the first `shared` tokens of their prompts, a group of their own; each is a group as well."""
    if len(replies) == 1:
        shared = 0
    lengths = [len(prompt) + len(output) - shared for prompt, output in replies]
    group = torch.repeat_interleave(torch.arange(len(lengths) + 1), torch.tensor([shared, *lengths]))
    tokens, sampled = list(replies[0][0][:shared]), [False] * shared
    for prompt, output in replies:
        tokens += [*prompt[shared:], *output]
        sampled += [False] * (len(prompt) - shared) + [True] * len(output)
    mask = torch.tensor([sampled])
    return {
        "tokens": torch.tensor([tokens]),
        "group_ids": group.unsqueeze(0),
        "parent_ids": (torch.zeros_like(group) if shared else group).unsqueeze(0),
        "input_pos": torch.cat([torch.arange(shared), *(torch.arange(n) + shared for n in lengths)]).unsqueeze(0),
        "assistant_mask": mask,
        "logprobs": torch.zeros(mask.shape).masked_fill(~mask, math.nan),
        "ours": torch.ones_like(mask),
    }


def common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many ids all of them begin with."""
    if not prompts:
        return 0
    first, last = min(prompts), max(prompts)  # of all in order these two differ earliest
    return next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))


def trained(batch: Rows) -> torch.Tensor:
    """Whether a position's *next* token is trained, bool [rows, tokens]."""
    return shift_tensor(batch["assistant_mask"], False)


def amount(batch: Rows) -> Amount:
    """What is in the rows, counted where they lie."""
    group_ids = batch["group_ids"]
    return Amount(
        tokens=int((group_ids != -1).sum()),
        computed=group_ids.numel(),
        trained=int(trained(batch).sum()),
        pairs=sum(attended_pairs(*ids) for ids in zip(group_ids, batch["parent_ids"], strict=True)),
    )


def attended_pairs(group_ids: torch.Tensor, parent_ids: torch.Tensor) -> int:
    """Pairs of a query and a key in one row, ids [tokens], without padding and without making the mask.

    A group of n tokens has n (n + 1) / 2 pairs of its own, and n for each token of the prompt before it.
    """
    real = group_ids != -1
    own, counts = group_ids[real].unique(return_counts=True)
    tokens: dict[int, int] = dict(zip(own.tolist(), counts.tolist(), strict=True))
    prompts = dict(zip(group_ids[real].tolist(), parent_ids[real].tolist(), strict=True))
    pairs = sum(n * (n + 1) // 2 for n in tokens.values())
    return pairs + sum(n * tokens.get(prompts[group], 0) for group, n in tokens.items() if prompts[group] != group)
