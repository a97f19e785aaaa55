"""A sweep with blocks is planned, joined and cut into what one engine trains; a folder never mixes other options."""

import json

import pytest

from harness.designs import design
from harness.errors import ConfigError
from harness.factors import Run
from harness.fixes.registry import note
from harness.launch.execute import execute
from harness.launch.work_order import WorkOrder
from harness.records.archive import pack, unpack
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.run_records import RunRecords
from harness.sweep.estimate import PlannedWork, count_steps, plan_lines
from harness.sweep.manifest import write_plan
from harness.sweep.partition import pieces
from harness.sweep.plan import prepare

NOTE = note()
CONTENT = {"policy": "p1", "domain": "d1"}
RATES = ("0.002", "0.004")


def at(rate, *overrides, key="train.learning_rate"):
    return [*overrides, f"{key}={rate}", f"+block={{{key}:{rate}}}", f"+block_defaults={{{key}:0.004}}"]


def rates(sweep_config, *overrides, values=RATES):
    return sweep_config(*overrides, runs=[at(v, *arm) for arm in ([], ["fix/tools=off"]) for v in values])


def join(config, folder):
    write_plan(folder, "s", config, ["a"], ["b"], CONTENT)


def test_the_manifest_says_what_the_blocks_are_in_the_order_given(sweep_config, tmp_path):
    join(rates(sweep_config), tmp_path)
    manifest = SweepFiles(tmp_path).manifest()
    assert list(manifest["blocks"].items()) == [
        (
            "learning_rate=0.002",
            {"options": {"train.learning_rate": 0.002}, "config": {"train": {"learning_rate": 0.002}}},
        ),
        ("learning_rate=0.004", {"options": {"train.learning_rate": 0.004}, "config": {}}),
    ]
    assert manifest["main_block"] == "learning_rate=0.004"
    assert manifest["config"]["train"]["learning_rate"] == 0.004
    sweep = load_sweep(tmp_path)
    assert sweep.blocks == ("learning_rate=0.002", "learning_rate=0.004") and sweep.main_block == "learning_rate=0.004"
    run = sweep.of_block("learning_rate=0.002").runs[0]
    assert run.name == "all_on/learning_rate=0.002/seed=0"
    assert sweep.config_of(run)["train"]["learning_rate"] == 0.002


def test_a_sweep_without_blocks_names_none(sweep_config, tmp_path):
    join(sweep_config(), tmp_path)
    files = SweepFiles(tmp_path)
    assert "blocks" not in files.manifest() and "main_block" not in files.manifest()
    assert "block" not in json.loads(files.plan_path.read_text()) and "block" not in files.config("all_on/seed=0")


def test_more_seeds_arms_and_blocks_join(sweep_config, tmp_path):
    join(rates(sweep_config), tmp_path)
    join(sweep_config(runs=[at("0.002", "seed=1")]), tmp_path)
    join(sweep_config(runs=[at("0.002", "fix/reward=off")]), tmp_path)
    join(sweep_config(runs=[at("0.008")]), tmp_path)
    sweep = load_sweep(tmp_path)
    assert sweep.blocks == ("learning_rate=0.002", "learning_rate=0.004", "learning_rate=0.008")
    assert list(sweep.manifest["blocks"]) == list(sweep.blocks) and sweep.main_block == "learning_rate=0.004"
    assert sweep.of_block("learning_rate=0.008").manifest["config"]["train"]["learning_rate"] == 0.008


JOINING = [
    (["train.learning_rate=0.002"], r"blocks: of train.learning_rate there, none now .*choice\(VALUE\)"),
    (at("ppo", key="train.loss"), "blocks: of train.learning_rate there, of train.loss now"),
    (at("0.008", "train.steps=3"), "train.steps: 16 there, 3 now"),
    (at("0.008", "train.loss=ppo"), "train.loss: cispo there, ppo now"),
    (at("0.002", "train.loss=ppo", "seed=1"), "train.loss: cispo there, ppo now"),
    (at("0.002", "seed=1", "fix.reward.partial=0.5"), "fix.reward.partial: 0.8 there, 0.5 now"),
    (at("0.008", "fix.reward.partial=0.5"), "fix.reward.partial: 0.8 there, 0.5 now"),
]


@pytest.mark.parametrize(("overrides", "difference"), JOINING)
def test_what_joins_differs_in_the_options_of_the_blocks_alone(overrides, difference, sweep_config, tmp_path):
    join(rates(sweep_config), tmp_path)
    with pytest.raises(ConfigError, match=difference):
        join(sweep_config(runs=[overrides]), tmp_path)


def test_blocks_do_not_join_a_sweep_without(sweep_config, tmp_path):
    join(sweep_config(), tmp_path)
    with pytest.raises(ConfigError, match="blocks: none there, of train.learning_rate now"):
        join(rates(sweep_config), tmp_path)


def test_a_block_of_the_temperature_may_differ_in_the_fix_that_takes_it(sweep_config, tmp_path):
    key = "rollout.temperature"
    join(sweep_config(runs=[at(v, key=key) for v in ("0.5", "1.0")]), tmp_path)
    join(sweep_config(runs=[at("0.7", key=key)]), tmp_path)
    assert len(load_sweep(tmp_path).blocks) == 3


def test_an_option_of_a_fix_that_has_a_blocks_value_by_chance_is_compared(sweep_config, tmp_path):
    key = "rollout.temperature"
    join(sweep_config(runs=[at(v, key=key) for v in ("0.5", "1.0")]), tmp_path)
    with pytest.raises(ConfigError, match="fix.reward.partial: 0.8 there, 0.7 now"):
        join(sweep_config(runs=[at("0.7", "fix.reward.partial=0.7", key=key)]), tmp_path)


def test_runs_of_one_block_have_one_configuration(sweep_config):
    with pytest.raises(ConfigError, match="the options of their blocks, and these differ in train"):
        sweep_config(runs=[at("0.002"), at("0.002", "fix/tools=off", "train.loss=ppo")])


def test_an_engine_elsewhere_is_told_the_block_of_each_run(sweep_config, tmp_path):
    sweep = prepare(rates(sweep_config, "sweep=s"))
    order = WorkOrder.from_json(WorkOrder.of(sweep, sweep.config.runs[:2]).to_json())
    loaded = order.load()
    assert [each.run for each in loaded.config.runs] == [each.run for each in sweep.config.runs[:2]]
    assert [each.train.learning_rate for each in loaded.config.runs] == [0.002, 0.004]


def test_one_engine_trains_what_has_one_policy_and_one_size_of_batches(sweep_config):
    sweep = prepare(rates(sweep_config, "sweep=s"))
    assert sweep.parts(sweep.config.runs) == [(sweep, list(sweep.config.runs))]
    key = "train.groups_per_gradient_step"
    cut = prepare(sweep_config("sweep=t", runs=[at(v, key=key) for v in ("1", "2")]))
    parts = cut.parts(cut.config.runs)
    assert [(part.config.train.groups_per_gradient_step, [c.run.block for c in runs]) for part, runs in parts] == [
        (1, ["groups_per_gradient_step=1"]), (2, ["groups_per_gradient_step=2"]),
    ]  # fmt: skip
    (part, runs), _ = parts
    assert WorkOrder.of(part, runs).config["train"]["groups_per_gradient_step"] == 1


def test_an_archive_keeps_the_blocks_and_leaves_no_folder(sweep_config, tmp_path):
    join(rates(sweep_config), tmp_path)
    before = load_sweep(tmp_path)
    pack(tmp_path)
    assert load_sweep(tmp_path) == before and not (tmp_path / "runs").exists()
    assert load_sweep(tmp_path).config_of(before.runs[0])["train"]["learning_rate"] == 0.002
    unpack(tmp_path)
    assert load_sweep(tmp_path) == before


def test_runs_of_one_seed_start_from_one_validation_in_all_blocks(sweep_config, tmp_path):
    config = rates(sweep_config, "sweep=s")

    def train(sweep, runs):
        for each in runs:
            records = RunRecords(SweepFiles(sweep.folder).run(each.run.name).folder)
            odd = each.run.name == "all_on/learning_rate=0.002/seed=0"
            reward = {task: float(odd) for task in sweep.reference_ids}
            reference = {"mean": float(odd), "by_task": reward, "missing": 0}
            records.add("validation", {"step": 0, "reference": reference, "reported": {}, "seconds": 1.0})
            records.set_status(run=each.run.name, state="completed", validity="valid")

    execute(config, train)
    invalid = {run.name for run in load_sweep(tmp_path / "s").runs if not run.valid}
    assert invalid == {"all_on/learning_rate=0.002/seed=0"}


def plan(arms, tmp_path, blocks=("",), **changes):
    runs = tuple(Run(arm, 0, block) for arm in arms for block in blocks)
    ids = tuple(f"task_{n}" for n in range(45))
    usual = {"steps": 6, "validate_every": 2, "episodes": 36, "policy": "micro", "domain": "mock", "engines": 1}
    usual |= {"factors": NOTE, "reported": dict.fromkeys(runs, ids), "greedy": frozenset(), "reference": ids}
    return PlannedWork(runs=runs, **(usual | {"reuse": True, "results": tmp_path, "main_block": blocks[0]} | changes))


def test_blocks_share_what_they_do_not_change(tmp_path):
    count = lambda arm, **changes: [  # noqa: E731
        count_steps(plan([arm], tmp_path, blocks, **changes)) for blocks in (("",), ("lr=1", "lr=2"))
    ]
    one, two = count(NOTE.with_off())
    assert two.distinct_updates == 2 * one.distinct_updates
    assert two.distinct_episodes == 2 * one.distinct_episodes - 2 * 45  # both validations of step 0
    sealed, sealed_twice = count(NOTE.with_off("logprobs"))
    assert sealed_twice.distinct_episodes == sealed.distinct_episodes  # no update: the same policy in both
    apart = count(NOTE.with_off("logprobs"), sampled_apart=True)
    assert apart[1].distinct_episodes - apart[0].distinct_episodes == 6 * 36
    policies = count(NOTE.with_off("logprobs"), policies={"lr=1": "a", "lr=2": "b"})
    assert policies[1].distinct_episodes == 2 * policies[0].distinct_episodes


def test_the_plan_counts_arms_blocks_and_seeds(tmp_path):
    lines = plan_lines(plan(design("leave_one_out", NOTE), tmp_path, ("lr=1", "lr=2")))
    assert lines[0].startswith("design leave_one_out: 8 arms × 2 blocks × 1 seed = 16 runs of 6 steps")
    assert "blocks: lr=1, lr=2; the report speaks of lr=1 first" in lines


def test_runs_that_take_the_same_steps_stay_together_in_a_block():
    arms = [NOTE.with_off(), NOTE.with_off("split")]  # one chain of updates
    found = pieces([Run(arm, 0, block) for arm in arms for block in ("a", "b")], 2, NOTE)
    assert [{run.block for run in piece} for piece in found] == [{"a"}, {"b"}]
