"""A switch that was never shown: whether its fix matters is not known, and no text calls that "no effect"."""

import pytest

from harness.factors import OFF, ON
from harness.paths import CLAIMS
from harness.records.load import load_sweep
from harness.report.verdict import verdict_sentences
from harness.stats.claims import CONFIRMED, INCONCLUSIVE, load_claims, verdicts
from harness.stats.effects import analyse
from harness.stats.verdicts import NO_EFFECT, NOT_SHOWN, RAISES, UNDECIDED
from tests.synthetic import arm_name, factorial, leave_one_out, unshown, write_sweep

SEEDS = range(5)
ALL_ON, WITHOUT_SPLIT = "all_on", "without_split"  # split is planted as nothing


@pytest.fixture
def folder(tmp_path):
    return write_sweep(tmp_path / "s", seeds=SEEDS)


def hide(folder, factor, arms, seeds=SEEDS):
    for arm in arms:
        for seed in seeds:
            unshown(folder, arm, factor, seed)


def effects(folder, kind="leave_one_out"):
    return {e.factors: e for e in analyse(load_sweep(folder)).of(kind)}


def unknown(folder):
    sweep = load_sweep(folder)
    return verdict_sentences(sweep, analyse(sweep))[2]


def test_a_switch_that_no_run_shows_leaves_it_open_whether_its_fix_matters(folder):
    assert effects(folder)["split",].verdict == NO_EFFECT
    hide(folder, "split", map(arm_name, leave_one_out()))
    effect = effects(folder)["split",]
    assert effect.verdict == NOT_SHOWN and effect.value == 0
    assert effect.note.startswith("the switch of split was not shown in 10 of 10 runs; every episode")
    assert "whether split matters (the switch of split was not shown in 10 of 10 runs)" in unknown(folder)
    assert "made no difference" not in unknown(folder)


@pytest.mark.parametrize("arm", [ALL_ON, WITHOUT_SPLIT])
def test_one_level_that_no_run_shows_is_enough(arm, folder):
    hide(folder, "split", [arm])
    effect = effects(folder)["split",]
    assert effect.verdict == NOT_SHOWN
    assert "not shown in 5 of 10 runs: 0 of 5 seeds show it at both levels" in effect.note


def test_levels_that_are_shown_in_different_seeds_alone_were_never_compared(folder):
    hide(folder, "split", [ALL_ON], seeds=(0, 1))
    hide(folder, "split", [WITHOUT_SPLIT], seeds=(2, 3, 4))
    assert effects(folder)["split",].verdict == NOT_SHOWN


def test_where_some_seeds_show_it_their_number_is_said_and_it_is_not_called_no_effect(folder):
    hide(folder, "split", [WITHOUT_SPLIT], seeds=(0, 3))
    effect = effects(folder)["split",]
    assert effect.verdict == UNDECIDED and "cannot be called no effect" in effect.note
    assert "not shown in 2 of 10 runs: 3 of 5 seeds show it at both levels" in effect.note
    assert "whether split matters (the switch of split was not shown in 2 of 10 runs: 3 of 5 seeds" in unknown(folder)
    assert "made no difference" not in unknown(folder)


def test_runs_of_other_arms_and_of_other_switches_leave_an_effect_as_it_was(folder):
    before = effects(folder)["split",]
    hide(folder, "split", ["all_off", "without_logprobs"])  # nothing was trained there
    hide(folder, "tools", [ALL_ON, WITHOUT_SPLIT])
    assert effects(folder)["split",] == before


def test_a_difference_is_a_difference_and_the_note_says_what_was_not_shown(folder):
    hide(folder, "endpoint", [ALL_ON])
    effect = effects(folder)["endpoint",]
    assert effect.verdict == RAISES and "the switch of endpoint was not shown in 5 of 10 runs" in effect.note


def test_what_was_not_shown_has_no_rank(folder):
    assert "split" in analyse(load_sweep(folder)).ranking("leave_one_out").factors
    hide(folder, "split", [ALL_ON])
    assert "split" not in analyse(load_sweep(folder)).ranking("leave_one_out").factors


def test_in_a_factorial_it_is_enough_that_some_combination_shows_the_switch(tmp_path):
    arms = [arm for arm in factorial() if arm["reward"] == arm["tools"] == arm["endpoint"] == arm["exploration"] == ON]
    folder = write_sweep(tmp_path / "s", arms=arms, seeds=SEEDS)
    hide(folder, "split", [arm_name(arm) for arm in arms if arm["logprobs"] == OFF])
    assert effects(folder, "main")["split",].verdict == NO_EFFECT
    hide(folder, "split", [arm_name(arm) for arm in arms])
    assert effects(folder, "main")["split",].verdict == NOT_SHOWN
    pair = effects(folder, "interaction")["logprobs", "split"]
    assert pair.verdict == NOT_SHOWN and "the switch of split was not shown in 20 of 20 runs" in pair.note


def test_a_claim_that_nothing_changes_is_not_confirmed_by_it(folder):
    def stays_the_same():
        (claim,) = [v for v in verdicts(load_sweep(folder), load_claims(CLAIMS)) if v.claim.id == "f"]
        return claim.findings[-1]

    assert stays_the_same().verdict == CONFIRMED
    hide(folder, "split", [WITHOUT_SPLIT], seeds=(1,))
    assert stays_the_same().verdict == INCONCLUSIVE
    assert "1 of 10 runs: 4 of 5 seeds show it at both levels, so that nothing changes is not shown" in (
        stays_the_same().evidence
    )
