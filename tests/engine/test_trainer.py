"""The trainer: an update is a pure function, and how it is computed changes nothing but the last digits."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from safetensors.torch import load
from transformers import LlamaConfig, LlamaForCausalLM

from harness.engine.attention import DENSE, FLEX
from harness.engine.packed_rows import minibatches, reply_rows, single_rows
from harness.engine.synthetic import packed_groups
from harness.engine.trainer import Execution, Lora, Optimiser, Trainer
from harness.errors import EngineError

VOCABULARY = 96
PLAIN = Execution()
ALONE = Execution(row_by_row=True, row_multiple=16)
# Everything that a GPU uses, except for what only a GPU has.
LIKE_A_GPU = replace(ALONE, fused=True, logits_chunk=7, checkpoint=True, states=2)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A random two-layer Llama with three query heads for each key head, as SmolLM2 has them."""
    folder = tmp_path_factory.mktemp("base")
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=1,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trainer_with(base):
    """`trainer_with(execution)`: a trainer of two groups in a gradient step."""
    made: dict[Execution, Trainer] = {}

    def make(execution: Execution = PLAIN) -> Trainer:
        if execution not in made:
            made[execution] = Trainer(base, "base-digest", Lora(rank=4, alpha=8), Optimiser(), execution=execution)
        return made[execution]

    return make


@pytest.fixture(scope="module")
def tensors():
    """Five groups of four rollouts in rows of 512 tokens: some rows hold two groups, some groups two rows."""
    return packed_groups(5, 4, prompt=60, own=(40, 120), vocabulary=VOCABULARY, row_tokens=512)


def gradient_of(trainer, tensors, config=None):
    """The first gradient of an update, as Adam's first moment has it, and the metrics."""
    state, metrics = trainer.update(trainer.initial_state(3), tensors, 1e-3, config or {})
    return {k: v for k, v in load(state.moments).items() if k.endswith("exp_avg")}, metrics


def assert_close(found, expected, rtol, atol):
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=rtol, atol=atol)


def test_an_update_depends_on_its_arguments_alone(trainer_with, tensors):
    trainer = trainer_with()
    first = trainer.initial_state(3)
    once = trainer.update(first, tensors, 1e-3, {})
    trainer.update(trainer.initial_state(4), tensors, 1e-2, {})  # another run takes its turn
    assert trainer.update(first, tensors, 1e-3, {}) == once
    assert trainer.update(first, tensors, 2e-3, {})[0] != once[0]


def test_a_fresh_adapter_is_what_peft_draws_under_the_seed(trainer_with):
    trainer = trainer_with()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for module in trainer.model.modules():
            if hasattr(module, "reset_lora_parameters"):
                module.reset_lora_parameters("default", init_lora_weights=True)
    drawn = {name.replace(".default.", "."): p for name, p in trainer.model.named_parameters() if p.requires_grad}
    assert_close(load(trainer.initial_state(3).adapter), drawn, 0, 0)
    assert trainer.initial_state(3).weights == "base-digest"


@pytest.mark.parametrize("config", [{}, {"importance_sampling_level": "sequence"}, {"ppo": True}], ids=str)
@pytest.mark.parametrize(
    "execution",
    [
        ALONE,
        replace(ALONE, row_multiple=128),
        Execution(logits_chunk=7),
        Execution(fused=True),
        Execution(checkpoint=True),
        LIKE_A_GPU,
    ],
    ids=["rows alone", "long padding", "chunks of logits", "fused", "activations twice", "all"],
)
def test_how_an_update_is_computed_changes_nothing_but_rounding(execution, config, trainer_with, tensors):
    expected, expected_metrics = gradient_of(trainer_with(), tensors, config)
    found, metrics = gradient_of(trainer_with(execution), tensors, config)
    assert_close(found, expected, rtol=1e-3, atol=1e-6)
    assert metrics == [pytest.approx(step, rel=1e-3, abs=1e-5) for step in expected_metrics]


def test_in_bfloat16_the_adapter_that_is_trained_stays_float32(trainer_with, tensors):
    trainer = trainer_with(replace(LIKE_A_GPU, dtype=torch.bfloat16))
    assert {p.dtype for p in trainer.model.parameters()} == {torch.bfloat16}
    state, _ = trainer.update(trainer.initial_state(3), tensors, 1e-5, {})
    for raw in (state.adapter, state.moments):
        assert {t.dtype for t in load(raw).values()} == {torch.float32}
    moved = [
        (new != old).float().mean().item()
        for (_, old), (_, new) in zip(
            sorted(load(trainer.initial_state(3).adapter).items()), sorted(load(state.adapter).items()), strict=True
        )
    ]
    assert min(moved) > 0.9  # steps that bfloat16 would round away


def test_the_gradient_in_bfloat16_is_that_in_float32(trainer_with, tensors):
    expected, _ = gradient_of(trainer_with(), tensors)
    found, _ = gradient_of(trainer_with(replace(LIKE_A_GPU, dtype=torch.bfloat16)), tensors)
    flat = [torch.cat([values[name].flatten() for name in expected]) for values in (found, expected)]
    assert torch.cosine_similarity(*flat, dim=0) > 0.98


@pytest.mark.parametrize("states", [1, 2, 8])
def test_states_kept_on_the_device_give_the_same_as_states_brought_there(states, trainer_with, tensors):
    kept, brought = trainer_with(replace(ALONE, states=states)), trainer_with(ALONE)
    chains = {trainer: [trainer.initial_state(seed) for seed in range(3)] for trainer in (kept, brought)}
    for _ in range(2):  # the runs take turns
        for run in range(3):
            for trainer, current in chains.items():
                current[run], _ = trainer.update(current[run], tensors, 1e-3, {})
    assert chains[kept] == chains[brought]


def test_an_update_leaves_the_state_that_it_starts_from_as_it_was(trainer_with, tensors):
    trainer = trainer_with(replace(ALONE, states=8))  # the state lies on the device, with its moments
    middle, _ = trainer.update(trainer.initial_state(3), tensors, 1e-3, {})
    once = trainer.update(middle, tensors, 1e-3, {})
    assert trainer.update(middle, tensors, 1e-3, {}) == once  # two arms part here


def test_where_flex_attention_cannot_train_the_dense_one_takes_its_place_and_notes_say_why(trainer_with, tensors):
    trainer = trainer_with(replace(ALONE, attention=FLEX))  # it has no backward pass on a CPU
    found, _ = gradient_of(trainer, tensors)
    assert trainer.execution.attention == DENSE
    assert any(note.startswith("dense attention in place of flex: NotImplementedError") for note in trainer.notes)
    assert_close(found, gradient_of(trainer_with(ALONE), tensors)[0], 0, 0)


def test_an_attention_that_gives_other_log_probs_is_not_used(base, tensors, monkeypatch):
    trainer = Trainer(base, "base-digest", Lora(rank=4, alpha=8), Optimiser(), execution=replace(ALONE, attention=FLEX))
    right = trainer.trial

    def wrong(row):
        logprobs, gradient = right(row)
        return logprobs, gradient * (2 if trainer.execution.attention == FLEX else 1)

    monkeypatch.setattr(trainer, "trial", wrong)
    # the dense attention computes for both
    monkeypatch.setattr("harness.engine.trainer.packed_attention", lambda g, p, d, _: _dense(g, p, d))
    monkeypatch.setattr("harness.engine.trainer.implementation", lambda _: "sdpa")
    trainer.use_attention(FLEX)
    trainer.prepare()
    assert trainer.execution.attention == DENSE
    assert any("gradients by 1 of their norm" in note for note in trainer.notes)


def _dense(group_ids, parent_ids, dtype):
    from harness.engine.attention import dense_bias

    return dense_bias(group_ids, parent_ids, dtype)


def test_a_gradient_that_is_not_finite_is_refused(trainer_with, tensors):
    broken = dict(tensors) | {"advantages": tensors["advantages"].clone()}
    broken["advantages"][tensors["assistant_mask"]] = math.inf
    with pytest.raises(EngineError, match=r"gradient of a training step is (nan|inf)"):
        trainer_with().update(trainer_with().initial_state(3), broken, 1e-3, {})


def test_weights_that_are_not_finite_are_refused_though_the_gradients_were(trainer_with, tensors):
    with pytest.raises(
        EngineError, match=r"weights after 1 training steps? .* not finite.*learning_rate, which is inf"
    ):
        trainer_with().update(trainer_with().initial_state(3), _one_step(tensors), math.inf, {})


def _one_step(tensors):
    """The rows of the first gradient step alone."""
    return {key: value[:1] if isinstance(value, torch.Tensor) else value for key, value in tensors.items()}


def test_a_refused_gradient_leaves_nothing_behind(base, tensors):
    trainer = Trainer(base, "base-digest", Lora(rank=4, alpha=8), Optimiser(), execution=LIKE_A_GPU)
    first = trainer.initial_state(3)
    before = trainer.update(first, tensors, 1e-3, {})
    broken = dict(tensors) | {"advantages": torch.full_like(tensors["advantages"], math.nan)}
    with pytest.raises(EngineError):
        trainer.update(first, broken, 1e-3, {})
    assert trainer.update(first, tensors, 1e-3, {}) == before


def test_what_an_update_took_counts_every_token_once_and_no_other_groups(trainer_with, tensors):
    alone, together = trainer_with(ALONE), trainer_with()
    for trainer in (alone, together):
        trainer.update(trainer.initial_state(3), tensors, 1e-3, {})
    real = int((tensors["group_ids"] != -1).sum())
    assert alone.last.amount.tokens == real
    assert together.last.amount.tokens > real  # rows with groups of two gradient steps are computed in both
    assert alone.last.amount.trained == together.last.amount.trained == int(tensors["assistant_mask"].sum())
    assert real <= alone.last.amount.computed < real + 16 * 10
    assert alone.last.metrics()["train/tokens"] == real
    assert alone.last.seconds > alone.last.step_seconds > 0


def test_single_rows_hold_the_groups_of_their_step_and_every_trained_token(tensors):
    batches = list(minibatches(tensors, 2))
    assert len(batches) > 1
    for batch in batches:
        rows = list(single_rows(batch, 16))
        assert all(row["tokens"].shape[1] % 16 == 0 for row in rows)
        parents = [set(row["parent_ids"].flatten().tolist()) - {-1} for row in rows]
        assert len(set().union(*parents)) <= 2
        assert sum(int(row["assistant_mask"].sum()) for row in rows) == int(batch["assistant_mask"].sum())
        for row in rows:
            starts = [b for a, b in pairwise(row["group_ids"][0].tolist()) if a != b]
            assert len(starts) == len(set(starts))  # a rollout is in one piece


REPLIES = [(range(5, 45), (7, 1, 90)), ((3,), (4,)), (range(20), range(30, 41))]


def by_transformers(trainer, adapter, prompt, output):
    """Log-probs by transformers and PEFT, with their own attention and position ids."""
    trainer.score(adapter, [])  # puts the adapter in place
    ids = torch.tensor([[*prompt, *output]])
    with torch.no_grad():
        logprobs = trainer.model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
    places = torch.arange(len(prompt) - 1, ids.shape[1] - 1)
    return logprobs[places, ids[0, places + 1]].numpy()


@pytest.mark.parametrize("execution", [PLAIN, ALONE, replace(LIKE_A_GPU, row_multiple=128)], ids=["cpu", "rows", "gpu"])
def test_scores_are_the_log_probs_of_the_output_ids_after_their_prompt(execution, trainer_with, tensors):
    plain, trainer = trainer_with(), trainer_with(execution)
    trained, _ = plain.update(plain.initial_state(3), tensors, 1e-2, {})
    for adapter in (None, trained.adapter):
        found = trainer.score(adapter, REPLIES)
        assert [(str(scores.dtype), len(scores)) for scores in found] == [("float32", n) for n in (3, 1, 11)]
        for scores, reply in zip(found, REPLIES, strict=True):
            assert scores == pytest.approx(by_transformers(plain, adapter, *reply), abs=1e-5)
    assert abs(trainer.score(trained.adapter, REPLIES)[0] - trainer.score(None, REPLIES)[0]).mean() > 1e-2


def test_no_adapter_is_the_base_policy(trainer_with):
    trainer = trainer_with()
    base, fresh = trainer.score(None, REPLIES), trainer.score(trainer.initial_state(8).adapter, REPLIES)
    assert all((one == other).all() for one, other in zip(base, fresh, strict=True))


SHARED = tuple(range(5, 45))
BESIDE = [((*SHARED, 50, 51), (7, 1)), ((*SHARED, 52), (8, 2, 91)), (SHARED, (9,)), ((*SHARED, 53), (3,))]


@pytest.mark.parametrize("room, rows", [(1000, [4]), (48, [1, 2, 1]), (10, [1, 1, 1, 1])])
def test_replies_of_one_row_are_scored_behind_one_copy_of_what_they_share(room, rows, trainer_with):
    made = list(reply_rows(BESIDE, room))
    assert [row["group_ids"].unique().numel() - (len(row["group_ids"].unique()) > 1) for row in made] == rows
    execution = replace(LIKE_A_GPU, row_multiple=128, scored_row=room)
    for scores, reply in zip(trainer_with(execution).score(None, BESIDE), BESIDE, strict=True):
        assert scores == pytest.approx(by_transformers(trainer_with(), None, *reply), abs=1e-5)


def test_by_default_a_reply_is_scored_the_same_in_any_company(trainer_with):
    trainer = trainer_with()
    together = trainer.score(None, REPLIES)
    assert all((trainer.score(None, [reply])[0] == found).all() for reply, found in zip(REPLIES, together, strict=True))


@pytest.mark.parametrize("execution", [PLAIN, LIKE_A_GPU, replace(LIKE_A_GPU, dtype=torch.bfloat16)], ids=str)
def test_scoring_between_two_updates_changes_nothing_of_them(execution, base, tensors):
    def chain(scored):
        trainer = Trainer(base, "base-digest", Lora(rank=4, alpha=8), Optimiser(), execution=execution)
        state, foreign = trainer.initial_state(3), trainer.initial_state(4).adapter
        out = []
        for adapter in (foreign, None):
            if scored:
                trainer.score(adapter, REPLIES)
            out.append(trainer.update(state, tensors, 1e-3, {}))
            state = out[-1][0]
        return out

    assert chain(scored=True) == chain(scored=False)
