"""Which rollouts the trainer scores, and under which weights."""

import asyncio
import math
from dataclasses import replace

import pytest

from harness.backend import ScoredReply
from harness.evidence import RolloutTable
from harness.rollout import SourcedEpisode
from harness.scoring import SCORED_16_BIT, SCORED_EXACT, served_scores
from harness.seams import Names
from tests.fakes import Backend, episode, turn

NAMES = Names(pinned="policy@0", current="policy@3", before="policy@2")
TASKS = ["b", "a"]


def table(*rollouts: SourcedEpisode, size=3) -> RolloutTable:
    """The rollouts of both tasks, in turn."""
    asked = {(TASKS[n % 2], n // 2): one for n, one in enumerate(rollouts)}
    return RolloutTable(3, TASKS, size, asked, [])


def rollout(key, *turns):
    return SourcedEpisode(episode("b", *turns), key, None)


def scored(sampled, asked="policy@3", scores=None, names=NAMES, exact=True):
    backend = Backend(scores={"policy@3": -0.1, "policy@2": -0.3, "policy@0": -0.5} if scores is None else scores)
    return asyncio.run(served_scores(sampled, asked, names, backend, exact)), backend


@pytest.mark.parametrize(("asked", "rival"), [("policy@3", "policy@2"), ("policy@0", "policy@3")])
def test_the_rival_of_the_current_weights_is_the_step_before_and_of_others_the_current_ones(asked, rival):
    _, backend = scored(table(rollout("x")), asked)
    assert [name for name, _ in backend.scored] == [asked, rival]
    assert NAMES.rival(asked) == rival


def test_the_first_and_the_last_turn_are_scored_as_they_were_served():
    first, middle, last = (replace(turn((n, n + 1)), prompt_ids=(n, 5)) for n in (10, 20, 30))
    _, backend = scored(table(rollout("x", first, replace(middle, prompt_ids=None), last), rollout("y", first)))
    assert backend.scored[0][1] == [
        ScoredReply("x", 0, (10, 5), (10, 11)),
        ScoredReply("x", 2, (30, 5), (30, 31)),
        ScoredReply("y", 0, (10, 5), (10, 11)),
    ]
    assert backend.scored[0][1] == backend.scored[1][1]


@pytest.mark.parametrize(("exact", "count"), [(True, SCORED_EXACT), (False, SCORED_16_BIT)])
def test_the_least_probable_turns_are_scored_and_more_of_them_where_the_sampler_rounds(exact, count):
    rollouts = [rollout(f"r{n}", replace(turn((n,)), logprobs=(-0.1 * n,))) for n in range(1, 31)]
    _, backend = scored(table(*rollouts), exact=exact)
    assert [reply.episode for reply in backend.scored[0][1]] == [f"r{n}" for n in range(30, 30 - count, -1)]


def test_of_equally_probable_turns_the_first_rollout_of_each_task_comes_first():
    _, backend = scored(table(*(rollout(f"{task}{n}") for n in range(5) for task in "ba")))
    assert [reply.episode for reply in backend.scored[0][1]] == ["b0", "a0", "b1", "a1", "b2", "a2", "b3", "a3"]


def test_an_episode_counts_once():
    _, backend = scored(table(*(rollout(key) for key in ("same", "same", "same", "same", "same", "other"))))
    assert [reply.episode for reply in backend.scored[0][1]] == ["same", "other"]


UNUSABLE = {
    "no log-probs": turn(logprobs=False),
    "no number": replace(turn(), logprobs=(math.nan,)),
    "no prompt": replace(turn(), prompt_ids=None),
    "an empty reply": replace(turn(), output_ids=(), logprobs=()),
}


@pytest.mark.parametrize("unusable", UNUSABLE.values(), ids=UNUSABLE)
def test_a_turn_that_cannot_be_scored_is_left_out(unusable):
    _, backend = scored(table(rollout("x", turn(), unusable), rollout("y", unusable)))
    assert [(reply.episode, reply.turn) for reply in backend.scored[0][1]] == [("x", 0)]
    assert scored(table(rollout("y", unusable)))[0] is None


def test_an_episode_without_a_reply_is_left_out():
    silent = SourcedEpisode(replace(episode("b"), turns=(), messages=()), "silent", None)
    _, backend = scored(table(silent, rollout("x")))
    assert [reply.episode for reply in backend.scored[0][1]] == ["x"]


def test_what_is_compared_is_what_was_served():
    found, _ = scored(table(rollout("x", turn((1, 2))), rollout("y", turn((3,)))))  # served with -0.1 for every token
    assert (found.gap, found.rival_gap, found.apart) == pytest.approx((0.0, 0.2, 0.2), abs=1e-6)
    assert (found.preference, found.error) == pytest.approx((1.0, 0.0), abs=1e-6)
    assert (found.tokens, found.replies) == (3, 2)


def test_weights_that_the_trainer_does_not_have_give_no_scores_and_a_rival_no_comparison():
    assert scored(table(rollout("x")), scores={"policy@2": -0.3})[0] is None
    found, _ = scored(table(rollout("x")), scores={"policy@3": -0.2})
    assert found.gap == pytest.approx(0.1) and found.tokens == 1
    assert all(math.isnan(value) for value in (found.rival_gap, found.apart, found.preference, found.error))
