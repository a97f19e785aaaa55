"""Rollouts: what counts as missing, what is raised, and that the order of completion leaves no trace."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache

import art
import pytest

from harness.env import load_domain
from harness.episode import Episode, Turn
from harness.errors import EngineError, EpisodeError, MissingLogprobs
from harness.records.store import Store
from harness.rollout import Rollouts, Sampling, gather_groups
from harness.seams import Outcome


def trajectory(number: int) -> art.Trajectory:
    return art.Trajectory(messages_and_choices=[], reward=float(number), metadata={"rollout": number})


def gather(rollout):
    return asyncio.run(gather_groups(["a", "b"], 3, rollout))


def test_groups_keep_the_order_of_tasks_and_rollouts_whoever_finishes_first():
    async def later_ones_first(task, number):
        await asyncio.sleep(0.01 * (3 - number))
        return trajectory(number)

    assert [[t.reward for t in group] for group in gather(later_ones_first)] == [[0.0, 1.0, 2.0]] * 2


def test_an_infrastructure_failure_leaves_its_rollout_out():
    async def second_fails(task, number):
        if number == 1:
            raise EpisodeError("connection lost")
        return trajectory(number)

    assert [[t.reward for t in group] for group in gather(second_fails)] == [[0.0, 2.0]] * 2


def test_a_task_whose_rollouts_all_failed_keeps_its_place_with_an_empty_group():
    async def first_task_fails(task, number):
        if task == "a":
            raise EpisodeError("connection lost")
        return trajectory(number)

    assert [[t.reward for t in group] for group in gather(first_task_fails)] == [[], [0.0, 1.0, 2.0]]


def test_no_rollout_at_all_is_a_fault_and_says_why():
    async def all_fail(task, number):
        raise EpisodeError("the server refuses tools")

    with pytest.raises(EngineError, match="Not one of 6 rollouts could be played. the server refuses tools"):
        gather(all_fail)


@pytest.mark.parametrize("error", [EngineError("server died"), asyncio.CancelledError()])
def test_anything_else_is_not_taken_for_a_missing_rollout(error):
    async def breaks(task, number):
        if (task, number) == ("b", 2):
            raise error
        return trajectory(number)

    with pytest.raises(type(error)):
        gather(breaks)


SAMPLING = Sampling(1.0, 32, 6)


@cache
def domain():
    return load_domain("mock")


class Plays:
    """A player that gives one answer and keeps the jobs. drops: no reply has log-probs"""

    def __init__(self, result, drops=False):
        self.result, self.drops, self.jobs = result, drops, []

    async def play(self, job):
        self.jobs.append(job)
        if self.drops and job.need_logprobs:
            raise MissingLogprobs("3 requests failed")
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def rollouts(folder, player, alive=lambda: None, **changed):
    @asynccontextmanager
    async def serve(name):
        yield

    return Rollouts(
        domain(),
        "policy",
        Store(folder),
        endpoint=lambda name: (f"http://{name}/v1", "key"),
        serve=serve,
        weights=lambda name: f"weights of {name}",
        alive=alive,
        player=player,
        **changed,
    )


def one(asked: Rollouts, need_logprobs=True, task="mock_000", sampling=SAMPLING, name="p@1"):
    return asyncio.run(asked.episode("run", f"hosted_vllm/{name}", task, sampling, 7, need_logprobs))


def ask(folder, player, alive=lambda: None):
    return one(rollouts(folder, player, alive))


TURN = Turn((1,), (2,), (-0.1,), "Done.", (), "stop", "p@1", 1.0)
PLAYED = Episode("mock_000", (0,), (TURN,), Outcome(1.0, 1, 1, 0, 0, True), 0.1)
BARE = replace(PLAYED, turns=(replace(TURN, logprobs=None),))


def test_an_episode_is_played_at_the_server_of_its_model_and_says_whose_weights_answered(tmp_path):
    player = Plays(PLAYED)
    asked = ask(tmp_path, player)
    assert [turn.answered_by for turn in asked.episode.turns] == ["weights of p@1"]
    (job,) = player.jobs
    assert (job.base_url, job.model, job.seed, job.need_logprobs) == ("http://p@1/v1", "hosted_vllm/p@1", 7, True)


def test_an_answer_that_came_after_the_servers_end_is_nobodys(tmp_path):
    def ended():
        raise EngineError("The vLLM server ended")

    with pytest.raises(EngineError, match="ended"):
        ask(tmp_path, Plays(PLAYED), ended)
    again = Plays(PLAYED)
    ask(tmp_path, again)
    assert again.jobs  # it was not stored


def test_what_the_store_holds_is_not_played_again(tmp_path):
    first = ask(tmp_path, Plays(PLAYED))
    assert ask(tmp_path, Plays(AssertionError("played again"))).episode == first.episode


def test_who_needs_no_logprobs_shares_the_episode_of_those_who_do(tmp_path):
    player = Plays(PLAYED)
    asked = rollouts(tmp_path, player)
    assert one(asked, need_logprobs=False) == one(asked, need_logprobs=True)
    assert [job.need_logprobs for job in player.jobs] == [True]


def test_an_episode_counts_as_computed_once_for_its_run_also_after_a_stop(tmp_path):
    asked = rollouts(tmp_path, Plays(PLAYED))
    assert [one(asked).computed for _ in range(3)] == [True, False, False]
    continued = rollouts(tmp_path, Plays(AssertionError("played again")))  # its records say nothing of it yet
    assert [one(continued).computed for _ in range(2)] == [True, False]
    assert not asyncio.run(continued.episode("another", "hosted_vllm/p@1", "mock_000", SAMPLING, 7, True)).computed


def test_an_episode_without_logprobs_is_never_found_by_who_needs_them(tmp_path):
    asked = rollouts(tmp_path, Plays(BARE, drops=True))
    bare = one(asked, need_logprobs=False)
    assert bare.episode.turns[0].logprobs is None
    with pytest.raises(MissingLogprobs):
        one(asked, need_logprobs=True)
    whole = one(rollouts(tmp_path, Plays(PLAYED)), need_logprobs=True)  # the deployment is mended
    assert (whole.episode.turns[0].logprobs, whole.key != bare.key) == ((-0.1,), True)


def test_a_deployment_that_drops_logprobs_is_asked_for_them_once_and_no_more_by_who_needs_none(tmp_path):
    player = Plays(BARE, drops=True)
    asked = rollouts(tmp_path, player)
    for task in ("mock_000", "mock_001", "mock_002"):
        one(asked, need_logprobs=False, task=task)
    assert [job.need_logprobs for job in player.jobs] == [True, False, False, False]


def test_one_adapter_that_gives_no_logprobs_says_nothing_of_another(tmp_path):
    player = Plays(BARE, drops=True)
    asked = rollouts(tmp_path, player)
    one(asked, need_logprobs=False, name="broken@1")
    player.jobs.clear()
    one(asked, need_logprobs=False, name="p@1")
    assert player.jobs[0].need_logprobs


def test_a_run_that_is_continued_finds_the_episode_that_it_had(tmp_path):
    """Whatever is known of the deployment by then: one without log-probs, and one with."""
    bare = one(rollouts(tmp_path, Plays(BARE, drops=True)), need_logprobs=False)
    one(rollouts(tmp_path, Plays(PLAYED)), need_logprobs=True)
    assert one(rollouts(tmp_path, Plays(AssertionError("played again"))), need_logprobs=False) == bare
    whole = one(rollouts(tmp_path, Plays(PLAYED)), need_logprobs=False, task="mock_001")
    dropping = rollouts(tmp_path, Plays(BARE, drops=True))
    one(dropping, need_logprobs=False, task="mock_002")
    assert one(dropping, need_logprobs=False, task="mock_001") == whole


OTHERS = [
    {"user": {"kind": "a model", "model": "m"}},
    {"sampling": replace(SAMPLING, max_prompt_tokens=19_999)},
    {"sampling": replace(SAMPLING, temperature=0.5)},
    {"task": "mock_001"},
    {"batch_invariant": True},
]


@pytest.mark.parametrize("other", OTHERS)
def test_another_user_limit_or_kernel_makes_another_episode(tmp_path, other):
    player, of_all = Plays(PLAYED), ("user", "batch_invariant")
    asked = rollouts(tmp_path, player, **{name: other[name] for name in other if name in of_all})
    named = {name: value for name, value in other.items() if name not in of_all}
    assert one(asked, **named).key != one(rollouts(tmp_path, player)).key
    assert player.jobs[0].user == other.get("user", {"kind": "scripted"})


def test_the_end_of_the_server_is_not_taken_for_a_missing_episode(tmp_path):
    def gone():
        raise EngineError("the server ended")

    with pytest.raises(EngineError, match="the server ended"):
        ask(tmp_path, Plays(EpisodeError("3 requests failed")), gone)
    with pytest.raises(EpisodeError, match="3 requests failed"):
        ask(tmp_path, Plays(EpisodeError("3 requests failed")))


def test_what_a_user_costs_is_counted_once_also_where_its_episode_fails(tmp_path):
    played = rollouts(tmp_path / "a", Plays(replace(PLAYED, spent={"calls": 2, "nanodollars": 7})))
    one(played)
    one(played)  # found
    assert (played.store.counts["user/calls"], played.store.counts["user/nanodollars"]) == (2, 7)
    error = EpisodeError("the user is gone")
    error.spent = {"calls": 1, "nanodollars": 3}
    failed = rollouts(tmp_path / "b", Plays(error))
    with pytest.raises(EpisodeError):
        one(failed)
    assert (failed.store.counts["user/calls"], failed.store.counts["user/nanodollars"]) == (1, 3)
