"""A sweep that is looked at more than once pays for it; one that is looked at once as planned does not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import t as student

from experiments.benchmarks.looks import POLICIES, decided_at, p_values
from harness.designs import design
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.records.looks import Look, Looks
from harness.report.effect_sections import ranking_section
from harness.report.look_text import how_often, look_line
from harness.stats.effects import analyse_outcomes
from harness.stats.intervals import crossed_spread
from harness.stats.looks import ALPHA, half_now, judge, levels_of, looked_at, once, pooled, spent_by
from harness.stats.sequential_t import look_levels
from harness.stats.sweep_statistics import statistics_of
from tests.stats.test_effects import planted
from tests.synthetic import write_sweep

NOTE = note()


def looks(*counts, planned=None, open_ended=False, whole=None):
    """Looks at the first so many seeds each; whole: complete seeds of the last one."""
    at = [Look(tuple(range(n)), n) for n in counts]
    if whole is not None:
        at[-1] = replace(at[-1], whole=whole)
    return Looks(tuple(at), counts[-1] if planned is None else planned, open_ended)


@pytest.mark.parametrize("seeds", [(4, 6, 8, 10), (2, 3, 4, 5, 6), (2, 5, 10)])
def test_t_tests_at_these_levels_reject_as_many_nulls_as_were_to_be_rejected(seeds):
    share = [ALPHA * n / seeds[-1] for n in seeds]
    levels = look_levels(seeds, tuple(share))
    x = np.random.default_rng(0).normal(size=(100_000, seeds[-1]))
    rejected = np.zeros(len(x), dtype=bool)
    for n, level, expected in zip(seeds, levels, share, strict=True):
        t = x[:, :n].mean(axis=1) / (x[:, :n].std(axis=1, ddof=1) / np.sqrt(n))
        rejected |= 2 * student.sf(abs(t), n - 1) <= level
        assert rejected.mean() == pytest.approx(expected, abs=4 * np.sqrt(expected / len(x)))


def test_one_look_is_the_test_that_it_always_was():
    values = np.random.default_rng(1).normal(0.5, size=(5, 9))
    spread = crossed_spread(values, 0.1)
    for once_only in (Looks(), looks(5), looks(1, 5, planned=1), looks(6, planned=5)):
        found = judge(values, range(5), 0.1, once_only)
        assert once(once_only) and found.p_value == spread.p_value
        assert found.interval() == (spread.mean - spread.half_width(), spread.mean + spread.half_width())


def test_planned_looks_spend_five_per_cent_by_the_last_and_little_before():
    spent = spent_by(looks(4, 6, 8, 10))
    assert spent[-1] == pytest.approx(ALPHA) and spent[0] < 0.003
    levels = levels_of(looks(4, 6, 8, 10))
    assert all(np.diff(levels) > 0) and 0.03 < levels[-1] < ALPHA


def test_a_report_of_an_unfinished_sweep_is_an_interim_look():
    interim = looks(5, whole=3, planned=5)
    assert not once(interim) and looked_at(interim, 5).levels[0] < 0.012
    assert how_often(looked_at(interim, 5)) == "an interim look (after 3 seeds)"
    assert "the rest is kept for 5 seeds, as planned" in look_line(looked_at(interim, 5))


def test_an_open_sweep_pays_from_its_first_look_on_and_never_spends_all():
    assert not once(looks(5, open_ended=True))
    assert spent_by(looks(5, 500, open_ended=True))[-1] < ALPHA
    assert spent_by(looks(5, 8, open_ended=True))[-1] == pytest.approx(ALPHA / 2)


def test_beyond_its_plan_a_sweep_has_a_quarter_for_each_of_four_looks():
    assert spent_by(looks(5, 6, 7, 8, 9, planned=5)) == pytest.approx([0.0125, 0.025, 0.0375, 0.05, 0.05])
    assert levels_of(looks(5, 6, 7, 8, 9, planned=5))[-1] == 0
    found = looked_at(looks(5, 8, planned=5), 8)
    assert found.extended and found.error == pytest.approx(0.0625)
    line = look_line(found)
    assert line.startswith("Looked at 2 times (after 5 and 8 seeds); each look's level is 1.3 % and 1.6 %")
    assert "together these looks err in up to 6.3 %" in line


def test_a_look_at_one_seed_spends_nothing_and_decides_nothing_of_seeds():
    assert levels_of(looks(1, 4, 8, planned=8)) == levels_of(looks(4, 8, planned=8))


def test_every_text_says_how_often_it_was_looked_at():
    sweep = replace(planted(design("leave_one_out", NOTE), seeds=8), looks=looks(5, 8, planned=5))
    effects = analyse_outcomes(sweep)
    assert effects.looks.seeds == (5, 8)
    assert how_often(effects.looks) == "looked at 2 times (after 5 and 8 seeds)"


def test_what_is_significant_at_one_look_may_not_be_after_several():
    random = np.random.default_rng(4)
    values = 0.7 + random.normal(size=(6, 1)) * 0.55 + random.normal(size=(6, 12)) * 0.1
    spread = crossed_spread(values)
    many = judge(values, range(6), 0.0, looks(3, 4, 5, 6, planned=3))
    assert spread.p_value < ALPHA < many.p_value
    low, high = many.interval()
    assert low < 0 < high and high - low > 2 * spread.half_width()


# beyond a plan of three seeds, looked at after each
BEYOND = {"seeds_planned": [0, 1, 2], "looks": [{"seeds": list(range(n))} for n in (3, 4, 5, 6)]}


def intervals_of(found):
    """Of every section of a report that is no effect: name -> intervals."""
    effects = found.effects
    return {
        "means of an arm": [t[1:] for s in effects.summaries for t in s.mean.values() if t],
        "interquartile means": [s.iqm[1:] for s in effects.summaries if s.iqm],
        "profiles": [t[1:] for s in effects.summaries for t in s.profile],
        "gaps": [(g.low, g.high) for g in effects.gaps],
        "stability": [(s.low, s.high) for s in effects.stability],
        "settling": [(effects.settled.low, effects.settled.high)],
        "steps to a threshold": [(a.low, a.high) for a in found.steps.arms],
        "slower": [(a.slower.low, a.slower.high) for a in found.steps.arms if a.slower],
        "groups of tasks": [(g.low, g.high) for t in found.tasks.tables for g in t.groups],
    }


@pytest.fixture(scope="module")
def once_and_beyond(tmp_path_factory):
    """The same records, looked at once as planned, and at four times beyond the plan."""
    folder = tmp_path_factory.mktemp("looks")
    plans = {"once": {}, "beyond": BEYOND}
    return [statistics_of(load_sweep(write_sweep(folder / n, seeds=range(6), **p))) for n, p in plans.items()]


SECTIONS = ("means of an arm", "interquartile means", "profiles", "gaps", "stability", "settling")
SECTIONS += ("steps to a threshold", "slower", "groups of tasks")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_interval_of_a_report_pays_for_the_looks(once_and_beyond, section):
    one, many = (
        sum(high - low for low, high in intervals_of(found)[section] if low is not None) for found in once_and_beyond
    )
    assert many > 1.05 * one > 0


def test_every_p_value_of_a_report_pays_for_the_looks(once_and_beyond):
    one, many = once_and_beyond
    slower = [[a.slower.p for a in found.steps.arms if a.slower] for found in (one, many)]
    cells = [[p for t in found.tasks.tables for c in t.factors for p in c.p] for found in (one, many)]
    for few, more in (slower, cells):
        assert sum(few) < sum(more) and all(a <= b for a, b in zip(few, more, strict=True))
    assert one.tasks.tables[0].least_p == 2 / 2**6 < many.tasks.tables[0].least_p


def test_a_ranking_says_that_it_does_not_pay(once_and_beyond):
    said = [[s for s in ranking_section(found.effects).notes if "nadjusted" in s] for found in once_and_beyond]
    assert said == [[], ["Unadjusted for 4 looks."]]


def test_an_interval_without_a_level_is_not_known_rather_than_endless():
    values = np.random.default_rng(2).normal(size=(2, 9))
    late = judge(values, (5, 6), 0.0, looks(2, 3, 4, 5, 6, 7, planned=2))
    assert late.interval() == (-np.inf, np.inf) and late.ends() == (None, None)
    one_number = np.array([[0.4]])
    assert judge(one_number, (0,), 0.1, looks(1)).ends() == (None, None)


def test_sweeps_in_one_table_have_the_looks_of_each():
    extended, as_planned = looks(3, 4, 6, planned=3), Looks((Look((10, 11), 2),), 2)
    both = pooled([(extended, range(6)), (as_planned, (10, 11))])
    assert [len(look.seeds) for look in both.at] == [5, 6, 8] and both.planned == 5
    assert looked_at(both, 8).extended
    assert pooled([(extended, range(6))]) == extended
    assert once(pooled([(as_planned, (10, 11)), (Looks(), (0, 1, 2))]))


def test_in_one_table_an_unfinished_sweep_does_not_pay_for_one_that_went_beyond_its_plan():
    unfinished = Looks((Look((10, 11, 12), 3),), 10)
    both = pooled([(looks(3, 6, planned=3), range(6)), (unfinished, range(10, 20))])
    assert looked_at(both, 9).extended and both.planned == 6


def test_the_interval_of_the_present_look_is_as_wide_as_it_pays_for():
    spread = crossed_spread(np.random.default_rng(8).normal(size=(6, 12)))
    assert half_now(spread, looks(6)) == spread.half_width()
    assert half_now(spread, looks(3, 4, 5, 6, planned=3)) > 1.15 * spread.half_width()
    assert half_now(spread, looks(2, 3, 4, 5, 6, planned=2)) == np.inf


def test_what_an_earlier_look_decided_stays_decided():
    first = np.tile([[1.0], [1.02], [0.98], [1.01]], (1, 9)) + np.random.default_rng(0).normal(size=(4, 9)) * 0.01
    values = np.vstack([first, np.full((2, 9), -3.0)])
    found = judge(values, range(6), 0.0, looks(4, 6))
    assert found.p_value < ALPHA < found.p_now and found.seeds == 4


def test_an_effect_whose_arms_got_no_more_seeds_keeps_the_level_of_its_look():
    values = np.random.default_rng(3).normal(0.9, 0.3, size=(4, 9))
    of_first = judge(values, range(4), 0.0, looks(4, 8, planned=8))
    assert [place for place, _ in of_first.looks] == [0]


def test_an_effect_that_a_look_saw_at_one_seed_was_not_looked_at_then():
    values = np.random.default_rng(9).normal(size=(3, 9))
    seen = judge(values, (1, 4, 5), 0.0, looks(2, 6))
    assert [spread.seeds for _, spread in seen.looks] == [3]


def test_the_verdict_pays_for_the_looks():
    sweep = planted(design("leave_one_out", NOTE), seeds=6)
    late = replace(sweep, looks=looks(3, 4, 5, 6, planned=3))
    one, many = ({e.factors[0]: e for e in analyse_outcomes(s).of("leave_one_out")} for s in (sweep, late))
    assert many["reward"].p > 1.5 * one["reward"].p
    assert many["reward"].high_all - many["reward"].low_all > one["reward"].high_all - one["reward"].low_all
    assert many["split"] == one["split"]  # the same in every episode, however often one looks


def test_the_benchmarks_p_values_are_those_of_the_intervals():
    values = np.random.default_rng(5).integers(-1, 2, size=(3, 2, 4, 15)).astype(float)
    expected = [[crossed_spread(table, 1.0).p_value for table in row] for row in values]
    assert p_values(values) == pytest.approx(np.array(expected))


def test_looking_after_every_seed_errs_without_payment_and_not_with_it():
    random = np.random.default_rng(6)
    x = random.normal(size=(4000, 1, 10))
    n = np.arange(2, 11)
    means, squares = np.cumsum(x, axis=2)[..., 1:] / n, np.cumsum(x**2, axis=2)[..., 1:] / n
    p = 2 * student.sf(abs(means) / np.sqrt((squares - means**2) / (n - 1)), n - 1)
    error = {policy.name: (decided_at(policy, p) > 0).mean() for policy in POLICIES}
    once_only, naive, planned_looks, reports, open_looks, *_ = error.values()
    assert naive > 0.15
    assert max(once_only, planned_looks, reports, open_looks) < 0.06
