"""Each manipulation check accepts the step it expects and refuses the one in which its switch did nothing."""

import numpy as np
import pytest

from harness.fixes import endpoint, exploration, logprobs, reward, split, tools
from harness.seams import TaskSplit

BINARY = {"rewards_G_R": np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])}
SILENT = {"logprobs_N": [False] * 6, "trainable_tokens": 0, "gradient_steps": 0}
BASE = {"asked_current": False, "answered_by_current_N": [False] * 6}
PAST_THE_END = {"split": TaskSplit(("a",), ("c", None, None))}

TOOK_EFFECT = [
    (endpoint.On(), {}),
    (endpoint.Off(), BASE),
    (endpoint.Off(), {"asked_current": False, "policy_moved": False}),  # an inert arm: only the name can tell
    (endpoint.Off(), {**BASE, "step": 1}),
    (endpoint.On(), {"step": 0, "policy_moved": False}),
    (tools.On(), {}),
    (tools.On(), {"context_equal_N": [False] * 6}),  # a policy that spells its calls oddly is no broken switch
    (tools.Off(), {"opening_equal_N": [False] * 6, "context_equal_N": [False] * 6}),
    (exploration.On(), {}),
    (exploration.Off(), {"distinct_G": [1, 1], "temperature": 0.0}),
    (exploration.Off(), {"distinct_G": [0, 0], "temperature": 0.0}),  # not one rollout of any group is present
    (exploration.Off(), {"distinct_G": [1, 2], "temperature": 0.0, "exact": False}),
    (exploration.Off(), {"distinct_G": [1, 3], "temperature": 0.0, "exact": False}),
    (exploration.On(), {"distinct_G": [1, 2]}),
    (reward.On(), {}),
    (reward.On(), {"rewards_G_R": np.array([[0.0, 0.5, 0.0]])}),  # one is enough
    (reward.Off(), BINARY),
    (logprobs.On(), {}),
    (logprobs.Off(), SILENT),
    (split.On(), {}),
    (split.Off(), PAST_THE_END),
    (split.Off(), {"split": TaskSplit(("a",), ("c", None))}),
    (split.On(), {"split": TaskSplit(("a", "b"), ("c", "d"))}),
]
HAD_NO_EFFECT = [
    (endpoint.On(), BASE),
    (endpoint.On(), {"answered_by_current_N": [True] * 5 + [False]}),
    (endpoint.On(), {"asked_current": False}),
    (endpoint.Off(), {}),
    (endpoint.Off(), {"answered_by_current_N": [False] * 6}),
    (endpoint.Off(), {"policy_moved": False}),
    (endpoint.Off(), {"asked_current": False}),
    (endpoint.Off(), {"asked_current": False, "answered_by_current_N": [False] * 5 + [True]}),
    (tools.On(), {"opening_equal_N": [True] * 5 + [False]}),
    (tools.Off(), {}),
    (tools.Off(), {"opening_equal_N": [True] + [False] * 5}),
    (exploration.On(), {"distinct_G": [1, 1]}),
    (exploration.Off(), {"distinct_G": [1, 2], "temperature": 0.0}),
    (exploration.Off(), {"distinct_G": [1, 1], "temperature": 0.7, "exact": False}),
    (exploration.Off(), {"distinct_G": [3, 2], "temperature": 0.0, "exact": False}),
    (reward.On(), BINARY),
    (exploration.Off(), {"distinct_G": [2, 3], "temperature": 0.0, "exact": False}),
    (reward.Off(), {}),
    (reward.Off(), {"rewards_G_R": np.array([[0.0, 0.5, 0.0]])}),
    (logprobs.On(), SILENT),
    (logprobs.On(), {"logprobs_N": [True] * 5 + [False]}),
    (logprobs.Off(), {}),
    (logprobs.Off(), {**SILENT, "trainable_tokens": 1}),
    (logprobs.Off(), {**SILENT, "logprobs_N": [False] * 5 + [True]}),
    (split.On(), PAST_THE_END),
    (split.On(), {"split": TaskSplit(("a", "c"), ("c",))}),
    (split.On(), {"split": TaskSplit(("a",), ("c", None))}),
    (split.On(), {"split": TaskSplit(("a",), ())}),
    (split.Off(), {}),
]


def _name(value):
    return f"{value.factor.name}-{value.level}" if hasattr(value, "factor") else "+".join(value) or "healthy"


@pytest.mark.parametrize(("strategy", "changes"), TOOK_EFFECT, ids=_name)
def test_a_switch_that_took_effect_is_seen(strategy, changes, evidence):
    assert strategy.check(evidence(**changes)).took_effect is True


@pytest.mark.parametrize(("strategy", "changes"), HAD_NO_EFFECT, ids=_name)
def test_a_switch_without_effect_is_seen(strategy, changes, evidence):
    assert strategy.check(evidence(**changes)).took_effect is False


@pytest.mark.parametrize(
    "strategy",
    [
        *(endpoint.On(), endpoint.Off(), tools.On(), tools.Off(), exploration.On(), exploration.Off()),
        *(reward.On(), reward.Off(), logprobs.On(), logprobs.Off()),
    ],
    ids=_name,
)
def test_a_step_without_rollouts_decides_nothing(strategy, evidence):
    empty = evidence(
        rewards_G_R=np.full((2, 3), np.nan),
        answered_by_current_N=[],
        opening_equal_N=[],
        context_equal_N=[],
        distinct_G=[],
        logprobs_N=[],
    )
    assert strategy.check(empty).took_effect is None


def test_endpoint_off_is_not_judged_before_the_first_update(evidence):
    assert endpoint.Off().check(evidence(step=0)).took_effect is None
