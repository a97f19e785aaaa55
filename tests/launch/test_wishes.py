"""`placebo=true` and `controls=true`: what they add to a design, and where they add nothing and are refused."""

import functools
import sys

import pytest

from harness.config import SweepConfig
from harness.errors import ConfigError
from harness.factors import Arm
from harness.fixes.registry import note
from harness.launch import command_line, launcher, run
from harness.launch.command_line import understood
from harness.launch.plugins import register
from harness.launch.search_path import SearchPath

NEGATIVE = [f"all_on_with_signal={level}" for level in ("shuffled_rewards", "shuffled_advantages", "rate_0")]
TWO = ["all_on", "only_reward", "only_tools", "all_off"]


@pytest.fixture(autouse=True)
def hydra_knows_our_launchers(monkeypatch):
    """And the search path is read once."""
    register()
    monkeypatch.setattr(command_line, "SearchPath", lambda *_: usual())


@functools.cache
def usual() -> SearchPath:
    return SearchPath(None, "config", [])


@pytest.fixture
def sweep(monkeypatch):
    """The sweep that a command line would run; nothing is executed."""

    def make(typed: str) -> SweepConfig:
        executed: list[SweepConfig] = []
        for module in (launcher, run):
            monkeypatch.setattr(module, "execute", lambda config, *_: executed.append(config) or 0, raising=False)
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        monkeypatch.setattr(sys, "argv", ["harness", *understood(typed.split(" "))])
        run.main()
        return executed[0]

    return make


def arms(config):
    return [each.run.arm.name for each in config.runs]


DESIGN = "+ablation=leave_one_out factors=[tools,reward]"
ADDED = [
    (DESIGN, TWO),
    (f"{DESIGN} controls=true", [*TWO, *NEGATIVE]),
    (f"{DESIGN} controls=false placebo=false", TWO),
    ("+ablation=leave_one_out factors=[tools] placebo=true", ["all_on", "only_placebo", "only_tools", "all_off"]),
    ("+ablation=leave_one_out factors=[tools,placebo]", ["all_on", "only_placebo", "only_tools", "all_off"]),
    (f"{DESIGN} placebo=true fix/placebo=on", ["all_on", "without_tools", "without_reward"]),
    (f"{DESIGN} fix/signal=on,rate_0", [*TWO, NEGATIVE[-1]]),
    (f"{DESIGN} controls=true fix/signal=on,rate_0", [*TWO, NEGATIVE[-1]]),
    ("+ablation=smoke controls=true placebo=true", ["all_on", "all_off", *NEGATIVE]),
    ("-m fix/signal=on,rate_0", ["all_on", NEGATIVE[-1]]),
    ("-m fix/placebo=on,off", ["all_on", "without_placebo"]),
]


@pytest.mark.parametrize(("typed", "expected"), ADDED)
def test_a_design_has_these_arms(typed, expected, sweep):
    assert arms(sweep(typed)) == expected


def test_the_controls_are_all_on_but_for_their_level_and_no_factor_of_the_sweep(sweep):
    config = sweep(f"{DESIGN} placebo=true controls=true seed=0,1")
    assert config.factors.names == ("tools", "reward", "placebo")
    beside = [each for each in config.runs if not config.factors.compares(each.run.arm)]
    assert len(beside) == 6
    for each in beside:
        assert each.run.arm == Arm((*config.factors.with_off().levels, ("signal", each.run.arm.level("signal"))))
        assert {s.level for s in each.seams.all()} == {"on", each.run.arm.level("signal")}
    assert config.others.keys().isdisjoint({"signal", "placebo"}) and [f.name for f in config.controls] == ["signal"]


def test_in_a_sweep_with_controls_every_other_run_proves_that_it_learns_from_what_it_earned(sweep):
    config = sweep(f"{DESIGN} controls=true")
    levels = [next(s.level for s in each.seams.all() if s.factor.name == "signal") for each in config.runs]
    assert levels == ["on"] * 4 + [name.partition("=")[2] for name in NEGATIVE]


def test_a_sweep_that_asks_for_neither_knows_neither(sweep):
    for each in sweep("+ablation=leave_one_out").runs:
        assert each.run.arm.factors == note().names
        assert not {"placebo", "signal"} & {s.factor.name for s in each.seams.all()} and not {"placebo", "signal"} & {
            *each.fix
        }


REFUSED = [
    ("placebo=true", "placebo=true adds to the arms of a design: choose one, as in +ablation=leave_one_out"),
    ("-m seed=0,1 controls=true", "controls=true adds to the arms of a design"),
    ("+ablation=short_term placebo=true", "this ablation lists which fixes are on in each arm"),
    (f"{DESIGN} placebo=maybe", "placebo is maybe; expected true or false"),
    (f"{DESIGN} controls=true,false", "controls cannot differ between the runs of a sweep"),
    (f"{DESIGN} fix/tools=off controls=true", "none of these 2 arms is that"),
    ("+ablation=leave_one_out factors=[signal]", "compares nothing"),
    (f"{DESIGN} fix/signal=off", "fix/signal has no level 'off'"),
]


@pytest.mark.parametrize(("typed", "message"), REFUSED)
def test_where_they_add_nothing_they_are_refused(typed, message, sweep, capsys):
    with pytest.raises((ConfigError, SystemExit)) as refused:
        sweep(typed)
    assert message in str(refused.value) + capsys.readouterr().err


def test_a_single_run_at_a_level_of_a_control_is_called_after_it(run_config):
    config = run_config("fix/signal=rate_0")
    assert config.run.arm.name == NEGATIVE[-1]
    assert run_config("fix/placebo=off", "factors=[placebo]").run.arm.name == "all_off"
