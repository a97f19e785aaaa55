"""Which tasks a fix moves: cells and their marks, groups by what the base policy can do, what power is left."""

import numpy as np
import pytest

from harness.report.task_section import task_section
from harness.stats.outcomes import Outcomes, outcomes_of
from harness.stats.sweep_statistics import statistics_of
from harness.stats.task_effects import (
    SOLVED,
    UNSOLVED,
    base_groups,
    base_rewards,
    movable,
    single_tasks,
    task_effects,
)
from tests.planted_records import ALL_ON, NOTE, TASKS, sweep, validation

ARMS = (ALL_ON, NOTE.with_off("tools"), NOTE.with_off("reward"))


def rewards(seeds, tasks, *, moved=(), lucky=()):
    """All_on solves every task in the end; without tools those in `moved` are lost, those in `lucky` in some seeds."""
    final = np.ones((len(ARMS), seeds, 2, tasks))
    final[:, :, 0] = 0.0
    final[1][:, 1, list(moved)] = 0.0
    for place, task in enumerate(lucky):
        final[1, place % seeds, 1, task] = 0.0
    counted = np.ones((len(ARMS), seeds), dtype=bool)
    names = tuple(f"t{t}" for t in range(tasks))
    return Outcomes(NOTE, ARMS, tuple(range(seeds)), (0, 1), names, final, counted, ())


def final(outcomes, groups=None):
    (table,) = [t for t in task_effects(outcomes, groups or {}) if t.outcome == "final"]
    return table, {column.factor: column for column in table.factors}


def test_the_tasks_that_a_fix_moves_are_marked_and_no_others():
    _, columns = final(rewards(10, 12, moved=(2, 5), lucky=(7, 8)))
    tools = columns["tools"]
    assert [n for n, mark in enumerate(tools.marked) if mark] == [2, 5]
    assert (tools.values[2], tools.values[7], tools.values[0]) == (1.0, pytest.approx(0.1), 0.0)
    assert tools.p[2] == pytest.approx(2 / 2**10) and tools.p[0] == 1.0
    assert not any(columns["reward"].marked)


def test_a_mark_counts_how_many_cells_were_looked_at():
    """One task of few has the q-value that one of many has not, at the same p-value."""
    few, many = (final(rewards(7, tasks, moved=(0,)))[1]["tools"] for tasks in (1, 40))
    assert few.p[0] == many.p[0] == pytest.approx(2 / 2**7)
    assert few.marked[0] and not many.marked[0]
    assert many.q[0] == pytest.approx(min(1, 80 * 2 / 2**7))  # two factors of 40 tasks each


def test_five_seeds_mark_no_task_however_large_the_effect():
    table, columns = final(rewards(5, 12, moved=range(12)))
    assert (table.seeds, table.least_p) == (5, 2 / 2**5)
    assert set(columns["tools"].values) == {1.0} and not any(columns["tools"].marked)


def test_estimates_are_shrunken_as_far_as_the_rest_explains_their_differences():
    _, clear = final(rewards(8, 12, moved=(0, 1, 2, 3)))
    assert clear["tools"].shrunken == pytest.approx(clear["tools"].values) and clear["tools"].reliability == 1.0
    _, noise = final(rewards(8, 12, lucky=range(12)))  # each task is lost once
    assert noise["tools"].reliability == 0.0
    assert noise["tools"].shrunken == pytest.approx([1 / 8] * 12)


def test_the_reliability_of_a_cell_is_one_minus_the_inverse_of_f():
    outcomes = rewards(8, 12, moved=(0, 1), lucky=range(3, 11))
    table = outcomes.rewards_A_N_S_T[0, :, 1] - outcomes.rewards_A_N_S_T[1, :, 1]
    left = table - table.mean(axis=0) - table.mean(axis=1, keepdims=True) + table.mean()
    f = 8 * table.mean(axis=0).var(ddof=1) / ((left**2).sum() / (7 * 11))
    tools = final(outcomes)[1]["tools"]
    assert tools.reliability == pytest.approx(1 - 1 / f) and 0.1 < tools.reliability < 0.999
    assert tools.shrunken[5] == pytest.approx(table.mean() + (1 - 1 / f) * (1 / 8 - table.mean()))


def test_one_seed_shrinks_nothing_and_knows_no_part():
    table, columns = final(rewards(1, 4, moved=(0,)))
    assert columns["tools"].shrunken == columns["tools"].values == (1.0, 0.0, 0.0, 0.0)
    assert columns["tools"].task is None and table.least_p == 1.0


def test_endless_seeds_leave_the_differences_between_tasks():
    _, columns = final(rewards(8, 12, moved=(0, 1, 2, 3)))
    variance = np.var([1.0] * 4 + [0.0] * 8, ddof=1)
    assert columns["tools"].endless_seeds == pytest.approx(1.959964 * np.sqrt(variance / 12))


def test_groups_have_the_effect_of_their_tasks():
    outcomes = rewards(6, 8, moved=(0, 1, 2))
    outcomes.rewards_A_N_S_T[:, :, 0, 3:5] = 1.0  # solved at step 0
    groups = base_groups(outcomes, {})
    assert groups == {SOLVED: ("t3", "t4"), UNSOLVED: ("t0", "t1", "t2", "t5", "t6", "t7")}
    table, _ = final(outcomes, groups)
    of = {(g.factor, g.group): g for g in table.groups}
    assert (of["tools", UNSOLVED].value, of["tools", SOLVED].value) == (0.5, 0.0)
    assert of["tools", UNSOLVED].low < 0.5 < of["tools", UNSOLVED].high
    assert of["tools", SOLVED].low < 0 < of["tools", SOLVED].high  # two tasks that never changed prove little


def test_thirds_need_samples_that_differ():
    outcomes = rewards(2, 6)
    graded = {f"t{n}": (n / 10, n / 10) for n in range(6)}
    thirds = list(base_groups(outcomes, graded).values())[1:]
    assert thirds == [("t0", "t1"), ("t2", "t3"), ("t4", "t5")]
    for told in ({t: r[:1] for t, r in graded.items()}, {t: (0.0, 1.0) for t in graded}):
        assert list(base_groups(outcomes, told)) == [UNSOLVED]


def reported(arm, seed, step):
    solved = {t: float(n < 2 or (step > 0 and n < 4)) for n, t in enumerate(TASKS)}
    return validation(step, solved, {t: 0.1 * n + 0.01 * seed for n, t in enumerate(TASKS)})


def test_what_the_base_policy_can_do_is_what_the_fixed_arm_reported_at_step_0():
    records = sweep(ARMS, (0, 1), (0, 1), reported)
    found = base_rewards(records, outcomes_of(records))
    assert found["t3"] == pytest.approx((0.3, 0.31)) and set(found) == set(TASKS)


def test_tasks_that_never_change_bound_every_mean_effect():
    records = sweep(ARMS, (0, 1), (0, 1), reported)
    found = movable(outcomes_of(records))
    assert (found.tasks, found.moved, found.always, found.never) == (6, 2, 2, 2)
    section = task_section(statistics_of(records))
    assert "2 of 6 tasks changed in any run" in section.sentences[0]
    assert "No mean effect can exceed 0.33 here" in section.sentences[0]
    assert section.sentences[1].startswith("No single task can be marked with 2 seeds")


def test_a_missing_episode_leaves_its_task_in_the_table():
    outcomes = rewards(8, 6, moved=(0,))
    outcomes.rewards_A_N_S_T[1, 0, 1, 0] = np.nan
    outcomes.rewards_A_N_S_T[1, :, :, 1] = np.nan  # nobody played it there
    _, columns = final(outcomes)
    assert columns["tools"].values[0] > 0.8 and np.isnan(columns["tools"].values[1])
    assert columns["reward"].values[1] == 0.0


def test_a_sweep_without_answers_has_no_table():
    records = sweep(ARMS[:1], (0, 1), (0, 1), reported)
    assert single_tasks(records, outcomes_of(records)).tables == ()
    assert task_section(statistics_of(records)) is None
