"""Sweeps of different seeds or policies are one table; the same seeds are never counted twice."""

import json

import numpy as np
import pytest

from harness.commands import run_command
from harness.errors import ConfigError
from harness.records.load import load_sweep
from harness.stats.combine import combine
from harness.stats.effects import analyse
from harness.stats.meta_analysis import meta_analysis
from tests.synthetic import TASKS, run_folder, write_json, write_jsonl, write_sweep


def sweep_of(folder, seeds, policy="micro", tasks="mock", **manifest):
    config = {"policy": {"name": policy}, "env": {"domain": tasks}, "train": {"learning_rate": 0.001}}
    return write_sweep(folder, seeds=seeds, config=config, **manifest)


def combined(*folders):
    return combine([load_sweep(folder) for folder in folders])


def effect(found, factor, kind="leave_one_out", outcome="final"):
    (one,) = [e for e in found.effects if (e.kind, e.outcome, e.factors) == (kind, outcome, (factor,))]
    return one


def without_learning(folder):
    """All validations of a sweep repeat the first one."""
    for run in load_sweep(folder).runs:
        path = run_folder(folder, run.arm, run.seed) / "validation.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        write_jsonl(path, [line | {"reference": lines[0]["reference"]} for line in lines])


def test_sweeps_that_differ_in_their_seeds_alone_are_one_sweep(tmp_path):
    apart = combined(sweep_of(tmp_path / "a", (0, 1, 2)), sweep_of(tmp_path / "b", (3, 4)))
    whole = analyse(load_sweep(sweep_of(tmp_path / "whole", (0, 1, 2, 3, 4))))
    assert [s.seeds for s in apart.settings] == [(0, 1, 2, 3, 4)]
    for e in whole.of("leave_one_out"):
        (one,) = effect(apart, e.factors[0]).estimates
        assert one.value == pytest.approx(e.value) and one.seeds == 5
        assert e.identical or (one.low, one.high) == pytest.approx((e.low, e.high))


def test_the_same_seeds_of_one_policy_are_refused_by_name(tmp_path):
    folders = sweep_of(tmp_path / "a", (0, 1, 2)), sweep_of(tmp_path / "b", (1, 2, 3))
    with pytest.raises(ConfigError, match=r"a and b share seeds 1, 2 of policy micro on mock.*seed=4"):
        combined(*folders)


def test_the_same_seeds_at_another_length_are_no_new_evidence_either(tmp_path):
    folders = sweep_of(tmp_path / "a", (0, 1)), sweep_of(tmp_path / "b", (1, 2), steps=12)
    with pytest.raises(ConfigError, match=r"share seed 1 .*They differ in train.steps: compare them"):
        combined(*folders)


def test_the_same_seeds_of_another_policy_are_another_setting(tmp_path):
    found = combined(sweep_of(tmp_path / "a", (0, 1, 2)), sweep_of(tmp_path / "b", (0, 1, 2), policy="small"))
    assert [s.label for s in found.settings] == ["a", "b"]
    assert found.differences == (("policy.name", ("micro", "small")),)
    assert effect(found, "exploration").meta.fixed.value > 0.2


@pytest.mark.parametrize(
    ("other", "says"),
    [({"baseline": "as_launched"}, "`off` is not the same loop"), ({"split": "train"}, "not the same quantity")],
)
def test_rewards_that_are_not_the_same_quantity_are_refused(tmp_path, other, says):
    one = sweep_of(tmp_path / "a", (0,))
    two = sweep_of(tmp_path / "b", (1,), **{k: v for k, v in other.items() if k != "split"})
    if "split" in other:
        manifest = json.loads((two / "manifest.json").read_text())
        manifest["config"]["validation"] = {"split": "train"}
        write_json(two / "manifest.json", manifest)
    with pytest.raises(ConfigError, match=says):
        combined(one, two)


def test_a_setting_in_which_nothing_moves_is_shown_and_not_in_the_means(tmp_path):
    folders = [sweep_of(tmp_path / name, (0, 1, 2), policy=name) for name in ("a", "b", "c")]
    both = effect(combined(*folders[:2]), "exploration").meta
    without_learning(folders[2])
    found = combined(*folders)
    assert [bool(s.problem) for s in found.settings] == [False, False, True]
    assert len(effect(found, "exploration").estimates) == 3
    assert effect(found, "exploration").meta == both


def test_one_seed_a_setting_gives_no_fixed_effect(tmp_path):
    found = effect(combined(*(sweep_of(tmp_path / p, (0,), policy=p) for p in ("a", "b", "c"))), "exploration")
    assert found.fixed_p_holm is None and found.random_p_holm is not None


def test_settings_with_the_same_tasks_share_the_luck_of_the_tasks(tmp_path):
    """Validated on other tasks, the same rewards say more of tasks in general."""
    same = [sweep_of(tmp_path / p, (0, 1, 2), policy=p) for p in ("a", "b")]
    other = sweep_of(tmp_path / "c", (0, 1, 2), policy="b", reference_ids=[f"other-{t}" for t in TASKS])
    for run in load_sweep(other).runs:
        path = run_folder(other, run.arm, run.seed) / "validation.jsonl"
        path.write_text(path.read_text().replace('"task-', '"other-task-'))

    def width(*folders):
        fixed = effect(combined(*folders), "tools").meta.fixed
        return fixed.high - fixed.low

    assert width(*same) > 1.1 * width(same[0], other)


def test_with_equal_errors_the_random_interval_is_students_over_the_settings():
    values, own = np.array([0.1, 0.3, 0.35, 0.65]), 0.01
    found = meta_analysis(values, own * np.eye(4))
    error = values.std(ddof=1) / 2
    assert found.tau**2 == pytest.approx(values.var(ddof=1) - own)
    assert (found.random.low, found.random.high) == pytest.approx(
        (0.35 - 3.182446 * error, 0.35 + 3.182446 * error), abs=1e-6
    )
    assert found.fixed.high - found.fixed.low == pytest.approx(2 * 1.959964 * 0.05)
    assert found.i_squared == pytest.approx(1 - 3 / (values.var(ddof=1) * 3 / own))


def test_settings_that_agree_by_luck_are_not_surer_than_their_own_errors():
    found = meta_analysis(np.array([0.2, 0.2, 0.2]), 0.01 * np.eye(3))
    assert found.tau == 0 and found.i_squared == 0
    assert found.random.high - found.random.low > found.fixed.high - found.fixed.low > 0


@pytest.mark.parametrize("tau", [0.0, 0.1, 0.4])
def test_the_random_interval_holds_the_mean_over_settings_as_often_as_it_says(tau):
    random, held = np.random.default_rng(0), []
    for _ in range(600):
        own = random.uniform(0.002, 0.03, size=4)
        values = 0.3 + tau * random.normal(size=4) + np.sqrt(own) * random.normal(size=4)
        found = meta_analysis(values, np.diag(own)).random
        held.append(found.low <= 0.3 <= found.high)
    assert np.mean(held) > 0.93


def test_the_command_prints_a_table_and_json(tmp_path, capsys):
    folders = [str(sweep_of(tmp_path / p, (0, 1, 2), policy=p)) for p in ("a", "b")]
    assert run_command("combine", folders) == 0
    table = capsys.readouterr().out
    assert "policy.name: a / b" in table and "I²" in table
    assert run_command("combine", [*folders, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["settings"][0]["seeds"] == [0, 1, 2]
    assert run_command("combine", folders[:1]) == 2
    assert "at least two sweeps" in capsys.readouterr().err
