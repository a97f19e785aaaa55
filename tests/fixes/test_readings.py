"""What each check reads, number by number, and the sentence that a report quotes."""

import math

import numpy as np
import pytest

from harness.fixes import endpoint, exploration, logprobs, placebo, reward, split, toolcalls, toolorder, tools
from harness.seams import Scores, Submitted, TaskSplit

NOTHING = {
    "rewards_G_R": np.full((2, 3), np.nan),
    "answered_by_current_N": [],
    "openings_M": [],
    "contexts_M": [],
    "context_equal_M": [],
    "distinct_G": [0, 0],
    "logprobs_N": [],
    "outcomes_N": [],
    "trained_rewards_N": [],
    "empty_N": [],
    "scores": None,
    "temperatures_N": [],
}
HALF = [True, False, True, False]
SERVED, RENDERED, STOCK, NO_TOOLS, TWICE, ODD, NEITHER = (
    frozenset(kinds) for kinds in ({"served"}, {"rendered"}, {"stock_order"}, {"no_tools"}, {"twice"}, {"once"}, ())
)
THIRD = {"openings_M": [SERVED, NO_TOOLS, NEITHER], "context_equal_M": HALF}
CALLS = {"contexts_M": [SERVED, ODD, TWICE, NEITHER, SERVED | TWICE, ODD | TWICE, None]}
ORDERS = {"openings_M": [SERVED, SERVED, RENDERED, STOCK, SERVED | STOCK, NO_TOOLS, NEITHER]}
# Of three groups one has no spread, and one no rollout; two rewards differ by rounding alone.
MIXED = np.array([[0.0, 0.25, np.nan], [0.5, 0.5, 0.5], [np.nan] * 3, [1.0, 1.0, 0.5 + 2e-7]])
ASKED = {"split": TaskSplit(("a", "b"), ("b", "c", None, None)), "validated": ("b", "c", None, None)}

HANDED = {
    "tasks": list("abc"),
    "own_stream_N": [True, None, False, False],
    "submitted": [Submitted(task, {}, {}) for task in "acb"],
}

UNPAID = {"other_rewards": 0.0, "told_apart": 0.0}

SCORES = {
    "gap": 1e-6,
    "rival_gap": 0.02,
    "apart": 0.019,
    "preference": 0.018,
    "preference_error": 0.001,
    "scored_tokens": 120.0,
    "telling_replies": 24.0,
}
SCORED = {"scores": Scores(1e-6, 0.02, 0.019, 0.018, 0.001, 120, 24)}

TOKENS = {"trainable_tokens": 120.0, "gradient_steps": 3.0}
READINGS = [
    (
        endpoint,
        {"answered_by_current_N": HALF, **SCORED},
        {"asked_current_adapter": 1.0, "answered_by_current_weights": 0.5, **SCORES},
    ),
    (
        endpoint,
        {"asked_current": False, **SCORED},
        {"asked_current_adapter": 0.0, "answered_by_current_weights": 1.0, **SCORES},
    ),
    (
        endpoint,
        NOTHING,
        {
            "asked_current_adapter": 1.0,
            "answered_by_current_weights": math.nan,
            **dict.fromkeys(SCORES, math.nan),
            "scored_tokens": 0.0,
            "telling_replies": 0.0,
        },
    ),
    (tools, THIRD, {"opening_equal": 1 / 3, "context_equal": 0.5}),
    (tools, NOTHING, {"opening_equal": math.nan, "context_equal": math.nan}),
    (toolcalls, CALLS, {"calls_twice": 0.25, "calls_told": 4.0, "calls_odd": 1.0, "calls_neither": 1.0}),
    (toolcalls, NOTHING, {"calls_twice": math.nan, "calls_told": 0.0, "calls_odd": 0.0, "calls_neither": 0.0}),
    (toolorder, ORDERS, {"server_order": 0.75, "order_told": 4.0}),
    (toolorder, NOTHING, {"server_order": math.nan, "order_told": 0.0}),
    (
        exploration,
        {"rewards_G_R": MIXED, "distinct_G": [1, 4, 0, 4, 1], "temperatures_N": [0.6, 0.8]},
        {"temperature": 0.7, "distinct_per_group": 2.5, "groups_without_spread": 1 / 3},
    ),
    (
        exploration,
        NOTHING,
        {"temperature": math.nan, "distinct_per_group": math.nan, "groups_without_spread": math.nan},
    ),
    (
        reward,
        NOTHING | {"rewards_G_R": MIXED},
        UNPAID | {"reward_levels": 4.0, "partial_credits": 5.0, "groups_with_spread": 2 / 3},
    ),
    (reward, NOTHING, UNPAID | {"reward_levels": 0.0, "partial_credits": 0.0, "groups_with_spread": math.nan}),
    (
        reward,
        NOTHING | {"rewards_G_R": np.array([[0.2, 0.2 + 2e-6], [-1.0, 2.0]])},
        UNPAID | {"reward_levels": 4.0, "partial_credits": 2.0, "groups_with_spread": 1.0},
    ),
    (logprobs, {"logprobs_N": HALF, "left_out": 2}, TOKENS | {"with_logprobs": 0.5, "left_out": 2.0}),
    (logprobs, NOTHING, TOKENS | {"with_logprobs": math.nan, "left_out": 0.0}),
    (split, ASKED, {"nonexistent": 2.0, "overlap": 1.0, "ids": 4.0, "raised": 0.0}),
    (placebo, HANDED, {"own_stream": 1 / 3, "groups_in_order": 0.5}),
    (placebo, NOTHING, {"own_stream": math.nan, "groups_in_order": math.nan}),
    (split, {"validation_raised": True}, {"nonexistent": 0.0, "overlap": 0.0, "ids": 1.0, "raised": 1.0}),
]


@pytest.mark.parametrize("level", ["Off", "On"])
@pytest.mark.parametrize(("module", "changes", "reading"), READINGS)
def test_both_levels_read_the_same_numbers(module, level, changes, reading, evidence):
    check = getattr(module, level)().check(evidence(**changes))
    assert check.reading == pytest.approx(reading, nan_ok=True)
    assert (check.factor, check.level) == (module.FACTOR.name, level.lower())


TEXTS = [
    (
        endpoint.Off(),
        {"answered_by_current_N": HALF},
        "50% of rollouts were answered by the weights of step 2 (expected 0 % once they have moved; they have); "
        "the served log-probs are 1e-06 nats from those of the weights that should have answered and 0.02 from those "
        "of their rival (120 tokens, 0.02 between the two)",
    ),
    (
        endpoint.Off(),
        {"policy_moved": False, "scores": None},
        "100% of rollouts were answered by the weights of step 2 (expected 0 % once they have moved; they have not); "
        "no log-probs were scored",
    ),
    (
        endpoint.On(),
        {"scores": Scores(2.46e-7, 0.0123, 0.0121, 0.9, 0.01, 70, 8)},
        "100% of rollouts were answered by the weights of step 2 (expected 100 %); the served log-probs are 2.46e-07 "
        "nats from those of the weights that should have answered and 0.0123 from those of their rival (70 tokens, "
        "0.0121 between the two)",
    ),
    (
        endpoint.On(),
        {"scores": Scores(0.03009, 0.081, 0.081, 0.4, 0.02, 7680, 48), "exact": False},
        "100% of rollouts were answered by the weights of step 2 (expected 100 %); the served log-probs are 0.0301 "
        "nats from those of the weights that should have answered (rounding explains 0.03) and 0.081 from those of "
        "their rival (7680 tokens, 0.081 between the two)",
    ),
    (
        endpoint.On(),
        NOTHING,
        "not shown: none of rollouts were answered by the weights of step 2 (expected 100 %); no log-probs were scored",
    ),
    (
        tools.Off(),
        THIRD,
        "1 of 3 trained rollouts begin with the tools that were sent, 1 without tools, 1 otherwise (expected without "
        "in all); 50% are as served to the end",
    ),
    (
        tools.On(),
        THIRD,
        "1 of 3 trained rollouts begin with the tools that were sent, 1 without tools, 1 otherwise (expected with "
        "in all); 50% are as served to the end",
    ),
    (
        tools.On(),
        {"openings_M": [RENDERED, RENDERED, STOCK, NO_TOOLS], "context_equal_M": [False] * 4},
        "3 of 4 trained rollouts begin with the tools that were sent, 1 without tools, 0 otherwise (expected with "
        "in all); 0% are as served to the end; 2 with the tools, rendered by ART in another way than served",
    ),
    (
        toolcalls.Off(),
        CALLS,
        "1 of 4 trained rollouts show a call before the last turn twice, 2 once, 1 neither (expected twice in all); "
        "1 of those once in another spelling than it was served",
    ),
    (
        toolcalls.On(),
        {},
        "0 of 4 trained rollouts show a call before the last turn twice, 4 once, 0 neither (expected once in all)",
    ),
    (
        toolorder.Off(),
        ORDERS,
        "3 of 4 trained rollouts show the tools in the server's key order (expected none)",
    ),
    (toolorder.On(), {}, "5 of 5 trained rollouts show the tools in the server's key order (expected all)"),
    (
        exploration.Off(),
        {},
        "temperature asked for: 0.7 (expected 0); 2.50 distinct outputs per group at equal prompts (expected 1)",
    ),
    (
        exploration.Off(),
        {"exact": False, "distinct_G": [0, 4], "temperatures_N": [0.7, 0.0, 0.7]},
        "temperature asked for: 0, 0.7 (expected 0); 4.00 distinct outputs per group at equal prompts (expected at "
        "most 2, as 16 bits round)",
    ),
    (
        exploration.Off(),
        NOTHING,
        "not shown: temperature asked for: none (expected 0); no equal prompts in any group (expected 1)",
    ),
    (
        exploration.On(),
        {},
        "temperature asked for: 0.7 (expected 0.7); 2.50 distinct outputs per group at equal prompts (expected more "
        "than 1)",
    ),
    (
        exploration.On(),
        {"exact": False, "distinct_G": [2, 2]},
        "not shown: temperature asked for: 0.7 (expected 0.7); 2.00 distinct outputs per group at equal prompts "
        "(expected more than 2, as 16 bits round)",
    ),
    (reward.Off(), {}, "1 of 2 rollouts have another reward or messages than this level gives"),
    (
        reward.On(),
        {},
        "all 2 rollouts are trained with this level's reward, 1 of them would earn another one at off",
    ),
    (reward.On(), NOTHING, "not shown: no rollout is present"),
    (
        reward.OffLater(),
        {"trained_rewards_N": [0.0, 1.0]},
        "not shown: off_later and off give these 2 rollouts the same",
    ),
    (
        logprobs.Off(),
        {"logprobs_N": HALF},
        "50% of rollouts kept their log-probs, 120 trainable tokens (expected none)",
    ),
    (
        logprobs.On(),
        {"logprobs_N": HALF},
        "50% of rollouts kept their log-probs (expected 100 %); 120 trainable tokens, 3 gradient steps",
    ),
    (
        logprobs.On(),
        {"left_out": 2},
        "100% of rollouts kept their log-probs (expected 100 %); 120 trainable tokens, 3 gradient steps; 2 rollouts "
        "with log-probs and an advantage were not trained (expected none)",
    ),
    (
        logprobs.On(),
        NOTHING,
        "not shown: no rollout has a choice that could carry log-probs",
    ),
    (
        placebo.On(),
        HANDED,
        "1 of 3 rollouts have a seed of the loop's own stream, and 1 of 2 neighbouring groups were handed over in the "
        "order of the tasks (expected all of both)",
    ),
    (split.Off(), ASKED, "2 of 4 validation ids do not exist, 1 are trained on (expected some and 0)"),
    (split.On(), ASKED, "2 of 4 validation ids do not exist, 1 are trained on (expected 0 and 0)"),
    (split.Overlap(), ASKED, "2 of 4 validation ids do not exist, 1 are trained on (expected 0 and some)"),
    (
        split.Crash(),
        ASKED | {"validation_raised": True},
        "2 of 4 validation ids do not exist, 1 are trained on, and it raised (expected some and 0, and that it raised)",
    ),
    (split.On(), {"validated": None}, "not shown: its own validation has asked nothing yet"),
]


@pytest.mark.parametrize(("strategy", "changes", "text"), TEXTS)
def test_a_check_says_what_was_seen_and_what_was_expected(strategy, changes, text, evidence):
    assert strategy.check(evidence(**changes)).text == text
