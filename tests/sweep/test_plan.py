"""A plan is written before anything runs, and a folder never mixes two configurations."""

import json

import pytest

from harness.episode import EPISODE_VERSION
from harness.errors import ConfigError
from harness.launch.execute import execute
from harness.records.archive import pack
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.run_records import RunRecords
from harness.sweep import manifest
from harness.sweep.manifest import sweep_name, write_plan
from harness.sweep.plan import prepare, preview

CONTENT = {"policy": "p1", "domain": "d1"}


def test_the_same_configuration_finds_the_same_folder(sweep_config):
    one, other = sweep_config(), sweep_config("train.steps=3")
    assert sweep_name(one) == sweep_name(sweep_config()) != sweep_name(other)
    assert sweep_name(sweep_config("sweep=mine")) == "mine"


def test_how_a_sweep_is_computed_does_not_change_its_folder(sweep_config):
    assert sweep_name(sweep_config()) == sweep_name(sweep_config("reuse=off", "backend.in_flight=2"))


def test_the_plan_names_every_run_with_its_levels(sweep_config, tmp_path):
    config = sweep_config(runs=[[], ["fix/tools=off", "seed=2"]])
    write_plan(tmp_path / "s", "s", config, ["a"], ["b"], CONTENT)
    lines = [json.loads(line) for line in (tmp_path / "s" / "plan.jsonl").read_text().splitlines()]
    assert [line["run"] for line in lines] == ["all_on/seed=0", "without_tools/seed=2"]
    assert lines[1]["levels"]["tools"] == "off"
    manifest = json.loads((tmp_path / "s" / "manifest.json").read_text())
    assert manifest["train_ids"] == ["a"] and manifest["reference_ids"] == ["b"]
    assert manifest["backend"] == "shared"
    assert (tmp_path / "s" / "runs" / "without_tools" / "seed=2" / "config.yaml").exists()


def test_the_manifest_says_at_which_level_the_fixes_are_that_are_not_compared(sweep_config, tmp_path):
    write_plan(tmp_path, "s", sweep_config("factors=[tools,reward]", "fix/logprobs=off"), ["a"], ["b"], CONTENT)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    on = ("endpoint", "exploration", "split", "toolcalls", "toolorder")
    assert manifest["others"] == {**dict.fromkeys(on, "on"), "logprobs": "off"}
    assert manifest["held"] == {"logprobs": "off"}


def test_a_plan_with_controls_keeps_what_they_declare_and_reads_them_apart(sweep_config, tmp_path):
    runs = [[f"fix/signal={level}"] for level in ("on", "rate_0")]
    write_plan(tmp_path, "s", sweep_config("factors=[tools]", runs=runs), ["a"], ["b"], CONTENT)
    sweep = load_sweep(tmp_path)
    assert (sweep.factors, sweep.arms, [run.arm for run in sweep.controls]) == (
        ("tools",),
        ("all_on",),
        ["all_on_with_signal=rate_0"],
    )
    assert [factor["role"] for factor in sweep.manifest["controls"]] == ["control"]
    assert "signal" not in sweep.manifest["others"]


def test_controls_may_join_a_folder_that_had_none(sweep_config, tmp_path):
    write_plan(tmp_path, "s", sweep_config("factors=[tools]"), ["a"], ["b"], CONTENT)
    assert "controls" not in json.loads((tmp_path / "manifest.json").read_text())
    runs = [["fix/signal=on"], ["fix/signal=rate_0"]]
    write_plan(tmp_path, "s", sweep_config("factors=[tools]", runs=runs), ["a"], ["b"], CONTENT)
    sweep = load_sweep(tmp_path)
    assert (sweep.factors, len(sweep.runs), len(sweep.controls)) == (("tools",), 1, 1)


def test_more_seeds_may_join_a_folder(sweep_config, tmp_path):
    for seed in (0, 1):
        write_plan(tmp_path, "s", sweep_config(f"seed={seed}"), ["a"], ["b"], CONTENT)
    assert len((tmp_path / "plan.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ("train.learning_rate=0.5", "train.learning_rate: 0.0015 there, 0.5 now"),
        ("fix.exploration.temperature=0.7", "fix.exploration.temperature: 1.0 there, 0.7 now"),
    ],
)
def test_a_changed_configuration_is_refused_with_the_difference(changed, difference, sweep_config, tmp_path):
    write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)
    with pytest.raises(ConfigError, match=difference):
        write_plan(tmp_path, "s", sweep_config(changed), ["a"], ["b"], CONTENT)


def join(config, folder):
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)


def test_another_seed_has_the_options_that_its_levels_have_in_the_folder(sweep_config, tmp_path):
    join(sweep_config("seed=0"), tmp_path)
    with pytest.raises(ConfigError, match="fix.exploration.temperature: 1.0 there, 0.3 now"):
        join(sweep_config("seed=1", "fix.exploration.temperature=0.3"), tmp_path)
    assert [*SweepFiles(tmp_path).plan()] == ["all_on/seed=0"]


def test_another_arm_has_them_too(sweep_config, tmp_path):
    join(sweep_config(runs=[["fix/exploration=off"], []]), tmp_path)
    with pytest.raises(ConfigError, match="fix.exploration.temperature: 1.0 there, 0.3 now"):
        join(sweep_config("fix/tools=off", "fix.exploration.temperature=0.3"), tmp_path)


def test_a_fix_that_is_not_compared_stays_at_its_level(sweep_config, tmp_path):
    join(sweep_config("factors=[tools]"), tmp_path)
    with pytest.raises(ConfigError, match="held.reward: None there, off now"):
        join(sweep_config("factors=[tools]", "seed=1", "fix/reward=off"), tmp_path)


def test_a_fix_that_is_not_compared_keeps_its_options(sweep_config, tmp_path):
    join(sweep_config("factors=[tools]"), tmp_path)
    with pytest.raises(ConfigError, match="fix.reward.partial: 0.8 there, 0.5 now"):
        join(sweep_config("factors=[tools]", "fix/tools=off", "fix.reward.partial=0.5"), tmp_path)


def test_more_seeds_and_arms_join_a_sweep_that_holds_a_fix(sweep_config, tmp_path):
    held = ("factors=[tools]", "fix/reward=off")
    for overrides in ([], ["seed=1"], ["fix/tools=off"]):
        join(sweep_config(*held, *overrides), tmp_path)
    assert [*SweepFiles(tmp_path).plan()] == ["all_on/seed=0", "all_on/seed=1", "all_off/seed=0"]


def test_an_arm_with_a_level_that_no_run_has_yet_may_bring_its_options(sweep_config, tmp_path):
    join(sweep_config("fix/exploration=off"), tmp_path)
    join(sweep_config("fix.exploration.temperature=0.3"), tmp_path)
    assert len(SweepFiles(tmp_path).plan()) == 2


def test_a_sweep_that_names_no_baseline_and_no_loss_is_continued_with_the_defaults(sweep_config, tmp_path):
    join(sweep_config(), tmp_path)
    files = SweepFiles(tmp_path)
    older = files.manifest()
    assert older.pop("baseline") == older["config"].pop("baseline") == "note"
    assert older["config"].pop("stats") == {"margin": 0.05, "looks": "planned", "looks_planned": None}
    for option in ("loss", "epsilon", "epsilon_high"):
        del older["config"]["train"][option]
    files.write_manifest(older)
    join(sweep_config("seed=1"), tmp_path)
    with pytest.raises(ConfigError, match="train.loss: cispo there, ppo now"):
        join(sweep_config("seed=2", "train.loss=ppo"), tmp_path)


def test_a_folder_never_mixes_two_baselines(sweep_config, tmp_path):
    join(sweep_config("factors=as_launched"), tmp_path)
    with pytest.raises(ConfigError, match="baseline: note there, as_launched now"):
        join(sweep_config("seed=1", "baseline=as_launched"), tmp_path)


def test_what_counts_as_no_effect_is_fixed_before_the_first_run(sweep_config, tmp_path):
    join(sweep_config("stats.margin=0.02"), tmp_path)
    assert load_sweep(tmp_path).margin == 0.02
    with pytest.raises(ConfigError, match=r"stats.margin: 0.02 there, 0.1 now"):
        join(sweep_config("seed=1", "stats.margin=0.1"), tmp_path)


def test_the_manifest_and_each_runs_configuration_name_the_baseline(sweep_config, tmp_path):
    join(sweep_config("baseline=as_launched"), tmp_path)
    files = SweepFiles(tmp_path)
    assert files.manifest()["baseline"] == files.config("all_on/seed=0")["baseline"] == "as_launched"


def test_an_option_of_a_fix_that_is_newer_than_the_sweep_has_its_default_there(sweep_config, tmp_path):
    join(sweep_config(), tmp_path)
    run = SweepFiles(tmp_path).run("all_on/seed=0")
    older = run.read_config()
    del older["fix"]["reward"]["partial"]
    run.write_config(older)
    join(sweep_config("seed=1"), tmp_path)
    with pytest.raises(ConfigError, match="fix.reward.partial: 0.8 there, 0.5 now"):
        join(sweep_config("seed=2", "fix.reward.partial=0.5"), tmp_path)


def test_a_fix_that_is_newer_than_the_sweep_was_on_there(sweep_config, tmp_path):
    join(sweep_config(), tmp_path)
    run = SweepFiles(tmp_path).run("all_on/seed=0")
    older = run.read_config()
    del older["fix"]["toolcalls"], older["fix"]["toolorder"]
    run.write_config(older)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | {"others": {}}))
    join(sweep_config(runs=[[], ["fix/tools=off"], ["seed=1"]]), tmp_path)
    with pytest.raises(ConfigError, match="held.toolcalls: None there, off now"):
        join(sweep_config("seed=2", "fix/toolcalls=off"), tmp_path)


def test_calls_cannot_be_trained_twice_where_the_template_never_shows_them_beside_a_text(
    sweep_config, tmp_path, monkeypatch
):
    config = sweep_config("factors=[toolcalls]", runs=[[], ["fix/toolcalls=off"]])
    assert preview(config).warnings == ()
    monkeypatch.setattr("harness.sweep.plan.doubles_calls", lambda policy, tools: False)
    with pytest.raises(ConfigError, match=r"all_off/seed=0 has fix/toolcalls=off.*template of policy=micro"):
        preview(config)
    assert preview(sweep_config()).warnings == ()


def test_an_option_that_is_newer_than_the_sweep_has_its_default_there(sweep_config, tmp_path):
    write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    del manifest["config"]["validation"]["split"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    write_plan(tmp_path, "s", sweep_config("seed=1"), ["a"], ["b"], CONTENT)
    with pytest.raises(ConfigError, match="validation.split: test there, train now"):
        write_plan(tmp_path, "s", sweep_config("validation.split=train"), ["a"], ["b"], CONTENT)


def test_a_sweep_that_names_no_user_had_a_scripted_one(sweep_config, tmp_path):
    write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["config"].pop("user") == {"kind": "scripted"}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    write_plan(tmp_path, "s", sweep_config("seed=1"), ["a"], ["b"], CONTENT)


def test_a_sweep_with_episodes_of_another_kind_is_not_continued(sweep_config, tmp_path):
    run = sweep_config("sweep=s", "train.steps=1", "plan_only=true")
    write_plan(tmp_path / "s", "s", run, ["a"], ["b"], CONTENT)  # a manifest from before episodes were numbered
    with pytest.raises(ConfigError, match=f"content.episodes: None there, {EPISODE_VERSION} now"):
        execute(run, lambda *_: None)


def test_a_plan_alone_is_refused_where_the_sweep_would_be(sweep_config, tmp_path):
    write_plan(tmp_path / "s", "s", sweep_config(), ["a"], ["b"], CONTENT)
    with pytest.raises(ConfigError, match="holds results of another configuration"):
        execute(sweep_config("sweep=s", "train.steps=3", "plan_only=true"), lambda *_: None)


def test_a_plan_counts_the_episodes_of_each_arms_own_split(sweep_config, tmp_path, capsys):
    """The mock domain trains on 30 of 75 tasks: 45 are left, of the 85 ids that split=off asks for too."""
    short = ("validation.max_tasks=10", "train.steps=0", "plan_only=true")
    execute(sweep_config(*short, runs=[[], ["fix/split=off"]]), lambda *_: None)
    assert f"episodes: {2 * (10 + 45)} asked for, about {10 + 45} distinct" in capsys.readouterr().out


@pytest.mark.parametrize(("engines", "useful"), [(1, "with 1 engine,"), (8, "this plan has 2")])
def test_a_plan_reckons_with_no_more_engines_than_it_has_units_of_work(engines, useful, sweep_config, tmp_path, capsys):
    execute(sweep_config("plan_only=true", runs=[["seed=0"], ["seed=1"]]), lambda *_: None, engines=engines)
    assert useful in capsys.readouterr().out


def test_a_changed_policy_is_refused_although_its_name_is_the_same(sweep_config, tmp_path):
    write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)
    with pytest.raises(ConfigError, match="content.policy: p1 there, p2 now"):
        write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT | {"policy": "p2"})


def test_a_full_disk_is_refused_before_anything_starts(sweep_config, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(ConfigError, match="is free"):
        write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)


def test_the_runs_of_a_block_differ_in_fixes_and_seeds_only(sweep_config):
    with pytest.raises(ConfigError, match="their fixes, their seeds and the options of their blocks"):
        sweep_config(runs=[[], ["train.steps=2", "seed=1"]])


def test_the_same_run_twice_is_refused(sweep_config):
    with pytest.raises(ConfigError, match="asked for twice"):
        prepare(sweep_config(runs=[[], []]))


def test_a_domain_without_held_out_tasks_is_refused(sweep_config):
    with pytest.raises(ConfigError, match="no held-out task"):
        prepare(sweep_config("env.tasks=30"))


def test_an_unknown_domain_is_refused_with_the_nearest_name(sweep_config):
    with pytest.raises(ConfigError, match="Did you mean 'retail'"):
        prepare(sweep_config("env.domain=retial"))


def test_a_domain_that_does_not_fit_the_policy_is_refused(sweep_config):
    with pytest.raises(ConfigError, match="policy=micro has room for 1024"):
        prepare(sweep_config("env=retail"))


def test_held_out_tasks_that_would_be_trained_on_are_refused(sweep_config):
    with pytest.raises(ConfigError, match="reaches into the held-out tasks"):
        prepare(sweep_config("train.train_tasks=40"))


def test_reference_validation_has_the_held_out_tasks_or_the_training_tasks(sweep_config):
    held_out = prepare(sweep_config())
    seen = prepare(sweep_config("validation.split=train", "validation.max_tasks=5"))
    assert held_out.reference_ids == tuple(held_out.domain.test_ids)
    assert seen.reference_ids == tuple(seen.domain.train_ids[:5])


def test_a_split_switch_that_could_not_act_is_refused(sweep_config):
    with pytest.raises(ConfigError, match="fix/split=off would have no effect"):
        prepare(sweep_config("fix/split=off", "train.val_tasks=45"))


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    with manifest.alone_in(tmp_path), pytest.raises(ConfigError, match="Another process"), manifest.alone_in(tmp_path):
        pass


def completed(folder, *runs):
    for run in runs:
        RunRecords(SweepFiles(folder).run(run).folder).set_status(run=run, state="completed")


def test_an_archived_sweep_is_unpacked_where_there_is_something_to_do(sweep_config, tmp_path, capsys):
    write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)
    completed(tmp_path, "all_on/seed=0")
    pack(tmp_path)
    write_plan(tmp_path, "s", sweep_config(runs=[[], ["seed=1"]]), ["a"], ["b"], CONTENT)
    assert "was archived" in capsys.readouterr().out
    assert SweepFiles(tmp_path).is_completed("all_on/seed=0") and not SweepFiles(tmp_path).archived


def test_an_archived_sweep_that_is_complete_stays_archived(sweep_config, tmp_path):
    write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)
    completed(tmp_path, "all_on/seed=0")
    pack(tmp_path)
    write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)
    assert SweepFiles(tmp_path).archived and not (tmp_path / "runs").exists()


def test_an_archived_sweep_refuses_another_configuration(sweep_config, tmp_path):
    write_plan(tmp_path, "s", sweep_config(), ["a"], ["b"], CONTENT)
    pack(tmp_path)
    with pytest.raises(ConfigError, match="fix.exploration.temperature: 1.0 there, 0.7 now"):
        write_plan(tmp_path, "s", sweep_config("fix.exploration.temperature=0.7"), ["a"], ["b"], CONTENT)


def test_the_manifest_keeps_which_tasks_are_variants_of_one_another(sweep_config, tmp_path):
    write_plan(tmp_path / "s", "s", sweep_config(), ["a"], ["b", "c"], CONTENT, task_groups={"b": "kind", "c": "kind"})
    assert load_sweep(tmp_path / "s").task_groups == {"b": "kind", "c": "kind"}
    write_plan(tmp_path / "s", "s", sweep_config("seed=1"), ["a"], ["b", "c"], CONTENT)
    assert load_sweep(tmp_path / "s").task_groups == {"b": "kind", "c": "kind"}
    write_plan(tmp_path / "other", "other", sweep_config(), ["a"], ["b"], CONTENT)
    assert "task_groups" not in SweepFiles(tmp_path / "other").manifest()


def test_a_planned_sweep_of_generated_tasks_records_their_kinds_and_its_plan_counts_them(sweep_config, capsys):
    sweep = prepare(sweep_config("sweep=s"))
    assert SweepFiles(sweep.folder).manifest()["task_groups"] == sweep.domain.task_groups
    execute(sweep_config("sweep=t", "plan_only=true", runs=[[], ["fix/tools=off"]]), lambda *_: None)
    said = capsys.readouterr().out
    assert "45 held-out tasks in 15 groups of variants" in said and "× 45 tasks in 15 groups of variants" in said


WORLD = ("env=own", "env._target_=tests.env.test_load.modelled")
MODELLED = (*WORLD, "train.train_tasks=2", "train.val_tasks=4")


def test_the_user_that_an_environment_declares_stands_in_place_of_a_scripted_one(sweep_config, tmp_path):
    sweep = prepare(sweep_config("sweep=s", *MODELLED))
    assert sweep.user == {"kind": "model", "model": "m"}
    assert SweepFiles(tmp_path / "s").manifest()["content"]["user"] == '{"kind": "model", "model": "m"}'
    scripted = prepare(sweep_config("sweep=t"))
    assert scripted.user == {"kind": "scripted"}
    assert "user" not in SweepFiles(tmp_path / "t").manifest()["content"]


def test_a_sweep_is_not_continued_with_another_user_of_its_environment(sweep_config, monkeypatch):
    config = sweep_config("sweep=s", *MODELLED)
    prepare(config)
    other = {"kind": "model", "model": "another"}
    monkeypatch.setattr("harness.sweep.plan.declared_user", lambda environment: other)
    with pytest.raises(ConfigError, match=r'content.user: .*"m".* there, .*"another".* now'):
        prepare(config)
