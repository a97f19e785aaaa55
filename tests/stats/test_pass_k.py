"""pass^k from the samples that a validation was asked for."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from harness.records.schema import ValidationRecord
from harness.report.pass_section import pass_section
from harness.stats.outcomes import outcomes_of
from harness.stats.pass_k import PassK, pass_hat_k, pass_k
from harness.stats.sweep_statistics import statistics_of
from harness.stats.task_effects import base_rewards
from harness.stats.verdicts import RAISES
from tests.planted_records import ALL_ON, NOTE, TASKS, sweep, validation

ARMS = (ALL_ON, NOTE.with_off("tools"))
SEEDS = (0, 1, 2, 3, 4)


def test_pass_k_is_the_share_of_k_samples_that_all_succeed():
    for successes in range(6):
        samples = [1] * successes + [0] * (5 - successes)
        for k in range(1, 6):
            drawn = [all(chosen) for chosen in combinations(samples, k)]
            assert pass_hat_k(successes, 5, k) == pytest.approx(np.mean(drawn))
    assert np.isnan(pass_hat_k(1, 2, 3))


def test_it_is_unbiased_for_the_probability_that_k_attempts_succeed():
    random = np.random.default_rng(0)
    successes = random.binomial(4, 0.7, size=20_000)
    found = np.mean([pass_hat_k(int(c), 4, 3) for c in successes])
    assert found == pytest.approx(0.7**3, abs=0.01)
    assert abs(np.mean((successes / 4) ** 3) - 0.7**3) > 0.05  # which the power of the rate is not


def steady(arm, seed, step):
    """After training, all_on solves every task in three of four samples; without tools in one. Greedily both do."""
    succeed = 0 if step == 0 else 3 if arm == ALL_ON else 1
    rewards = {t: tuple(float(n < succeed) for n in range(4)) for t in TASKS}
    return validation(step, {t: float(step > 0) for t in TASKS}, sampled=rewards, sampled_at=0.7)


@pytest.fixture(scope="module")
def records():
    return sweep(ARMS, SEEDS, (0, 1, 2), steady)


def found_in(records):
    return pass_k(records, outcomes_of(records))


def test_each_arm_has_its_pass_k_at_the_end_and_at_the_start(records):
    found = found_in(records)
    assert (found.samples, found.temperature) == (4, 0.7)
    of = {(a.arm, a.k): a for a in found.arms}
    assert [of["all_on", k].value for k in range(5)] == pytest.approx([0.75, 0.75, 0.5, 0.25, 0.0])
    assert [of["without_tools", k].value for k in range(5)] == pytest.approx([0.25, 0.25, 0, 0, 0])
    assert {a.first for a in found.arms} == {0.0} and {a.seeds for a in found.arms} == {5}
    assert of["all_on", 2].low < 0.5 < of["all_on", 2].high  # alike runs do not prove that others are


def test_an_effect_that_the_greedy_episode_hides_shows_in_samples(records):
    (tools,) = [e.effect for e in found_in(records).effects if e.k == 1 and e.effect.factors == ("tools",)][:1]
    assert (tools.kind, tools.value, tools.verdict) == ("leave_one_out", pytest.approx(0.5), RAISES)
    greedy = statistics_of(records).effects.of("leave_one_out")
    assert next(e.value for e in greedy if e.factors == ("tools",)) == 0


def test_a_missing_sample_lowers_n_and_is_never_a_failure(records):
    def one_less(run):
        lost = {t: (None, *rewards[1:]) for t, rewards in run.validations[-1].sampled.items()}
        return replace(run, validations=(*run.validations[:-1], replace(run.validations[-1], sampled=lost)))

    found = found_in(replace(records, runs=tuple(map(one_less, records.runs))))
    of = {(a.arm, a.k): a.value for a in found.arms}
    assert of["all_on", 2] == pytest.approx(1 / 3)  # two of three succeed: C(2, 2) / C(3, 2)
    assert ("all_on", 4) not in of


def test_a_reward_below_one_is_no_success():
    def half(arm, seed, step):
        rewards = {t: (0.5, 1.0) for t in TASKS}
        return validation(step, {t: 0.0 for t in TASKS}, sampled=rewards, sampled_at=1.0)

    of = {a.k: a.value for a in found_in(sweep([ALL_ON], SEEDS, (0, 1), half)).arms}
    assert of == pytest.approx({0: 0.75, 1: 0.5, 2: 0.0})


def test_an_invalid_run_does_not_count(records):
    runs = tuple(replace(r, valid=r.seed > 0) for r in records.runs)
    assert {a.seeds for a in found_in(replace(records, runs=runs)).arms} == {4}


def test_a_sweep_without_samples_has_none():
    plain = sweep(ARMS, SEEDS, (0, 1), lambda arm, seed, step: validation(step, dict.fromkeys(TASKS, 0.0)))
    assert found_in(plain) == PassK(0, None)
    assert pass_section(statistics_of(plain)) is None


def test_thirds_of_tasks_follow_from_the_samples_of_the_base_policy(records):
    assert base_rewards(records, outcomes_of(records)) == {t: (0.0,) * 4 for t in TASKS}


def test_the_section_says_the_temperature_and_every_k(records):
    section = pass_section(statistics_of(records))
    assert "temperature 0.7 in every arm" in section.sentences[0]
    (_, arms), (_, effects) = section.grids
    assert arms.heads == ("arm", "pass^1 at step 0", "mean", "pass^1", "pass^2", "pass^3", "pass^4")
    assert arms.rows[0][:2] == ("all_on", "0.000") and arms.rows[0][4].startswith("0.500 [")
    assert effects.heads == ("fix", "mean", "p", "pass^1", "p", "pass^4", "p")


def test_a_record_with_samples_is_read_as_it_was_written_and_one_without_as_before():
    written = validation(3, {"a": 1.0}, {"a": 0.5}, sampled={"a": (1.0, None)}, sampled_at=0.7)
    assert ValidationRecord.of(written.line()) == written and written.asked == 4
    plain = validation(3, {"a": 1.0}, {"a": 0.5})
    assert list(plain.line()) == ["step", "reference", "reported", "seconds"]
    assert ValidationRecord.of(plain.line()) == plain


def test_the_intervals_of_arms_pay_for_further_looks():
    def varying(arm, seed, step):
        succeed = [(2, 3), (1, 3), (3, 4), (2, 2), (1, 4)][seed][arm == ALL_ON] * (step > 0)
        return validation(step, dict.fromkeys(TASKS, 1.0), sampled={t: (1.0,) * succeed + (0.0,) * 4 for t in TASKS})

    beyond = {"seeds_planned": [0, 1], "looks": [{"seeds": list(range(n))} for n in (2, 3, 4)]}
    one, many = (found_in(sweep(ARMS, SEEDS, (0, 1), varying, **plan)).arms for plan in ({}, beyond))
    assert sum(a.high - a.low for a in many) > 1.1 * sum(a.high - a.low for a in one)


def test_the_mean_of_samples_is_not_cut_off_at_zero_where_rewards_lie_below():
    def lossy(arm, seed, step):
        return validation(step, dict.fromkeys(TASKS, 0.0), sampled=dict.fromkeys(TASKS, (-1.0, 0.0, -1.0 * (seed > 2))))

    mean = next(a for a in found_in(sweep(ARMS, SEEDS, (0, 1), lossy)).arms if a.k == 0)
    assert mean.low < mean.value < mean.high < 0
