"""Missing episodes and lost runs: what is said of an effect stands however they came out."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from harness.designs import design
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.report.markdown import markdown
from harness.stats.blocks import UNDECIDED as NOT_TOLD
from harness.stats.blocks import differences
from harness.stats.claims import CONFIRMED, INCONCLUSIVE, Claim, Part, verdicts
from harness.stats.contrasts import Contrast
from harness.stats.effects import analyse_outcomes, joint_draws, to_json
from harness.stats.measured import measure
from harness.stats.more_seeds import needs
from harness.stats.outcomes import LeftOut, Outcomes, outcomes_of, step_weights
from harness.stats.reported_effects import reported_effects
from harness.stats.settling import SETTLED, UNKNOWN, settling
from harness.stats.sweep_statistics import statistics_of
from harness.stats.task_effects import task_effects
from harness.stats.verdicts import NO_EFFECT, RAISES, UNDECIDED
from harness.stats.worst_case import COULD_EXCEED, COULD_TURN, NOT_AT_RANDOM
from tests import planted_records
from tests.stats.test_blocks import world
from tests.stats.test_by_step import sweep as settled_sweep
from tests.stats.test_effects import by_factor, change_validations, near, planted
from tests.synthetic import TASKS, write_status, write_sweep

NOTE = note()
LOO = design("leave_one_out", NOTE)
TOOLS = LOO.index(NOTE.with_off("tools"))
HARMLESS = Contrast("leave_one_out", ("tools",), np.eye(len(LOO))[0] - np.eye(len(LOO))[TOOLS])


def named(sweep, whose=""):
    """With weights of their own in every arm."""
    shape = sweep.rewards_A_N_S_T.shape[:3]
    names = np.array([f"{whose}{a}-{n}-{s}" for a, n, s in np.ndindex(shape)], dtype=object).reshape(shape)
    return replace(sweep, weights_A_N_S=names)


def without_its_failures(sweep, arm=TOOLS, step=-1, most=9):
    """The sweep without the failures of one arm at one validation, at most so many a run."""
    rewards = sweep.rewards_A_N_S_T.copy()
    for n in range(len(sweep.seeds)):
        failures = np.flatnonzero(rewards[arm, n, step] == 0)[:most]
        rewards[arm, n, step, failures] = np.nan
    return replace(sweep, rewards_A_N_S_T=rewards)


@pytest.fixture(scope="module")
def harmless():
    """A fix that changes nothing; but the arm without it loses most of its failures to the infrastructure."""
    whole = named(world({"exploration": 0.3}, rng=3))
    return whole, without_its_failures(whole)


@pytest.fixture(scope="module")
def said(harmless):
    return tuple(analyse_outcomes(sweep) for sweep in harmless)


def test_an_arm_that_loses_its_failures_decides_nothing(harmless, said):
    whole, holes = (measure(sweep, HARMLESS, "final") for sweep in harmless)
    assert whole.judged(harmless[0]).p_value > 0.05
    at_random = holes.at_random(harmless[1])  # what would be called an effect
    assert at_random.p_value < 0.05 / len(NOTE.names) and holes.spread.mean < -0.1
    tools = by_factor(said[1], "leave_one_out")["tools"]
    assert (tools.verdict, tools.p_holm) == (UNDECIDED, 1.0)
    assert tools.note.endswith(NOT_AT_RANDOM)
    assert tools.low <= whole.spread.mean <= tools.high


def test_the_bounds_stand_beside_the_effect(said):
    tools = by_factor(said[1], "leave_one_out")["tools"]
    assert tools.missing.of == 2 * 5 * 45 and tools.missing.missing >= 40
    assert tools.missing.low < tools.value < tools.missing.high
    assert (
        f"{tools.missing.missing} of 450 episodes are missing: were they not missing at random, the effect would lie "
        f"between {tools.missing.low:+.3f} and {tools.missing.high:+.3f}" in tools.note
    )
    assert any("hold whatever their rewards were" in line for line in said[1].notes)


def test_an_effect_that_no_filling_turns_round_stands_and_those_without_missing_episodes_keep_their_numbers():
    whole = named(world({"exploration": 0.5}, rng=3))
    holes = without_its_failures(whole, LOO.index(NOTE.with_off("exploration")), most=2)
    before, after = (by_factor(analyse_outcomes(sweep), "leave_one_out") for sweep in (whole, holes))
    found = after["exploration"]
    assert before["exploration"].verdict == found.verdict == RAISES
    assert found.missing.missing == 10
    assert found.low <= found.missing.low and found.missing.high <= found.high
    for factor in set(NOTE.names) - {"exploration"}:
        same = replace(after[factor], p_holm=before[factor].p_holm)  # the family's correction is a shared one
        assert same == before[factor] and same.missing is None


@pytest.mark.parametrize("outcome", ["final", "area", "slope", "rise"])
def test_the_bounds_are_the_least_and_the_most_of_all_fillings(outcome):
    random = np.random.default_rng(0)
    arms, steps = LOO[:3], (0, 1, 4)
    rewards = random.integers(0, 2, (3, 2, 3, 4)).astype(float)
    gone = [(0, 0, 2, 1), (1, 1, 0, 2), (2, 0, 2, 3), (1, 0, 1, 0), (0, 1, 1, 3)]
    holes = rewards.copy()
    holes[tuple(np.array(gone).T)] = np.nan
    names = tuple(f"task-{t}" for t in range(4))
    sweep = Outcomes(NOTE, tuple(arms), (0, 1), steps, names, holes, np.ones((3, 2), dtype=bool), ())
    contrast = Contrast("claim", (), np.array([1.0, -0.6, -0.4]))
    found, values = measure(named(sweep), contrast, outcome), []
    for filling in itertools.product((0.0, 1.0), repeat=len(gone)):
        whole = holes.copy()
        whole[tuple(np.array(gone).T)] = filling
        values.append(float(np.einsum("a,anst,s->", contrast.weights_A, whole, step_weights(outcome, steps)) / 8))
    assert (found.missing.low, found.missing.high) == pytest.approx((min(values), max(values)))


def test_no_effect_is_said_only_where_no_filling_lies_beyond_the_margin():
    whole, without = named(near(5, tasks=80)), LOO.index(NOTE.with_off("reward"))
    verdicts_by_share = {}
    for few in (1, 6):
        holes = whole.rewards_A_N_S_T.copy()
        holes[without, :, -1, :few] = np.nan
        effect = by_factor(analyse_outcomes(replace(whole, rewards_A_N_S_T=holes)), "leave_one_out")["reward"]
        verdicts_by_share[few] = effect.verdict
    assert effect.note.endswith(NOT_AT_RANDOM)
    assert verdicts_by_share == {1: NO_EFFECT, 6: UNDECIDED}


def test_arms_with_the_same_weights_stay_exactly_the_same():
    sweep = planted(LOO)
    names = named(sweep).weights_A_N_S
    names[LOO.index(NOTE.with_off("split"))] = names[0]
    holes = without_its_failures(replace(sweep, weights_A_N_S=names), LOO.index(NOTE.with_off("split")))
    split = by_factor(analyse_outcomes(holes), "leave_one_out")["split"]
    assert (split.identical, split.value, split.missing) == (True, 0.0, None)


def test_an_outcome_knows_of_the_episodes_of_its_own_validations_alone(harmless):
    early = without_its_failures(harmless[0], step=1)
    assert measure(early, HARMLESS, "final").missing is None
    assert measure(early, HARMLESS, "area").missing.missing > 0


def test_a_task_that_an_arm_lacks_in_every_seed_is_within_the_bounds():
    sweep = named(world({}, rng=3))
    sweep.rewards_A_N_S_T[TOOLS, :, -1, 0] = np.nan
    found = measure(sweep, HARMLESS, "final")
    assert len(found.tasks) == 44
    assert (found.missing.missing, found.missing.of) == (5, 450)
    assert found.missing.high - found.missing.low == pytest.approx(1 / 45)


def lost(sweep, arm, seeds, why="failed"):
    counted, rewards = sweep.counted_A_N.copy(), sweep.rewards_A_N_S_T.copy()
    counted[arm, seeds] = False
    rewards[arm, seeds] = np.nan
    left_out = tuple(LeftOut(f"{LOO[arm].name}/seed={n}", LOO[arm].name, n, why, "") for n in seeds)
    return replace(sweep, counted_A_N=counted, rewards_A_N_S_T=rewards, left_out=left_out)


@pytest.mark.parametrize("why", ["failed", "incomplete"])
def test_the_absence_of_a_failed_run_is_said_to_be_assumed_unrelated_and_bounded(why):
    effects = analyse_outcomes(lost(named(world({"tools": 0.5}, rng=3)), TOOLS, [4], why))
    tools = by_factor(effects, "leave_one_out")["tools"]
    assert (tools.verdict, tools.seeds, tools.lost.missing, tools.lost.of) == (RAISES, 4, 1, 10)
    assert tools.lost.high - tools.lost.low == pytest.approx(1 / 5)
    assert "1 of 10 runs failed or are incomplete, which is assumed to have nothing to do with their reward" in (
        tools.note
    )
    assert any(line.endswith("is assumed to have nothing to do with its reward.") for line in effects.notes)


def test_failed_runs_that_could_turn_the_sign_leave_it_undecided():
    sweep = named(world({"tools": 0.35}, seeds=10, rng=3))
    found = {n: by_factor(analyse_outcomes(lost(sweep, TOOLS, range(n))), "leave_one_out")["tools"] for n in (1, 5)}
    assert {n: e.verdict for n, e in found.items()} == {1: RAISES, 5: UNDECIDED}
    assert found[5].p_holm < 0.05 and found[5].note.endswith(COULD_TURN)
    (need,) = [n for n in needs(lost(sweep, TOOLS, range(5)), "leave_one_out").undecided if n.effect == found[5]]
    assert need.as_estimated is None and COULD_TURN in need.why


def test_an_arm_with_an_incomplete_run_has_no_no_effect():
    sweep = lost(named(near(6, tasks=80)), LOO.index(NOTE.with_off("reward")), [5], "incomplete")
    effect = by_factor(analyse_outcomes(sweep), "leave_one_out")["reward"]
    assert effect.verdict == UNDECIDED and effect.note.endswith(COULD_EXCEED)


@pytest.mark.parametrize("why", ["INVALID", "running"])
def test_a_run_that_is_invalid_or_has_not_ended_has_no_reward_to_fill_in(why):
    effects = analyse_outcomes(lost(named(world({"tools": 0.5}, rng=3)), TOOLS, [4], why))
    tools = by_factor(effects, "leave_one_out")["tools"]
    assert (tools.verdict, tools.seeds, tools.lost) == (RAISES, 4, None)
    assert not any("assumed" in line for line in effects.notes)


def test_where_nothing_is_missing_nothing_is_filled(monkeypatch):
    monkeypatch.setattr("harness.stats.measured.fillings", None)
    found = analyse_outcomes(planted(LOO))
    assert {(e.missing, e.lost) for e in found.effects} == {(None, None)}
    assert all(e["missing"] is e["lost"] is None for e in json.loads(to_json(found))["effects"])


def test_a_step_is_no_surer_than_the_effect(harmless):
    early = without_its_failures(harmless[0], step=2)
    curve = next(c for c in analyse_outcomes(early).by_step if c.factors == ("tools",))
    at = {p.step: p for p in curve.points}
    assert (at[4].verdict, at[4].p_all) == (UNDECIDED, 1.0) and at[4].high - at[4].low > at[6].high - at[6].low
    assert not curve.places


def test_blocks_do_not_differ_by_episodes_that_one_of_them_lacks(harmless):
    other = named(world({"exploration": 0.3}, rng=4), "other ")
    (found,) = [
        d
        for d in differences({"one": harmless[1], "other": other}, "other")
        if (d.kind, d.outcome, d.factors) == ("leave_one_out", "final", ("tools",))
    ]
    assert (found.verdict, found.missing.of) == (NOT_TOLD, 4 * 5 * 45)
    assert found.missing.low <= 0 <= found.missing.high and "episodes are missing" in found.note


def test_all_on_has_not_settled_by_the_episodes_that_it_lacks():
    whole = settled_sweep()
    assert settling(whole).state == SETTLED
    rewards = whole.rewards_A_N_S_T.copy()
    rewards[0, :, -1, :10] = np.nan
    assert settling(replace(whole, rewards_A_N_S_T=rewards)).state == UNKNOWN


def test_a_task_is_not_marked_for_episodes_that_are_missing():
    whole = named(world({}, seeds=10))
    whole.rewards_A_N_S_T[0, :, -1, 0] = 1.0
    whole.rewards_A_N_S_T[TOOLS, :, -1, 0] = 0.0
    holes = whole.rewards_A_N_S_T.copy()
    holes[0, :5, -1, 0] = np.nan
    for rewards, least in ((whole.rewards_A_N_S_T, 2 / 2**10), (holes, 0.05)):
        table = task_effects(replace(whole, rewards_A_N_S_T=rewards), {})[0]
        (tools,) = [f for f in table.factors if f.factor == "tools"]
        assert tools.p[0] >= least - 1e-12


def test_what_is_reported_beside_a_validation_with_holes_is_no_surer():
    def difference(reward):
        """reward: of the one episode that is not solved at the end: of the last validation without tools, by seed 0"""

        def watched(arm, seed, step):
            solved = dict.fromkeys(planted_records.TASKS, float(step > 0))
            own = {planted_records.TASKS[0]: reward} if step and not seed and arm.level("tools") == "off" else {}
            return planted_records.validation(step, solved | own, solved)

        records = planted_records.sweep([planted_records.ALL_ON, NOTE.with_off("tools")], range(5), (0, 1), watched)
        found = reported_effects(records, outcomes_of(records), ())
        return next(e for e in found.differences if (e.kind, e.factors) == ("leave_one_out", ("tools",)))

    missing, failed, solved = (difference(reward) for reward in (None, 0.0, 1.0))
    assert (failed.value, solved.value) == (pytest.approx(-1 / 30), 0)
    assert missing.low <= min(failed.low, solved.low) and missing.high >= max(failed.high, solved.high)


def test_a_claim_is_no_surer_than_the_effect(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(5))
    says = Part("", "reference_rise", arm="all_on", minus="without_tools", interval={"above": 0.0})
    claim = Claim("x", "", "", "", "", "", parts=(says,))

    def verdict():
        (found,) = verdicts(load_sweep(folder), [claim])
        return found

    assert verdict().verdict == CONFIRMED and "missing" not in verdict().evidence

    def drop(lines):
        for task in TASKS[:6]:  # solved by this arm
            lines[-1]["reference"]["by_task"][task] = None
        return lines

    for seed in range(5):
        change_validations(folder, "all_on", seed, drop)
    assert verdict().verdict == INCONCLUSIVE
    assert "30 of 600 episodes are missing: were they not missing at random" in verdict().evidence


def test_a_claim_that_failed_runs_could_turn_is_inconclusive_and_says_what_is_assumed(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(5))
    says = Part("", "reference_rise", arm="all_on", minus="without_tools", interval={"above": 0.0})
    for seed in (0, 1):
        write_status(folder, "without_tools", seed, state="failed", error="EngineError: the server died")
    (found,) = verdicts(load_sweep(folder), [Claim("x", "", "", "", "", "", parts=(says,))])
    assert found.verdict == INCONCLUSIVE
    assert "2 of 10 runs failed or are incomplete, which is assumed to have nothing to do with" in found.evidence


def test_the_report_prints_the_bounds_and_the_seeds_of_the_ranking(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(5))
    write_status(folder, "without_reward", 4, state="failed", error="EngineError: the server died")

    def drop(lines):
        lines[-1]["reference"]["by_task"][TASKS[0]] = None
        return lines

    change_validations(folder, "without_tools", 0, drop)
    sweep = load_sweep(folder)
    text = markdown(sweep, statistics_of(sweep))
    assert "Leave-one-out, tools: 1 of 300 episodes are missing: were they not missing at random, the effect " in text
    assert "Leave-one-out, reward: 1 of 10 runs failed or are incomplete, which is assumed to have nothing " in text
    assert "1 failed. That a run failed or is incomplete is assumed to have nothing to do with its reward." in text
    assert "Over the 4 of 5 seeds in which all arms of these fixes count." in text


def test_the_ranking_is_no_surer_than_what_is_missing_leaves_it(harmless):
    other = Contrast("leave_one_out", ("split",), np.eye(len(LOO))[0] - np.eye(len(LOO))[1])
    first = []
    for sweep in harmless:
        joint = joint_draws([measure(sweep, c, "final") for c in (HARMLESS, other)])
        first.append(joint.draws_F_B[0].std())
    assert first[1] > 1.5 * first[0]
