"""What each fix says of itself: designs, plans and reports are made from nothing else."""

from dataclasses import FrozenInstanceError

import pytest

from harness.factors import BASELINES, Factor
from harness.fixes import endpoint, exploration, logprobs, registry, reward, split, toolcalls, toolorder, tools
from harness.seams import BATCH, EPISODES, REPORTED

MODULES = [endpoint, tools, exploration, reward, logprobs, split, toolcalls, toolorder]
FURTHER = [reward.OffEarlier, reward.OffLater, split.Overlap, split.Crash]
LEVELS = [*(level for module in MODULES for level in (module.Off, module.On)), *FURTHER]


def _name(value):
    if hasattr(value, "level"):
        return f"{value.factor.name}-{value.level}"
    return value.FACTOR.name if hasattr(value, "FACTOR") else "+".join(value) or "none"


def test_the_fixes_of_the_note_are_in_its_ranking():
    assert registry.note().names == ("endpoint", "tools", "exploration", "reward", "logprobs", "split")
    assert [factor.rank for factor in registry.note()] == [1, 2, 3, 4, 5, 6]


def test_every_module_that_declares_a_factor_is_a_fix():
    for module in MODULES:
        assert module.FACTOR in registry.own()


AS_LAUNCHED = ("tools", "reward")  # of the note's fixes


def test_the_faults_of_the_loop_as_it_was_launched_are_those_that_say_so():
    found = registry.as_launched()
    assert found.names[:2] == AS_LAUNCHED
    assert {factor.name for factor in registry.own() if "as_launched" in factor.baselines} == set(found.names)
    assert registry.as_launched() is found


@pytest.mark.parametrize("factor", registry.own(), ids=lambda factor: factor.name)
def test_a_fix_of_a_fault_that_was_not_launched_says_how_the_loop_had_it_right(factor):
    assert set(factor.baselines) <= set(BASELINES)
    assert ("OpenPipe/ART" in factor.launched) == ("as_launched" not in factor.baselines)


def test_a_factor_of_an_older_record_was_in_both_loops():
    record = {k: v for k, v in tools.FACTOR.record().items() if k not in ("baselines", "launched", "today")}
    assert Factor.from_record(record).baselines == ("note", "as_launched")


def test_fixes_are_looked_for_once():
    assert registry.own() is registry.own() and registry.note() is registry.note()


# What it changes, and at which levels no step is taken, the first policy answers, or trainer and sampler differ.
DECLARED = [
    (endpoint, (EPISODES, REPORTED), (), ("off",), ("off",)),
    (tools, (BATCH,), (), (), ("off",)),
    (exploration, (EPISODES, REPORTED), ("off",), (), ()),
    (reward, (BATCH, REPORTED), (), (), ()),
    (logprobs, (BATCH,), ("off",), (), ()),
    (split, (REPORTED,), ("crash",), (), ()),
    (toolcalls, (BATCH,), (), (), ("off",)),
    (toolorder, (BATCH,), (), (), ("off",)),
]


@pytest.mark.parametrize(("module", "changes", "no_update", "first_policy", "apart"), DECLARED, ids=_name)
def test_a_fix_declares_what_it_changes(module, changes, no_update, first_policy, apart):
    factor = module.FACTOR
    assert factor.changes == changes
    assert (factor.no_update, factor.first_policy, factor.apart) == (no_update, first_policy, apart)


@pytest.mark.parametrize("module", MODULES, ids=_name)
def test_a_fix_has_a_line_for_itself_for_each_level_and_for_its_proof(module):
    factor = module.FACTOR
    further = [level.level for level in FURTHER if level.factor is factor]
    assert list(factor.levels) == ["off", "on", *further]
    for text in (factor.summary, factor.proof, *factor.levels.values()):
        assert text and "\n" not in text


# Whether one refuted step is enough, or only a run in which it never held.
NEEDS = {"exploration-on": "ever"}


@pytest.mark.parametrize("level", LEVELS, ids=_name)
def test_a_level_says_which_factor_it_is_of_and_when_its_check_must_hold(level):
    assert level.__name__ == level.level.title().replace("_", "")
    assert level.factor is next(module.FACTOR for module in MODULES if module.FACTOR.name == level.factor.name)
    assert level.needs == NEEDS.get(_name(level), "always")


@pytest.mark.parametrize("level", LEVELS, ids=_name)
def test_runs_of_one_arm_have_equal_strategies_that_nobody_can_change(level):
    assert level() == level()
    with pytest.raises(FrozenInstanceError):
        level().level = "another"
