"""Each manipulation check accepts the step it expects and refuses the one in which its switch did nothing."""

import numpy as np
import pytest

from harness.fixes import endpoint, exploration, logprobs, reward, split, toolcalls, toolorder, tools
from harness.seams import Outcome, Scores, Submitted, TaskSplit

BINARY = {"trained_rewards_N": [0.0, 1.0]}  # of a rollout with half of its checks met, and of one that succeeded
SILENT = {"logprobs_N": [False] * 6, "trainable_tokens": 0, "gradient_steps": 0}
BASE = {"asked_current": False, "answered_by_current_N": [False] * 6}
# Kinds of trained contexts; two of them where both are the same token ids.
SERVED, RENDERED, STOCK, NO_TOOLS, TWICE, ODD, NEITHER = (
    frozenset(kinds) for kinds in ({"served"}, {"rendered"}, {"stock_order"}, {"no_tools"}, {"twice"}, {"once"}, ())
)
EITHER_ORDER, ALIKE, ONCE_AS_TWICE = SERVED | STOCK, SERVED | STOCK | NO_TOOLS, SERVED | TWICE
SAME = {"scores": Scores(gap=1e-8, rival_gap=1e-8, apart=0.0, preference=0.0, error=0.0, tokens=60, replies=12)}
GREEDY = {"temperature": 0.0, "temperatures_N": [0.0] * 6}
PAIRS = {"rewards_G_R": np.zeros((2, 2)), "distinct_G": [2, 2]}


def scores(gap, preference=0.9, error=0.05, tokens=60, replies=24):
    return {"scores": Scores(gap, 0.02, 0.02, preference, error, tokens, replies)}


def validated(*ids, raised=False):
    """A validation that played the tasks of its split."""
    return {"split": TaskSplit(("a", "b"), ids), "validated": ids, "validation_raised": raised}


PAST_THE_END = validated("c", None, None)


def ended(end, reward, raised=None, empty=None):
    """Of a rollout that met nothing: how it ended, what it was trained with, and whether on nothing (as at off)."""
    outcome = Outcome(0.0, 0, 2, 0, 0, None, end, raised)
    empty = raised is not None if empty is None else empty
    return {"outcomes_N": [outcome], "trained_rewards_N": [reward], "empty_N": [empty]}


TOOK_EFFECT = [
    (endpoint.On(), {}),
    (endpoint.Off(), BASE),
    (endpoint.Off(), {**BASE, "step": 1}),
    (endpoint.On(), scores(9e-5)),
    (endpoint.On(), {**scores(0.014), "exact": False}),
    (endpoint.On(), scores(1e-6, 0.27)),
    (endpoint.On(), scores(1e-6, tokens=30)),
    (tools.On(), {}),
    (tools.On(), {"context_equal_M": [False] * 5}),  # a policy that spells its calls oddly is no broken switch
    (tools.On(), {"openings_M": [SERVED, STOCK, EITHER_ORDER]}),  # the key order is toolorder's
    (tools.On(), {"openings_M": [SERVED, ALIKE]}),
    (tools.On(), {"openings_M": [RENDERED, RENDERED | STOCK]}),  # ART renders more than the tools in its own way
    (tools.Off(), {"openings_M": [NO_TOOLS] * 2}),
    (tools.Off(), {"openings_M": [NO_TOOLS, ALIKE]}),
    (toolcalls.On(), {}),
    (toolcalls.On(), {"contexts_M": [SERVED, ODD, None]}),
    (toolcalls.On(), {"contexts_M": [SERVED, ONCE_AS_TWICE, ODD | TWICE]}),
    (toolcalls.Off(), {"contexts_M": [TWICE, TWICE, None, ODD | TWICE]}),
    (toolorder.On(), {}),
    (toolorder.On(), {"openings_M": [SERVED, EITHER_ORDER, NO_TOOLS, NEITHER]}),
    (toolorder.Off(), {"openings_M": [STOCK, EITHER_ORDER]}),
    (toolorder.On(), {"openings_M": [RENDERED, RENDERED | STOCK]}),
    (logprobs.On(), {"submitted": [Submitted("a", {0: 1.0, 1: 0.5}, {0: 1.0, 1: 0.5})]}),
    (exploration.On(), {}),
    (exploration.Off(), {"distinct_G": [1, 1], **GREEDY}),
    (exploration.Off(), {"distinct_G": [0, 1], **GREEDY}),  # one group tells enough
    (exploration.Off(), {"distinct_G": [1, 2], **GREEDY, "exact": False}),
    (exploration.Off(), {"distinct_G": [1, 3], **GREEDY, "exact": False}),
    (exploration.On(), {"distinct_G": [1, 2]}),
    (exploration.On(), {"distinct_G": [0, 2]}),
    (exploration.On(), {"distinct_G": [3, 2], "exact": False}),
    (exploration.On(1.0), {"temperatures_N": [1.0] * 6}),
    (reward.On(), {}),
    (reward.On(), ended("length", 0.0)),  # where off gives −1
    (reward.Off(), BINARY),
    (reward.Off(), ended("prompt_limit", -1.0)),
    (reward.OffLater(), ended("turn_limit", -1.0)),
    (reward.OffEarlier(), ended("length", 0.0)),
    (logprobs.On(), {}),
    (logprobs.Off(), SILENT),
    (split.On(), {}),
    (split.Off(), PAST_THE_END),
    (split.Off(), validated("c", None)),
    (split.On(), validated("c", "d")),
    (split.Overlap(), validated("a", "b", "c")),
    (split.Overlap(), validated("b")),
    (split.Crash(), validated("c", None, raised=True)),
]
HAD_NO_EFFECT = [
    (endpoint.On(), BASE),
    (endpoint.On(), {"answered_by_current_N": [True] * 5 + [False]}),
    (endpoint.On(), {"asked_current": False}),
    (endpoint.On(), scores(1.1e-4)),  # neither the one nor the other
    (endpoint.On(), {**scores(0.04), "exact": False}),
    (endpoint.On(), scores(0.3, 0.0, 0.0)),  # somebody else's adapter, where the two weights are equal
    (endpoint.On(), scores(float("nan"))),
    (endpoint.On(), {**scores(0.03, -0.27), "exact": False}),  # the step before answered
    (endpoint.Off(), {**BASE, **scores(1.1e-4)}),
    (endpoint.Off(), {**BASE, **scores(1e-6, -0.27)}),
    (endpoint.Off(), {}),
    (endpoint.Off(), {"answered_by_current_N": [False] * 6}),
    (endpoint.Off(), {"policy_moved": False}),
    (endpoint.Off(), {"asked_current": False}),
    (endpoint.Off(), {"asked_current": False, **SAME}),
    (endpoint.Off(), {"asked_current": False, "answered_by_current_N": [False] * 5 + [True]}),
    (reward.Off(), ended("user_stop", 0.0, raised="no JSON object", empty=False)),  # its messages were trained on
    (reward.Off(), ended("length", -1.0, empty=True)),
    (reward.On(), ended("length", 0.0, raised="no JSON object", empty=True)),
    (tools.On(), {"openings_M": [SERVED] * 4 + [NO_TOOLS]}),
    (tools.On(), {"openings_M": [SERVED] * 4 + [NEITHER]}),
    (tools.On(), {"openings_M": [ALIKE] * 4 + [NEITHER]}),
    (tools.Off(), {}),
    (tools.Off(), {"openings_M": [STOCK] + [NO_TOOLS] * 4}),
    (tools.Off(), {"openings_M": [NEITHER] + [NO_TOOLS] * 4}),
    (tools.Off(), {"openings_M": [RENDERED] + [NO_TOOLS] * 4}),
    (toolcalls.On(), {"contexts_M": [SERVED] * 4 + [TWICE]}),
    (toolcalls.On(), {"contexts_M": [SERVED] * 9 + [NEITHER]}),
    (toolcalls.On(), {"contexts_M": [NEITHER, None]}),
    (toolcalls.On(), {"contexts_M": [ONCE_AS_TWICE, NEITHER]}),
    (toolcalls.Off(), {"contexts_M": [TWICE] * 9 + [NEITHER]}),
    (toolcalls.Off(), {"contexts_M": [TWICE] * 9 + [ODD]}),
    (toolcalls.Off(), {}),
    (toolcalls.Off(), {"contexts_M": [SERVED, TWICE]}),
    (toolorder.On(), {"openings_M": [SERVED, STOCK]}),
    (toolorder.Off(), {"openings_M": [RENDERED, STOCK]}),
    (toolorder.Off(), {}),
    (toolorder.Off(), {"openings_M": [SERVED, STOCK]}),
    (exploration.On(), {"distinct_G": [1, 1]}),
    (exploration.On(), {"distinct_G": [1, 0]}),
    (exploration.On(), {"distinct_G": [1, 1], "exact": False}),
    (exploration.On(), GREEDY),
    (exploration.On(), {"temperatures_N": [0.7] * 5 + [0.6]}),
    (exploration.On(), {"distinct_G": [0, 0], "temperatures_N": [0.0] * 6}),  # the requests alone tell
    (exploration.Off(), {"distinct_G": [1, 2], **GREEDY}),
    (exploration.Off(), {"distinct_G": [1, 1]}),
    (exploration.Off(), {"distinct_G": [1, 1], **GREEDY, "temperatures_N": [0.0] * 5 + [0.7]}),
    (exploration.Off(), {"distinct_G": [1, 1], "exact": False}),
    (exploration.Off(), {"distinct_G": [3, 2], **GREEDY, "exact": False}),
    (reward.On(), BINARY),
    (reward.On(), {"trained_rewards_N": [0.5, 1.0]}),  # partial credit, and not what this level gives
    (reward.Off(), {}),
    (reward.Off(), ended("length", 0.0)),
    (reward.Off(), ended("turn_limit", -1.0)),
    (reward.Off(), ended("length", -1.0, raised="no JSON object")),
    (reward.OffLater(), ended("turn_limit", 0.0)),
    (reward.OffEarlier(), ended("length", -1.0)),
    (logprobs.On(), SILENT),
    (logprobs.On(), {"logprobs_N": [True] * 5 + [False]}),
    (logprobs.On(), {"left_out": 1}),
    (logprobs.On(), {"left_out": 6, "trainable_tokens": 0, "submitted": [Submitted("a", {0: 1.0, 1: 0.5}, {})]}),
    (logprobs.Off(), {}),
    (logprobs.Off(), {**SILENT, "trainable_tokens": 1}),
    (logprobs.Off(), {**SILENT, "logprobs_N": [False] * 5 + [True]}),
    (split.On(), PAST_THE_END),
    (split.On(), validated("b", "c")),
    (split.On(), validated("c", None)),
    (split.On(), validated()),
    (
        split.On(),
        {"split": TaskSplit((), ("d", None)), "validated": ("a", None)},
    ),  # what was played, not what was meant
    (split.On(), {"split": TaskSplit(("a",), ("c", "d")), "validated": ("c",)}),
    (split.On(), {"split": TaskSplit(("a",), ("c", "d")), "validated": ("y", "z")}),
    (split.Crash(), validated("c", raised=True)),  # every id exists
    (split.Off(), {}),
    (split.Off(), validated("a", None)),
    (split.Off(), validated("c", None, raised=True)),
    (split.Overlap(), {}),
    (split.Overlap(), validated("a", None)),
    (split.Crash(), PAST_THE_END),  # the loop goes on
    (split.Crash(), {}),
]
NOT_SHOWN = [
    (reward.On(), ended("user_stop", 0.0)),
    (reward.Off(), ended("user_stop", 0.0)),
    (reward.Off(), ended("turn_limit", 0.0)),
    (reward.OffLater(), ended("length", -1.0)),  # as off
    (reward.OffLater(), BINARY),
    (reward.OffEarlier(), ended("turn_limit", 0.0)),  # as off
    (reward.On(), {"submitted": [Submitted("a", {0: 1.0, 1: 0.0}, {0: 1.0, 1: 0.5})]}),  # another factor changed them
    (reward.On(), {"submitted": [Submitted("a", {0: 1.0, 1: 0.5}, {0: 1.0, 1: 0.0})]}),
    (logprobs.On(), {"trainable_tokens": 0, "submitted": [Submitted("a", {0: 1.0, 1: 0.5}, {0: 1.0, 1: 0.5})]}),
    *((level(), {"validated": None}) for level in (split.Off, split.On, split.Overlap, split.Crash)),
]


def _name(value):
    return f"{value.factor.name}-{value.level}" if hasattr(value, "factor") else "+".join(value) or "healthy"


@pytest.mark.parametrize(("strategy", "changes"), TOOK_EFFECT, ids=_name)
def test_a_switch_that_took_effect_is_seen(strategy, changes, evidence):
    assert strategy.check(evidence(**changes)).took_effect is True


@pytest.mark.parametrize(("strategy", "changes"), HAD_NO_EFFECT, ids=_name)
def test_a_switch_without_effect_is_seen(strategy, changes, evidence):
    assert strategy.check(evidence(**changes)).took_effect is False


@pytest.mark.parametrize(("strategy", "changes"), NOT_SHOWN, ids=_name)
def test_a_switch_that_two_levels_leave_alike_is_not_shown(strategy, changes, evidence):
    check = strategy.check(evidence(**changes))
    assert check.took_effect is None
    assert check.text.startswith("not shown: ")


class OnPaysAsOff(reward.On):
    def training_reward(self, outcome):
        return reward.Off().training_reward(outcome)


class OffPaysAsOn(reward.Off):
    def training_reward(self, outcome):
        return reward.On().training_reward(outcome)


@pytest.mark.parametrize("disabled", [OnPaysAsOff(), OffPaysAsOn()], ids=lambda level: type(level).__name__)
def test_a_level_that_pays_as_the_other_shows_nothing(disabled, evidence):
    trained = [disabled.training_reward(o) for o in evidence().outcomes_N]
    assert disabled.check(evidence(trained_rewards_N=trained)).took_effect is None


@pytest.mark.parametrize(
    "strategy",
    [
        *(endpoint.On(), endpoint.Off(), tools.On(), tools.Off(), exploration.On(), exploration.Off()),
        *(reward.On(), reward.Off(), reward.OffEarlier(), reward.OffLater(), logprobs.On(), logprobs.Off()),
        *(toolcalls.On(), toolcalls.Off(), toolorder.On(), toolorder.Off()),
    ],
    ids=_name,
)
def test_a_step_without_rollouts_decides_nothing(strategy, evidence):
    empty = evidence(
        rewards_G_R=np.full((2, 3), np.nan),
        answered_by_current_N=[],
        openings_M=[],
        contexts_M=[],
        context_equal_M=[],
        distinct_G=[0, 0],
        logprobs_N=[],
        outcomes_N=[],
        trained_rewards_N=[],
        empty_N=[],
        scores=None,
        temperatures_N=[],
    )
    assert strategy.check(empty).took_effect is None


NOT_SHOWN = [
    (endpoint.Off(), {"step": 0}),  # the pinned name is the current one
    (endpoint.Off(), {**BASE, "step": 0}),
    (endpoint.On(), {"scores": None}),  # a trainer that cannot be asked
    (endpoint.Off(), {**BASE, "scores": None}),
    (endpoint.On(), SAME),  # the first step, and one after a step that trained nothing
    (endpoint.Off(), {"asked_current": False, "policy_moved": False, **SAME}),  # nothing was trained
    (endpoint.On(), {**scores(0.03, 0.24), "exact": False}),  # too little was learned to tell the two apart
    (endpoint.On(), {**scores(0.03, -0.24), "exact": False}),
    (endpoint.On(), {**scores(0.03, -0.27, replies=8), "exact": False}),  # tokens of one reply depend on each other
    (endpoint.On(), scores(1e-6, 1.0, 0.0, replies=1)),
    (endpoint.On(), scores(1e-6, tokens=29)),
    (endpoint.On(), scores(1e-6, 0.0, 0.0)),
    (endpoint.Off(), {**BASE, **scores(0.03, 0.24), "exact": False}),
    (endpoint.On(), scores(1e-6, float("nan"), float("nan"))),  # nobody has the rival's weights
    (exploration.Off(), {"distinct_G": [0, 0], **GREEDY}),  # no two rollouts had an equal prompt
    (exploration.Off(), {**PAIRS, **GREEDY, "exact": False}),  # of two rollouts rounding makes as many as sampling
    (exploration.On(), {"distinct_G": [0, 0]}),
    (exploration.On(), {"distinct_G": [1, 3], "exact": False}),  # rounding gives as many without sampling
    (exploration.On(), {"distinct_G": [1, 2], "exact": False}),  # and fewer
]


@pytest.mark.parametrize(("strategy", "changes"), NOT_SHOWN, ids=_name)
def test_a_step_that_cannot_tell_says_so(strategy, changes, evidence):
    check = strategy.check(evidence(**changes))
    assert check.took_effect is None
    assert check.text.startswith("not shown: ")


UNTOLD = [
    (tools, {"openings_M": None, "contexts_M": [], "context_equal_M": []}, "does not say which token ids it trained"),
    (tools, {"openings_M": [ALIKE]}, "the prompts are the same without tools"),
    (tools, {"openings_M": []}, "nothing was trained"),
    (toolcalls, {"openings_M": None, "contexts_M": []}, "does not say which token ids it trained"),
    (toolcalls, {"contexts_M": [ONCE_AS_TWICE, None]}, "the calls of 1 trained rollouts alike either way"),
    (toolcalls, {"contexts_M": [ODD | TWICE] * 2}, "the calls of 2 trained rollouts alike either way"),
    (toolcalls, {"contexts_M": [None, None]}, "no rollout with a call before its last turn was trained"),
    (toolorder, {"openings_M": None}, "does not say which token ids it trained"),
    (toolorder, {"openings_M": [EITHER_ORDER, RENDERED | STOCK]}, "shows the tools alike in either key order"),
    (toolorder, {"openings_M": [NO_TOOLS]}, "no rollout was trained with the tools that were sent"),
    (toolorder, {"openings_M": []}, "nothing was trained"),
]


@pytest.mark.parametrize("level", ["On", "Off"])
@pytest.mark.parametrize(("module", "changes", "why"), UNTOLD)
def test_what_the_trained_contexts_cannot_tell_is_not_shown(module, level, changes, why, evidence):
    check = getattr(module, level)().check(evidence(**changes))
    assert check.took_effect is None
    assert check.text.startswith("not shown: ") and why in check.text


@pytest.mark.parametrize("carried", [0.0, 1.3, float("nan")])
def test_a_request_with_another_temperature_refutes_exploration_alone(evidence, carried):
    level = exploration.On()
    one_request = [level.temperature] * 5 + [carried]
    assert level.check(evidence(temperatures_N=one_request)).refuted
    assert not level.check(evidence(temperatures_N=[level.temperature] * 6)).refuted
