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
    (tools.On(), {}),
    (tools.On(), {"context_equal_N": [False] * 6}),  # a policy that spells its calls oddly is no broken switch
    (tools.Off(), {"opening_equal_N": [False] * 6, "context_equal_N": [False] * 6}),
    (exploration.On(), {}),
    (exploration.Off(), {"distinct_G": [1, 1], "temperature": 0.0}),
    (exploration.Off(), {"distinct_G": [1, 2], "temperature": 0.0, "exact": False}),
    (reward.On(), {}),
    (reward.Off(), BINARY),
    (logprobs.On(), {}),
    (logprobs.Off(), SILENT),
    (split.On(), {}),
    (split.Off(), PAST_THE_END),
]
HAD_NO_EFFECT = [
    (endpoint.On(), BASE),
    (endpoint.On(), {"answered_by_current_N": [True] * 5 + [False]}),
    (endpoint.Off(), {}),
    (tools.On(), {"opening_equal_N": [True] * 5 + [False]}),
    (tools.Off(), {}),
    (exploration.On(), {"distinct_G": [1, 1]}),
    (exploration.Off(), {"distinct_G": [1, 2], "temperature": 0.0}),
    (exploration.Off(), {"distinct_G": [1, 1], "temperature": 0.7, "exact": False}),
    (exploration.Off(), {"distinct_G": [3, 2], "temperature": 0.0, "exact": False}),
    (reward.On(), BINARY),
    (reward.Off(), {}),
    (logprobs.On(), SILENT),
    (logprobs.Off(), {}),
    (split.On(), PAST_THE_END),
    (split.On(), {"split": TaskSplit(("a", "c"), ("c",))}),
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
    [endpoint.On(), endpoint.Off(), tools.On(), exploration.On(), reward.Off(), logprobs.On(), logprobs.Off()],
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
