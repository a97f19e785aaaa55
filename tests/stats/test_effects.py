"""From records to effects: planted effects come back, and INVALID is never "no effect"."""

import json
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.designs import design
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.report import effect_figures, effect_text
from harness.report.effect_sections import effect_sections
from harness.stats.effects import analyse, analyse_outcomes, to_json
from harness.stats.outcomes import LeftOut, Outcomes, complete, outcomes_of, step_weights
from harness.stats.profiles import heights
from harness.stats.settling import UNKNOWN
from harness.stats.verdicts import MIXED, NO_EFFECT, NOT_ANSWERED, RAISES, UNDECIDED, could_miss, missed
from tests.synthetic import TASKS, make_invalid, run_folder, write_json, write_status, write_sweep

NOTE = note()
RESULTS = Path(harness.__file__).parent.parent / "results"
STEPS = (0, 2, 4, 6)


def planted(arms, seeds=5, tasks=45, invalid=(), rng=0):
    """Reward 1 with a probability that grows inside open gates; all sealed arms share every episode."""
    random = np.random.default_rng(rng)
    ease = random.normal(size=tasks)
    luck = random.normal(size=(seeds, 1, tasks))
    rewards = np.zeros((len(arms), seeds, len(STEPS), tasks))
    for i, arm in enumerate(arms):
        gain = 0.0 if NOTE.no_update(arm) or arm.level("endpoint") == "off" else 3.0
        gain *= 0.5 if arm.level("reward") == "off" else 1.0
        base = np.broadcast_to(ease - 1.4, luck.shape) + (0.5 * luck if gain else 0)
        rewards[i] = base + gain * np.array([0, 0.4, 0.8, 1.0])[None, :, None] > 0
    counted = np.array([[(a.name, n) not in invalid for n in range(seeds)] for a in arms])
    rewards[~counted] = np.nan
    left_out = tuple(LeftOut(f"{a}/seed={n}", a, n, "INVALID", "the switch did nothing") for a, n in invalid)
    names = tuple(f"task-{t}" for t in range(tasks))
    return Outcomes(NOTE, tuple(arms), tuple(range(seeds)), STEPS, names, rewards, counted, left_out)


def by_factor(effects, kind, outcome="final"):
    return {e.factors[0]: e for e in effects.of(kind, outcome)}


def test_planted_leave_one_out_effects_are_found_and_a_planted_zero_is_not():
    found = by_factor(analyse_outcomes(planted(design("leave_one_out", NOTE))), "leave_one_out")
    assert {f for f, e in found.items() if e.verdict == RAISES} == {"endpoint", "exploration", "reward", "logprobs"}
    assert found["split"].verdict == found["tools"].verdict == NO_EFFECT
    assert found["split"].identical and found["split"].value == 0


@pytest.mark.parametrize("name", ["full_factorial", "gate_aware"])
def test_planted_main_effects_are_found(name):
    found = by_factor(analyse_outcomes(planted(design(name, NOTE))), "main")
    for factor in ("endpoint", "exploration", "logprobs", "reward"):
        assert found[factor].verdict == RAISES, factor
        assert found[factor].low <= found[factor].value <= found[factor].high
    assert found["split"].verdict == NO_EFFECT


def test_two_seeds_that_happen_to_agree_do_not_decide_a_third_of_the_reward():
    sweep = planted(design("leave_one_out", NOTE), seeds=2, tasks=27)
    sweep.rewards_A_N_S_T[:, 0] = sweep.rewards_A_N_S_T[:, 1]
    found = by_factor(analyse_outcomes(sweep), "leave_one_out")
    reward = found["reward"]
    assert reward.verdict == UNDECIDED and reward.value > 0.3 and reward.low > 0


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_fewer_than_five_seeds_call_nothing_no_effect_but_what_is_the_same(seeds):
    found = by_factor(analyse_outcomes(near(seeds)), "leave_one_out")
    assert found["reward"].verdict == UNDECIDED and "fewer than 5 seeds" in found["reward"].note
    assert found["split"].verdict == NO_EFFECT and found["split"].identical


def near(seeds, margin=0.05, tasks=1000):
    """A sweep that has settled, in which reward makes a difference in one episode of 1,000 alone."""
    sweep = planted(design("leave_one_out", NOTE), seeds=seeds, tasks=tasks)
    sweep.rewards_A_N_S_T[:, :, 2] = sweep.rewards_A_N_S_T[:, :, 3]
    arms = list(sweep.arms)
    without = arms.index(NOTE.with_off("reward"))
    sweep.rewards_A_N_S_T[without] = sweep.rewards_A_N_S_T[arms.index(NOTE.with_off())]
    sweep.rewards_A_N_S_T[without, 0, -1, 0] = 1 - sweep.rewards_A_N_S_T[without, 0, -1, 0]
    return replace(sweep, margin=margin)


def test_no_effect_says_which_failures_could_have_been_missed_and_within_which_margin():
    found = by_factor(analyse_outcomes(near(5)), "leave_one_out")
    for factor in ("reward", "split"):
        assert found[factor].verdict == NO_EFFECT
        assert "a failure in up to 45 % of seeds" in found[factor].note
    tasks = len(near(5).tasks)
    assert f" of seeds or {100 * could_miss(tasks):.0f} % of tasks could have been missed" in found["reward"].note
    assert (
        "45 % of seeds could have been missed" in found["split"].note
    )  # the same weights: no task can tell them apart
    assert by_factor(analyse_outcomes(near(5, 0.0001)), "leave_one_out")["reward"].verdict == UNDECIDED
    assert could_miss(10) == pytest.approx(0.259, abs=0.001)


def test_tasks_that_come_out_alike_are_one_that_could_have_been_missed():
    """A fix that decides one kind of task in ten is not seen in a fifth of all draws of 15 kinds."""
    assert missed(5, 45, 15) == "a failure in up to 45 % of seeds or 18 % of groups of tasks could have been missed"
    assert missed(5, 45) == "a failure in up to 45 % of seeds or 6 % of tasks could have been missed"


def test_an_invalid_arm_is_not_answered_with_what_was_measured_and_never_no_effect():
    invalid = [("without_split", n) for n in range(5)]
    effect = by_factor(analyse_outcomes(planted(design("leave_one_out", NOTE), invalid=invalid)), "leave_one_out")[
        "split"
    ]
    assert effect.verdict == NOT_ANSWERED
    assert effect.value is None and effect.p is None
    assert "the switch did nothing" in effect.note


def test_a_mean_that_lacks_invalid_combinations_is_never_no_effect():
    # All that tools could show happens inside the open gates; with these arms INVALID the rest is flat.
    arms = design("full_factorial", NOTE)
    gates = ("endpoint", "exploration", "logprobs")
    inside = [a.name for a in arms if all(a.level(g) == "on" for g in gates) and a.level("tools") == "off"]
    invalid = [(name, n) for name in inside for n in range(5)]
    tools = by_factor(analyse_outcomes(planted(arms, invalid=invalid)), "main")["tools"]
    assert tools.value == 0 and tools.verdict == UNDECIDED
    assert "28 of 32 combinations" in tools.note and "cannot be called no effect" in tools.note


def test_a_fraction_of_the_factorial_decides_nothing_about_a_single_fix():
    # split does nothing, but its column is also that of an interaction of the gates
    effects = analyse_outcomes(planted(design("screening", NOTE)))
    split = by_factor(effects, "main")["split"]
    assert split.p_holm < 0.05 and split.verdict == MIXED
    assert split.aliases == ("endpoint × tools × logprobs", "exploration × reward × logprobs")
    assert effects.ranking("main") is None
    assert {e.verdict for e in effects.of("interaction")} == {MIXED}
    assert {tuple(e["aliases"]) for e in json.loads(to_json(effects))["effects"] if e["verdict"] == MIXED}


def test_where_nothing_moves_a_difference_could_not_have_shown():
    sweep = planted(design("leave_one_out", NOTE))
    sweep.rewards_A_N_S_T[:] = 0.0
    effects = analyse_outcomes(sweep)
    assert not effects.moves
    assert {e.verdict for e in effects.of("leave_one_out")} == {UNDECIDED}
    assert "no arm of this sweep moves" in effects.of("leave_one_out")[0].note


def test_equal_episodes_of_different_weights_are_not_exactly_zero():
    arms = design("leave_one_out", NOTE)
    sweep = planted(arms, seeds=1, tasks=20)
    without_split = list(arms).index(NOTE.with_off("split"))
    names = np.full(sweep.rewards_A_N_S_T.shape[:3], "all alike", dtype=object)
    same = by_factor(analyse_outcomes(replace(sweep, weights_A_N_S=names)), "leave_one_out")["split"]
    assert same.identical and (same.low, same.high) == (0.0, 0.0) and same.verdict == NO_EFFECT
    names[without_split] = "its own"
    luck = by_factor(analyse_outcomes(replace(sweep, weights_A_N_S=names)), "leave_one_out")["split"]
    assert not luck.identical and luck.verdict == UNDECIDED
    assert luck.high == pytest.approx(3 / 20, rel=0.05)  # the rule of three
    assert "although the weights differ" in luck.note


def test_the_records_name_the_weights_of_each_validation(tmp_path):
    sweep = outcomes_of(load_sweep(write_sweep(tmp_path / "s", seeds=(0, 1))))
    names = dict(zip((a.name for a in sweep.arms), sweep.weights_A_N_S[:, 0, -1], strict=True))
    assert names["all_on"] == names["without_split"] != names["without_reward"]
    assert names["all_off"] == names["without_logprobs"] == names["without_exploration"] == "untrained"
    assert set(sweep.weights_A_N_S[:, :, 0].ravel()) == {"untrained"}


def test_an_effect_added_behind_a_closed_gate_says_that_it_is_flat_by_construction():
    found = by_factor(analyse_outcomes(planted(design("one_at_a_time", NOTE))), "added_alone")
    assert {f for f, e in found.items() if "flat by construction" in e.note} == set(NOTE.names)


def test_an_invalid_run_takes_its_seed_out_of_the_effects_that_need_it_only():
    effects = analyse_outcomes(planted(design("leave_one_out", NOTE), invalid=[("without_reward", 2)]))
    found = by_factor(effects, "leave_one_out")
    assert found["reward"].seeds == 4 and "4 of 5 seeds" in found["reward"].note
    assert found["endpoint"].seeds == 5
    assert effects.counted == 39 and effects.runs == 40


def test_controls_that_refute_the_gates_leave_the_main_effects_unanswered():
    sweep = planted(design("gate_aware", NOTE))
    leaky = list(sweep.arms).index(NOTE.with_off("exploration"))
    sweep.rewards_A_N_S_T[leaky] = sweep.rewards_A_N_S_T[0]
    effects = analyse_outcomes(sweep)
    assert any(c.holds is False for c in effects.gate_checks)
    assert {e.verdict for e in effects.of("main")} == {NOT_ANSWERED}
    assert {e.verdict for e in effects.of("leave_one_out")} != {NOT_ANSWERED}


def test_sealed_controls_hold_and_are_reported():
    checks = analyse_outcomes(planted(design("gate_aware", NOTE))).gate_checks
    assert checks and all(c.holds for c in checks)


def test_one_seed_says_that_its_intervals_hold_for_that_seed():
    effects = analyse_outcomes(planted(design("leave_one_out", NOTE), seeds=1))
    assert any("One seed" in n for n in effects.notes)
    found = by_factor(effects, "leave_one_out")
    assert {f for f, e in found.items() if "seed 0 alone" in e.note} == set(NOTE.names)


def test_pairing_lowers_the_variance_of_a_difference_between_arms_that_share_their_luck():
    reward = next(p for p in analyse_outcomes(planted(design("leave_one_out", NOTE))).pairing if p.factor == "reward")
    assert reward.ratio > 1


def test_gates_share_the_first_ranks_and_split_is_last():
    ranking = analyse_outcomes(planted(design("leave_one_out", NOTE))).ranking("leave_one_out")
    assert set(ranking.factors[:3]) == {"endpoint", "exploration", "logprobs"}
    assert ranking.probability[0][:3] == pytest.approx((1 / 3,) * 3, abs=0.01)


def test_the_ranking_says_how_many_seeds_its_effects_share():
    sweep = planted(design("leave_one_out", NOTE), invalid=[("without_reward", 2), ("without_tools", 4)])
    ranking = analyse_outcomes(sweep).ranking("leave_one_out")
    assert ranking.seeds == 3


def test_the_three_outcomes_of_a_curve():
    curve = np.array([0.0, 0.5, 1.0, 1.0])
    assert step_weights("final", STEPS) @ curve == 1.0
    assert step_weights("area", STEPS) @ curve == pytest.approx(np.trapezoid(curve, STEPS) / 6)
    assert step_weights("slope", STEPS) @ curve == pytest.approx(np.polyfit(STEPS, curve, 1)[0])


def test_a_sigmoid_needs_five_points():
    assert analyse_outcomes(planted(design("leave_one_out", NOTE))).sigmoids == ()


def test_a_planted_sigmoid_is_found(tmp_path):
    effects = analyse(load_sweep(write_sweep(tmp_path / "s", steps=8)))
    found = next(s for s in effects.sigmoids if s.arm == "all_on")
    assert found.residual < 0.05 and found.span > 0.3


def test_the_json_is_the_same_byte_for_byte_and_holds_plain_numbers(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1, 2))
    text = to_json(analyse(load_sweep(folder)))
    assert text == to_json(analyse(load_sweep(folder)))
    assert "NaN" not in text and "Infinity" not in text
    assert json.loads(text)["design"] == "leave_one_out"


def test_invalid_failed_and_unstarted_runs_are_left_out_and_counted(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1, 2))
    make_invalid(folder, "without_tools", "tools", "off: 100 % of contexts equal", seed=1)
    write_status(folder, "all_on", 2, state="failed", error="EngineError: the server died")
    (run_folder(folder, "all_off", 0) / "status.json").unlink()
    left_out = {x.run: x.why for x in outcomes_of(load_sweep(folder)).left_out}
    assert left_out == {"without_tools/seed=1": "INVALID", "all_on/seed=2": "failed", "all_off/seed=0": "running"}


def test_a_run_that_lacks_a_validation_is_left_out_and_the_others_keep_their_last_step(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    path = run_folder(folder, "without_tools", 1) / "validation.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))  # its last line was torn
    sweep = outcomes_of(load_sweep(folder))
    assert sweep.steps[-1] == 6
    assert [(x.run, x.why) for x in sweep.left_out] == [("without_tools/seed=1", "incomplete")]
    assert "step 6 is not there" in sweep.left_out[0].reading


def change_validations(folder, arm, seed, change):
    """change: from the validation lines of a run, parsed, to those that are written."""
    path = run_folder(folder, arm, seed) / "validation.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in change(lines)))


def test_a_missing_episode_is_no_zero(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1, 2))

    def drop(lines):
        lines[-1]["reference"]["by_task"][TASKS[0]] = None  # solved by every run
        return lines

    before = by_factor(analyse(load_sweep(folder)), "leave_one_out")["tools"].value
    change_validations(folder, "all_on", 0, drop)
    effects = analyse(load_sweep(folder))
    assert by_factor(effects, "leave_one_out")["tools"].value == pytest.approx(before, abs=0.2 / 90)
    assert any(note.startswith("1 of 5040 validation episodes are missing") for note in effects.notes)


def test_the_final_reward_needs_its_own_validation_alone(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    change_validations(folder, "without_tools", 1, lambda lines: [line for line in lines if line["step"] != 3])
    effects = analyse(load_sweep(folder))
    assert not effects.left_out
    assert by_factor(effects, "leave_one_out", "final")["tools"].seeds == 2
    assert by_factor(effects, "leave_one_out", "area")["tools"].seeds == 1
    assert any("count for the final reward alone" in note for note in effects.notes)


def test_a_task_that_no_seed_of_an_arm_has_is_left_out_of_the_contrasts_of_that_arm_only(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))

    def drop(lines):
        lines[-1]["reference"]["by_task"][TASKS[0]] = None
        return lines

    for seed in (0, 1):
        change_validations(folder, "without_tools", seed, drop)
    found = by_factor(analyse(load_sweep(folder)), "leave_one_out")
    assert (found["tools"].tasks, found["reward"].tasks) == (len(TASKS) - 1, len(TASKS))
    assert "29 of 30 tasks" in found["tools"].note


def test_a_few_missing_episodes_cost_a_factorial_next_to_nothing():
    whole = outcomes_of(load_sweep(RESULTS / "cpu_all"))
    gone = np.random.default_rng(0).random(whole.rewards_A_N_S_T.shape) < 0.005
    holes = replace(whole, rewards_A_N_S_T=np.where(gone, np.nan, whole.rewards_A_N_S_T))
    effects, with_holes = analyse_outcomes(whole), analyse_outcomes(holes)
    for outcome in ("final", "area"):
        before, after = by_factor(effects, "main", outcome), by_factor(with_holes, "main", outcome)
        for factor in NOTE.names:
            assert after[factor].verdict == before[factor].verdict, factor
            assert after[factor].value == pytest.approx(before[factor].value, abs=0.004)
            assert after[factor].error == pytest.approx(before[factor].error, rel=0.1, abs=0.002)


def test_an_unbalanced_table_gives_what_least_squares_finds():
    seeds, tasks = np.array([0.1, -0.2, 0.4]), np.linspace(-1, 1, 7)
    table = seeds[:, None] + tasks
    there = table.copy()
    there[0, 2:5] = there[1, 0] = there[2, 6] = np.nan
    assert complete(there) == pytest.approx(table)
    there[:, 3] = np.nan
    assert np.isnan(complete(there)).sum() == 3


def test_a_sweep_without_a_single_counted_run_is_analysed_as_not_answered(tmp_path):
    folder = write_sweep(tmp_path / "s")
    for arm in load_sweep(folder).arms:
        write_json(run_folder(folder, arm) / "status.json", {"state": "failed"})
    effects = analyse(load_sweep(folder))
    assert {e.verdict for e in effects.effects} == {NOT_ANSWERED}
    assert effects.counted == 0
    to_json(effects)


def test_64_arms_5_seeds_and_45_tasks_take_seconds():
    sweep = planted(design("full_factorial", NOTE))
    started = time.perf_counter()
    to_json(analyse_outcomes(sweep))
    assert time.perf_counter() - started < 30


def test_one_number_has_no_interval_anywhere_in_a_report_or_its_json():
    arms = design("leave_one_out", NOTE)
    one = replace(planted(arms, seeds=1, tasks=1), rewards_A_N_S_T=np.linspace(0, 1, 32).reshape(len(arms), 1, 4, 1))
    found = analyse_outcomes(one)
    effect = by_factor(found, "leave_one_out")["tools"]
    assert (effect.low, effect.high, effect.low_all, effect.high_all) == (None,) * 4 and effect.value is not None
    assert effect_text.estimate(effect).endswith(" [no interval from one seed]")
    assert (found.settled.low, found.settled.high) == (None, None) and found.settled.state == UNKNOWN
    assert {t[1:] for s in found.summaries for t in (*s.mean.values(), s.iqm, *s.profile)} == {(None, None)}
    text = " ".join(str(part) for section in effect_sections(found, NOTE) for part in vars(section).values())
    assert "no interval from one seed" in text and "inf" not in text.replace("interval", "")
    json.loads(to_json(found), parse_constant=lambda name: pytest.fail(name))
    effect_figures.profiles_figure(found, {})
    effect_figures.forest_figure(found)


def test_rewards_below_zero_are_not_cut_off_at_zero():
    """An environment of one's own may pay −1."""
    arms = design("smoke", NOTE)
    sweep = planted(arms)
    found = analyse_outcomes(replace(sweep, rewards_A_N_S_T=sweep.rewards_A_N_S_T - 1)).summaries
    usual = analyse_outcomes(sweep).summaries
    for low, high in zip(found, usual, strict=True):
        for outcome in ("final", "area"):
            value, *ends = low.mean[outcome]
            assert ends[0] <= value <= ends[1] <= 0 + 1e-9 or ends[0] < value
            assert value == pytest.approx(high.mean[outcome][0] - 1)
        assert low.iqm[0] == pytest.approx(high.iqm[0] - 1) and low.iqm[1] <= low.iqm[0]
        assert low.mean["final"][1] < 0 and low.iqm[1] < 0
        assert len(low.profile) == 21 and len(high.profile) == 11
        assert [share for share, *_ in low.profile[:11]] == [share for share, *_ in high.profile]
    assert heights(21)[0] == -1 and heights(11) == heights(21)[10:]


def test_the_gap_is_what_an_arm_would_have_shown_minus_what_it_is_worth(tmp_path):
    found = {g.arm: g for g in analyse(load_sweep(write_sweep(tmp_path / "s", seeds=(0, 1, 2)))).gaps}
    assert found["all_on"].gap == 0 and found["all_on"].reported_rise > 0.2
    assert found["without_split"].gap < -0.1 and found["without_split"].nonexistent == 55
    assert found["without_endpoint"].reported_rise == 0
    alone = analyse(load_sweep(write_sweep(tmp_path / "one"))).gaps
    assert {g.low for g in alone} == {None}
