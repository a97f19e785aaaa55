"""Rollouts: what counts as missing, what is raised, and that the order of completion leaves no trace."""

import asyncio

import art
import pytest

from harness.errors import EngineError, EpisodeError
from harness.rollout import gather_groups


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


@pytest.mark.parametrize("error", [EngineError("server died"), asyncio.CancelledError()])
def test_anything_else_is_not_taken_for_a_missing_rollout(error):
    async def breaks(task, number):
        if (task, number) == ("b", 2):
            raise error
        return trajectory(number)

    with pytest.raises(type(error)):
        gather(breaks)
