"""Tasks that are variants of one another are no further evidence: intervals take a group of them for one task."""

import json
from dataclasses import replace

import numpy as np
import pytest

from experiments.benchmarks import calibration_tables
from experiments.benchmarks.calibration_cells import NULL, USUAL
from harness.designs import design
from harness.factors import Factor, Factors
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.records.looks import Looks
from harness.report.verdict import verdict_sentences
from harness.stats.claims import Claim, Part, verdicts
from harness.stats.combine import _shared_luck, _Table, combine
from harness.stats.contrasts import all_contrasts
from harness.stats.effects import analyse, analyse_outcomes
from harness.stats.intervals import by_group, crossed_spread
from harness.stats.measured import measure
from harness.stats.more_seeds import needs
from harness.stats.outcomes import Outcomes, complete, outcomes_of
from harness.stats.power import power_lines, smallest_effect, variance_of
from harness.stats.sweep_statistics import effects_json, statistics_of
from harness.stats.verdicts import RAISES, UNDECIDED
from tests.planted_records import NOTE, TASKS, sweep, validation
from tests.synthetic import TASKS as SYNTHETIC
from tests.synthetic import write_sweep

ONE = Factors((Factor("gain"),))
KINDS = tuple(f"kind {t // 3}" for t in range(45))


def two_arms(on_N_T, off_N_T, groups=KINDS):
    """all_on and without_gain with these rewards at the last of two validations."""
    last = np.stack([on_N_T, off_N_T]).astype(float)
    rewards = np.stack([np.zeros_like(last), last], axis=2)
    names = tuple(f"t{t}" for t in range(last.shape[2]))
    counted = np.ones(last.shape[:2], dtype=bool)
    made = Outcomes(
        ONE, tuple(design("leave_one_out", ONE)[:2]), tuple(range(last.shape[1])), (0, 4), names, rewards, counted, ()
    )
    return replace(made, task_groups=dict(zip(names, groups, strict=True)) if groups else {})


def final(outcomes):
    (effect,) = analyse_outcomes(outcomes).of("leave_one_out")
    return effect


def test_three_kinds_of_fifteen_in_one_seed_do_not_show_that_a_fix_matters():
    """Nine tasks of 45 would; they are three kinds of 15."""
    won = np.isin(np.arange(45) // 3, (2, 7, 11))[None]
    apart, grouped = (final(two_arms(won, np.zeros_like(won), groups)) for groups in (None, KINDS))
    assert (apart.verdict, grouped.verdict) == (RAISES, UNDECIDED)
    assert apart.p < 0.01 < 0.05 < grouped.p
    assert apart.value == grouped.value == pytest.approx(0.2) and grouped.tasks == 45


@pytest.mark.parametrize(("name", "world", "seeds"), [("null", NULL, 1), ("usual", USUAL, 1)])
def test_with_one_seed_intervals_hold_by_groups_and_not_by_tasks(name, world, seeds):
    cell = (name, replace(world, run_sd=0.0, variants=(3,)), seeds)
    ((*_, by_tasks, by_groups, wrong_tasks, wrong_groups),) = calibration_tables.variant_rows(60, 1, [cell])
    assert float(by_tasks.split()[0]) < 90 < 93 < float(by_groups.split()[0])
    if name == "null":
        assert float(wrong_groups.split()[0]) <= 5 < 10 < float(wrong_tasks.split()[0])


def records(tasks, groups=None, seeds=range(4)):
    """A sweep in which fixes matter for some tasks and seeds; `tasks`: by name the one that it copies."""
    luck = np.random.default_rng(3).random((len(TASKS), 8, 3))

    def validated(arm, seed, step):
        size = {"tools": 0.35, "reward": 0.15}
        lost = sum(loss for f, loss in size.items() if arm.level(f) == "off")
        chance = 0.15 if NOTE.no_update(arm) else 0.15 + (0.75 - lost) * step / 4
        own = {t: luck[n, seed] * [1, 0.9, 1.1] for n, t in enumerate(TASKS)}
        now = {t: float(own[of][step // 2] < chance) for t, of in tasks.items()}
        sampled = {t: tuple(float(own[of][k % 3] < chance) for k in range(2)) for t, of in tasks.items()}
        return validation(step, now, now, sampled=sampled, sampled_at=0.7)

    kept = {"reference_ids": list(tasks)} | ({"task_groups": groups} if groups else {})
    return sweep(design("leave_one_out", NOTE), seeds, (0, 2, 4), validated, **kept)


COPIES = {f"{t}/{n}": t for t in TASKS for n in range(2)}
BY_TASK = ("task_effects", "task_groups", "tasks", "notes", "note")


def without(found, names):
    if isinstance(found, dict):
        return {k: without(v, names) for k, v in found.items() if k not in names}
    return [without(v, names) for v in found] if isinstance(found, list) else found


def assert_alike(one, other, path=""):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_alike(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for n, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_alike(a, b, f"{path}/{n}")
    elif isinstance(one, float):
        assert other == pytest.approx(one, abs=2e-6), path
    else:
        assert one == other, path


def test_copies_of_tasks_change_no_number_of_any_statistic_but_that_of_the_tasks():
    """Effects, curves, ranks, pairing, reported effects, pass^k, arms: all that has an interval over tasks."""
    single, copied = (
        json.loads(effects_json(statistics_of(made)))
        for made in (records({t: t for t in TASKS}), records(COPIES, COPIES))
    )
    assert (single["tasks"], copied["tasks"], copied["task_groups"]) == (6, 12, 6)
    assert_alike(without(single, BY_TASK), without(copied, BY_TASK))
    groups = [found["task_effects"]["tables"][0]["groups"] for found in (single, copied)]
    assert_alike(*(without(group, ("tasks",)) for group in groups))
    ends = [[c["endless_seeds"] for c in found["task_effects"]["tables"][0]["factors"]] for found in (single, copied)]
    assert ends[0] == pytest.approx(ends[1], abs=2e-6)


def test_copies_of_tasks_change_neither_the_seeds_that_are_needed_nor_the_plan():
    single, copied = outcomes_of(records({t: t for t in TASKS})), outcomes_of(records(COPIES, COPIES))
    one, other = ({n.effect.factors: n for n in needs(o, "leave_one_out").undecided} for o in (single, copied))
    assert one and one.keys() == other.keys()
    for factors, need in one.items():
        assert (need.as_estimated, need.at_most, need.runs) == tuple(
            getattr(other[factors], name) for name in ("as_estimated", "at_most", "runs")
        )
    arms = design("leave_one_out", NOTE)
    plans = [smallest_effect(NOTE, arms, "leave_one_out", 5, 6, variance_of(o)).paired for o in (single, copied)]
    assert plans[0] == pytest.approx(plans[1])


def test_without_variants_nothing_changes():
    values = np.random.default_rng(0).normal(size=(4, 6))
    names = tuple("abcdef")
    assert by_group(values, names) is values
    assert crossed_spread(values, 1.0, names) == crossed_spread(values, 1.0)


def test_groups_of_one_size_have_the_means_of_their_tasks():
    values = np.random.default_rng(0).normal(size=(3, 6))
    found = by_group(values, ("b", "a", "b", "a", "c", "c"))
    assert found == pytest.approx(np.stack([values[:, n].mean(axis=1) for n in ([0, 2], [1, 3], [4, 5])], axis=1))


def test_groups_of_unequal_size_keep_the_mean_over_tasks_and_their_sizes_are_no_spread():
    values, groups = np.random.default_rng(0).normal(size=(3, 6)), ("a", "a", "a", "b", "b", "c")
    assert by_group(values, groups).mean(axis=1) == pytest.approx(values.mean(axis=1))
    assert crossed_spread(values, 0.0, groups).mean == values.mean()
    scaled = 3 / 6 * np.array([values[:, :3].sum(axis=1), values[:, 3:5].sum(axis=1), values[:, 5]]).T
    sizes = np.array([3, 2, 1]) * 3 / 6
    assert by_group(values - 1, groups) == pytest.approx(by_group(values, groups) - 1)
    assert by_group(values, groups) == pytest.approx(scaled + (1 - sizes) * values.mean(axis=1, keepdims=True))
    by_seed = np.array([[0.2], [0.4], [0.9]])
    spread = crossed_spread(np.tile(by_seed, (1, 6)), 0.0, groups)
    assert (spread.by_task, spread.by_rest) == pytest.approx((0.0, 0.0)) and spread.by_seed > 0.01


def test_the_floors_take_a_group_for_one_task():
    """Variants change together, so 45 tasks in which none changed say as much as 15 do."""
    zeros = np.zeros((5, 45))
    assert crossed_spread(zeros, 1.0, KINDS).half_width() == crossed_spread(zeros[:, :15], 1.0).half_width()
    tied = np.zeros((2, 45))
    tied[0, :3] = tied[1, 6:9] = 1.0
    assert crossed_spread(tied, 1.0, KINDS).by_seed == pytest.approx((1 / 15) ** 2 / 12)


def test_a_single_group_is_a_single_number_for_each_seed():
    values = np.random.default_rng(0).normal(size=(4, 6))
    alone = crossed_spread(values.mean(axis=1, keepdims=True))
    assert crossed_spread(values, 0.0, ("a",) * 6).half_width() == pytest.approx(alone.half_width())
    assert crossed_spread(values[:1], 0.0, ("a",) * 6).half_width() == np.inf


def test_variants_that_cancel_are_not_the_same_episodes():
    on, off = np.zeros((5, 45)), np.zeros((5, 45))
    on[:, 0] = off[:, 1] = 1.0
    found = final(two_arms(on, off))
    assert found.value == 0.0 and not found.identical and found.high > 0


def test_a_missing_episode_is_estimated_from_the_tasks_before_groups_are_made():
    rng = np.random.default_rng(1)
    on, off = ((rng.random((4, 45)) < p).astype(float) for p in (0.7, 0.4))
    on[2, 5] = np.nan
    made = two_arms(on, off)
    (contrast,) = [c for c in all_contrasts(ONE, made.arms, (True, True), [False, False]) if c.kind == "leave_one_out"]
    assert measure(made, contrast, "final").spread == crossed_spread(complete(on) - off, 1.0, KINDS)


def test_settings_with_other_tasks_of_the_same_kinds_share_their_luck():
    values = np.random.default_rng(2).normal(size=(3, 4))
    kinds, others = ("k0", "k0", "k1", "k1"), ("e", "f", "g", "h")
    one = _Table(values, (0, 1, 2), ("a", "b", "c", "d"), 1.0, kinds, Looks())
    other = _Table(values, (0, 1, 2), others, 1.0, kinds, Looks())
    alone = _Table(values, (0, 1, 2), others, 1.0, others, Looks())
    assert _shared_luck([one, other])[0, 1] > 0 == _shared_luck([one, alone])[0, 1]


GROUPS = {task: f"kind {n // 3}" for n, task in enumerate(SYNTHETIC)}


def test_two_sweeps_in_one_table_are_judged_by_groups_too(tmp_path):
    def settings(name, **kept):
        return [load_sweep(write_sweep(tmp_path / f"{name}{n}", seeds=(n, n + 2), **kept)) for n in (0, 1)]

    apart, grouped = combine(settings("apart")), combine(settings("grouped", task_groups=GROUPS))
    (one,), (other,) = (
        next(
            e for e in found.effects if (e.kind, e.outcome, e.factors) == ("leave_one_out", "final", ("exploration",))
        ).estimates
        for found in (apart, grouped)
    )
    assert one.value == pytest.approx(other.value) and other.high - other.low > 1.2 * (one.high - one.low)


def test_a_report_says_how_many_groups_its_tasks_are(tmp_path):
    made = load_sweep(write_sweep(tmp_path / "s", seeds=range(5), task_groups=GROUPS))
    effects = analyse(made)
    assert effects.task_groups == 10
    assert "over 30 held-out tasks in 10 groups of variants and 5 seeds" in verdict_sentences(made, effects)[1]
    assert any("30 tasks are variants of one another in 10 groups" in note for note in effects.notes)
    part = Part("x", "reference_rise", arm="all_on", minus="without_reward", interval={"at_least": 0.0})
    (verdict,) = verdicts(made, [Claim("c", "", "", "", "", "", parts=(part,))])
    assert "over 5 seeds × 30 tasks in 10 groups of variants, expected" in verdict.evidence


def test_a_report_of_tasks_that_stand_for_themselves_speaks_of_no_groups(tmp_path):
    made = load_sweep(write_sweep(tmp_path / "s", seeds=range(5)))
    assert "over 30 held-out tasks and 5 seeds" in verdict_sentences(made, analyse(made))[1]


def test_a_plan_counts_groups():
    arms = design("leave_one_out", note())
    apart, grouped, few = (power_lines(note(), arms, 1, *n) for n in ((45,), (45, None, 15), (15,)))
    assert "1 seed × 45 tasks in 15 groups of variants" in grouped[0]
    assert grouped[1:] == few[1:] != apart[1:]


def test_arm_means_and_interquartile_means_draw_whole_groups():
    """With each kind always or never solved, 45 tasks have the interval of 15."""
    random = np.random.default_rng(0)
    kinds = (random.random((2, 16)) < 0.5).astype(float)
    wide, narrow = (
        analyse_outcomes(two_arms(table, table, groups)).summaries[0]
        for table, groups in (
            (np.repeat(kinds, 2, axis=1), tuple(f"k{t // 2}" for t in range(32))),
            (kinds, None),
        )
    )
    assert wide.mean["final"] == pytest.approx(narrow.mean["final"]) and wide.iqm == pytest.approx(narrow.iqm)
