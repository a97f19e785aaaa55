"""Effects on what the arms report by their own rules, beside those on the reference reward."""

from dataclasses import replace

import numpy as np
import pytest

from harness.designs import design
from harness.report.reported_section import reported_section
from harness.stats.effects import analyse_outcomes
from harness.stats.outcomes import outcomes_of
from harness.stats.reported_effects import (
    DIFFER,
    FILLED,
    ONE_SEED,
    SEEDS_ALONE,
    UNCLEAR,
    reported_effects,
    reported_of,
)
from harness.stats.sweep_statistics import statistics_of
from harness.stats.verdicts import NO_EFFECT, NOT_ANSWERED, RAISES, UNDECIDED
from tests.planted_records import ALL_ON, NOTE, TASKS, sweep, validation

OTHERS = tuple(f"other-{n}" for n in range(6))
SEEDS = tuple(range(5))


def learned(arm, seed, step, task):
    """1 after step 0 with all tasks but one, which some seeds miss; behind a closed gate nothing is learned."""
    return float(step > 0 and not NOTE.no_update(arm) and (task + seed) % 5 > 0)


def watched(arm, seed, step, tasks=TASKS, nonexistent=6):
    """Without the endpoint the base policy is reported; without the split, ids that do not exist are too."""
    of_reference = {t: learned(arm, seed, step, n) for n, t in enumerate(TASKS)}
    asked = step if arm.level("endpoint") == "on" else 0
    reported = {t: learned(arm, seed, asked, n) for n, t in enumerate(tasks)}
    return validation(step, of_reference, reported, nonexistent if arm.level("split") == "off" else 0)


def found_in(records):
    outcomes = outcomes_of(records)
    return reported_effects(records, outcomes, analyse_outcomes(outcomes).effects)


def leave_one_out(found, outcome="final"):
    return {e.factors[0]: e for e in found.of("leave_one_out", outcome)}


@pytest.fixture(scope="module")
def usual():
    return sweep(design("leave_one_out", NOTE), SEEDS, (0, 1, 2), watched)


def test_a_policy_that_learns_unseen_is_an_effect_on_what_is_reported(usual):
    found = found_in(usual)
    endpoint = leave_one_out(found)["endpoint"]
    assert (endpoint.verdict, endpoint.value) == (RAISES, pytest.approx(0.8))
    (told,) = [c for c in found.compared if c.factor == "endpoint" and c.kind == "leave_one_out"]
    assert (told.reference, told.reported, told.agreement) == (UNDECIDED, RAISES, DIFFER)


def test_the_effect_is_that_on_the_mean_that_was_reported(usual):
    def mean(arm):
        return np.mean([run.validations[-1].reported for run in usual.runs_of(arm)])

    for factor, effect in leave_one_out(found_in(usual)).items():
        assert effect.value == pytest.approx(mean("all_on") - mean(f"without_{factor}"), abs=1e-12)


def test_ids_that_do_not_exist_leave_tasks_paired(usual):
    split = leave_one_out(found_in(usual))["split"]
    assert (split.value, split.tasks, split.note) == (pytest.approx(0.4), 6, "")
    assert split.verdict == RAISES


def test_what_measuring_does_alone_is_no_rise():
    def always_half(arm, seed, step):
        """Nobody learns; without the reward fix two tasks more score."""
        reference = {t: float(n < 1) for n, t in enumerate(TASKS)}
        more = 3 if arm.level("reward") == "off" else 1
        return validation(step, reference, {t: float(n < more) for n, t in enumerate(TASKS)})

    found = found_in(sweep(design("leave_one_out", NOTE), SEEDS, (0, 1, 2), always_half))
    final, rise = leave_one_out(found)["reward"], leave_one_out(found, "rise")["reward"]
    assert final.value == pytest.approx(-1 / 3) and rise.value == 0.0
    assert leave_one_out(found, "area")["reward"].value == pytest.approx(-1 / 3)


def test_other_tasks_leave_the_seeds_alone_and_the_note_says_so():
    def elsewhere(arm, seed, step):
        return watched(arm, seed, step, OTHERS if arm.level("split") == "off" else TASKS, 0)

    records = sweep(design("leave_one_out", NOTE), SEEDS, (0, 1, 2), elsewhere)
    found = leave_one_out(found_in(records))
    assert found["split"].tasks == 0 and SEEDS_ALONE in found["split"].note
    assert found["endpoint"].tasks == 6 and SEEDS_ALONE not in found["endpoint"].note
    # Student's t over the seeds' differences of means, which are 0 here: as wide as the grid of one episode allows
    assert found["split"].value == 0 and found["split"].low < 0 < found["split"].high

    one = leave_one_out(found_in(replace(records, runs=tuple(r for r in records.runs if r.seed == 0))))
    assert (one["split"].verdict, one["split"].note) == (NOT_ANSWERED, ONE_SEED)
    assert one["endpoint"].value is not None


def test_tasks_beyond_those_of_the_other_arm_pair_no_task():
    def further(arm, seed, step):
        own = (*TASKS, *OTHERS) if arm.level("split") == "off" else TASKS
        return watched(arm, seed, step, own, 0)

    split = leave_one_out(found_in(sweep(design("leave_one_out", NOTE), SEEDS, (0, 1, 2), further)))["split"]
    of_twelve = np.mean([[learned(ALL_ON, s, 2, n) for n in range(12)] for s in SEEDS])
    assert split.tasks == 0 and split.value == pytest.approx(0.8 - of_twelve)


def test_where_the_reference_is_the_same_the_difference_is_the_reported_effect():
    """Six ids of twelve do not exist, or eighteen of 24; all others are solved, so the intervals are the grid's."""

    def diluted(arm, seed, step):
        solved = {t: 1.0 for t in TASKS}
        return validation(step, solved, solved, 6 if arm.level("split") == "on" else 18)

    records = sweep([ALL_ON, NOTE.with_off("split"), NOTE.with_on()], SEEDS, (0, 1), diluted)
    found = found_in(replace(records, runs=tuple(replace(r, steps=records.runs[r.seed].steps) for r in records.runs)))
    (difference,) = [e for e in found.differences if (e.kind, e.factors) == ("leave_one_out", ("split",))]
    split = leave_one_out(found)["split"]
    assert split.value == 0.25 and split.low < 0.25 < split.high
    assert (difference.low, difference.high) == (split.low, split.high)


def test_over_seeds_alone_the_interval_is_students():
    reported = {(True, s): 0.5 + 0.1 * s for s in SEEDS} | {(False, s): 0.25 for s in SEEDS}

    def of_means(arm, seed, step):
        mine = reported[arm == ALL_ON, seed] if step else 0.0
        return replace(validation(step, {t: 0.0 for t in TASKS}), reported=mine, reported_n=6)  # no reward by task

    (effect,) = [
        e
        for e in found_in(sweep([ALL_ON, NOTE.with_off("tools")], SEEDS, (0, 1), of_means)).of("leave_one_out")
        if e.value is not None
    ]
    assert effect.value == pytest.approx(0.45)
    half = 2.776445 * np.std([0.25, 0.35, 0.45, 0.55, 0.65], ddof=1) / np.sqrt(5)
    assert (effect.high - effect.low) / 2 == pytest.approx(half, rel=1e-6)


def test_arms_that_stand_for_others_do_not_report_for_them():
    found = found_in(sweep(design("gate_aware", NOTE), (0, 1), (0, 1), watched))
    assert {e.note for e in found.of("main")} == {FILLED}
    assert leave_one_out(found)["endpoint"].value is not None


def test_main_effects_of_the_factorial_are_answered():
    found = found_in(sweep(design("full_factorial", NOTE), (0, 1, 2), (0, 1), watched))
    main = {e.factors[0]: e for e in found.of("main")}
    # behind two closed gates nothing is learned, so a quarter of the combinations shows the endpoint; half of these
    # report 6 of 12 ids
    assert main["endpoint"].value == pytest.approx(0.8 / 4 * 0.75, abs=0.02)
    assert all(e.value is not None for e in main.values())


def test_an_arm_that_reports_nothing_is_not_answered(usual):
    silent = [
        replace(run, validations=tuple(replace(v, reported=None, reported_n=0) for v in run.validations))
        if run.arm == "without_split"
        else run
        for run in usual.runs
    ]
    effect = leave_one_out(found_in(replace(usual, runs=tuple(silent))))["split"]
    assert effect.verdict == NOT_ANSWERED and effect.note.startswith("without_split reports nothing")


def test_an_invalid_run_does_not_count(usual):
    runs = tuple(replace(r, valid=False) if r.name == "all_on/seed=0" else r for r in usual.runs)
    assert {e.seeds for e in leave_one_out(found_in(replace(usual, runs=runs))).values()} == {4}


def test_arms_that_differ_in_nothing_that_is_reported_have_no_effect_and_the_same_verdict(usual):
    """The sealed arms share their weights, so equal episodes are no luck."""
    found = found_in(sweep(design("one_at_a_time", NOTE), SEEDS, (0, 1, 2), watched))
    alone = {e.factors[0]: e for e in found.of("added_alone")}
    assert alone["tools"].verdict == NO_EFFECT and alone["tools"].identical
    assert not any("flat by construction" in e.note for e in alone.values())  # what is reported may differ all the same


def test_two_verdicts_that_differ_without_a_decided_difference_are_unclear():
    """Two seeds: the reference is the same for both arms, what is reported differs in one episode."""

    def nearly(arm, seed, step):
        reference = {t: float(step > 0 and n < 3) for n, t in enumerate(TASKS)}
        more = step > 0 and arm == ALL_ON and seed == 0
        return validation(step, reference, {t: float(n < 3 + more) for n, t in enumerate(TASKS)})

    records = sweep([ALL_ON, NOTE.with_off("split"), NOTE.with_on()], (0, 1), (0, 1), nearly)
    shared = tuple(replace(r, steps=records.runs[r.seed].steps) for r in records.runs)  # the same updates
    (told,) = [c for c in found_in(replace(records, runs=shared)).compared if c.factor == "split"]
    assert (told.reference, told.reported, told.agreement) == (NO_EFFECT, UNDECIDED, UNCLEAR)


def test_the_section_says_for_which_fixes_the_two_tell_different_stories(usual):
    section = reported_section(statistics_of(usual))
    (sentence,) = section.sentences[1:]
    assert (
        "the two effects differ for endpoint (reported: raises reward +0.800; reference: undecided 0.000)" in sentence
    )
    assert "both verdicts are the same for" in sentence
    assert [row[0] for row in section.grids[0][1].rows] == list(NOTE.names)


def test_what_was_asked_of_whom_is_read_from_the_records(usual):
    found = reported_of(usual, outcomes_of(usual))
    assert (found.ids, found.width) == (6, 1.0)
    arm = [a.name for a in found.means.arms].index("without_split")
    assert found.all_known_A_N_S[arm].all()
    assert np.nansum(found.by_task_A_N_S_T[arm], axis=2) == pytest.approx(found.means.rewards_A_N_S_T[arm, ..., 0])
