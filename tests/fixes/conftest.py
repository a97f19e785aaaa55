"""Evidence of a healthy step, to be changed one fact at a time."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from harness.fixes import reward
from harness.seams import Evidence, Outcome, Scores, TaskSplit

HALF = Outcome(0.0, 1, 2, 0, 0, None)  # one of its two actions
DONE = Outcome(1.0, 2, 2, 0, 0, None)


@pytest.fixture
def evidence():
    healthy = Evidence(
        step=2,
        rewards_G_R=np.array([[0.0, 0.4, 1.0], [0.2, 0.2, 0.8]]),
        raw_G_R=np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]),
        asked_current=True,
        policy_moved=True,
        answered_by_current_N=[True] * 6,
        distinct_G=[3, 2],
        logprobs_N=[True] * 6,
        temperature=0.7,
        trainable_tokens=120,
        gradient_steps=3,
        split=TaskSplit(("a", "b"), ("c",)),
        outcomes_N=[HALF, DONE],
        trained_rewards_N=[reward.On().training_reward(HALF), 1.0],
        empty_N=[False, False],
        validated=("c",),
        scores=Scores(gap=1e-6, rival_gap=0.02, apart=0.02, preference=0.9, error=0.05, tokens=120, replies=24),
        temperatures_N=[0.7] * 6,
        openings_M=[frozenset({"served"})] * 5,
        contexts_M=[None, *[frozenset({"served"})] * 4],
        context_equal_M=[True] * 5,
    )

    def make(**changes: Any) -> Evidence:
        return replace(healthy, **changes)

    return make
