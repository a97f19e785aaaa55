"""Every config file composes and instantiates; what is out of range is refused at the door."""

import json
import re
import shutil
from copy import deepcopy
from itertools import product

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness.config import typed
from harness.env import load_environment
from harness.errors import ConfigError
from harness.fixes import registry
from harness.fixes.registry import note
from harness.machine.gpu import Gpu
from harness.paths import CONF
from harness.policy import MICRO
from harness.sweep.estimate import count_steps, plan_lines
from harness.sweep.plan import preview, work_of

NOTE = note()

GROUPS = [
    (f"{path.parent.relative_to(CONF)}", path.stem)
    for path in sorted(CONF.rglob("*.yaml"))
    if path.parent != CONF and not str(path.relative_to(CONF)).startswith(("hydra/", "ablation/"))
]


ASKING = [
    ("policy", "own", "policy.path=FOLDER"),
    ("env", "own", "env._target_=package"),
    ("user", "llm", "user.model=gpt-4o"),
]


@pytest.mark.parametrize(("group", "option"), [each for each in GROUPS if each not in [a[:2] for a in ASKING]])
def test_every_option_composes_and_instantiates(group, option, run_config):
    run_config(f"{group}={option}")


@pytest.mark.parametrize(("group", "option", "wanted"), ASKING)
def test_a_group_that_needs_something_of_ones_own_asks_for_it(group, option, wanted, run_config):
    with pytest.raises(ConfigError, match=wanted):
        run_config(f"{group}={option}")


@pytest.mark.parametrize("ablation", sorted(p.stem for p in (CONF / "ablation").glob("*.yaml")))
def test_every_ablation_composes_and_opens_with_its_command(ablation, run_config):
    run_config(f"+ablation={ablation}")
    assert f"# python -m harness +ablation={ablation}" in (CONF / "ablation" / f"{ablation}.yaml").read_text()


@pytest.mark.parametrize("factor", NOTE.names)
@pytest.mark.parametrize("level", ["on", "off"])
def test_a_fix_group_chooses_its_level(factor, level, run_config):
    config = run_config(f"fix/{factor}={level}")
    assert config.run.arm.level(factor) == getattr(config.seams, factor).level == level


@pytest.mark.parametrize("factor", ["toolcalls", "toolorder"])
def test_a_fix_beside_the_notes_is_on_and_no_part_of_its_arms(factor, run_config):
    assert run_config("factors=note").run.arm.factors == NOTE.names
    assert run_config(f"factors=[{factor}]").run.arm.level(factor) == "on"
    assert run_config(f"factors=[{factor}]", f"fix/{factor}=off").run.arm.level(factor) == "off"


COUNTS = [
    "train.steps",
    "train.groups_per_step",
    "train.rollouts_per_group",
    "train.train_tasks",
    "train.val_tasks",
    "train.groups_per_gradient_step",
    "train.packed_sequence_length",
    "rollout.max_turns",
    "rollout.max_tokens",
    "rollout.max_prompt_tokens",
    "rollout.players",
    "validation.every",
    "validation.max_tasks",
    "env.tasks",
    "env.task_seed",
    "policy.lora_rank",
    "policy.lora_alpha",
    "backend.max_loras",
    "backend.in_flight",
    "backend.threads",
    "backend.engines",
    "backend.engines_per_gpu",
    "backend.port",
    "seed",
]
NUMBERS = ["train.learning_rate", "rollout.temperature", "validation.temperature", "reuse.audit"]


def test_a_count_is_a_whole_number_and_a_number_is_finite():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("config")
    nan, inf = float("nan"), float("inf")
    wrong = [*product(COUNTS, (2.5, True, "3", 1e3)), *product(NUMBERS, (nan, inf, -inf, True, "1"))]
    for option, value in wrong:
        changed = deepcopy(composed)
        OmegaConf.update(changed, option, value)
        with pytest.raises(ConfigError, match=f"^{option} is .*; expected (a|at|0)"):
            typed(changed)


def test_sections_and_options_that_nothing_reads_are_refused(run_config):
    for override, message in (
        ("+foo=bar", "No option is called 'foo'"),
        ("+sedd=1", "Did you mean 'seed'"),
        ("+train.step=3", "No option is called 'train.step'. Did you mean 'steps'.* Options of train: steps,"),
        ("+backend.port_=3", "Did you mean 'port'"),
        ("+env.taskss=3", "Did you mean 'tasks'"),
        ("~train.steps", "train.steps is missing; expected a whole number, 0 or more"),
        ("~policy", "The configuration has no policy"),
        ("~fix/tools", "fix/tools is missing"),
        (
            "+fix.exploration.temprature=1",
            "No option is called 'fix.exploration.temprature'. Did you mean 'temperature'",
        ),
        ("fix.tools._target_=harness.fixes.tools.Onn", "fix/tools: harness.fixes.tools.Onn cannot be imported"),
        ("~fix.tools._target_", "fix/tools: None cannot be imported"),
    ):
        with pytest.raises(ConfigError, match=message):
            run_config(override)


def test_a_sweep_has_one_config_and_its_runs_say_what_sets_them_apart(sweep_config):
    config = sweep_config(runs=[["fix/tools=off"], ["seed=2"]])
    assert [run.run.name for run in config.runs] == ["without_tools/seed=0", "all_on/seed=2"]
    assert all(run.train is config.train for run in config.runs)
    assert config.resolved(config.runs[1])["seed"] == 2
    sections = {"env", "user", "rollout", "train", "validation", "policy", "backend", "reuse", "tracking", "stats"}
    assert set(config.shared) == {*sections, "baseline"}


def test_the_seed_of_every_run_is_checked(sweep_config):
    with pytest.raises(ConfigError, match="seed is -1; expected a whole number"):
        sweep_config(runs=[["seed=0"], ["seed=-1"]])


def test_an_older_configuration_that_names_the_class_of_a_section_is_read(run_config):
    assert run_config("+train._target_=harness.config.TrainConfig").train == run_config().train
    with pytest.raises(ConfigError, match="train._target_ is os.system; this section has always the same class"):
        run_config("+train._target_=os.system")


def test_the_environment_has_one_identity_under_its_older_name_too(sweep_config):
    now, older = sweep_config(), sweep_config("env._target_=harness.config.EnvConfig")
    assert now.env == older.env
    assert now.shared == older.shared
    assert now.shared["env"]["_target_"] == "harness.config.EnvConfig"  # as in the sweeps that are committed


def test_a_sweep_is_of_the_notes_loop_unless_another_is_named(sweep_config):
    assert (sweep_config().baseline, sweep_config().factors.names) == ("note", NOTE.names)
    assert sweep_config("baseline=as_launched").shared["baseline"] == "as_launched"


@pytest.mark.parametrize("asked", ["baseline=as_launched", "+ablation=as_launched"])
def test_the_loop_as_it_was_launched(asked, sweep_config):
    config = sweep_config(asked)
    assert (config.train.loss, config.train.groups_per_step, config.train.rollouts_per_group) == ("ppo", 10, 6)
    seams = config.runs[0].seams
    assert seams.exploration.temperature == 1.0
    assert {strategy.level for strategy in seams.all()} == {"on"}
    assert config.factors.names == registry.as_launched().names
    assert {"tools", "reward"} <= set(config.factors.names) and "endpoint" not in config.factors.names


def test_what_a_user_says_wins_over_what_a_baseline_sets(sweep_config):
    config = sweep_config("+ablation=as_launched", "train.groups_per_step=4", "rollout.temperature=0.5")
    assert (config.train.groups_per_step, config.runs[0].seams.exploration.temperature) == (4, 0.5)
    assert (config.train.loss, config.baseline, config.name) == ("ppo", "as_launched", "as_launched")
    small = sweep_config("baseline=as_launched", "train=smollm2", "rollout=retail")
    assert (small.train.groups_per_step, small.rollout.temperature, small.train.steps) == (10, 1.0, 10)


@pytest.mark.parametrize("fault", ["endpoint=off", "exploration=off", "logprobs=off", "split=off", "split=crash"])
def test_a_fault_that_the_loop_did_not_have_is_refused_with_its_source(fault, sweep_config):
    said = f"fix/{fault}: the loop of baseline=as_launched did not have this fault, since .*OpenPipe/ART.*baseline=note"
    with pytest.raises(ConfigError, match=said):
        sweep_config("baseline=as_launched", runs=[[], [f"fix/{fault}"]])


@pytest.mark.parametrize("baseline", ["note", "as_launched"])
def test_a_fault_of_the_art_that_runs_here_may_be_switched_in_either_loop(baseline, run_config):
    config = run_config(f"baseline={baseline}", "factors=[toolcalls]", "fix/toolcalls=off")
    assert config.run.arm.level("toolcalls") == "off"


@pytest.mark.parametrize("fault", ["tools=off", "toolorder=off", "reward=off", "reward=off_later"])
def test_a_fault_that_the_loop_had_may_be_switched(fault, run_config):
    factor, level = fault.split("=")
    assert run_config("baseline=as_launched", f"fix/{fault}").run.arm.level(factor) == level


def test_the_faults_of_both_loops_can_be_named_beside_either(sweep_config):
    assert sweep_config("factors=as_launched").factors.names == registry.as_launched().names
    assert sweep_config("baseline=as_launched", "factors=note").factors.names == NOTE.names


REFUSED = [
    ("train.loss=grpo", "train.loss is grpo; expected one of cispo, ppo"),
    ("train.epsilon=0", "train.epsilon is 0; expected a number above 0"),
    ("train.epsilon_high=wide", "train.epsilon_high is wide; expected a number above 0"),
    ("fix.exploration.temperature=-1", "fix.exploration.temperature"),
    ("validation.temperature=-0.1", "validation.temperature"),
    ("+validation.samples=-1", "validation.samples is -1; expected a whole number, 0 or more"),
    ("+validation.sample_temperature=0", "samples of a greedy policy are all the same"),
    ("+stats.threshold=1.5", "stats.threshold is 1.5; expected a reward above 0, at most 1"),
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
    ("backend.max_loras=1", "backend.max_loras is 1; expected at least 2"),
    ("rollout.players=-1", "rollout.players is -1; expected 0"),
    ("validation.split=trian", r"expected one of test, train. Did you mean 'train'\?"),
    ("env.task_ids=[]", "expected a list of at least one id or null"),
    ("backend.gpu_split=[0.5]", "expected the sampler's and the trainer's share"),
    ("backend.gpu_split=[0.9,0.4]", "together at most 0.95"),
    ("backend.gpu_split=[0.5,true]", "backend.gpu_split is true; expected the sampler's and the trainer's share"),
    ("tracking.project=5", "tracking.project is 5; expected text"),
    ("reuse.enabled=1", "reuse.enabled is 1; expected true or false"),
    ("reuse.audit=null", "reuse.audit is null; expected a share between 0 and 1"),
    ("fix.reward.partial=true", "fix.reward.partial"),
    ("fix.exploration.temperature=nan", "fix.exploration.temperature"),
    ("fix.exploration.temperature=true", "fix.exploration.temperature"),
    ("fix.exploration.temperature=hot", "fix.exploration.temperature"),
    ("tracking.mode=loud", "tracking.mode"),
    ("user.kind=model", "user.kind is model; expected one of scripted, withholding, llm"),
    ("user.kind=withholding", "user.patience is missing, and user=withholding needs it"),
    ("user.kind=llm", "user.model is missing, and user=llm needs it: user.model=gpt-4o"),
    ("+user.model=gpt-4o", "user.model is given, an option of user=llm, and the user is scripted"),
    ("+user.patience=2", "user.patience is given, an option of user=withholding, and the user is scripted"),
    ("+user.temperature=3", r"user.temperature is 3; expected a number in \[0, 2\]"),
    ("+user.reserve=1.5", "user.reserve is 1.5; expected a share between 0 and 1"),
    ("+user.prompt=x", r"No option is called 'user.prompt'"),
    ("env.transfer_ends=1", "env.transfer_ends is 1; expected true or false"),
    ("policy.lora_rank=0", "policy.lora_rank"),
]


@pytest.mark.parametrize(("override", "message"), REFUSED)
def test_a_value_out_of_range_is_refused_with_its_option(override, message, run_config):
    with pytest.raises(ConfigError, match=message):
        run_config(override)


def test_who_the_user_is_stands_in_the_record_and_an_older_configuration_means_a_scripted_one(sweep_config):
    config, older = sweep_config(), sweep_config("~user")
    assert config.user.identity() == {"kind": "scripted"} == config.resolved(config.runs[0])["user"]
    assert (older.user, older.shared) == (config.user, config.shared)


def test_a_withholding_user_stands_in_the_record_with_its_options(sweep_config):
    config = sweep_config("user=withholding", "user.patience=1")
    wanted = {"kind": "withholding", "patience": 1, "reserve": 0.4}
    assert config.user.identity() == wanted == config.resolved(config.runs[0])["user"]


ASKED = ("user=llm", "user.model=hosted_vllm/q")
SECRETS = [
    ("user.api_base=http://me:hunter2@host/v1", "user.api_base is no plain address"),
    ("user.api_base='http://host/v1?key=hunter2'", "user.api_base is no plain address"),
    ("user.key_variable=sk-hunter2", "user.key_variable is no name of an environment variable"),
]


@pytest.mark.parametrize(("option", "message"), SECRETS)
def test_a_secret_in_an_option_is_refused_and_not_repeated(option, message, sweep_config):
    with pytest.raises(ConfigError, match=message) as refused:
        sweep_config(*ASKED, option)
    assert "hunter2" not in str(refused.value)


def test_a_model_as_user_stands_in_the_record_without_how_it_is_reached(sweep_config):
    config = sweep_config(*ASKED, "user.temperature=null", "user.concurrency=2", "user.key_variable=MY_KEY")
    wanted = {"kind": "llm", "model": "hosted_vllm/q", "max_tokens": 512}
    assert config.user.identity() == wanted == config.resolved(config.runs[0])["user"]
    assert config.user.at_once == 2


def test_a_plan_says_what_a_model_as_user_will_cost(sweep_config):
    def lines(*options):
        return [x for x in plan_lines(work_of(preview(sweep_config("plan_only=true", *options)), None)) if "user" in x]

    who, messages, price = lines("user=llm", "user.model=gpt-4o", "train.steps=0", "validation.max_tasks=10")
    assert who == "user llm (model gpt-4o, temperature 0.0, max_tokens 512)"
    # step 0 alone: 10 reference tasks and 45 reported ones; users of mock say one or two requests, and stop
    assert messages.startswith("user's messages: about 122 (2.2 of an episode: assumed")
    assert "at most 605 (one for each of the policy's 10 replies)" in messages
    assert re.search(r"about \$0\.19, at most \$1\.\d+, at \$2.5 and \$10 for a million tokens", price)
    assert "list prices of litellm" in price
    assert "not known" in lines(*ASKED)[-1]


def test_with_a_user_who_has_luck_no_update_is_ruled_out_where_rollouts_are_greedy(sweep_config):
    """Ties are what keeps fix/exploration=off from learning, and another user for each rollout breaks them."""
    sealing = {user: sweep_config(f"user={user}").factors.sealing for user in ("scripted", "withholding")}
    assert sealing == {"scripted": ("exploration", "logprobs"), "withholding": ("logprobs",)}
    plan = work_of(preview(sweep_config("user=withholding", "train.steps=3", "fix/exploration=off")), None)
    assert count_steps(plan).distinct_updates == 3


def test_the_user_reaches_the_environment_and_the_plan(sweep_config):
    plan = work_of(preview(sweep_config("user=withholding", "user.reserve=0.25")), None)
    assert "user withholding (patience 3, reserve 0.25)" in plan_lines(plan)
    assert not [line for line in plan_lines(work_of(preview(sweep_config()), None)) if line.startswith("user ")]
    digests = {preview(sweep_config(f"user={user}")).domain.digest for user in ("scripted", "withholding")}
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("env", "message"),
    [("tests.env.test_load.World", "brings its own user"), ("tests.env.test_load.modelled", r"\(model\)")],
)
def test_an_environment_with_its_own_user_is_played_with_no_other(env, message, sweep_config):
    sizes = ("train.train_tasks=2", "train.val_tasks=4")
    with pytest.raises(ConfigError, match=f"user=withholding: env=world.*{message}"):
        preview(sweep_config("env=own", f"env._target_={env}", "user=withholding", *sizes))


def test_what_ends_a_conversation_reaches_the_environment(sweep_config):
    assert load_environment(sweep_config("env.transfer_ends=true").env.source).transfer_ends
    assert not load_environment(sweep_config().env.source).transfer_ends


ENDS = ("mock", "retail", "retail_single", "airline", "telecom_solo", "retail_generated")


@pytest.mark.parametrize("env", ENDS)
def test_as_launched_a_handover_ends_an_episode_as_in_tau_bench_v1(env, sweep_config):
    assert sweep_config("baseline=as_launched", f"env={env}").env.transfer_ends is True
    assert sweep_config("baseline=as_launched", f"env={env}", "env.transfer_ends=false").env.transfer_ends is False
    assert sweep_config(f"env={env}").env.transfer_ends is False


def test_an_environment_without_that_option_is_not_given_it(sweep_config):
    assert "transfer_ends" not in sweep_config("baseline=as_launched", "env=search_qa").shared["env"]
    own = sweep_config("baseline=as_launched", "env._target_=mine.load")
    assert own.env.source == {"_target_": "mine.load"}


def test_what_a_handover_does_is_no_further_number(sweep_config):
    assert "handover_ends" not in sweep_config("baseline=as_launched").shared
    with pytest.raises(ConfigError, match="handover_ends is maybe; expected true or false"):
        sweep_config("handover_ends=maybe", "env=search_qa")


def test_a_folder_replaces_the_policy_that_the_group_names(sweep_config, tmp_path):
    config = sweep_config(f"policy.path={tmp_path}/mine", "policy.tool_parser=hermes")
    assert config.policy.name == "mine"
    wanted = {"name": "mine", "path": f"{tmp_path}/mine", "tool_parser": "hermes", "lora_rank": 8, "lora_alpha": 16}
    assert config.shared["policy"] == wanted


def test_a_plan_has_a_cards_time_for_a_policy_of_16_bits_whose_shape_is_known(sweep_config, tmp_path):
    mine = shutil.copytree(MICRO, tmp_path / "mine")
    options = [f"policy.path={mine}", "policy.tool_parser=hermes", "policy.dtype=bfloat16", f"results={tmp_path}/r"]
    assert work_of(preview(sweep_config(*options)), None).card is not None
    config = json.loads((mine / "config.json").read_text())
    heads = config.pop("num_attention_heads")  # as in a model that also sees pictures
    (mine / "config.json").write_text(json.dumps(config | {"text_config": {"num_attention_heads": heads}}))
    assert work_of(preview(sweep_config(*options)), None).card is None
    assert work_of(preview(sweep_config(f"results={tmp_path}/r")), None).card is None, "micro is made for CPUs"


def test_a_policy_of_ours_is_recorded_by_its_name_alone(sweep_config):
    assert set(sweep_config().shared["policy"]) == {"name", "lora_rank", "lora_alpha"}


def test_an_environment_of_ones_own_takes_no_option_of_the_group_that_it_replaces(sweep_config):
    config = sweep_config("env._target_=mine.load", "+env.size=3")
    assert config.env.source == config.shared["env"] == {"_target_": "mine.load", "size": 3}


def test_an_option_of_the_replaced_group_is_refused_instead_of_ignored(run_config):
    with pytest.raises(ConfigError, match=r"env=own env._target_=mine.load \+env.tasks=40"):
        run_config("env._target_=mine.load", "env.tasks=40")


@pytest.fixture
def with_a_gpu(monkeypatch):
    monkeypatch.setattr("harness.sections.gpus", lambda: (Gpu(0, "H100", 80.0),))


def test_the_policy_for_cpus_runs_on_the_cpu_of_a_machine_with_a_gpu(with_a_gpu, sweep_config):
    assert not sweep_config().backend.on_gpu
    assert sweep_config("policy=smollm2_135m").backend.on_gpu
    with pytest.raises(ConfigError, match=r"policy=micro is made for CPUs: it computes in float32"):
        sweep_config("backend.device=cuda")


def test_a_policy_of_32_bits_is_refused_on_a_gpu_before_a_server_starts(with_a_gpu, sweep_config):
    mine = [f"policy.path={MICRO}", "policy.tool_parser=hermes"]
    with pytest.raises(ConfigError, match=r"policy=checkpoint computes in float32.* policy.dtype=bfloat16"):
        preview(sweep_config(*mine))
    preview(sweep_config(*mine, "policy.dtype=bfloat16"))
    preview(sweep_config(*mine, "backend.device=cpu"))
