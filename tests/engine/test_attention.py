"""One rule for packed rows, as a dense bias and as flex attention's blocks."""

import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager
from torch.nn.attention import flex_attention as flex
from transformers import LlamaConfig, LlamaForCausalLM

from harness.engine import attention
from harness.engine.attention import DENSE, FLEX, KINDS, allowed_pairs, block_mask, implementation, packed_attention
from harness.engine.packed_rows import attended_pairs

TOKENS = 384


def row(tokens: int = TOKENS):
    """Ids of two groups, one with two rollouts and one with a single one, then padding; [1, tokens]."""
    group_ids, parent_ids = torch.full((1, tokens), -1), torch.full((1, tokens), -1)
    place = 0
    for length, group, parent in ((90, 2**62, 2**62), (40, -7, 2**62), (60, 5, 2**62), (30, 8, 8), (50, 9, 8)):
        group_ids[0, place : place + length] = group
        parent_ids[0, place : place + length] = parent
        place += length
    return group_ids, parent_ids


def both(first, second):
    """Two rows under another; the second one is padding only."""
    padding = torch.full_like(first, -1)
    return torch.cat([first, padding]), torch.cat([second, padding])


@pytest.mark.parametrize(
    ("query", "key", "looks"),
    [
        (50, 50, True),
        (50, 51, False),  # the future
        (100, 50, True),  # its prompt
        (150, 100, False),  # another rollout of the same prompt
        (150, 140, True),
        (230, 50, False),  # another group's prompt
        (200, 150, False),
        (240, 200, True),
        (260, 225, True),
        (300, 260, False),  # padding looks at padding
        (300, 290, True),
        (300, 300, True),
    ],
)
def test_a_token_looks_back_at_its_own_rollout_and_at_the_prompt_that_it_shares(query, key, looks):
    assert bool(allowed_pairs(*row())[0, query, key]) is looks


def test_both_kinds_have_the_same_rule():
    ids = both(*row())
    mask = block_mask(*ids)
    found = flex.create_mask(mask.mask_mod, 2, 1, TOKENS, TOKENS, device="cpu")
    assert torch.equal(found[:, 0], allowed_pairs(*ids))
    assert mask.sparsity() > 30  # percent of blocks that are never computed


def test_pairs_are_counted_without_making_the_mask():
    group_ids, parent_ids = row()
    real = (group_ids != -1)[0]
    assert attended_pairs(group_ids[0], parent_ids[0]) == int(allowed_pairs(group_ids, parent_ids)[0][real].sum())


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="expected one of dense, flex"):
        packed_attention(*row(), torch.float32, "sparse")


@pytest.fixture(scope="module")
def outputs():
    """`outputs(kind, tokens)`: logits and gradients of a model with nine query and three key heads."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=36,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=9,
        num_key_value_heads=3,
        head_dim=16,
        use_cache=False,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        weights = LlamaForCausalLM(config).state_dict()

    def run(kind: str, tokens: int = TOKENS):
        config._attn_implementation = implementation(kind)
        model = LlamaForCausalLM(config)
        model.load_state_dict(weights)
        ids = both(*row(tokens))
        inputs = torch.arange(2 * tokens).view(2, tokens) % 64
        logits = model(input_ids=inputs, attention_mask=packed_attention(*ids, torch.float32, kind)).logits
        if torch.is_grad_enabled():
            logits.log_softmax(-1)[..., 3].mean().backward()
        return logits.detach(), [p.grad for p in model.parameters()]

    return run


@pytest.fixture
def traced(monkeypatch):
    """flex attention as on a GPU, compiled, up to its kernel: the graphs that were traced. CPUs have no backward pass
    of it, which PyTorch checks; what runs here is its definition in plain operations."""
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return aot_eager(graph, inputs)

    monkeypatch.setattr(flex, "_validate_device", lambda *_: None)
    kernel = torch.compile(flex.flex_attention, backend=backend)
    monkeypatch.setattr(attention, "kernel", lambda _: kernel)
    return graphs


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_gives_the_log_probs_of_dense_also_where_a_row_is_padding_only(outputs):
    with torch.no_grad():
        (dense, _), (found, _) = outputs(DENSE), outputs(FLEX)
    assert not found.isnan().any()
    torch.testing.assert_close(found, dense, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_flex_gives_the_gradients_of_dense_and_is_compiled_twice_for_any_number_of_lengths(outputs, traced):
    for tokens in (TOKENS, 512, 640, 1024):
        (logits, gradients), (expected_logits, expected) = (outputs(kind, tokens) for kind in reversed(KINDS))
        torch.testing.assert_close(logits, expected_logits, rtol=1e-4, atol=1e-5)
        for found, wanted in zip(gradients, expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)
    assert len(traced) == 2  # the first length, then all others


@pytest.mark.parametrize(
    ("tokens", "width", "options"),
    [
        (640, 128, {"IS_DIVISIBLE": True}),
        (640, 64, {"IS_DIVISIBLE": True, "BLOCK_M": 64, "BLOCK_N": 64}),
        (641, 64, None),
    ],
)
def test_the_kernel_skips_the_checks_of_whole_blocks_alone_and_has_small_tiles_for_narrow_heads(
    tokens, width, options, monkeypatch
):
    asked = []

    def kernel(query, key, value, *, block_mask, kernel_options):
        asked.append(kernel_options)
        return query

    monkeypatch.setattr(attention, "kernel", lambda _: kernel)
    ids = torch.zeros(1, tokens, dtype=torch.long)
    query, key = torch.zeros(1, 4, tokens, width), torch.zeros(1, 2, tokens, width)
    attention._flex_forward(None, query, key, key, block_mask(ids, ids))
    assert asked == [options]
