"""How a sweep is cut into what an engine gets at a time."""

import pytest

from harness.designs import ends, full_factorial, leave_one_out
from harness.factors import Run
from harness.fixes.registry import note
from harness.sweep.partition import partition

NOTE = note()


def runs(arms, seeds):
    return [Run(arm, seed) for arm in arms for seed in range(seeds)]


SHAPES = [  # arms, seeds, engines -> runs per unit
    (leave_one_out(NOTE), 5, 1, [8, 8, 8, 8, 8]),
    (leave_one_out(NOTE), 4, 2, [8, 8, 8, 8]),
    (leave_one_out(NOTE), 3, 2, [8, 8, 5, 3]),
    (leave_one_out(NOTE), 1, 2, [5, 3]),
    (full_factorial(NOTE), 1, 4, [16, 16, 16, 16]),
    (ends(NOTE), 1, 8, [1, 1]),
    (ends(NOTE), 3, 8, [1, 1, 1, 1, 1, 1]),
]


@pytest.mark.parametrize(("arms", "seeds", "engines", "sizes"), SHAPES)
def test_whole_seeds_go_to_engines_and_the_rest_is_cut(arms, seeds, engines, sizes):
    assert [len(unit) for unit in partition(runs(arms, seeds), engines, NOTE)] == sizes


@pytest.mark.parametrize("engines", range(1, 10))
@pytest.mark.parametrize("seeds", [1, 2, 3, 5])
def test_every_run_is_in_one_unit_and_a_unit_holds_one_seed(seeds, engines):
    planned = runs(leave_one_out(NOTE), seeds)
    found = partition(planned, engines, NOTE)
    assert sorted(run for unit in found for run in unit) == sorted(planned)
    assert all(len({run.seed for run in unit}) == 1 for unit in found)


@pytest.mark.parametrize("engines", [2, 3, 8])
def test_runs_that_take_the_same_gradient_steps_stay_together(engines):
    of_run = {run: n for n, unit in enumerate(partition(runs(full_factorial(NOTE), 1), engines, NOTE)) for run in unit}
    for run, unit in of_run.items():
        twin = next(other for other in of_run if _without_split(other) == _without_split(run) and other != run)
        assert of_run[twin] == unit


def _without_split(run):
    return run.arm.as_dict | {"split": None}


def test_what_learns_is_dealt_evenly():
    learning = [
        sum(run.arm.level("exploration") == run.arm.level("logprobs") == "on" for run in unit)
        for unit in partition(runs(full_factorial(NOTE), 1), 4, NOTE)
    ]
    assert learning == [4, 4, 4, 4]
