"""The planted-effect simulator: what is planted is what its truth says, and a short run keeps the promises."""

from dataclasses import replace

import numpy as np
import pytest

from experiments.benchmarks import calibration, calibration_tables
from experiments.benchmarks import calibration_cells as cells
from experiments.benchmarks.simulated_sweeps import SimulatedWorld, simulated_sweep, truth
from harness.designs import DESIGNS, design
from harness.fixes.registry import note

NOTE = note()


def setting(name):
    return next(s for s in cells.SETTINGS if s.name == name)


WORLDS = {
    "usual": cells.USUAL,
    "15 % of all runs collapse": cells.COLLAPSES,
    "ceiling": cells.CEILING,
    "floor": cells.FLOOR,
    "item response": cells.ITEMS,
    "a quarter of the tasks": cells.FEW_TASKS_MOVED,
    "one arm noisier": cells.NOISY,
    "one arm fails": cells.failing(0.3),
    "recorded curves": cells.TWENTY_FOUR,
    "recorded curves, one arm fails": cells.failing(0.3, cells.EIGHT),
}


@pytest.mark.parametrize("name", WORLDS)
def test_the_truth_is_the_mean_of_many_planted_sweeps(name):
    arms, random = design("leave_one_out", NOTE), np.random.default_rng(0)
    sweeps = [simulated_sweep(NOTE, arms, WORLDS[name], 5, random) for _ in range(300)]
    mean = np.mean([made.rewards_A_N_S_T.mean(axis=(1, 3)) for made, _ in sweeps], axis=0)
    assert mean == pytest.approx(sweeps[0][1], abs=0.025)


@pytest.mark.parametrize("world", [cells.USUAL, cells.ITEMS, cells.TWENTY_FOUR], ids=lambda world: type(world).__name__)
def test_with_one_seed_the_truth_is_that_of_the_seed(world):
    arms, random = design("leave_one_out", NOTE), np.random.default_rng(0)
    sweeps = [simulated_sweep(NOTE, arms, replace(world, tasks=2000), 1, random) for _ in range(3)]
    assert len({tuple(true[:, -1].round(4)) for _, true in sweeps}) > 1
    for made, true in sweeps:
        assert made.rewards_A_N_S_T.mean(axis=(1, 3)) == pytest.approx(true, abs=0.05)


def test_planted_sweeps_start_where_the_micro_policy_starts_and_end_where_it_ends():
    planted = truth(NOTE, design("smoke", NOTE), SimulatedWorld(), None)
    assert planted[:, 0] == pytest.approx([0.17, 0.17], abs=0.02)
    on, off = planted
    assert on[-1] > 0.8 and off[-1] == off[0]


def test_a_short_calibration_keeps_its_promises():
    counts = calibration.run(setting("usual, 5 seeds"), 60, seed=1)
    assert counts
    for count in counts.values():
        assert count.coverage > 0.90
        assert count.false_alarms <= 6


def test_an_invalid_arm_is_never_called_no_effect():
    counts = calibration.run(setting("null, INVALID runs, 5 seeds"), 40, seed=1)
    assert {(c.invalid, c.invalid_as_none) for c in counts.values()} == {(40, 0)}


def test_a_main_effect_that_lacks_an_invalid_arm_is_never_called_no_effect():
    counts = calibration.run(setting("INVALID runs, full factorial, 3 seeds"), 5, seed=1)
    assert {kind for kind, _ in counts} == {"main", "leave_one_out"}
    assert all(c.invalid == 5 and c.invalid_as_none == 0 for c in counts.values())


def test_with_one_seed_and_runs_alike_every_planted_effect_is_exactly_zero():
    counts = calibration.run(setting("null, 1 seed, runs alike"), 5, seed=1)
    assert {c.null_sweeps for c in counts.values()} == {5}


def test_every_kind_of_design_has_a_cell():
    named = {setting.design for setting in cells.SETTINGS}
    assert named >= set(DESIGNS) - {"smoke"} | {"short_term", "as_launched", "tokenisation"}


@pytest.mark.parametrize("setting", cells.SETTINGS, ids=lambda setting: setting.name)
def test_every_cell_is_printed(setting):
    made = list(calibration.rows([setting], 1, seed=1))
    assert {cells[1].replace(" ", "_") for cells in made} == set(setting.kinds) and len(made) == 3 * len(setting.kinds)


def test_looking_until_something_is_significant_finds_what_is_not_there():
    """The cell exists because the plain analysis does not pay for its looks."""
    world, once = cells.ITEMS_NULL, []
    looked = cells.Setting("looked at", "leave_one_out", 8, ("leave_one_out",), world, first_look=3)
    for setting in (looked, replace(looked, first_look=0)):
        counts = {}
        random, families = np.random.default_rng(0), calibration.Families(setting)
        for _ in range(60):
            whole, _ = simulated_sweep(NOTE, setting.arms, world, 8, random)
            made = calibration.looked_at(setting, families, whole, "leave_one_out", "area")
            counts[len(made.seeds)] = counts.get(len(made.seeds), 0) + 1
        once.append(counts)
    assert once[1] == {8: 60} and len(once[0]) > 1 and sum(once[0].values()) == 60


@pytest.mark.parametrize("rows", [row for _, _, row in calibration.TABLES], ids=range(len(calibration.TABLES)))
def test_every_smaller_table_has_cells_for_its_heads(rows):
    (head,) = [head for _, head, make in calibration.TABLES if make is rows]
    made = list(rows(4, 1))
    assert made and all(len(cells) == len(head) for cells in made)


def test_a_false_claim_is_rarely_confirmed_and_a_true_one_rarely_refuted():
    found = list(calibration_tables.claim_rows(40, 1, [("item response", 3)]))
    assert {row[3] for row in found} == {"true", "false"}
    assert max(float(row[4].split()[0]) for row in found) <= 10


def test_cells_that_miss_their_target_are_named():
    good = ("fair", "main", "final", "200", "95.0 ± 1.0 %", "90.0 %", "96.0 ± 1.0 %", "4.0 ± 1.0 %", "0.0 %", "–")
    wide = ("null", "main", "area", "200", "98.2 ± 1.0 %", "90.0 %", "99.0 ± 1.0 %", "–", "0.0 %", "–")
    text = calibration.outside([good, wide])
    assert "- coverage above 97 % (too wide): 1 of 2; null, main, area: 98.2 ± 1.0 %" in text
    assert "- coverage below 93 %: 0 of 2\n" in text
    assert "- family-wise error above 5 %: 0 of 1" in text
