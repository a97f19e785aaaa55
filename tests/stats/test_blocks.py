"""Effects in each block, and whether an effect is another one there: planted interactions come back."""

import json
from dataclasses import replace

import numpy as np
import pytest

from harness.designs import design
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.stats.blocks import ALIKE, LARGER, SMALLER, blocks_of, differences
from harness.stats.effect_map import EffectMap
from harness.stats.effects import analyse, analyse_outcomes, effects_by_block, outcomes_by_block
from harness.stats.outcomes import outcomes_of, stack
from harness.stats.sweep_statistics import effects_json, statistics_of
from harness.stats.verdicts import MIXED, NO_EFFECT, NOT_ANSWERED, NOT_SHOWN, RAISES, UNDECIDED
from tests.stats.test_effects import planted
from tests.synthetic import make_invalid, unshown, write_sweep

NOTE = note()
LOO = design("leave_one_out", NOTE)
RATES = {"learning_rate=0.5": 0.5, "learning_rate=1": 1.0}


def of_blocks(sweep):
    outcomes = outcomes_by_block(sweep)
    return blocks_of(sweep, outcomes, effects_by_block(sweep, outcomes))


def of_factor(found, factor, kind="leave_one_out", outcome="final", block=None):
    (one,) = [
        d for d in found if (d.kind, d.outcome, d.factors) == (kind, outcome, (factor,)) and block in (None, d.block)
    ]
    return one


def world(costs, seeds=5, tasks=45, arms=LOO, rng=0):
    """Rewards with noise of their own in every block, seed and task luck that all blocks share. costs: what all_on
    loses without a fix, by its name; the same in every block that is made with the same costs."""
    luck, own = np.random.default_rng(1), np.random.default_rng(rng)
    shared = luck.normal(0, 0.3, (seeds, 1, 1)) + luck.normal(0, 1.0, (1, 1, tasks))
    sweep = planted(arms, seeds=seeds, tasks=tasks)
    for place, arm in enumerate(arms):
        chance = 0.6 - sum(costs.get(factor, 0.0) for factor in arm.at("off"))
        draws = own.random((seeds, len(sweep.steps), tasks))
        sweep.rewards_A_N_S_T[place] = draws < np.clip(chance + 0.1 * shared, 0, 1)
    return sweep


def test_an_effect_that_the_block_makes_larger_is_found_and_the_others_are_not():
    found = differences({"slow": world({"tools": 0.1}, rng=1), "fast": world({"tools": 0.5}, rng=2)}, main="slow")
    tools = of_factor(found, "tools")
    assert tools.verdict == LARGER and tools.low <= 0.4 <= tools.high and tools.p_holm < 0.05
    assert (tools.block, tools.against, tools.seeds, tools.tasks) == ("fast", "slow", 5, 45)
    assert {of_factor(found, f).verdict for f in NOTE.names if f != "tools"} == {UNDECIDED}
    turned = differences({"slow": world({"tools": 0.1}, rng=1), "fast": world({"tools": 0.5}, rng=2)}, main="fast")
    assert of_factor(turned, "tools").verdict == SMALLER
    assert of_factor(turned, "tools").value == pytest.approx(-tools.value)


def test_effects_that_are_the_same_in_both_blocks_are_called_different_in_few_sweeps():
    wrong = 0
    for n in range(100):
        made = {block: world({"tools": 0.3}, seeds=3, tasks=15, rng=[n, b]) for b, block in enumerate("ab")}
        wrong += any(d.verdict in (LARGER, SMALLER) for d in differences(made, "a") if d.outcome == "final")
    assert wrong <= 5


def test_the_difference_is_that_of_the_effects_of_both_blocks():
    blocks = {"a": world({"tools": 0.1}, rng=1), "b": world({"tools": 0.5}, rng=2)}
    found = differences(blocks, "a")
    effects = {
        b: {(e.kind, e.outcome, e.factors): e.value for e in analyse_outcomes(o).effects} for b, o in blocks.items()
    }
    assert len(found) == 3 * 6  # leave-one-out, three outcomes
    for d in found:
        key = (d.kind, d.outcome, d.factors)
        assert d.value == pytest.approx(effects["b"][key] - effects["a"][key])


def test_factors_and_blocks_are_one_family():
    slow, fast = world({"tools": 0.1}, rng=1), world({"tools": 0.5}, rng=2)
    alone = of_factor(differences({"a": slow, "b": fast}, "a"), "tools")
    beside = of_factor(differences({"a": slow, "b": fast, "c": world({}, rng=3)}, "a"), "tools", block="b")
    assert (alone.p, alone.low) == (beside.p, beside.low)
    assert beside.p_holm == pytest.approx(2 * alone.p_holm) and beside.low_all < alone.low_all


def test_seeds_and_tasks_are_those_that_both_blocks_have():
    one, other = world({}, seeds=4, tasks=20), world({}, seeds=4, tasks=20, rng=1)
    other = replace(other, seeds=(2, 3, 4, 5), tasks=(*other.tasks[5:], *(f"new-{n}" for n in range(5))))
    found = of_factor(differences({"a": one, "b": other}, "a"), "tools")
    assert (found.seeds, found.tasks) == (2, 15)
    both = stack(one, other)
    assert both.seeds == (0, 1, 2, 3, 4, 5) and len(both.tasks) == 25
    place = both.tasks.index(one.tasks[7])
    assert (both.rewards_A_N_S_T[len(LOO), 2, :, place] == other.rewards_A_N_S_T[0, 0, :, 2]).all()
    assert not both.counted_A_N[len(LOO), 0] and both.counted_A_N[0, 0]


def test_an_effect_that_is_zero_in_both_blocks_episode_by_episode_is_alike():
    sweep = planted(LOO)  # split and tools change no episode
    split = of_factor(differences({"a": sweep, "b": planted(LOO, rng=1)}, "a"), "split")
    assert split.verdict == ALIKE and split.identical and split.value == 0
    assert "could have been missed" in split.note


@pytest.mark.parametrize(("learns", "verdict"), [(True, ALIKE), (False, UNDECIDED)])
def test_where_one_block_does_not_learn_nothing_is_called_alike(learns, verdict):
    near, other = planted(LOO, tasks=1000), planted(LOO, tasks=1000)
    without = LOO.index(NOTE.with_off("tools"))
    near.rewards_A_N_S_T[without, 0, -1, 0] = 1 - near.rewards_A_N_S_T[without, 0, -1, 0]  # one episode of 5,000
    if not learns:
        other.rewards_A_N_S_T[:] = other.rewards_A_N_S_T[:, :, :1]
    assert of_factor(differences({"a": near, "b": other}, "a"), "tools").verdict == verdict


def test_a_difference_of_sums_is_mixed_and_a_block_without_the_arm_is_not_answered():
    arms = design("screening", NOTE)
    found = differences({"a": world({}, arms=arms), "b": world({"tools": 0.5}, arms=arms, rng=1)}, "a")
    assert of_factor(found, "tools", kind="main").verdict == MIXED
    fewer = differences({"a": world({}), "b": world({}, arms=LOO[:3])}, "a")
    assert of_factor(fewer, "reward").verdict == NOT_ANSWERED
    assert of_factor(fewer, "tools").verdict != NOT_ANSWERED


@pytest.fixture
def folder(tmp_path):
    return write_sweep(tmp_path / "s", seeds=range(5), blocks=RATES, main_block="learning_rate=1")


def test_a_sweep_with_blocks_is_analysed_in_its_main_block(folder):
    sweep = load_sweep(folder)
    with pytest.raises(ValueError, match="has several blocks"):
        outcomes_of(sweep)
    alone = analyse(sweep.of_block("learning_rate=1"))
    assert replace(analyse(sweep), map=EffectMap()) == alone and alone.runs == 40
    assert {row.block for row in analyse(sweep).map.rows} == set(sweep.blocks)


def test_the_records_of_a_block_give_its_effects_and_their_differences(folder):
    sweep = load_sweep(folder)
    found = of_blocks(sweep)
    assert found.main == "learning_rate=1"
    assert [(s.block, s.options, s.runs, s.counted) for s in found.summaries] == [
        (block, {"train.learning_rate": rate}, 40, 40) for block, rate in RATES.items()
    ]
    slow, fast = found.summaries
    assert slow.first == fast.first and slow.last < fast.last
    gate = {e.block: e for e in found.effects_of("leave_one_out") if e.factors == ("exploration",)}
    assert {b: e.verdict for b, e in gate.items()} == {"learning_rate=0.5": UNDECIDED, "learning_rate=1": RAISES}
    (difference,) = [d for d in found.differences_of("leave_one_out") if d.factors == ("exploration",)]
    assert difference.value == pytest.approx(gate["learning_rate=0.5"].value - gate["learning_rate=1"].value)
    split = {e.verdict for e in found.effects_of("leave_one_out") if e.factors == ("split",)}
    assert split == {NO_EFFECT}


def test_invalid_and_unshown_runs_of_one_block_are_not_compared(folder):
    block = folder / "runs" / "without_tools" / "learning_rate=0.5"
    for seed in range(5):
        run = block / f"seed={seed}" / "status.json"
        run.write_text(json.dumps(json.loads(run.read_text()) | {"validity": "INVALID", "invalid": []}))
        unshown(folder, "without_split/learning_rate=0.5", "split", seed)
    found = of_blocks(load_sweep(folder))
    assert of_factor(found.differences, "tools").verdict == NOT_ANSWERED
    assert of_factor(found.differences, "split").verdict == NOT_SHOWN


def test_effects_json_has_the_blocks_under_a_key_of_their_own(folder, tmp_path):
    written = json.loads(effects_json(statistics_of(load_sweep(folder))))
    assert written["blocks"]["main"] == "learning_rate=1" and len(written["blocks"]["differences"]) == 18
    plain = json.loads(effects_json(statistics_of(load_sweep(write_sweep(tmp_path / "plain")))))
    assert "blocks" not in plain


def test_a_sweep_without_blocks_has_nothing_to_say_of_them(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    assert of_blocks(sweep).differences == ()
    make_invalid(tmp_path / "s", "without_tools", "tools", "was on")
    assert analyse(load_sweep(tmp_path / "s")).counted == 7
