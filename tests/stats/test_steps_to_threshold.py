"""After how many steps an arm is there: between validations, and for arms that never are."""

from dataclasses import replace

import numpy as np
import pytest

from harness.report.steps_section import steps_section
from harness.stats.outcomes import Outcomes
from harness.stats.steps_to_threshold import CHOSEN, HALFWAY, Reached, steps_to_threshold
from harness.stats.sweep_statistics import statistics_of
from tests.planted_records import ALL_ON, NOTE, TASKS, sweep, validation

ARMS = (ALL_ON, NOTE.with_off("tools"), NOTE.with_off("logprobs"))
STEPS = (0, 2, 4, 8)
# the share of ten tasks that is solved at each validation, by arm and seed
QUICK, LATER, NEVER = (0.2, 0.4, 0.8, 1.0), (0.2, 0.2, 0.4, 0.9), (0.2, 0.2, 0.2, 0.2)


def curves(*by_arm, steps=STEPS):
    """by_arm: for each arm, one curve a seed."""
    rewards = np.array(
        [[[[float(t < round(10 * mean)) for t in range(10)] for mean in c] for c in arm] for arm in by_arm]
    )
    counted = np.ones(rewards.shape[:2], dtype=bool)
    names = tuple(f"t{t}" for t in range(10))
    return Outcomes(NOTE, ARMS[: len(by_arm)], tuple(range(len(by_arm[0]))), steps, names, rewards, counted, ())


def arms_of(found):
    return {arm.arm: arm for arm in found.arms}


def test_the_threshold_is_halfway_between_the_first_and_the_best_of_all_on():
    found = steps_to_threshold(curves([QUICK, (0.2, 0.6, 1.0, 0.4)], [NEVER, NEVER]))
    assert (found.threshold, found.why) == (pytest.approx((0.2 + 0.9) / 2), HALFWAY)


def test_a_chosen_threshold_goes_first():
    found = steps_to_threshold(curves([QUICK, QUICK], [LATER, LATER]), 0.4)
    assert (found.threshold, found.why) == (0.4, CHOSEN)
    assert [run.by for run in arms_of(found)["all_on"].runs] == [2, 2]  # 0.4 is reached at 0.4


def test_a_run_is_there_between_two_validations_or_not_by_the_last():
    found = arms_of(steps_to_threshold(curves([QUICK], [LATER], [NEVER]), 0.6))
    assert found["all_on"].runs == (Reached(0, 2, 4),)
    assert found["without_tools"].runs == (Reached(0, 4, 8),)
    assert found["without_logprobs"].runs == (Reached(0, 8, None),)
    assert [arm.reached for arm in found.values()] == [1, 1, 0]


def test_who_starts_there_takes_no_step():
    (found,) = steps_to_threshold(curves([QUICK]), 0.1).arms
    assert found.runs == (Reached(0, 0, 0),) and found.mean == 0


def test_a_missing_validation_only_widens_the_interval():
    outcomes = curves([QUICK], [LATER])
    outcomes.rewards_A_N_S_T[0, 0, 1] = np.nan
    assert arms_of(steps_to_threshold(outcomes, 0.6))["all_on"].runs == (Reached(0, 0, 4),)


def test_the_share_that_is_not_there_is_kaplan_meiers():
    found = arms_of(steps_to_threshold(curves([QUICK, QUICK, LATER, NEVER]), 0.6))["all_on"]
    assert found.not_yet == (1.0, 1.0, 0.5, 0.25)
    assert found.median == 4
    assert found.mean == (4 + 4 + 8 + 8) / 4  # the area under these: 4 × 1 + 4 × 0.5 + what is left of the last step


def test_an_arm_of_which_half_never_gets_there_has_no_median():
    assert arms_of(steps_to_threshold(curves([QUICK] * 3, [NEVER, NEVER, LATER]), 0.6))["without_tools"].median is None


def test_how_much_slower_is_paired_by_seed():
    """Both arms vary from seed to seed, the later one is always exactly one validation later."""
    by_2, by_4, by_6 = (0.2, 0.8, 1.0, 1.0), QUICK, LATER
    of_both = curves([by_2, by_4, by_2, by_4], [by_4, by_6, by_4, by_6], steps=(0, 2, 4, 6))
    slower = arms_of(steps_to_threshold(of_both, 0.6))["without_tools"].slower
    assert (slower.seeds, slower.value, slower.at_least) == (4, 2.0, False)
    assert slower.low < 2.0 < slower.high  # four seeds that agree on this grid do not prove it exactly


def test_over_seeds_the_interval_is_students():
    outcomes = curves([QUICK] * 4, [QUICK, LATER, LATER, LATER])
    slower = arms_of(steps_to_threshold(outcomes, 0.6))["without_tools"].slower
    half = 3.182446 * np.std([0, 4, 4, 4], ddof=1) / 2
    assert (slower.value, slower.high - slower.value) == (3.0, pytest.approx(half, rel=1e-6))
    assert slower.p_holm == slower.p  # one comparison


def test_what_never_gets_there_is_slower_by_at_least_so_much():
    found = arms_of(steps_to_threshold(curves([QUICK] * 5, [NEVER] * 5), 0.6))
    slower = found["without_tools"].slower
    assert (slower.value, slower.at_least) == (4.0, True) and slower.p_holm < 0.05
    assert found["without_tools"].high == 8.0  # no restricted mean is beyond the last step
    both = arms_of(steps_to_threshold(curves([QUICK, NEVER], [NEVER, NEVER]), 0.6))["without_tools"].slower
    assert not both.at_least  # a longer sweep could lower it


def test_several_arms_are_corrected_together():
    found = arms_of(steps_to_threshold(curves([QUICK] * 5, [NEVER] * 5, [NEVER] * 5), 0.6))
    assert found["without_tools"].slower.p_holm == pytest.approx(2 * found["without_tools"].slower.p)


def test_one_seed_has_no_interval():
    found = arms_of(steps_to_threshold(curves([QUICK], [LATER]), 0.6))["without_tools"]
    assert (found.mean, found.low, found.slower.value, found.slower.low, found.slower.p) == (8.0, None, 4.0, None, None)


def test_seeds_that_only_one_of_two_arms_has_are_not_compared():
    outcomes = curves([QUICK, QUICK], [LATER, LATER])
    outcomes.counted_A_N[0, 1] = False
    found = arms_of(steps_to_threshold(outcomes, 0.6))
    assert found["without_tools"].slower.seeds == 1 and len(found["without_tools"].runs) == 2


@pytest.mark.parametrize(
    ("outcomes", "why"),
    [
        (curves([NEVER, NEVER]), "all_on does not rise by 0.1"),
        (replace(curves([QUICK]), arms=(NOTE.with_on(),)), "all_on has no run that counts"),
    ],
    ids=["flat", "no all_on"],
)
def test_without_a_threshold_nothing_is_counted_and_the_reason_is_said(outcomes, why):
    found = steps_to_threshold(outcomes)
    assert (found.threshold, found.arms) == (None, ()) and found.why.startswith(why)


def of_records(arm, seed, step):
    solved = 0 if NOTE.no_update(arm) else (0, 3, 6)[step]
    return validation(step, {t: float(n < solved) for n, t in enumerate(TASKS)})


def test_the_section_names_the_threshold_and_what_cannot_be_said():
    section = steps_section(statistics_of(sweep(ARMS, (0, 1), (0, 1, 2), of_records)))
    assert "reaches 0.500: halfway between" in section.sentences[0]
    rows = {row[0]: row for row in section.grids[0][1].rows}
    assert rows["all_on"][1:4] == ("2 of 2", "1 1", "1")
    assert rows["without_logprobs"][1:4] == ("0 of 2", ">2 >2", "not reached")
    assert rows["without_logprobs"][5].startswith("≥ +1.0")
    assert any("would cannot be said: without_logprobs (2 of 2)" in line for line in section.notes)
    assert any(line.startswith("2 seeds: the intervals rest on a guess") for line in section.notes)


def test_the_threshold_of_the_plan_is_read_from_the_manifest():
    records = sweep(ARMS, (0, 1), (0, 1, 2), of_records, config={"stats": {"margin": 0.05, "threshold": 0.9}})
    found = statistics_of(records).steps
    assert (found.threshold, found.why) == (0.9, CHOSEN)
    assert "(stats.threshold)" in steps_section(statistics_of(records)).sentences[0]
