"""Rollouts: what counts as missing, what is raised, and that the order of completion leaves no trace."""

import asyncio
from contextlib import asynccontextmanager
from functools import cache

import art
import pytest

from harness.env import load_domain
from harness.episode import Episode, Turn
from harness.errors import EngineError, EpisodeError
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
    """A player that gives one answer and keeps the jobs."""

    def __init__(self, result):
        self.result, self.jobs = result, []

    async def play(self, job):
        self.jobs.append(job)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def ask(folder, player, alive=lambda: None):
    @asynccontextmanager
    async def serve(name):
        yield

    rollouts = Rollouts(
        domain(),
        "policy",
        Store(folder),
        endpoint=lambda name: (f"http://{name}/v1", "key"),
        serve=serve,
        weights=lambda name: f"weights of {name}",
        alive=alive,
        player=player,
    )
    return asyncio.run(rollouts.episode("run", "hosted_vllm/p@1", "mock_000", SAMPLING, 7, True))


def test_an_episode_is_played_at_the_server_of_its_model_and_says_whose_weights_answered(tmp_path):
    turn = Turn((1,), (2,), (-0.1,), "Done.", (), "stop", "p@1")
    player = Plays(Episode("mock_000", (0,), (turn,), Outcome(1.0, 1, 1, 0, 0, True), "user_stop", 0.1))
    asked = ask(tmp_path, player)
    assert [turn.answered_by for turn in asked.episode.turns] == ["weights of p@1"]
    (job,) = player.jobs
    assert (job.base_url, job.model, job.seed, job.need_logprobs) == ("http://p@1/v1", "hosted_vllm/p@1", 7, True)


def test_what_the_store_holds_is_not_played_again(tmp_path):
    turn = Turn((1,), (2,), (-0.1,), "Done.", (), "stop", "p@1")
    played = Plays(Episode("mock_000", (0,), (turn,), Outcome(1.0, 1, 1, 0, 0, True), "user_stop", 0.1))
    first = ask(tmp_path, played)
    assert ask(tmp_path, Plays(AssertionError("played again"))).episode == first.episode


def test_the_end_of_the_server_is_not_taken_for_a_missing_episode(tmp_path):
    def gone():
        raise EngineError("the server ended")

    with pytest.raises(EngineError, match="the server ended"):
        ask(tmp_path, Plays(EpisodeError("3 requests failed")), gone)
    with pytest.raises(EpisodeError, match="3 requests failed"):
        ask(tmp_path, Plays(EpisodeError("3 requests failed")))
