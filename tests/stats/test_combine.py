"""Sweeps of different seeds or policies are one table; the same seeds are never counted twice."""

import json
import shutil

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
    """Another policy's updates have other digests."""
    config = {"policy": {"name": policy}, "env": {"domain": tasks}, "train": {"learning_rate": 0.001}}
    write_sweep(folder, seeds=seeds, config=config, **manifest)
    for path in folder.glob("runs/*/*/steps.jsonl"):
        path.write_text(path.read_text().replace('"update": "', f'"update": "{policy}-'))
    return folder


def renamed(folder, to, policy=None, seeds=None):
    """A copy under another name: of another policy, as it says, or with other seeds by number."""
    shutil.copytree(folder, to)
    manifest = json.loads((to / "manifest.json").read_text())
    if policy:
        manifest["config"]["policy"]["name"] = policy
    write_json(to / "manifest.json", manifest | {"sweep": to.name})
    if seeds:
        plan = [json.loads(line) for line in (to / "plan.jsonl").read_text().splitlines()]
        for line in plan:
            new = seeds[line["seed"]]
            run_folder(to, line["arm"], line["seed"]).rename(run_folder(to, line["arm"], new))
            line |= {"seed": new, "run": f"{line['arm']}/seed={new}"}
        write_jsonl(to / "plan.jsonl", plan)
    return to


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


def test_a_copy_that_calls_its_seeds_otherwise_is_refused(tmp_path):
    a = sweep_of(tmp_path / "a", (0, 1, 2))
    b = renamed(a, tmp_path / "b", seeds={0: 10, 1: 11, 2: 12})
    with pytest.raises(ConfigError, match=r"all_on/seed=0 of .*/a and all_on/seed=10 of .*/b are one training"):
        combined(a, b)


def test_a_copy_that_calls_its_policy_otherwise_is_refused(tmp_path):
    a = sweep_of(tmp_path / "a", (0, 1, 2))
    with pytest.raises(ConfigError, match=r"all_on/seed=0 of .*/a and all_on/seed=0 of .*/b are one training"):
        combined(a, renamed(a, tmp_path / "b", policy="small"))


def test_a_seed_that_stands_in_one_sweep_twice_is_refused(tmp_path):
    a, b = sweep_of(tmp_path / "a", (0, 1)), sweep_of(tmp_path / "b", (5, 6), policy="small")
    for run in load_sweep(b).runs_of("all_on"):
        lines = (run_folder(b, "all_on", 5) / "steps.jsonl").read_text()
        (run_folder(b, "all_on", run.seed) / "steps.jsonl").write_text(lines)
    with pytest.raises(ConfigError, match=r"all_on/seed=5 and all_on/seed=6 of .*/b are one training"):
        combined(a, b)


@pytest.mark.parametrize("kept", ["numbers", "rewards"])
def test_a_copy_without_digests_is_known_by_its_numbers_to_the_digit(tmp_path, kept):
    """Another backend names no updates: then losses and gradients do, and without these the rewards of a run."""
    a = sweep_of(tmp_path / "a", (0, 1, 2))
    for run in load_sweep(a).runs:
        path = run_folder(a, run.arm, run.seed) / "steps.jsonl"
        steps = [json.loads(line) | {"update": None} for line in path.read_text().splitlines()]
        told = {"loss": -0.02 - 0.001 * run.seed} if kept == "numbers" else {"loss": None, "grad_norm": None}
        write_jsonl(path, [step | told for step in steps])
    other = sweep_of(tmp_path / "c", (3, 4))
    assert len(combined(a, other).settings) == 1
    with pytest.raises(ConfigError, match="are one training"):
        combined(a, renamed(a, tmp_path / "b", policy="small"))


BEYOND = {"seeds_planned": [0, 1, 2], "looks": [{"seeds": list(range(n))} for n in (3, 4, 5)]}


def test_a_sweep_that_went_beyond_its_plan_pays_as_in_its_own_report(tmp_path):
    extended = sweep_of(tmp_path / "a", range(6), **BEYOND)
    found = combined(extended, sweep_of(tmp_path / "b", (0, 1, 2), policy="small"))
    assert found.settings[0].looks.seeds == (3, 4, 5, 6) and found.settings[1].looks.seeds == (3,)
    own = [e for e in analyse(load_sweep(extended)).of("leave_one_out") if not e.identical]
    assert len(own) > 2
    for e in own:
        one = effect(found, e.factors[0]).estimates[0]
        assert (one.value, one.low, one.high, one.p) == (e.value, e.low, e.high, e.p)


def test_a_setting_of_several_sweeps_pays_for_the_looks_at_each(tmp_path):
    with_looks = sweep_of(tmp_path / "a", range(6), **BEYOND), sweep_of(tmp_path / "b", (10, 11))
    without = sweep_of(tmp_path / "c", range(6)), sweep_of(tmp_path / "d", (10, 11))
    many, one = (effect(combined(*each), "reward").estimates[0] for each in (with_looks, without))
    assert many.p > 1.5 * one.p and many.low < 0 < one.low and many.value == one.value


def test_the_means_over_settings_pay_for_the_looks_at_each(tmp_path):
    other = sweep_of(tmp_path / "b", range(6), policy="small")
    folders = sweep_of(tmp_path / "a", range(6), **BEYOND), sweep_of(tmp_path / "c", range(6))
    many, one = (effect(combined(folder, other), "reward").meta.fixed for folder in folders)
    assert many.low < 0 < one.low and many.p > 0.05 > one.p


def test_the_p_values_of_a_setting_are_corrected_over_its_fixes(tmp_path, capsys):
    folders = sweep_of(tmp_path / "a", (0, 1, 2)), sweep_of(tmp_path / "b", (3, 4))
    found = combined(*folders)
    whole = analyse(load_sweep(sweep_of(tmp_path / "whole", (0, 1, 2, 3, 4))))
    for e in whole.of("leave_one_out"):
        (one,) = effect(found, e.factors[0]).estimates
        assert one.p_holm == pytest.approx(e.p_holm) and one.p_holm >= one.p
    run_command("combine", [str(f) for f in folders])
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("tools ")]
    (tools,) = effect(found, "tools").estimates
    assert row.endswith(f" {tools.p_holm:.3f}" if tools.p_holm >= 0.001 else " <0.001") and tools.p_holm > 2 * tools.p


def test_with_several_settings_each_has_its_corrected_p(tmp_path, capsys):
    folders = [str(sweep_of(tmp_path / p, (0, 1, 2), policy=p)) for p in ("a", "b")]
    run_command("combine", folders)
    (head,) = {line for line in capsys.readouterr().out.splitlines() if line.startswith("fix")}
    assert head.split() == ["fix", "A", "p", "B", "p", "fixed", "p", "random", "p", "tau", "I²"]


def test_combining_is_a_look_and_says_how_often_one_looked(tmp_path, capsys):
    a = sweep_of(tmp_path / "a", range(6), **BEYOND)
    assert run_command("combine", [str(a), str(sweep_of(tmp_path / "b", (0, 1, 2), policy="small"))]) == 0
    assert "looked at 4 times (after 3, 4, 5 and 6 seeds)" in capsys.readouterr().out
    assert [look["seeds"] for look in json.loads((a / "manifest.json").read_text())["looks"]][-1] == list(range(6))


def test_one_number_has_no_interval_and_says_so(tmp_path, capsys):
    folders = [sweep_of(tmp_path / p, (0,), policy=p, reference_ids=TASKS[:1]) for p in ("a", "b")]
    for path in tmp_path.glob("*/runs/*/*/validation.jsonl"):
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line["reference"]["by_task"] = {TASKS[0]: line["reference"]["mean"]}
        write_jsonl(path, lines)
    estimate = effect(combined(*folders), "exploration").estimates[0]
    assert (estimate.low, estimate.high) == (None, None) and effect(combined(*folders), "exploration").meta is None
    run_command("combine", list(map(str, folders)))
    shown = capsys.readouterr().out
    assert "[no interval from one seed]" in shown and "inf" not in shown


def test_settings_of_one_name_are_told_apart_by_their_folders(tmp_path):
    folders = [sweep_of(tmp_path / p, (0, 1), policy=p, sweep="same") for p in ("a", "b")]
    assert [s.label for s in combined(*folders).settings] == [str(folder) for folder in folders]


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


def test_the_fixed_effect_is_the_mean_of_the_settings_also_where_one_of_them_is_surely_zero():
    """Weighted by precision it would be .008 here, and its interval would hold none of the settings' mean."""
    found = meta_analysis(np.array([0.0, 0.18, 0.14]), np.diag([0.011, 0.1, 0.1]) ** 2)
    assert found.fixed.value == pytest.approx(0.32 / 3)
    assert found.fixed.high - found.fixed.value == pytest.approx(1.959964 * (0.011**2 + 2 * 0.1**2) ** 0.5 / 3)
