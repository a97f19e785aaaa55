"""Variants, missing episodes and further looks in one sweep: what is said of it pays for all three."""

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from harness.records.load import load_sweep
from harness.stats.combine import combine
from harness.stats.effects import analyse, analyse_outcomes
from harness.stats.settling import settling
from tests.stats.test_blocks import world
from tests.stats.test_combine import BEYOND, effect, sweep_of
from tests.stats.test_effects import NOTE, by_factor
from tests.stats.test_looks import looks
from tests.stats.test_worst_case import LOO, TOOLS, named
from tests.synthetic import TASKS, run_folder, write_jsonl

WAYS = ("groups", "missing", "looks")


def planted(*ways):
    """Variants are alike in each run, up to one in ten; in these ways the sweep says less than it seems to."""
    sweep = named(world({"tools": 0.3}, rng=5, seeds=6))
    rewards, own = sweep.rewards_A_N_S_T.copy(), np.random.default_rng(0).random(sweep.rewards_A_N_S_T.shape) < 0.1
    rewards = np.where(own, rewards, rewards[..., np.arange(45) // 3 * 3])
    changes = {}
    if "groups" in ways:
        changes["task_groups"] = {task: f"kind {n // 3}" for n, task in enumerate(sweep.tasks)}
    if "missing" in ways:
        rewards[[LOO.index(NOTE.with_off()), TOOLS], [0, 3], -1, [4, 7]] = np.nan
    if "looks" in ways:
        changes["looks"] = looks(3, 4, 5, 6, planned=3)
    return replace(sweep, rewards_A_N_S_T=rewards, **changes)


def intervals(outcomes):
    """By what they are of."""
    effects = analyse_outcomes(outcomes)
    tools, settled = by_factor(effects, "leave_one_out")["tools"], settling(outcomes)
    assert tools.low is not None and settled.low is not None
    return {
        "tools": (tools.low, tools.high),
        "tools, of all": (tools.low_all, tools.high_all),
        "settling": (settled.low, settled.high),
    }


@pytest.fixture(scope="module")
def found():
    every = [ways for n in range(len(WAYS) + 1) for ways in combinations(WAYS, n)]
    return {ways: intervals(planted(*ways)) for ways in every}


@pytest.mark.parametrize("fewer", [ways for n in range(len(WAYS)) for ways in combinations(WAYS, n)])
def test_an_interval_that_pays_for_all_three_is_wider_than_one_that_pays_for_fewer(found, fewer):
    for what, (low, high) in found[WAYS].items():
        narrow = found[fewer][what]
        assert high - low > narrow[1] - narrow[0], what


def test_a_setting_of_a_combination_has_the_interval_of_its_own_report(tmp_path):
    groups = {task: f"kind {n // 3}" for n, task in enumerate(TASKS)}
    folder = sweep_of(tmp_path / "a", range(6), task_groups=groups, **BEYOND)
    path = run_folder(folder, "without_reward", 1) / "validation.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[-1]["reference"]["by_task"][TASKS[3]] = None
    write_jsonl(path, lines)
    sweep, other = load_sweep(folder), load_sweep(sweep_of(tmp_path / "b", (0, 1, 2), policy="small"))
    own = by_factor(analyse(sweep), "leave_one_out")["reward"]
    one = effect(combine([sweep, other]), "reward").estimates[0]
    assert own.missing.missing == 1 and own.tasks == len(TASKS)
    assert (one.value, one.low, one.high, one.p, one.p_holm) == (own.value, own.low, own.high, own.p, own.p_holm)
