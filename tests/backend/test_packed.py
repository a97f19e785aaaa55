"""What was trained is read from ART's packed rows: every rollout whole, wherever it was packed."""

import random

import pytest
from art.preprocessing.pack import packed_tensors_from_tokenized_results
from art.preprocessing.tokenize import tokenize_trajectory_groups

from harness.backend.packed import contexts_of


def packed(tokenizer, groups, row, keep_equal=False, pack=True):
    """ART's results and the tensors that it packs of them."""
    random.seed(0)
    made = list(tokenize_trajectory_groups(tokenizer, groups, False, True, True, not keep_equal))
    return made, packed_tensors_from_tokenized_results(made, row, tokenizer.eos_token_id, False, pack_results=pack)


def as_made(results):
    return sorted(
        (tuple(r.token_ids), tuple(place for place, own in enumerate(r.assistant_mask) if own)) for r in results
    )


def as_read(tensors):
    return sorted((context.ids, context.trained) for context in contexts_of(tensors))


@pytest.mark.parametrize("row", [64, 128, 1024])
@pytest.mark.parametrize("pack", [True, False])
def test_every_rollout_is_read_whole_with_the_prompt_that_it_shares(row, pack, tokenizer, group):
    groups = [group(0.0, 1.0, 0.25), group(1.0, 0.5, tools=None), group(0.0, 0.5, 0.75, 1.0)]
    results, tensors = packed(tokenizer, groups, row, pack=pack)
    assert len(results) == 9
    assert as_read(tensors) == as_made(results)


def test_a_group_with_nothing_in_common_is_read_as_well(tokenizer, group):
    mixed = group(0.0, 1.0)
    mixed.trajectories[0].messages_and_choices = mixed.trajectories[0].messages_and_choices[1:]
    mixed.trajectories[0].tools = None
    results, tensors = packed(tokenizer, [mixed], 512)
    assert {result.prompt_length for result in results} <= {0, 1, 2}
    assert as_read(tensors) == as_made(results)


def test_rollouts_without_an_advantage_were_not_trained(tokenizer, group):
    results, tensors = packed(tokenizer, [group(0.0, 1.0, 0.5)], 512, keep_equal=True)
    assert len(results) == 3 and len(contexts_of(tensors)) == 2
    assert as_read(tensors) == as_made(result for result in results if result.advantage)


def test_sampled_are_the_ids_that_are_trained(tokenizer, group):
    results, tensors = packed(tokenizer, [group(0.0, 1.0)], 512)
    expected = {
        tuple(int(t.token.split(":")[1]) for t in r.trajectory.messages_and_choices[-1].logprobs.content)
        for r in results
    }
    assert {context.sampled for context in contexts_of(tensors)} == expected
