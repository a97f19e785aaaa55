"""Effects over steps and blocks: when a verdict says "depends", what "no effect" takes, when a sweep has settled."""

import json
from dataclasses import replace

import numpy as np
import pytest

from harness.designs import design
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.stats.effects import analyse, analyse_outcomes, effects_map, to_json
from harness.stats.intervals import LEVEL
from harness.stats.outcomes import Outcomes
from harness.stats.settling import FALLING, RISING, SETTLED, UNKNOWN, last_third, settling
from harness.stats.stability import stabilities
from harness.stats.verdicts import DEPENDS, NO_EFFECT, RAISES, UNDECIDED
from tests.synthetic import write_sweep

NOTE = note()
STEPS = tuple(range(0, 25, 2))
AT = np.array(STEPS)
TASKS = 60
LEARNS = 0.2 + 0.7 * np.clip(AT / 6, 0, 1)
FLAT = np.full(len(STEPS), 0.2)


def sweep(all_on=LEARNS, seeds=5, steps=STEPS, jitter=0.0, **without):
    """A leave-one-out sweep. Curves are shares of solved tasks; without: of the arms that lack a fix, else as all_on.
    jitter: tasks that each seed solves more or less at each step, other ones in other arms."""
    random, arms = np.random.default_rng(7), design("leave_one_out", NOTE)
    rewards = np.zeros((len(arms), seeds, len(steps), TASKS))
    weights = np.empty(rewards.shape[:3], dtype=object)
    for a, arm in enumerate(arms):
        lacks = arm.name.removeprefix("without_")
        curve = FLAT[: len(steps)] if arm.name == "all_off" else without.get(lacks, all_on)
        name = lacks if lacks in without else "all_on"
        for n in range(seeds):
            for s, share in enumerate(curve):
                extra = jitter * random.normal() if s else 0.0
                rewards[a, n, s, : max(0, round(share * TASKS + extra))] = 1.0
                weights[a, n, s] = f"{name if s else 'start'}-{n}-{s}"
    counted = np.ones((len(arms), seeds), dtype=bool)
    names = tuple(f"task-{t}" for t in range(TASKS))
    return Outcomes(NOTE, tuple(arms), tuple(range(seeds)), tuple(steps), names, rewards, counted, (), weights)


def effect(outcomes, factor):
    found = analyse_outcomes(outcomes)
    return next(e for e in found.of("leave_one_out") if e.factors == (factor,)), found


def curve(found, factor):
    return next(c for c in found.by_step if (c.kind, c.factors) == ("leave_one_out", (factor,)))


LATE = np.where(AT > 16, LEARNS - 0.1 * (AT - 16) / 2, LEARNS)  # nothing until step 16, then .1 more lost at each step


def test_an_effect_that_comes_late_depends_on_the_step_and_names_two_places():
    one, found = effect(sweep(endpoint=LATE), "endpoint")
    assert one.verdict == DEPENDS and one.value == pytest.approx(0.4)
    assert curve(found, "endpoint").places == (16, 24)
    assert "+0.000 [" in one.note and "at step 16, +0.400 [" in one.note


def test_an_effect_that_is_there_as_soon_as_all_on_learns_does_not_depend_on_the_step():
    one, found = effect(sweep(logprobs=FLAT), "logprobs")
    assert one.verdict == RAISES and curve(found, "logprobs").places == ()


def test_a_fix_that_only_speeds_up_depends_on_the_step_too():
    slow = 0.2 + 0.7 * np.clip(AT / 12, 0, 1)
    one, found = effect(sweep(tools=slow), "tools")
    assert one.verdict == DEPENDS and one.value == 0
    assert curve(found, "tools").places == (6, 12)  # where most is lost, and the next place where nothing is


def test_an_effect_within_a_wide_margin_that_does_not_change_is_no_turn():
    steady = LEARNS - 0.2 * (AT > 0)
    one, found = effect(replace(sweep(endpoint=steady, jitter=0.5), margin=0.4), "endpoint")
    assert one.verdict == RAISES and curve(found, "endpoint").places == ()


def test_no_effect_has_to_hold_at_every_validation_from_the_middle_of_the_curve_on():
    early = np.where(AT == 2, LEARNS - 0.15, LEARNS)  # before the middle, which is step 4
    assert effect(sweep(tools=early), "tools")[0].verdict == NO_EFFECT
    dips = np.where(AT == 12, LEARNS - 0.1, LEARNS)
    one, _ = effect(sweep(tools=dips, jitter=0.5), "tools")
    assert one.verdict in (UNDECIDED, DEPENDS) and one.verdict != NO_EFFECT


def test_no_effect_takes_an_all_on_that_has_settled_unless_the_two_arms_are_one():
    rising = 0.2 + 0.7 * AT / 24
    same = rising.copy()  # the same rewards, other weights
    one, found = effect(sweep(rising, tools=same), "tools")
    assert one.verdict == UNDECIDED and "all_on still rises at the last step" in one.note
    assert found.settled.state == RISING
    split = next(e for e in found.of("leave_one_out") if e.factors == ("split",))
    assert split.verdict == NO_EFFECT and split.identical
    assert effect(sweep(tools=LEARNS.copy()), "tools")[0].verdict == NO_EFFECT


@pytest.mark.parametrize(
    ("all_on", "state"),
    [
        (LEARNS, SETTLED),
        (0.2 + 0.7 * AT / 24, RISING),
        (np.where(AT > 14, LEARNS - 0.03 * (AT - 14), LEARNS), FALLING),
    ],
)
def test_settled_is_a_change_within_the_margin_over_the_last_third(all_on, state):
    assert settling(sweep(all_on)).state == state


def test_where_seeds_disagree_it_is_not_known_whether_all_on_settled():
    found = settling(sweep(jitter=6.0, seeds=3))
    assert found.state == UNKNOWN and found.low < -0.05 and found.high > 0


def test_the_last_third_begins_at_the_last_validation_before_it():
    assert [s for s, w in zip(STEPS, last_third(STEPS), strict=True) if w] == [16, 18, 22, 24]  # 20: weight 0
    assert last_third((0, 2, 4, 6, 8)) @ np.array([9.0, 9.0, 0.1, 0.2, 0.3]) == pytest.approx(0.2)


def test_the_middle_of_the_curve_is_where_all_on_has_made_half_of_its_rise():
    assert settling(sweep()).middle == 4
    assert settling(sweep(0.2 + 0.7 * (AT >= 20))).middle == 20
    assert settling(sweep(FLAT)).middle == 12  # it does not rise


def test_the_last_point_is_the_final_effect_and_each_point_what_a_sweep_that_stopped_there_has():
    long = sweep(endpoint=LATE, jitter=1.5)
    final, found = effect(long, "endpoint")
    points = curve(found, "endpoint").points
    assert [p.step for p in points] == list(STEPS)
    last = points[-1]
    assert (last.value, last.low, last.high, last.p_holm) == (final.value, final.low, final.high, final.p_holm)
    short, _ = effect(sweep(all_on=LEARNS[:9], endpoint=LATE[:9], steps=STEPS[:9], jitter=1.5), "endpoint")
    assert short.tasks == points[8].tasks and points[8].step == 16
    assert points[0].identical and points[0].value == 0


def test_the_band_over_the_steps_is_the_interval_at_a_level_for_all_of_them():
    _, found = effect(sweep(endpoint=LATE, jitter=1.5), "endpoint")
    points = curve(found, "endpoint").points
    looks = sum(not p.identical for p in points)
    assert looks == 12
    for p in points[1:]:
        assert p.low_all < p.low and p.high < p.high_all
        assert p.p_all == pytest.approx(min(1, looks * p.p_holm))
    decided = [p for p in points if p.p_all is not None and p.p_all < 1 - LEVEL]
    assert all(p.low_all > 0 or p.high_all < 0 for p in decided)


def test_stability_sees_a_fall_that_the_best_reward_hides():
    falls = np.where(AT >= 16, 0.5, LEARNS)
    found = {s.arm: s for s in stabilities(sweep(endpoint=falls, jitter=0.2))}
    assert found["all_on"].share == 1.0
    assert found["without_endpoint"].share < 0.6 and found["without_endpoint"].of_runs < 0.6


def test_one_run_that_breaks_shows_in_the_share_of_the_runs():
    outcomes = sweep()
    outcomes.rewards_A_N_S_T[0, 0, 8:] = 0.0
    (all_on, *_) = stabilities(outcomes)
    assert all_on.best_step == 6 and all_on.share == pytest.approx(4 / 9)
    assert all_on.runs == 5 and all_on.of_runs == pytest.approx((4 + 4 / 9) / 5)
    assert 0 <= all_on.low < all_on.of_runs < all_on.high <= 1


def test_runs_that_agree_to_the_digit_do_not_make_a_stability_certain():
    falls = np.where(AT >= 16, 0.5, LEARNS)
    (all_on, *_) = stabilities(sweep(falls))
    assert all_on.of_runs == pytest.approx(4 / 9)
    assert all_on.low < all_on.of_runs - 0.01 and all_on.of_runs + 0.01 < all_on.high


def test_a_curve_that_is_best_at_the_end_tells_nothing_of_its_stability():
    (all_on, *_) = stabilities(sweep(0.2 + 0.7 * AT / 24))
    assert (all_on.share, all_on.of_runs, all_on.runs) == (None, None, 0)


def mapped(blocks):
    return effects_map(blocks, {block: analyse_outcomes(outcomes) for block, outcomes in blocks.items()})


def test_the_map_has_every_effect_in_every_block_and_names_two_where_the_verdict_turns_round():
    found = mapped({"slow": sweep(endpoint=LEARNS.copy()), "fast": sweep(endpoint=LATE)})
    rows = {(r.factors, r.block): r for r in found.rows if r.kind == "leave_one_out"}
    assert {block for _, block in rows} == {"slow", "fast"} and len(rows) == 2 * len(NOTE.names)
    (turn,) = [t for t in found.turns if t.kind == "leave_one_out"]
    assert turn.factors == ("endpoint",)
    assert (turn.matters.block, turn.matters.value) == ("fast", pytest.approx(0.4))
    assert (turn.otherwise.block, turn.otherwise.value) == ("slow", 0)


def test_a_block_in_which_nothing_is_learned_turns_no_verdict_round():
    found = mapped({"too slow": sweep(FLAT, logprobs=FLAT.copy()), "fast": sweep(logprobs=FLAT)})
    assert found.turns == ()


def test_p_values_of_the_map_pay_for_the_blocks():
    one = mapped({"a": sweep(endpoint=LATE, jitter=2.0)}).rows[0].points[-1].p_all
    two = mapped({"a": sweep(endpoint=LATE, jitter=2.0), "b": sweep(jitter=2.0)}).rows[0].points[-1].p_all
    assert two == pytest.approx(min(1, 2 * one))


def test_a_sweep_with_blocks_has_their_map_in_its_effects(tmp_path):
    rates = {"learning_rate=3": 3.0, "learning_rate=1": 1.0}
    folder = write_sweep(tmp_path / "s", seeds=range(3), blocks=rates, config={"train": {"steps": 6}})
    found = json.loads(to_json(analyse(load_sweep(folder))))
    assert {row["block"] for row in found["map"]["rows"]} == set(rates)
    assert found["by_step"] and found["settled"]["state"] and found["stability"]
    assert found["runs"] == 24  # of the main block


def test_a_sweep_without_blocks_has_no_map(tmp_path):
    found = analyse(load_sweep(write_sweep(tmp_path / "s", seeds=range(3))))
    assert found.map.rows == () and found.by_step
