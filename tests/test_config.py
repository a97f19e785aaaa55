"""Every config file composes and instantiates; what is out of range is refused at the door."""

import pytest

from harness.errors import ConfigError
from harness.fixes.registry import note
from harness.paths import CONF

NOTE = note()

GROUPS = [
    (f"{path.parent.relative_to(CONF)}", path.stem)
    for path in sorted(CONF.rglob("*.yaml"))
    if path.parent != CONF and not str(path.relative_to(CONF)).startswith(("hydra/", "ablation/"))
]


@pytest.mark.parametrize(("group", "option"), [each for each in GROUPS if each[1] != "own"])
def test_every_option_composes_and_instantiates(group, option, run_config):
    run_config(f"{group}={option}")


@pytest.mark.parametrize(("group", "wanted"), [("policy", "policy.path=FOLDER"), ("env", "env._target_=package")])
def test_a_group_of_ones_own_asks_for_what_is_ones_own(group, wanted, run_config):
    with pytest.raises(ConfigError, match=wanted):
        run_config(f"{group}=own")


@pytest.mark.parametrize("ablation", sorted(p.stem for p in (CONF / "ablation").glob("*.yaml")))
def test_every_ablation_composes_and_opens_with_its_command(ablation, run_config):
    run_config(f"+ablation={ablation}")
    assert f"# python -m harness +ablation={ablation}" in (CONF / "ablation" / f"{ablation}.yaml").read_text()


@pytest.mark.parametrize("factor", NOTE.names)
@pytest.mark.parametrize("level", ["on", "off"])
def test_a_fix_group_chooses_its_level(factor, level, run_config):
    config = run_config(f"fix/{factor}={level}")
    assert config.run.arm.level(factor) == getattr(config.seams, factor).level == level


REFUSED = [
    ("fix.exploration.temperature=-1", "fix.exploration.temperature"),
    ("validation.temperature=-0.1", "validation.temperature"),
    ("train.train_tasks=0", "training set is empty"),
    ("train.rollouts_per_group=1", "at least 2 rollouts"),
    ("train.learning_rate=0", "train.learning_rate"),
    ("env.tasks=0", "env.tasks"),
    ("env.task_ids=5", r"expected a list: env.task_ids=\[5\]"),
    ("rollout.temperature=hot", r"rollout.temperature is hot; expected a number in \(0, 2\]"),
    ("rollout.temperature=0", "For greedy rollouts use fix/exploration=off"),
    ("reuse.audit=2", "reuse.audit"),
    ("seed=-1", "seed"),
    ("backend.kind=megatron", "backend.kind"),
    ("backend.max_loras=1", "backend.max_loras"),
    ("tracking.mode=loud", "tracking.mode"),
    ("policy.lora_rank=0", "policy.lora_rank"),
]


@pytest.mark.parametrize(("override", "message"), REFUSED)
def test_a_value_out_of_range_is_refused_with_its_option(override, message, run_config):
    with pytest.raises(ConfigError, match=message):
        run_config(override)


def test_a_folder_replaces_the_policy_that_the_group_names(run_config, tmp_path):
    config = run_config(f"policy.path={tmp_path}/mine", "policy.tool_parser=hermes")
    assert config.policy.name == "mine"
    wanted = {"name": "mine", "path": f"{tmp_path}/mine", "tool_parser": "hermes", "lora_rank": 8, "lora_alpha": 16}
    assert config.resolved["policy"] == {"_target_": "harness.config.PolicyConfig", **wanted}


def test_a_policy_of_ours_is_recorded_by_its_name_alone(run_config):
    assert set(run_config().resolved["policy"]) == {"_target_", "name", "lora_rank", "lora_alpha"}


def test_an_environment_of_ones_own_takes_no_option_of_the_group_that_it_replaces(run_config):
    config = run_config("env._target_=mine.load", "+env.size=3")
    assert config.env.source == config.resolved["env"] == {"_target_": "mine.load", "size": 3}


def test_an_option_of_the_replaced_group_is_refused_instead_of_ignored(run_config):
    with pytest.raises(ConfigError, match=r"env=own env._target_=mine.load \+env.tasks=40"):
        run_config("env._target_=mine.load", "env.tasks=40")
