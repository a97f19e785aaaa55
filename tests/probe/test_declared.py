"""What is said of a loop: each formula by numbers that were worked out by hand, each field by what it may be."""

import pytest

from harness.errors import ConfigError
from harness.probe import ADVANTAGES, Declared, check
from harness.seams import Outcome

REWARDS = [3.0, 1.0, 1.0, -1.0]  # mean 1, deviation sqrt(8 / 4) of the population and sqrt(8 / 3) of a sample


@pytest.mark.parametrize(
    ("formula", "largest"),
    [("centred", 2.0), ("leave_one_out", 2.6666667), ("art", 1.4142126), ("trl", 1.2246699), ("verl", 1.2247441)],
)
def test_advantages_of_a_group(formula, largest):
    assert ADVANTAGES[formula](REWARDS) == pytest.approx([largest, 0.0, 0.0, -largest], rel=1e-7)


def test_a_group_of_one_has_no_advantage():
    assert Declared(advantages="leave_one_out").advantages_of([1.0]) is None


@pytest.mark.parametrize(("reward", "failed", "cut"), [("success", 0.0, 0.0), ("upstream", 0.0, -1.0)])
def test_a_reward_may_be_another_where_a_rollout_was_cut(reward, failed, cut):
    earned = Declared(reward=reward).earned
    ends = ("user_stop", "length")
    assert [earned(Outcome(0.0, 0, 0, 0, 0, None, end)) for end in ends] == [failed, cut]


def test_a_formula_of_ones_own_earns_what_it_gives():
    assert Declared(reward=lambda outcome: 7.0).earned(Outcome(0.0, 0, 0, 0, 0, None)) == 7.0


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        ({"groupsize": 4}, "Nothing is declared by 'groupsize'"),
        ({"advantages": "ppo"}, "it may be centred, leave_one_out, art"),
        ({"group_size": 0}, "a whole number of 1 at least"),
        ({"batches": {"x": ["1"]}}, "a list of ids for each step"),
        ({"batches": {"0": "12"}}, "a list of ids for each step"),
        ({"train_tasks": "ab"}, "a list of ids"),
        ({"validation_tasks": 3}, "a list of ids"),
        ({"temperature": "hot"}, "a number of 0 at least"),
        ({"learning_rate": float("nan")}, "a number of 0 at least"),
        ({"groups_per_gradient_step": 0}, "a whole number of 1 at least"),
        ({"epochs": True}, "a whole number of 1 at least"),
        ({"model": "p@{stap}"}, "where {step} stands for the step"),
        ({"reward": ["success"]}, "it may be success, partial, upstream"),
    ],
)
def test_what_is_no_declaration_is_refused(odd, said):
    with pytest.raises(ConfigError, match=said):
        check([], declared=odd)
