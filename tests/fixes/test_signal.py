"""Negative controls: each takes the signal out at another place, and proves it from what was trained."""

import random
from collections import Counter
from types import SimpleNamespace

import art
import pytest

from harness.factors import CONTROL
from harness.fixes import signal
from harness.seams import Learned, Rendering, Submitted

LEVELS = (signal.On, signal.ShuffledRewards, signal.ShuffledAdvantages, signal.Rate0)


def group(task, *rewards, luck=""):
    return art.TrajectoryGroup(
        art.Trajectory(
            messages_and_choices=[{"role": "user", "content": task}],
            reward=reward,
            metadata={"task": task, "episode": f"key of {task} {n} {luck}", "rollout": n},
        )
        for n, reward in enumerate(rewards)
    )


def rewards_of(groups):
    return [[t.reward for t in group.trajectories] for group in groups]


def test_every_level_is_declared_and_says_what_it_takes_away():
    assert list(signal.FACTOR.levels) == [level.level for level in LEVELS]
    assert signal.FACTOR.role == CONTROL and signal.FACTOR.baselines == ()


def test_on_leaves_everything_as_it_is():
    assert signal.On().context(Rendering(calls="twice")) == Rendering(calls="twice")


def test_shuffled_rewards_stay_in_their_group_and_are_the_same_at_every_replay():
    groups = [group("a", 0.0, 0.25, 0.5, 0.75, 1.0, 0.1), group("b", 0.0, 1.0)]
    once, again = (signal.ShuffledRewards().batch(groups) for _ in range(2))
    assert rewards_of(once) == rewards_of(again) != rewards_of(groups)
    assert [sorted(own) for own in rewards_of(once)] == [sorted(own) for own in rewards_of(groups)]
    assert [[t.metadata["rollout"] for t in each] for each in once] == [[0, 1, 2, 3, 4, 5], [0, 1]]


def test_what_was_gathered_keeps_the_rewards_that_it_earned():
    groups = [group("a", 0.0, 1.0, 0.5)]
    signal.ShuffledRewards().batch(groups)
    assert rewards_of(groups) == [[0.0, 1.0, 0.5]]


def test_every_order_of_the_rewards_is_as_likely_whatever_they_are():
    for rewards in ((0.0, 0.5, 1.0), (1.0, 0.0, 0.5)):
        orders = Counter(
            tuple(rewards_of(signal.ShuffledRewards().batch([group("a", *rewards, luck=str(luck))]))[0])
            for luck in range(1200)
        )
        assert len(orders) == 6 and all(150 < count < 250 for count in orders.values())


def test_shuffled_advantages_are_the_backends_to_shuffle_and_rate_0_is_an_option():
    assert signal.ShuffledAdvantages().context(Rendering(calls="twice")) == Rendering("served", "twice", "shuffled")
    assert signal.Rate0().update({"learning_rate": 0.1, "loss_fn": "ppo"}) == {"learning_rate": 0.0, "loss_fn": "ppo"}


EARNED = {"a": (0.0, 0.5, 1.0), "b": (0.25, 0.75)}


def step(evidence, handed=None, given=None, **changes):
    """A step in which groups a and b earned EARNED, the trainer got `handed`, and trained with `given`."""
    handed = handed or EARNED
    computed = {task: [r - sum(own) / len(own) for r in own] for task, own in handed.items()}
    given = given or computed
    return evidence(
        submitted=[Submitted(t, dict(enumerate(handed[t])), dict(enumerate(EARNED[t]))) for t in EARNED],
        learned_M=[
            Learned(t, *three) for t in EARNED for three in zip(EARNED[t], computed[t], given[t], strict=True)
        ],
        **changes,
    )  # fmt: skip


TURNED = {"a": (1.0, 0.0, 0.5), "b": (0.25, 0.75)}
ACROSS = {"a": (-0.25, 0.5, 0.0), "b": (0.25, -0.5)}  # the same five advantages

CASES = [
    ("on", {}, True),
    ("on", {"given": ACROSS}, False),
    ("on", {"handed": TURNED}, False),
    ("on", {"handed": {"a": (1.0, 0.0, 0.4), "b": (0.25, 0.75)}}, None),  # another fix pays otherwise
    ("on", {"moved": False}, False),
    ("on", {"moved": False, "gradient_steps": 0}, True),  # no step was taken that could have moved them
    ("shuffled_rewards", {"handed": TURNED}, True),
    ("shuffled_rewards", {"handed": {"a": (1.0, 0.0, 0.4), "b": (0.25, 0.75)}}, False),
    ("shuffled_rewards", {}, None),  # five rewards keep their places once in twelve shuffles
    ("shuffled_advantages", {"given": ACROSS}, True),
    ("shuffled_advantages", {"given": {"a": (-0.25, 0.5, 0.0), "b": (0.25, -0.4)}}, False),
    ("shuffled_advantages", {}, None),
    ("rate_0", {"moved": False}, True),
    ("rate_0", {"moved": True}, False),
    ("rate_0", {"moved": None}, None),
    ("rate_0", {"moved": False, "gradient_steps": 0}, None),
]


@pytest.mark.parametrize(("level", "what", "took_effect"), CASES)
def test_a_level_is_judged_by_what_was_trained(level, what, took_effect, evidence):
    check = next(each for each in LEVELS if each.level == level)().check(step(evidence, **what))
    assert check.took_effect is took_effect
    assert check.text.startswith("not shown: ") == (took_effect is None)


def test_a_check_reads_how_many_pairs_of_a_group_are_turned(evidence):
    """Of the three pairs of a one is, of the one pair of b none."""
    one_of_four = {"a": (-0.5, 0.5, 0.0), "b": (-0.25, 0.25)}
    check = signal.On().check(step(evidence, given=one_of_four))
    assert check.reading == {"turned": 0.25, "told_apart": 4.0}
    said = "in 1 of 4 pairs of a group the rollout that earned more has no higher advantage (expected none)"
    assert check.text == said


def test_a_shuffle_is_counted_in_rollouts_whose_reward_rose_or_fell(evidence):
    """Two of the three that change places in a get more than they earned, one gets less."""
    check = signal.ShuffledRewards().check(step(evidence, handed={"a": (0.5, 1.0, 0.0), "b": (0.25, 0.75)}))
    assert check.reading["other_rewards"] == 3.0


def test_pairs_are_rollouts_of_one_task_that_earned_differently():
    half, again = 0.5, float("0.5")
    assert half is not again
    learned = [Learned("b", half, 0.0, 0.0), Learned("b", again, 0.0, 0.0), Learned("a", 1.0, 0.0, -1.0)]
    assert signal.turned_pairs(learned) == (0, 0)


@pytest.mark.parametrize("level", [signal.ShuffledRewards, signal.ShuffledAdvantages])
def test_equal_rewards_cannot_be_shuffled(level, evidence, monkeypatch):
    monkeypatch.setitem(EARNED, "a", (0.5,) * 12)
    assert level().check(step(evidence)).took_effect is None


@pytest.mark.parametrize("level", [signal.ShuffledRewards, signal.ShuffledAdvantages])
def test_what_is_never_shuffled_is_no_bad_luck_once_there_is_enough_to_shuffle(level, evidence, monkeypatch):
    monkeypatch.setitem(EARNED, "a", tuple(n / 16 for n in range(12)))
    assert level().check(step(evidence)).took_effect is False


def test_rewards_that_are_shuffled_on_the_way_and_not_in_what_was_trained_are_seen(evidence, monkeypatch):
    monkeypatch.setitem(EARNED, "a", tuple(n / 16 for n in range(12)))
    handed = EARNED | {"a": tuple(random.Random(0).sample(EARNED["a"], 12))}
    ignored = {task: [float(n) for n in range(len(own))] for task, own in EARNED.items()}
    assert signal.ShuffledRewards().check(step(evidence, handed, ignored)).took_effect is False
    assert signal.ShuffledRewards().check(step(evidence, handed)).took_effect is True


@pytest.mark.parametrize("level", [signal.On, signal.ShuffledRewards, signal.ShuffledAdvantages])
def test_a_backend_that_cannot_say_what_was_trained_shows_nothing(level, evidence):
    check = level().check(evidence(learned_M=None))
    assert check.took_effect is None
    assert "this backend does not say with which advantages it trained" in check.text


def test_a_loop_that_ended_before_its_first_step_shows_nothing(evidence):
    nothing = SimpleNamespace(submitted=(), learned_M=(), gradient_steps=0, moved=None)
    assert [level().check(nothing).took_effect for level in LEVELS] == [None] * 4
