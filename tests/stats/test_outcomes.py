"""From records to arrays: whose loop they are of, runs that ended by themselves, switches that were not shown."""

import json

import numpy as np
import pytest

from harness.errors import ConfigError
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.report.markdown import markdown
from harness.report.page import page
from harness.stats.effects import analyse, to_json
from harness.stats.outcomes import UNTRAINED, outcomes_of
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import arm_name, make_invalid, run_folder, unshown, write_jsonl, write_status, write_sweep

NOTE = note()
ON, CRASH = NOTE.with_off().as_dict, NOTE.with_off().but(split="crash").as_dict


@pytest.fixture
def crashed(tmp_path):
    """A sweep with an arm whose own validation raised at step 0."""
    folder = write_sweep(tmp_path / "s", arms=[ON, CRASH], seeds=(0, 1))
    for seed in (0, 1):
        place = run_folder(folder, arm_name(CRASH), seed)
        first = json.loads((place / "validation.jsonl").read_text().splitlines()[0])
        write_jsonl(place / "validation.jsonl", [first])
        write_jsonl(place / "steps.jsonl", [])
        write_status(folder, arm_name(CRASH), seed, ended_at=0)
    return folder


def test_the_policy_of_a_loop_that_ended_by_itself_stays_as_it_was_validated_last(crashed):
    found = outcomes_of(load_sweep(crashed))
    assert found.steps == tuple(range(7)) and not found.left_out
    arm = [arm.name for arm in found.arms].index(arm_name(CRASH))
    rewards = found.rewards_A_N_S_T[arm]
    assert not np.isnan(rewards).any() and (rewards == rewards[:, :1]).all()
    assert set(found.weights_A_N_S[arm].flat) == {UNTRAINED}
    assert found.ended == tuple(f"{arm_name(CRASH)}/seed={seed}" for seed in (0, 1))


def test_its_effect_is_estimated_and_said(crashed):
    effects = analyse(load_sweep(crashed))
    (effect,) = [e for e in effects.of("leave_one_out") if e.factors == ("split=crash",)]
    assert effect.value is not None and effect.value > 0.1  # what is lost when nothing is trained
    assert any("ended by itself" in note and arm_name(CRASH) in note for note in effects.notes)


def test_a_run_that_lacks_a_validation_for_another_reason_is_left_out(crashed):
    write_status(crashed, arm_name(CRASH), 0)
    (left_out,) = outcomes_of(load_sweep(crashed)).left_out
    assert (left_out.seed, left_out.why) == (0, "incomplete")


@pytest.mark.usefixtures("undrawn")
def test_runs_whose_switch_was_not_shown_count_and_are_counted_by_factor(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    before = to_json(analyse(load_sweep(folder)))
    for arm, factor, seed in (("all_off", "reward", 0), ("all_off", "reward", 1), ("without_tools", "endpoint", 1)):
        unshown(folder, arm, factor, seed)
    effects = analyse(load_sweep(folder))
    assert effects.not_shown == dict.fromkeys(NOTE.names, 0) | {"reward": 2, "endpoint": 1}
    now = json.loads(to_json(effects))
    assert {k: v for k, v in json.loads(before).items() if k not in ("not_shown", "notes")} == {
        k: v for k, v in now.items() if k not in ("not_shown", "notes")
    }
    said = "could judge the switch of endpoint in 1, reward in 2 of the 16 runs that count"
    sweep = load_sweep(folder)
    for text in (markdown(sweep, statistics_of(sweep)), page(sweep, statistics_of(sweep))):
        assert said in text and "; 3 with a switch that was not shown." in text


@pytest.mark.parametrize("levels", [None, {}])
def test_an_arm_whose_name_does_not_follow_from_its_levels_is_refused_by_name(levels, tmp_path):
    folder = write_sweep(tmp_path / "s")
    plan = [json.loads(line) for line in (folder / "plan.jsonl").read_text().splitlines()]
    for line in plan:
        if line["arm"] == "without_tools":
            line |= {"arm": "mine"} | ({} if levels is None else {"levels": levels})
    write_jsonl(folder / "plan.jsonl", plan)
    sweep = load_sweep(folder)
    right = "without_tools" if levels is None else "all_on"
    with pytest.raises(
        ConfigError, match=rf"plan.jsonl calls the arm of without_tools/seed=0 'mine'.*'{right}'\. Write"
    ):
        statistics_of(sweep)


def test_a_run_that_is_left_out_is_not_counted_among_them(tmp_path):
    folder = write_sweep(tmp_path / "s")
    unshown(folder, "all_on", "reward")
    make_invalid(folder, "all_on", "tools", "0 % equal")
    assert analyse(load_sweep(folder)).not_shown["reward"] == 0


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("recorded", "baseline"), [({}, "note"), ({"baseline": "as_launched"}, "as_launched")])
def test_every_report_names_the_baseline_of_its_numbers(recorded, baseline, tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", seeds=(0, 1), **recorded))
    found = statistics_of(sweep)
    assert json.loads(to_json(found.effects))["baseline"] == baseline
    for text in (markdown(sweep, found), page(sweep, found)):
        assert f"Baseline {baseline}: off is the loop as" in text
        assert f"2 seeds of baseline {baseline} that all arms share" in text
        assert f"baseline {baseline}. Each part has" in text  # of the claims
