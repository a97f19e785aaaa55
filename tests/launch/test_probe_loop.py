"""`harness probe` on this project's own loop: which arms it looks at, what it makes of their checks, and a whole run
on the stand-in server, whose log-probs are the adapters' own. With the note's fixes off: tests/test_docs_probe.py."""

import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.commands import run_command
from harness.errors import ConfigError
from harness.factors import ON
from harness.fixes import endpoint, exploration, registry, split, tools
from harness.launch.probe_loop import Looked, arms, found_in

SIX = [f"fix/{name}=off" for name in registry.note().names]


@cache
def runs(*options):
    """By the name of their arm, and the sweep."""
    config = arms(options, Path("probed"))
    return {run.run.arm.name: run for run in config.runs}, config


def test_each_fix_that_is_not_on_is_looked_at_alone_with_all_others_on():
    found, config = runs(*SIX)
    assert list(found) == ["all_on", *(f"without_{name}" for name in registry.note().names)]
    for name in registry.note().names:
        off = [s.factor.name for s in found[f"without_{name}"].seams.all() if s.level != ON]
        assert off == [name]
    assert config.results == Path("probed") and config.tracking.mode == "off"


def test_with_all_fixes_on_there_is_one_arm():
    assert list(runs()[0]) == ["all_on"]


def test_one_update_is_made_and_a_second_step_only_where_the_weights_are_what_is_asked():
    found, _ = runs(*SIX)
    assert {name for name, run in found.items() if run.train.steps == 2} == {"all_on", "without_endpoint"}
    assert {run.train.steps for run in found.values()} == {1, 2}


def test_options_are_those_of_every_arm_but_a_levels_own_only_where_it_has_that_level():
    options = ("fix/reward=off", "fix.exploration.temperature=0.9", "train.groups_per_step=4", "fix.reward.partial=0.5")
    with pytest.raises(ConfigError, match=r"fix.reward has no option 'partial'|partial"):
        runs(*options)
    found, config = runs(*options[:3])
    assert {run.seams.exploration.temperature for run in found.values()} == {0.9}
    assert config.train.groups_per_step == 4 and len(found) == 2
    found, _ = runs("fix/tools=off", "fix.reward.partial=0.5")
    assert {run.seams.reward.partial for run in found.values()} == {0.5}


@pytest.mark.parametrize("option", ["train.steps=3", "results=x", "+ablation=all"])
def test_what_the_probe_decides_itself_is_refused(option, tmp_path):
    with pytest.raises(ConfigError, match="is the probe's own"):
        arms([option], tmp_path)


def test_wrong_options_are_refused_as_for_a_sweep_and_leave_no_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert run_command("probe", ["fix/tool=off"]) == 2
    assert "No fix is called 'tool'. Did you mean 'tools'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def checks(*effects):
    return [{"took_effect": e, "text": f"seen {e} (expected 0)", "reading": {"n": 1.0}} for e in effects]


# level, what its checks said, the verdict on the fault
TOLD = [
    (tools.Off(), (True, True), "present"),
    (tools.Off(), (None, True), "present"),
    (tools.Off(), (True, False), "absent"),
    (tools.On(), (True, None), "absent"),
    (tools.On(), (True, False), "present"),
    (tools.On(), (None, None), "cannot tell"),
    (tools.On(), (), "cannot tell"),
    (exploration.On(), (False, True), "absent"),
    (exploration.On(), (False, False), "present"),
    (split.Overlap(), (True,), "present"),
]


@pytest.mark.parametrize(("level", "effects", "verdict"), TOLD)
def test_a_fault_is_present_where_its_level_works_or_the_fix_does_not(level, effects, verdict):
    found = found_in(Looked(level, checks(*effects)))
    assert (found.symptom, found.verdict) == (level.factor.name, verdict)
    assert "expected" not in found.text


def test_a_finding_says_what_the_fault_is_in_the_words_of_the_fix():
    found = found_in(Looked(endpoint.Off(), checks(True)))
    assert found.about.startswith("reported validation reward stays flat, whatever the trainer does (off: the name")
    foreign = SimpleNamespace(**vars(tools.FACTOR) | {"name": "mine", "summary": "mine too", "levels": {}})
    mine = type("Mine", (), {"__module__": __name__, "factor": foreign, "level": "off", "needs": "always"})
    assert found_in(Looked(mine(), checks(True))).about == "mine too (off: no summary)"


@pytest.fixture
def served(stand_in_with_weights, monkeypatch):
    for name, value in stand_in_with_weights.items():
        monkeypatch.setenv(name, value)


def probed(capfd, *options):
    code = run_command("probe", ["--json", *options])
    found = json.loads(capfd.readouterr().out)
    return code, found["present"], {each["symptom"]: each for each in found["findings"]}


@pytest.mark.usefixtures("served")
def test_with_all_fixes_on_it_names_none(capfd):
    code, present, found = probed(capfd)
    assert (code, present) == (0, [])
    assert {name for name, each in found.items() if each["verdict"] == "cannot tell"} == {"toolorder"}
