"""Effects as contrasts: planted means come back as the effects that were planted."""

import numpy as np
import pytest

from harness.designs import design
from harness.factors import Factors
from harness.fixes.registry import note
from harness.stats import assumed_arms
from harness.stats.contrasts import all_contrasts

NOTE = note()


def contrasts_of(arms, usable=None):
    return all_contrasts(NOTE, arms, usable or [True] * len(arms), [NOTE.no_update(arm) for arm in arms])


def value(contrasts, means, kind, *factors):
    (found,) = [c for c in contrasts if c.kind == kind and c.factors == factors]
    assert not found.problem
    return float(found.weights_A @ means)


def additive(arm):
    return sum(0.1 * (n + 1) * (arm.level(f) == "on") for n, f in enumerate(NOTE.names))


def gated(arm):
    """Learning behind sealed gates only; behind a closed endpoint a little, which tools changes."""
    if NOTE.no_update(arm):
        return 0.2
    gain = 0.7 * (0.8 if arm.level("tools") == "off" else 1) * (0.6 if arm.level("reward") == "off" else 1)
    return 0.2 + gain * (0.15 if arm.level("endpoint") == "off" else 1)


def of(name, truth, usable=None):
    arms = design(name, NOTE)
    return contrasts_of(arms, usable), np.array([truth(a) for a in arms])


def test_additive_effects_are_main_effects_leave_one_out_effects_and_shapley_shares_alike():
    contrasts, means = of("full_factorial", additive)
    for n, factor in enumerate(NOTE.names):
        for kind in ("main", "leave_one_out", "added_alone", "shapley"):
            assert value(contrasts, means, kind, factor) == pytest.approx(0.1 * (n + 1))
    assert value(contrasts, means, "interaction", "tools", "reward") == pytest.approx(0)


def test_an_interaction_is_how_much_more_a_fix_adds_where_the_other_is_on():
    contrasts, means = of("full_factorial", lambda a: 0.4 * (a.level("tools") == a.level("reward") == "on"))
    assert value(contrasts, means, "interaction", "tools", "reward") == pytest.approx(0.4)
    assert value(contrasts, means, "main", "tools") == pytest.approx(0.2)


def test_shapley_shares_add_up_to_the_whole_difference():
    contrasts, means = of("full_factorial", gated)
    shares = [value(contrasts, means, "shapley", f) for f in NOTE.names]
    assert sum(shares) == pytest.approx(gated(NOTE.with_off()) - gated(NOTE.with_on()))
    assert shares[NOTE.names.index("exploration")] == pytest.approx(shares[NOTE.names.index("logprobs")])


def test_19_arms_answer_what_64_arms_answer_when_the_gates_are_sealed():
    full, full_means = of("full_factorial", gated)
    few, few_means = of("gate_aware", gated)
    for contrast in full:
        if contrast.kind != "added_alone":
            assert value(few, few_means, contrast.kind, *contrast.factors) == pytest.approx(
                value(full, full_means, contrast.kind, *contrast.factors)
            )


def test_gate_aware_says_what_its_answers_rest_on():
    contrasts, _ = of("gate_aware", gated)
    assert {c.kind for c in contrasts if "assumes" in c.note} == {"main", "interaction", "shapley"}
    assert {c.kind for c in contrasts if "assumes" not in c.note} == {"leave_one_out", "added_alone"}


def test_the_controls_are_zero_where_the_gates_are_sealed_and_not_where_one_leaks():
    arms = design("gate_aware", NOTE)
    checks = assumed_arms.checks(NOTE, arms, [True] * len(arms))
    sealed = np.array([gated(a) for a in arms])
    leaking = sealed + np.array([0.3 * (a.name == "without_exploration") for a in arms])
    assert [weights @ sealed for _, weights in checks] == pytest.approx([0] * len(checks))
    assert max(abs(weights @ leaking) for _, weights in checks) == pytest.approx(0.3)


def test_leave_one_out_identifies_no_main_effect_and_says_so():
    contrasts, _ = of("leave_one_out", gated)
    assert {c.problem for c in contrasts if c.kind == "main"} == {"this design identifies no main effect"}
    assert {c.problem for c in contrasts if c.kind == "leave_one_out"} == {""}


def test_screening_notes_what_each_effect_is_mixed_with():
    contrasts, means = of("screening", additive)
    tools = next(c for c in contrasts if c.kind == "main" and c.factors == ("tools",))
    assert tools.note.startswith("mixed with endpoint × exploration × reward")
    assert float(tools.weights_A @ means) == pytest.approx(0.2)


def test_an_unusable_arm_takes_only_its_own_combination_out_of_a_main_effect():
    arms = design("full_factorial", NOTE)
    contrasts, means = of("full_factorial", additive, [a.name != "without_tools" for a in arms])
    tools = next(c for c in contrasts if c.kind == "main" and c.factors == ("tools",))
    assert tools.weights_A @ means == pytest.approx(0.2)
    assert "31 of 32" in tools.note
    assert tools.weights_A[[a.name for a in arms].index("without_tools")] == 0


def test_half_a_factorial_answers_the_factors_that_vary():
    arms = [a for a in design("full_factorial", NOTE) if a.level("tools") == "on"]
    contrasts = contrasts_of(arms)
    assert "one level" in next(c for c in contrasts if c.kind == "main" and c.factors == ("tools",)).problem
    assert "tools is on throughout" in next(c for c in contrasts if c.factors == ("reward",)).note


def test_a_masking_gate_alone_is_assumed_and_answered():
    few = Factors(tuple(f for f in NOTE if f.name in ("endpoint", "tools", "split")))
    arms = design("gate_aware", few)
    found = all_contrasts(few, arms, [True] * len(arms), [False] * len(arms))
    assert len(arms) == 7 and all(not c.problem for c in found if c.kind == "main")
