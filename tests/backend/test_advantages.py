"""Advantages that are shuffled: the same values on other rollouts, in both backends, and the proof of it."""

import asyncio
import random
from collections import Counter

import pytest
import torch
from art.preprocessing.pack import packed_tensors_from_tokenized_results
from art.preprocessing.tokenize import tokenize_trajectory_groups

from harness.backend.advantages import shuffled
from harness.backend.packed import contexts_of
from harness.seams import Rendering

SHUFFLED = Rendering(advantages="shuffled")


@pytest.fixture
def packed(tokenizer, group):
    random.seed(0)
    groups = [group(0.0, 1.0, 0.25), group(1.0, 0.5, tools=None), group(0.0, 0.5, 0.75, 1.0)]
    made = list(tokenize_trajectory_groups(tokenizer, groups, False, True, True, True))
    return packed_tensors_from_tokenized_results(made, 128, tokenizer.eos_token_id, False)


def test_the_step_keeps_its_advantages_and_its_rollouts(packed):
    other = shuffled(packed, seed=1)
    before, after = contexts_of(packed), contexts_of(other, packed["advantages"])
    assert [(c.ids, c.trained) for c in after] == [(c.ids, c.trained) for c in before]
    assert [c.computed for c in after] == [c.advantage for c in before] == [c.computed for c in before]
    assert sorted(c.advantage for c in after) == sorted(c.computed for c in after)
    assert [c.advantage for c in after] != [c.computed for c in after]


def test_all_trained_tokens_of_a_rollout_have_one_advantage_and_all_others_none(packed):
    other = shuffled(packed, seed=1)
    assert torch.equal(other["advantages"] != 0, packed["advantages"] != 0)
    for row, groups in enumerate(other["group_ids"]):
        for own in groups[other["advantages"][row] != 0].unique():
            assert len(other["advantages"][row][(groups == own) & other["assistant_mask"][row]].unique()) == 1


def test_nothing_else_of_the_tensors_is_touched_and_what_art_packed_stays(packed):
    before = packed["advantages"].clone()
    other = shuffled(packed, seed=1)
    assert torch.equal(packed["advantages"], before)
    assert all(other[name] is packed[name] for name in packed if name != "advantages")


def test_a_rollout_gets_every_advantage_equally_often(packed):
    first = Counter(contexts_of(shuffled(packed, seed))[0].advantage for seed in range(900))
    assert len(first) == len({c.advantage for c in contexts_of(packed)})
    same = Counter(c.advantage for c in contexts_of(packed))
    assert all(60 * same[value] < count < 140 * same[value] for value, count in first.items())


def trained(backend, model, groups):
    asyncio.run(backend.train(model, groups, learning_rate=1e-3, packed_sequence_length=256))
    return backend.trained_contexts(model)


def test_the_shared_backend_trains_on_them_and_says_what_art_had_computed(world, group):
    groups = [group(0.0, 0.2, 0.4, 1.0), group(1.0, 0.5, 0.1, tools=None)]
    own = trained(world.backend, world.admit("own"), groups)
    other = trained(world.backend, world.admit("other", rendering=SHUFFLED), groups)
    assert all(c.advantage == c.computed for c in own)
    assert [(c.ids, c.computed) for c in other] == [(c.ids, c.computed) for c in own]
    assert [c.advantage for c in other] != [c.advantage for c in own]
    assert sorted(c.advantage for c in other) == sorted(c.advantage for c in own)


def test_each_step_and_each_seed_shuffles_in_another_way_and_a_replay_in_the_same(world, group):
    groups = [group(0.0, 0.2, 0.4, 1.0), group(1.0, 0.5, 0.1, tools=None)]

    def steps(run, seed):
        model = world.admit(run, seed, SHUFFLED)
        return [{c.ids: c.advantage for c in trained(world.backend, model, groups)} for _ in range(2)]

    one, again, another = steps("one", 0), steps("again", 0), steps("another", 1)
    assert one == again and one[0] != one[1] and one[0] != another[0]


def test_stock_art_trains_on_them_too(stock_world, group):
    groups = [group(0.0, 0.2, 0.4, 1.0), group(1.0, 0.5, 0.1, tools=None)]
    found = trained(stock_world.backend, stock_world.admit(rendering=SHUFFLED), groups)
    assert [c.advantage for c in found] != [c.computed for c in found]
    assert sorted(c.advantage for c in found) == sorted(c.computed for c in found)


def test_at_rate_0_steps_are_taken_and_the_weights_stay(world, group):
    model = world.admit("still")
    before = world.backend.weights(model.get_inference_name())
    call = world.backend.train(model, [group(0.0, 1.0)], learning_rate=0.0, packed_sequence_length=256)
    result = asyncio.run(call)
    assert result.metrics["data/step_num_gradient_steps"] > 0
    assert world.backend.weights(model.get_inference_name()) == before
