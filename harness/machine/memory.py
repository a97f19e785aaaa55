"""What a policy needs on one GPU: memory of the sampler and the trainer, and roughly the time of a step.

Estimates, to choose a policy and a machine by: memory is meant to be right to 20 %, time is what the card allows at
best. Sizes in bytes unless a name says GiB. Pure functions; no torch.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

GIB = 2**30
BF16 = 2  # bytes
FP32 = 4
TOGETHER, APART = (0.5, 0.4), (0.9, 0.9)  # shares of the sampler and the trainer: of one card, of their own cards

# Fixed parts of a share. The sampler's: CUDA context, captured graphs and workspace; measured on an H100 as what was
# missing from 0.6 of the card once weights and 2.17 million tokens of cache (SmolLM2-135M) are taken off. The
# trainer's: CUDA context, flex_attention's workspace and what the allocator cannot join.
SAMPLER_FIXED = 1.0 * GIB
TRAINER_FIXED = 2.0 * GIB
LOGITS_CHUNK = 2048  # trained positions whose logits exist at a time (harness/engine/execution.py)
LOGITS_COPIES = 6  # float32: logits, log-softmax, entropy and the gradients of them (harness/engine/trainer.py)


@dataclass(frozen=True)
class Shape:
    """A decoder of the Llama kind (RMS norms, SwiGLU, grouped queries), as config.json has it."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool  # the input embedding is the output's too
    qkv_bias: bool = False
    qk_norm: bool = False

    @property
    def parameters(self) -> int:
        """All weights; for Qwen2.5 half the bytes of the published bfloat16 files, to the last one."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * query + 2 * key)
        attention += (query + 2 * key) * self.qkv_bias + 2 * self.head_dim * self.qk_norm
        layer = attention + 3 * self.hidden * self.intermediate + 2 * self.hidden
        return self.layers * layer + self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    def adapter(self, rank: int) -> int:
        """Parameters of LoRA on the seven projections: rank x (inputs + outputs) each (Hu et al. 2021, section 4)."""
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = 2 * (self.hidden + query) + 2 * (self.hidden + key)
        return self.layers * rank * (attention + 3 * (self.hidden + self.intermediate))

    @property
    def cache_per_token(self) -> int:
        """Keys and values of one token in bfloat16, all layers (Kwon et al. 2023, section 3)."""
        return 2 * self.layers * self.kv_heads * self.head_dim * BF16

    @property
    def activations_per_token(self) -> int:
        """What one layer keeps of a token for its backward pass, in bfloat16.

        Counted by hand, as Korthikanti et al. (2022, section 4) do for GPT: inputs of the projections and norms (6
        hidden), queries, keys and values before and after rotation and the attention's output (3 query + 3 key), and
        gate, up, their activation and product (4 intermediate). FlashAttention and its kin keep no attention matrix.
        """
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return BF16 * (6 * self.hidden + 3 * query + 3 * key + 4 * self.intermediate)


SMOLLM2 = Shape(30, 576, 1536, 9, 3, 64, 49160, tied=True)

# From the config.json of each repository.
SHAPES = {
    "micro": Shape(3, 128, 256, 4, 4, 32, 960, tied=True),
    "micro_search": Shape(3, 128, 256, 4, 4, 32, 896, tied=True),
    "smollm2_135m": SMOLLM2,
    "smollm2_135m_raw": SMOLLM2,
    "qwen3_4b": Shape(36, 2560, 9728, 32, 8, 128, 151936, tied=True, qk_norm=True),
    "qwen2_5_7b": Shape(28, 3584, 18944, 28, 4, 128, 152064, tied=False, qkv_bias=True),
    "qwen2_5_14b": Shape(48, 5120, 13824, 40, 8, 128, 152064, tied=False, qkv_bias=True),
}


def read_shape(folder: Path) -> Shape:
    """The shape of a checkpoint folder. Raises KeyError where config.json has other keys than Llama's kind."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads, kind = config["num_attention_heads"], config["model_type"]
    return Shape(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads", heads),
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        tied=config.get("tie_word_embeddings", False),
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
    )


@dataclass(frozen=True)
class Load:
    """What an environment's episodes are made of, in tokens.

    prefix: policy and tools, the same in all episodes and cached; episode: what follows; written: of it by the policy
    """

    prefix: int
    episode: int
    written: int


# prefix: measured with each policy's tokenizer; the rest of mock: measured; of the others: assumed, 12 turns
RETAIL = Load(4850, 3000, 700)
LOADS = {"mock": Load(90, 250, 60), "retail": RETAIL, "retail_generated": RETAIL, "airline": Load(5030, 4000, 800)}


@dataclass(frozen=True)
class Sampler:
    """The server's memory. cache: what is left for keys and values; below 0 it cannot start. tokens: that it holds."""

    weights: float
    adapters: float
    cache: float
    tokens: int

    def episodes(self, load: Load) -> int:
        """Episodes that can be under way at once; all share the prefix."""
        return max(0, (self.tokens - load.prefix) // load.episode)


def sampler(shape: Shape, rank: int, slots: int, budget: float) -> Sampler:
    """budget: bytes of the card that the server may take; slots: adapters on the card at once."""
    weights, adapters = BF16 * shape.parameters, slots * BF16 * shape.adapter(rank)
    cache = budget - weights - adapters - SAMPLER_FIXED
    return Sampler(weights, adapters, cache, max(0, int(cache // shape.cache_per_token)))


@dataclass(frozen=True)
class Training:
    """The trainer's memory for one row.

    activations: of all layers, kept for the backward pass; inputs: what is kept of them where layers compute twice;
    layer: one layer's activations then; logits: of a chunk of positions
    """

    weights: float
    state: float
    activations: float
    inputs: float
    layer: float
    logits: float

    def row(self, twice: bool) -> float:
        """At the most. Logits and their gradients are there before a layer computes its activations again."""
        return self.inputs + max(self.layer, self.logits) if twice else self.activations + self.logits

    def total(self, twice: bool) -> float:
        return self.weights + self.state + self.row(twice) + TRAINER_FIXED


def training(shape: Shape, rank: int, row: int) -> Training:
    """row: tokens of a packed row.

    State: the adapter in bfloat16 to compute with, and in float32 itself, its gradient and Adam's two moments. With
    checkpointing a layer's input is kept, and one layer's activations (Chen et al. 2016, section 4). What torch held at
    most on an H100 is in results/large_step_*.json: for 7 and 14 billion weights within 2 %, TRAINER_FIXED apart.
    """
    return Training(
        weights=BF16 * shape.parameters,
        state=(BF16 + 4 * FP32) * shape.adapter(rank),
        activations=row * shape.layers * shape.activations_per_token,
        inputs=row * shape.layers * BF16 * shape.hidden,
        layer=row * shape.activations_per_token,
        logits=LOGITS_COPIES * FP32 * min(row, LOGITS_CHUNK) * shape.vocabulary,
    )


@dataclass(frozen=True)
class Speed:
    """tflops: dense bfloat16 of the data sheet; bandwidth: TB/s."""

    tflops: float
    bandwidth: float


# NVIDIA's data sheets (SXM where there are two)
CARDS = {
    "H200": Speed(989, 4.8),
    "H100": Speed(989, 3.35),
    "A100": Speed(312, 2.0),
    "L40S": Speed(362, 0.86),
}
BUSY = 0.38  # share of tflops that training reaches; 7 and 14 billion weights on an H100, results/large_step_*.json
# What a decoding step takes beside reading memory, from SmolLM2-135M with adapters and captured graphs on an H100 with
# 16 cores: 6.6 ms for 64 requests, 16.2 ms for 256, each behind 4,100 to 4,400 tokens.
STEP_SECONDS = 0.0033
REQUEST_SECONDS = 0.0000086
REACHED = 0.7  # share of the bandwidth that a decoding step reaches


def card_of(name: str) -> Speed | None:
    """The data sheet of a GPU by the driver's name for it; None for one that is not listed."""
    return next((card for key, card in CARDS.items() if key in name), None)


def rollout_seconds(shape: Shape, load: Load, episodes: int, at_once: int, card: Speed) -> float:
    """All episodes of a step, `at_once` under way: each decoding step reads the weights and the requests' own caches.

    Prefill of what tools and users say, and the environment's time, are left out.
    """
    if at_once < 1:
        return float("inf")
    together = min(episodes, at_once)
    read = BF16 * shape.parameters + together * shape.cache_per_token * (load.prefix + load.episode / 2)
    step = STEP_SECONDS + REQUEST_SECONDS * together + read / (REACHED * card.bandwidth * 1e12)
    return episodes * load.written / together * step


def train_seconds(shape: Shape, load: Load, episodes: int, groups: int, card: Speed, twice: bool) -> float:
    """One update: 2 FLOP per parameter and token forward and 2 backward (Kaplan et al. 2020, section 2.1, less the
    gradient of frozen weights), 2 more with checkpointing; attention over half the prefix and episode likewise. The
    episodes of a group share one copy of the prefix.
    """
    tokens = groups * load.prefix + episodes * load.episode
    passes = 3 if twice else 2
    attention = 2 * shape.layers * shape.heads * shape.head_dim * (load.prefix + load.episode)
    return passes * tokens * (2 * shape.parameters + attention) / (BUSY * card.tflops * 1e12)


def score_seconds(shape: Shape, load: Load, episodes: int, groups: int, card: Speed) -> float:
    """What was served, computed again with the weights that should have answered and with their rival: the check of
    endpoint. Two forward passes over what an update trains.
    """
    return train_seconds(shape, load, episodes, groups, card, twice=False)


@dataclass(frozen=True)
class CardSeconds:
    """GPU-seconds at a card's own rates: of an episode's decoding, and of an update with its scoring."""

    card: str
    episode: float
    update: float


def card_seconds(
    shape: Shape, domain: str, groups: int, rollouts: int, at_once: int, gpus: Sequence[str] = ()
) -> CardSeconds | None:
    """On the first GPU that has a data sheet here, else on an H100; None for an environment whose texts are not known.

    groups x rollouts: episodes of a step; at_once: requests that are under way together
    """
    load = LOADS.get(domain)
    if load is None:
        return None
    name = next((key for gpu in gpus for key in CARDS if key in gpu), "H100")
    card, episodes = CARDS[name], groups * rollouts
    played = rollout_seconds(shape, load, episodes, min(at_once, episodes), card) / episodes
    trained = train_seconds(shape, load, episodes, groups, card, twice=True)
    return CardSeconds(name, played, trained + score_seconds(shape, load, episodes, groups, card))


def estimate_lines(
    policy: str,
    gpu: str,
    memory: float,
    *,
    domain: str = "retail",
    rank: int = 8,
    row: int = 16384,
    groups: int = 8,
    rollouts: int = 6,
    slots: int = 16,
    in_flight: int = 256,
    split: tuple[float, float] = TOGETHER,
    sampler_gpus: int = 1,
) -> list[str]:
    """What a step of this policy takes on one GPU, as lines to print; or on GPUs for each of the two, by its shares.

    gpu: the driver's name of the card; memory: its GiB; row: tokens of a packed row; groups x rollouts: episodes of a
    step; slots: adapters on the card; in_flight: requests at once; split: the sampler's and trainer's share of memory;
    sampler_gpus: of which the sampler has that share.
    """
    shape, load = SHAPES[policy], LOADS[domain]
    serving = split[0] * memory * sampler_gpus
    serve, train = sampler(shape, rank, slots, serving * GIB), training(shape, rank, row)
    allowed = split[1] * memory * GIB
    twice = train.total(twice=False) > allowed
    room = f"{serve.tokens:,} tokens, {serve.episodes(load):,} episodes of {domain} at once"
    lines = [
        f"sampler, {serving:.0f} GiB: weights {_gib(serve.weights)}, adapters {_gib(serve.adapters)}, "
        f"cache {_gib(max(serve.cache, 0))}: {room if serve.episodes(load) else f'NO ROOM for an episode of {domain}'}",
        f"trainer, {split[1] * memory:.0f} GiB: weights {_gib(train.weights)}, adapter and Adam {_gib(train.state)}, "
        f"a row of {row:,} tokens {_gib(train.row(twice))}"
        + (" (layers computed twice)" if twice else "")
        + f"; in all {_gib(train.total(twice))}"
        + ("" if train.total(twice) <= allowed else ": DOES NOT FIT"),
    ]
    card = card_of(gpu)
    if card is None:
        return [*lines, f"time: no data sheet of {gpu!r} here"]
    if not fits(policy, memory, domain=domain, rank=rank, row=row, slots=slots, split=split, sampler_gpus=sampler_gpus):
        return lines
    episodes = groups * rollouts
    played = rollout_seconds(shape, load, episodes, min(serve.episodes(load), in_flight), card)
    scored = score_seconds(shape, load, episodes, groups, card)
    trained = train_seconds(shape, load, episodes, groups, card, twice)
    return [
        *lines,
        f"time: a step of {groups} x {rollouts} episodes at best {played:.0f} s of decoding, {scored:.1f} s of scoring "
        f"and {trained:.1f} s of training, at the card's own rates; small models wait for the processor and take "
        "several times as long",
    ]


def fits(
    policy: str,
    memory: float,
    *,
    domain: str = "retail",
    rank: int = 8,
    row: int = 16384,
    slots: int = 16,
    split: tuple[float, float] = TOGETHER,
    sampler_gpus: int = 1,
) -> bool:
    """Whether sampler and trainer fit their shares of cards of `memory` GiB; see `estimate_lines`."""
    shape = SHAPES[policy]
    serve = sampler(shape, rank, slots, split[0] * memory * sampler_gpus * GIB)
    return serve.episodes(LOADS[domain]) > 0 and training(shape, rank, row).total(twice=True) <= split[1] * memory * GIB


def _gib(size: float) -> str:
    return f"{size / GIB:.1f} GiB" if size >= 0.05 * GIB else f"{size / 2**20:.0f} MiB"
