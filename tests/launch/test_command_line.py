"""The command line, as a user types it: what is understood, what is refused and how, and how a command ends.

Nearly all is asked of the checker itself; a process of its own is started where the whole path is meant.
"""

import functools
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from harness.config import SweepConfig
from harness.errors import ConfigError
from harness.fixes.registry import as_launched
from harness.launch import command_line, launcher, run
from harness.launch.command_line import understood
from harness.launch.plugins import register
from harness.launch.search_path import SearchPath

ROOT = Path(__file__).parents[2]
joined = " ".join


@pytest.fixture(scope="module", autouse=True)
def hydra_knows_our_launchers():
    register()


@pytest.fixture(autouse=True)
def composed_once(monkeypatch):
    """The search path without a word from the command line is the same in every test."""
    monkeypatch.setattr(
        command_line, "SearchPath", lambda *asked: usual() if asked == (None, "config", []) else SearchPath(*asked)
    )


@functools.cache
def usual() -> SearchPath:
    return SearchPath(None, "config", [])


def harness(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=env)


KL = """
from dataclasses import dataclass
from typing import ClassVar
from harness.seams import Factor

class Level:
    factor = Factor(name="kl")
    needs = "always"
    seam = "update"
    update = check = lambda self, given: given

@dataclass(frozen=True)
class Off(Level):
    level: ClassVar[str] = "off"
    weight: float = 0.0

@dataclass(frozen=True)
class On(Level):
    level: ClassVar[str] = "on"
    weight: float = 0.1

@dataclass(frozen=True)
class Half(Level):
    level: ClassVar[str] = "half"
    weight: float = 0.05
"""


REWARD = """
from harness.fixes.reward import On as Fixed

class Reward(Fixed):
    level = "half"
"""


@pytest.fixture
def kl(tmp_path, monkeypatch) -> Path:
    """The config folder of a package of somebody's own, with a seventh fix."""
    folder = tmp_path / "of_mine" / "conf"
    (folder / "fix" / "kl").mkdir(parents=True)
    for level in ("off", "on", "half"):
        (folder / "fix" / "kl" / f"{level}.yaml").write_text(f"_target_: of_mine.{level.title()}\nweight: 0.1\n")
    (folder.parent / "__init__.py").write_text(KL)
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    for module in ("of_mine", "of_mine.conf"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return folder


def jobs_of(typed: list[str], monkeypatch) -> list[SweepConfig]:
    """The sweep that a command line would run, in this process: Hydra's whole way, and nothing is executed."""
    executed: list[SweepConfig] = []
    monkeypatch.setattr(launcher, "execute", lambda config, *_: executed.append(config) or 0)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["harness", *understood(typed)])
    run.main()
    return executed


def arms_of(typed: str, monkeypatch) -> list[str]:
    (config,) = jobs_of(typed.split(" "), monkeypatch)
    return [each.run.arm.name for each in config.runs]


UNDERSTOOD = [
    ([], []),
    (["fix/tools=off", "seed=3"], ["fix/tools=off", "seed=3"]),
    (["train.steps=3", "-m", "seed=0,1"], ["-m", "seed=0,1", "train.steps=3"]),
    (["ablation=smoke"], ["+ablation=smoke"]),
    (["+env=retail"], ["env=retail"]),
    (["baseline=as_launched", "train.groups_per_step=4"], ["baseline=as_launched", "train.groups_per_step=4"]),
    (["++train.steps=3"], ["train.steps=3"]),
    (["+train.steps=3"], ["train.steps=3"]),
    (["env=retail", "env.tasks=9"], ["env=retail", "+env.tasks=9"]),
    (["-m", "fix/tools=glob(*)", "seed=range(0,3)"], ["-m", "fix/tools=off,on", "seed=range(0,3)"]),
    (["-m", "fix/tools=choice(on,off)"], ["-m", "fix/tools=on,off"]),
    (["train.learning_rate=1e-7"], ["train.learning_rate=1e-7"]),
    (["env.task_ids=[mock_000,mock_040]"], ["env.task_ids=[mock_000,mock_040]"]),
    (["fix.exploration.temperature=0.7"], ["fix.exploration.temperature=0.7"]),
    (["hydra.job.chdir=false"], ["hydra.job.chdir=false"]),
    (["hydra/launcher=slurm", "hydra.launcher.options.a=b"], ["hydra/launcher=slurm", "+hydra.launcher.options.a=b"]),
    (["+hydra.job.chdir=false"], ["hydra.job.chdir=false"]),
    (["hydra/launcher=slurm", "+hydra.launcher.options.account=physics"], ...),
    (["-m", "hydra.sweeper.design=smoke"], ...),
    (["+ablation=all", "hydra/launcher=ray", "--cfg", "job"], ["--cfg", "job", "+ablation=all", "hydra/launcher=ray"]),
    (["env=own", "env._target_=mine.World", "env.size=3"], ["env=own", "env._target_=mine.World", "+env.size=3"]),
    (["env.size=3", "env._target_=mine.World"], ["env._target_=mine.World", "+env.size=3"]),
    (["policy.path=/models/mine", "policy.tool_parser=hermes"], ...),
    (["sweep=mine"], ["sweep=mine"]),
    (["sweep=null"], ["sweep=null"]),
    (["sweep=2024"], ["sweep='2024'"]),
    (["sweep=1e3"], ["sweep='1e3'"]),
    (["sweep=true"], ["sweep='true'"]),
    (["sweep=a=b"], ["sweep='a=b'"]),
    (['sweep="a,b=c d"'], ['sweep="a,b=c d"']),
    (["sweep=Läufe_2"], ["sweep='Läufe_2'"]),
    (["results=2024"], ["results='2024'"]),
    (["results=~/x"], ["results='~/x'"]),
]


@pytest.mark.parametrize(("typed", "expected"), UNDERSTOOD, ids=lambda v: joined(v) if isinstance(v, list) else "")
def test_what_is_right_reaches_hydra(typed, expected):
    by_kind = lambda text: (not text.startswith("-"), text)  # noqa: E731  Hydra takes options in any order
    assert sorted(understood(typed), key=by_kind) == sorted(typed if expected is ... else expected, key=by_kind)


REFUSED = [
    # what nothing reads
    ("+ablaton=all", "No option is called 'ablaton'. Did you mean 'ablation'?"),
    ("+sedd=3", "Did you mean 'seed'?"),
    ("+foo=bar", "No option is called 'foo'. Options: baseline, handover_ends, factors, placebo, controls, seed"),
    ("train.step=3", "No option is called 'train.step'. Did you mean 'train.steps'?"),
    ("+train.step=3", "Did you mean 'train.steps'?"),
    ("steps=3", "Did you mean 'train.steps'?"),
    ("tools=off", "Did you mean 'fix/tools'?"),
    ("train.steps.x=3", "No option is called 'train.steps.x'. Did you mean 'train.steps'?"),
    ("fix/exploration=off fix.exploration.temperature=1", "fix/exploration=off has no option 'temperature'"),
    ("fix.exploration.temprature=1", "Did you mean 'fix.exploration.temperature'?"),
    ("fix.exploration={temperature:1}", "has options of its own; give these: fix.exploration.temperature"),
    ("train={steps:3}", "its options are given one by one"),
    ("hydra.nonsense=3", "No option is called 'hydra.nonsense'"),
    ("hydra/launcher=slurm hydra.launcher.minuts=3", "Did you mean 'hydra.launcher.minutes'?"),
    # choices
    ("fix/tool=off", "No fix is called 'tool'. Did you mean 'tools'? Fixes: endpoint,"),
    ("-m fix/tool=off,on", "Did you mean 'tools'?"),
    ("fix/tools=of", "fix/tools has no level 'of'. Did you mean 'off'? Levels: off, on."),
    ("fix/tools=true", "fix/tools has no level 'true'. Did you mean 'on'?"),
    ("fix/tools=False", "Did you mean 'off'?"),
    ("fix/tools=null", "fix/tools has no level 'null'"),
    ("fix/tools=", "fix/tools has no level ''"),
    ("fix/tools=[on,off]", "fix/tools is one of off, on"),
    ("-m fix/tools=on,of", "Did you mean 'off'?"),
    ("-m fix/tools=on,on", "has the same level twice"),
    ("-m fix/tools=glob(x*)", "matches none of off, on"),
    ("fix=on", "choose from one of fix/endpoint"),
    ("fixes/tools=on", "No group is called 'fixes/tools'. Did you mean 'fix/tools'?"),
    ("baseline=launched", "baseline has no option 'launched'. Did you mean 'as_launched'? Options: as_launched, note."),
    ("env=retial", "env has no option 'retial'. Did you mean 'retail'?"),
    ("+ablation=leave_one_ou", "Did you mean 'leave_one_out'?"),
    ("env@other=mock", "Write it without @other"),
    # nothing can be taken out, or be there twice
    ("~fix/tools", "nothing can be taken out"),
    ("~train.steps", "nothing can be taken out"),
    ("train.steps=3 train.steps=4", "train.steps is given twice: train.steps=3 and train.steps=4"),
    ("+ablation=all ablation=smoke", "ablation is given twice"),
    # what is no option at all
    ("smoke", "'smoke' is no option=value. Did you mean '+ablation=smoke'?"),
    ("train.steps=1,", "cannot be read"),
    # values
    ("train.steps=2.5", "train.steps is 2.5; expected a whole number, 0 or more"),
    ("train.steps=true", "train.steps is true; expected a whole number"),
    ("train.steps=1e3", "Write it without a point or an exponent: train.steps=1000"),
    ("train.learning_rate=nan", "train.learning_rate is nan; expected a number above 0"),
    ("train.learning_rate=inf", "train.learning_rate is inf; expected a number above 0"),
    ("stats.margin=0", "stats.margin is 0; expected a difference of rewards, above 0 and below 1"),
    ("plan_only=1", "plan_only is 1; expected true or false"),
    ("plan_only=maybe", "plan_only is maybe; expected true or false"),
    ("seed=-1", "seed is -1; expected a whole number, 0 or more"),
    ("seed=1.0", "Write it without a point or an exponent: seed=1"),
    ("train.steps=${train.nothing}", "train.steps: Interpolation key 'train.nothing' not found"),
    ("train.steps=???", "train.steps: Missing mandatory value"),
    ("hydra/launcher=slurm hydra.launcher.minutes=soon", "hydra.launcher.minutes is soon; expected a whole number"),
    ("hydra/launcher=slurm hydra.launcher.cluster=here", "expected one of slurm, local"),
    ("factors=[tools,scle]", "factors names 'scle', which is no fix"),
    ("factors=tools", "expected note, as_launched, or a list of fixes"),
    ("env=own", "Give env._target_=package.module.function"),
    ("policy.path=/models/mine policy.hub=a/b", "give one of them"),
    ("policy.tool_parser=hermes", "It belongs to policy.path=FOLDER"),
    ("env._target_=mine.World env.tasks=9", "Choose an empty group first"),
    # several values
    ("seed=0,1", "asks for several runs: add -m"),
    ("-m seed=0,0", "has a seed twice"),
    ("-m seed=0,x", "seed is x; expected a whole number, 0 or more"),
    ("-m seed=interval(0,3)", "Write seed=0,1,2 or seed=range(0,3)"),
    ("-m train.steps=1,2", "train.steps cannot differ between the runs of a sweep: all runs are compared at the same"),
    ("-m env=mock,retail", "env cannot differ between the runs of a sweep: all blocks have the same tasks"),
    ("-m train.steps=choice(4)", "Give it one value, and start one sweep per value"),
    ("-m backend.engines=1,2", "it says how and where a sweep is computed"),
    ("-m backend=shared,art_local", "it says how and where a sweep is computed"),
    ("-m baseline=note,as_launched", "off has one meaning"),
    ("-m validation.split=train,test", "the reference validation is the same in all blocks"),
    ("-m rollout.max_turns=4,5", "the reference validation is the same in all blocks"),
    ("-m train=micro,smollm2", "train.steps cannot differ between the blocks of a sweep: all runs are compared"),
    ("-m train.learning_rate=0.1,-1", "train.learning_rate is -1; expected a number above 0"),
    ("-m train.learning_rate=0.001,1e-3", "has a value twice"),
    ("-m train.learning_rat=1,2", "Did you mean 'train.learning_rate'?"),
    ("train.learning_rate=0.1,0.2", "asks for several runs: add -m"),
    ("-m fix.reward.partial=0.1,7", "fix.reward.partial is 7"),
    ("sweep=a,b", "One value with a comma is quoted: 'sweep=\"a,b\"'"),
    # folders
    ("sweep=..", "sweep is ..; expected one plain folder name"),
    ("sweep=.hidden", "expected one plain folder name"),
    ("sweep=/abs", "expected one plain folder name"),
    ("sweep=a/b", "expected one plain folder name"),
    ("sweep=a\\b", "expected one plain folder name"),
    ("sweep=", "expected one plain folder name"),
    (f"sweep={'x' * 300}", r"xxx… (300 characters); expected one plain folder name"),
    ("sweep=[a]", "expected one plain folder name"),
    ("results=", "results is ''; expected a folder"),
    ("results=null", "results is null; expected a folder"),
    (f"results={__file__}", "is a file"),
    (f"results={__file__}/x", "is a file"),
    (f"results={'x' * 300}", "File name too long"),
    ("results=~nobody-here/x", "expected a folder"),
    # Hydra's own
    ("hydra/launcher=basic", "Choose one of node, ray, slurm"),
    ("hydra/launcher=joblib", "Choose one of node, ray, slurm"),
    ("hydra/launcher=submitit_local", "`hydra/launcher=slurm hydra.launcher.cluster=local`"),
    ("hydra/launcher=slrum", "Did you mean 'slurm'?"),
    ("hydra/sweeper=basic -m seed=0,1", "Leave hydra/sweeper out"),
    ("hydra/sweeper=optuna", "Leave hydra/sweeper out"),
    ("hydra/job_logging=default", "Leave it out"),
    ("hydra.job.env_set.X=1", "hydra.job.env_set.X=1: the runs of a sweep share a process. Set the variable before"),
    ("hydra.job.env_set={X:1}", "share a process. Set the variable before the command"),
    ("hydra.run.dir=x", "hydra.run.dir=x has no effect here. Results go to the folder sweep=NAME in results=FOLDER"),
    ("hydra.sweep.dir=x", "Results go to the folder sweep=NAME"),
    ("hydra.sweep.subdir=x", "Results go to the folder sweep=NAME"),
    ("hydra.output_subdir=.hydra", "Results go to the folder sweep=NAME"),
    ("hydra.job.chdir=true", "share a process, which stays where it was started"),
    ("+ablation=all hydra.mode=RUN", "Leave out hydra.mode=RUN"),
    ("hydra.sweeper.design=smoke", "Add -m"),
    ("--config-path /x", "Add a folder of your own with --config-dir"),
    ("--config-dir /no/such/folder", "there is no such folder"),
    ("--config-name mine", "--config-name mine: there is no such config."),
    ("--config-name confg", "--config-name confg: there is no such config. Did you mean 'config'?"),
    ("-m hydra.launcher._target_=os.system", "chosen by hydra/launcher=node|ray|slurm. Leave it out."),
    ("-m hydra.sweeper._target_=os.system", "Leave it out."),
    ("-m hydra.sweeper={_target_:os.system}", "are given one by one: hydra.sweeper.NAME=VALUE."),
    ("-m hydra.sweeper.implied=[tools]", "finds by itself which fixes nobody named. Leave it out."),
    ("+ablation=all hydra.sweeper.design=smoke", "+ablation=all names the arms already. Drop one of them."),
    ("ablation=all hydra.sweeper.arms=[[tools]]", "+ablation=all names the arms already. Drop one of them."),
    ("hydra.searchpath=[/no/such/folder]", "a folder that is not there"),
    ("hydra.searchpath=[pkg://no.such.package]", "a folder that is not there"),
    ("hydra.searchpath=conf", "must be a list of strings"),
    # contradictions
    ("baseline=as_launched fix/endpoint=off", "the loop of baseline=as_launched did not have this fault"),
    ("reuse=off reuse.audit=0.5", "reuse=off finds nothing to compare"),
    ("backend.port=8000 backend.engines=2", "backend.port is given for 2 engines"),
    ("backend=art_local backend.engines_per_gpu=2", "takes a whole GPU"),
    ("backend=art_local backend.device=cpu", "needs a GPU, and backend.device is cpu"),
    ("backend.device=cpu backend.batch_invariant=true", "needs an NVIDIA GPU (H100 or newer)"),
]


@pytest.mark.parametrize(("typed", "message"), REFUSED, ids=lambda v: v[:60])
def test_a_mistake_is_refused_with_what_is_allowed(typed, message):
    with pytest.raises(ConfigError) as refused:
        understood(typed.split(" "))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_256_runs_are_checked_on_one_configuration(monkeypatch):
    composed = []
    compose = SearchPath._compose
    monkeypatch.setattr(SearchPath, "_compose", lambda self, texts: composed.append(texts) or compose(self, texts))
    monkeypatch.setattr(command_line, "SearchPath", SearchPath)
    understood(["+ablation=all", "seed=0,1,2,3"])
    assert len(composed) == 2  # what is there without a word, and what was asked for


def test_a_fix_in_somebodys_own_folder_is_a_fix_like_any_other(kl):
    mine = ["--config-dir", str(kl)]
    implied = ["+fix/kl=on", "hydra.sweeper.implied=[kl]"]  # they choose no arms
    assert understood(mine) == [*mine, *implied]
    assert understood([*mine, "fix/kl=off"]) == understood([*mine, "+fix/kl=off"]) == [*mine, "+fix/kl=off"]
    assert understood([*mine, "-m", "fix/kl=off,half"]) == [*mine, "-m", "+fix/kl=off,half"]
    assert understood([*mine, "fix.kl.weight=0.2"]) == [*mine, *implied, "fix.kl.weight=0.2"]
    with pytest.raises(ConfigError, match="Did you mean 'half'.*Levels: half, off, on"):
        understood([*mine, "fix/kl=halb"])
    with pytest.raises(ConfigError, match=r"fix.kl.weight is heavy; expected a number"):
        understood([*mine, "fix.kl.weight=heavy"])
    with pytest.raises(ConfigError, match="Did you mean 'kl'"):
        understood([*mine, "fix/klx=on"])


@pytest.mark.parametrize("scheme", ["", "file://", "pkg://"])
def test_hydras_search_path_counts_too(scheme, kl):
    place = f"hydra.searchpath=[{scheme}{'of_mine.conf' if scheme == 'pkg://' else kl}]"
    assert understood(["fix/kl=off", place]) == [place, "+fix/kl=off"]


def test_a_fix_without_the_level_on_is_named(kl):
    (kl / "fix" / "kl" / "on.yaml").unlink()
    with pytest.raises(ConfigError, match="fix/kl has no level 'on' among half, off"):
        understood(["--config-dir", str(kl)])


def test_a_level_that_forgets_its_name_is_refused_wherever_it_is_chosen(kl, monkeypatch):
    """It would run, and be reported, under the name of the level that it inherits from."""
    module = kl.parent / "__init__.py"
    module.write_text(KL.replace('class Half(Level):\n    level: ClassVar[str] = "half"', "class Half(On):"))
    mine = ["--config-dir", str(kl)]
    said = "fix/kl=half: of_mine.Half.level is 'on'; set level = 'half'."
    with pytest.raises(ConfigError, match=said):
        understood([*mine, "fix/kl=half"])
    with pytest.raises(ConfigError, match=said):
        jobs_of([*mine, "-m", "fix/kl=on,half"], monkeypatch)


@pytest.mark.parametrize("ablation", ["gate_aware", "screening", "smoke", "short_term", "one_and_two"])
def test_a_level_that_a_design_has_not_is_refused_beside_those_that_it_has(ablation, kl, monkeypatch):
    (kl / "fix" / "reward").mkdir()
    (kl / "fix" / "reward" / "half.yaml").write_text("_target_: of_mine.Reward\n")
    (kl.parent / "__init__.py").write_text(KL + REWARD)
    typed = f"--config-dir {kl} +ablation={ablation} fix/reward=on,off,half"
    with pytest.raises(ConfigError, match="No arm has fix/reward=half.* on and off only. Use .*all or leave_one_out"):
        arms_of(typed, monkeypatch)


def test_a_level_that_no_arm_has_beside_the_others_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="No arm of the design smoke has fix/reward=off together with fix/tools=on"):
        arms_of("+ablation=smoke fix/tools=on fix/reward=on,off", monkeypatch)


@pytest.mark.parametrize("typed", ["+ablation=as_launched", "+ablation=all baseline=as_launched"])
def test_what_is_left_of_the_loop_as_it_was_launched_is_crossed(typed, monkeypatch):
    (config,) = jobs_of([*typed.split(" "), "train.groups_per_step=4"], monkeypatch)
    assert config.factors.names == as_launched().names
    assert len(config.runs) == 2 ** len(as_launched())
    assert (config.baseline, config.train.loss, config.train.groups_per_step) == ("as_launched", "ppo", 4)
    assert {each.seams.endpoint.level for each in config.runs} == {"on"}


def test_a_sweep_over_a_fault_that_the_loop_did_not_have_is_refused(monkeypatch):
    with pytest.raises(ConfigError, match="fix/endpoint=off: the loop of baseline=as_launched did not have this fault"):
        jobs_of(["+ablation=all", "baseline=as_launched", "factors=[endpoint,tools]"], monkeypatch)


@pytest.mark.parametrize(
    "typed", ["+ablation=leave_one_out", "-m fix/exploration=off,on", "-m fix/exploration=on,off seed=0,1"]
)
def test_an_option_of_a_fix_reaches_the_arms_whose_level_has_it(typed, monkeypatch):
    (config,) = jobs_of([*typed.split(" "), "fix.exploration.temperature=0.35"], monkeypatch)
    for each in config.runs:
        expected = {"on": 0.35, "off": 0.0}[each.run.arm.level("exploration")]
        assert each.seams.exploration.temperature == expected
    assert {each.run.arm.level("exploration") for each in config.runs} == {"on", "off"}


def test_an_option_of_a_fix_that_no_arm_has_is_refused(monkeypatch):
    typed = ["-m", "hydra.sweeper.arms=[[tools],[]]", "fix.exploration.temperature=0.35"]
    with pytest.raises(ConfigError, match="no level of fix/exploration in this sweep has that option"):
        jobs_of(typed, monkeypatch)


def test_values_of_another_option_make_blocks_of_one_sweep(monkeypatch):
    typed = "-m fix/tools=on,off train.learning_rate=0.004,1.5e-3 train.loss=ppo seed=0,1"
    (config,) = jobs_of(typed.split(" "), monkeypatch)
    assert [each.run.name for each in config.runs][:3] == [
        "all_on/learning_rate=0.004/seed=0", "all_on/learning_rate=0.004/seed=1", "all_on/learning_rate=0.0015/seed=0",
    ]  # fmt: skip
    assert len({each.run.name for each in config.runs}) == 8
    assert {each.run.block: (each.train.learning_rate, each.train.loss) for each in config.runs} == {
        "learning_rate=0.004": (0.004, "ppo"), "learning_rate=0.0015": (0.0015, "ppo"),
    }  # fmt: skip
    assert config.main_block == "learning_rate=0.0015"  # the default
    assert config.train.learning_rate == config.shared["train"]["learning_rate"] == 0.0015
    assert config.resolved(config.runs[0])["block"] == {"train.learning_rate": 0.004}


def test_options_are_crossed_in_the_order_given_and_without_defaults_the_first_block_is_the_main_one(monkeypatch):
    typed = "-m train.loss=ppo,cispo train.learning_rate=choice(0.1)"
    (config,) = jobs_of(typed.split(" "), monkeypatch)
    assert [each.run.block for each in config.runs] == ["loss=ppo,learning_rate=0.1", "loss=cispo,learning_rate=0.1"]
    assert config.main_block == "loss=ppo,learning_rate=0.1"


def test_an_option_of_a_fix_makes_blocks_of_the_arms_whose_level_has_it_too(monkeypatch):
    typed = "-m fix/exploration=on,off fix.exploration.temperature=0.5,1.0"
    (config,) = jobs_of(typed.split(" "), monkeypatch)
    found = {each.run.name: each.seams.exploration.temperature for each in config.runs}
    assert found == {
        "all_on/temperature=0.5/seed=0": 0.5, "all_on/temperature=1/seed=0": 1.0,
        "without_exploration/temperature=0.5/seed=0": 0.0, "without_exploration/temperature=1/seed=0": 0.0,
    }  # fmt: skip
    assert config.main_block == "temperature=1"


def test_policies_make_blocks(monkeypatch):
    (config,) = jobs_of(["-m", "policy=smollm2_135m,micro"], monkeypatch)
    assert {each.run.block: each.policy.name for each in config.runs} == {
        "policy=smollm2_135m": "smollm2_135m", "policy=micro": "micro",
    }  # fmt: skip
    assert config.main_block == "policy=micro" and config.policy.name == "micro"


def test_a_sweep_without_blocks_is_what_it_was(monkeypatch):
    (config,) = jobs_of(["-m", "fix/tools=on,off"], monkeypatch)
    assert [each.run.name for each in config.runs] == ["all_on/seed=0", "without_tools/seed=0"]
    assert config.main_block == "" and "block" not in config.resolved(config.runs[0])


def test_options_of_groups_in_somebodys_own_folder_can_be_chosen(kl):
    (kl / "train").mkdir()
    (kl / "train" / "tiny.yaml").write_text("defaults: [micro]\nsteps: 2.5\n")
    with pytest.raises(ConfigError, match=r"train.steps is 2.5; expected a whole number"):
        understood(["--config-dir", str(kl), "train=tiny"])


def test_help_is_left_to_hydra(monkeypatch):
    monkeypatch.setattr(command_line, "SearchPath", None)  # nothing is composed
    assert understood(["--help", "nonsense"]) == ["--help", "nonsense"]


# The whole path, in a process of its own.


def planned(*arguments: str, cwd: Path) -> list[str]:
    done = harness(*arguments, "plan_only=true", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return [line.strip() for line in done.stdout.splitlines() if "/seed=" in line]


def test_cfg_job_prints_the_composed_configuration(tmp_path):
    assert "_target_: harness.fixes.tools.Off" in harness("fix/tools=off", "--cfg", "job", cwd=tmp_path).stdout


@pytest.mark.parametrize(
    ("arguments", "runs"),
    [
        (["+ablation=leave_one_out", "fix/tools=on", "seed=0,1"], 12),
        (["-m", "fix/tools=off,on", "seed=0,1", "sweep=2024"], 4),
        (["fix/tools=off"], 1),
    ],
    ids=lambda v: joined(v) if isinstance(v, list) else "",
)
def test_a_command_plans_its_runs_and_makes_nothing(arguments, runs, tmp_path):
    names = planned(*arguments, cwd=tmp_path)
    assert len(set(names)) == len(names) == runs
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["+ablation=all", "train.step=3"], "Did you mean 'train.steps'"),  # at the door
        (["env.domain=retial"], "Did you mean 'retail'"),  # where the domain is loaded
        (["-m", "env.tasks=30"], "Raise env.tasks"),
        (["+ablation=smoke", "-m", "fix/tools=off", "fix/reward=on"], "No arm of this design has fix/tools=off"),
    ],
    ids=lambda v: joined(v) if isinstance(v, list) else "",
)
def test_a_mistake_ends_with_2_and_no_traceback(arguments, message, tmp_path):
    done = harness(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.startswith("ConfigError: ") and "Error " not in done.stderr  # nothing of Hydra's own
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_terminal_that_is_not_utf_8_gets_the_same_words(tmp_path):
    done = harness("+ablation=smoke", "plan_only=true", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert "2 arms x 1 seed = 2 runs" in done.stdout


SWEEPS = [
    shlex.split(line)[1:]
    for line in (ROOT / "experiments" / "cpu_sweeps.sh").read_text().splitlines()
    if line.startswith("make ")
]


@pytest.mark.parametrize(("name", "arguments"), [(name, rest) for name, *rest in SWEEPS], ids=[s[0] for s in SWEEPS])
def test_a_committed_sweep_is_made_by_a_command_that_is_understood(name, arguments):
    understood(["-m", *arguments, f"sweep={name}"])
