"""What a report says about the steps and blocks at which a verdict holds."""

import json

import pytest

from harness.records.load import load_sweep
from harness.report.markdown import markdown
from harness.report.page import page
from harness.report.step_figures import steps_figure
from harness.report.step_sections import steps_section
from harness.report.step_text import decided, decided_together, short_cell
from harness.report.verdict import caveats, verdict_sentences
from harness.stats.by_step import StepEffect
from harness.stats.effects import analyse
from harness.stats.more_seeds import needs
from harness.stats.outcomes import outcomes_of
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import TASKS, leave_one_out, run_folder, write_sweep

SEEDS = range(5)


def reward_curves(folder, arm, share_of_step):
    """Give an arm a reference curve of its own: the share of solved tasks at each step, the same for every seed."""
    for seed in SEEDS:
        path = run_folder(folder, arm, seed) / "validation.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            solved = round(share_of_step(line["step"]) * len(TASKS))
            line["reference"] |= {"by_task": {t: float(i < solved) for i, t in enumerate(TASKS)}}
            line["reference"]["mean"] = solved / len(TASKS)
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def settles(step):
    return 0.2 + 0.6 * min(step / 3, 1)


def planted(folder, **curves):
    """all_on settles after three steps of twelve; curves: of the arms that lack a fix, else they stay at .2."""
    write_sweep(folder, leave_one_out(), SEEDS, steps=12)
    for arm in load_sweep(folder).arms:
        lacks = arm.removeprefix("without_")
        reward_curves(folder, arm, settles if arm == "all_on" else curves.get(lacks, lambda step: 0.2))
    return load_sweep(folder)


def late(step):
    return settles(step) if step <= 8 else 0.4


def test_an_effect_that_comes_late_stands_in_the_verdict_with_two_places_and_is_not_said_to_matter(tmp_path):
    sweep = planted(tmp_path / "s", tools=late, split=settles, reward=settles)
    effects = analyse(sweep)
    what, _, unknown = verdict_sentences(sweep, effects)
    assert "Tools depends on when one stops (0.000 [" in what and "] at step 8, +0.400 [" in what
    assert "at step 12)" in what and "exploration (+0.600" in what
    assert "tools" not in what.partition("matter")[0] and "whether tools" not in unknown
    assert "| tools | depends | +0.400" in markdown(sweep, statistics_of(sweep))


def test_a_sweep_whose_all_on_still_rises_says_that_it_is_too_short_in_the_verdict_and_in_the_notes(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", seeds=SEEDS))
    effects = analyse(sweep)
    assert effects.settled.state == "rising"
    assert "this sweep is too short" in verdict_sentences(sweep, effects)[2]
    assert any(note.startswith("This sweep is too short") for note in caveats(sweep, effects))


def test_a_sweep_that_has_settled_says_nothing_of_it(tmp_path):
    sweep = planted(tmp_path / "s", split=settles)
    texts = [*verdict_sentences(sweep, analyse(sweep)), *caveats(sweep, analyse(sweep))]
    assert not any("too short" in text or "settled" in text for text in texts)


def test_the_table_has_fixes_by_steps_with_a_mark_where_an_effect_is_decided(tmp_path):
    effects = analyse(planted(tmp_path / "s", tools=late, split=settles))
    section = steps_section(effects)
    ((title, grid),) = section.grids
    assert title == "Leave-one-out" and grid.heads == ("fix", *map(str, range(13)))
    rows = {row[0]: row[1:] for row in grid.rows}
    assert rows["logprobs"][0] == "0" and rows["logprobs"][12] == "+0.60**"
    assert rows["tools"][5] == "+0.00" and rows["tools"][12].startswith("+0.40*")
    assert len(steps_figure(effects).axes) == 6 and section.figure == "steps"


def test_a_sweep_with_blocks_has_a_table_of_blocks_by_steps_for_every_fix(tmp_path):
    rates = {"learning_rate=1": 1.0, "learning_rate=3": 3.0}
    sweep = load_sweep(write_sweep(tmp_path / "s", seeds=SEEDS, blocks=rates, config={"train": {"steps": 6}}))
    grids = dict(steps_section(analyse(sweep)).grids)
    assert list(grids) == [f"Leave-one-out, {factor}" for factor in sweep.factors]
    assert [row[0] for row in grids["Leave-one-out, logprobs"].rows] == list(rates)


def test_page_and_twin_both_hold_the_section(tmp_path):
    sweep = planted(tmp_path / "s", tools=late)
    found = statistics_of(sweep)
    html, twin = page(sweep, found), markdown(sweep, found)
    assert '<h2 id="effects-over-the-steps">Effects over the steps</h2>' in html and "steps-wide" in html
    assert "## Effects over the steps" in twin and "figures/steps.png" in twin
    assert "| stability |" in twin and ">stability<" in html


def test_a_sweep_with_one_validation_has_no_such_section(tmp_path):
    assert steps_section(analyse(load_sweep(write_sweep(tmp_path / "s", steps=0)))) is None


def test_a_curve_that_rises_and_falls_back_is_not_said_to_stay(tmp_path):
    def there_and_back(step):
        return 0.8 if 4 <= step <= 9 else 0.2

    planted(tmp_path / "s", split=there_and_back, reward=there_and_back, tools=there_and_back)
    reward_curves(tmp_path / "s", "all_on", there_and_back)
    effects = analyse(sweep := load_sweep(tmp_path / "s"))
    what = verdict_sentences(sweep, effects)[0]
    assert what.startswith("With all fixes on the policy goes from 0.200 to 0.800 and back; ")
    assert "depends on when one stops" in what and "cannot tell" not in what


def test_the_count_of_missing_seeds_says_what_the_report_says(tmp_path):
    sweep = planted(tmp_path / "s", tools=late, split=settles, reward=settles)
    decided = {
        e.factors[0]: e.verdict for e in needs(outcomes_of(sweep), "leave_one_out", analyse(sweep).effects).decided
    }
    assert decided["tools"] == "depends" and decided["exploration"] == "raises"
    rising = load_sweep(write_sweep(tmp_path / "rising", seeds=range(6)))
    effects = analyse(rising)
    undecided = {e.factors[0] for e in effects.of("leave_one_out") if e.verdict == "undecided"}
    found = {n.effect.factors[0]: n for n in needs(outcomes_of(rising), "leave_one_out", effects.effects).undecided}
    assert set(found) == undecided


@pytest.mark.parametrize(("verdict", "marked"), [("raises", True), ("lowers", True), ("undecided", False)])
def test_a_step_is_marked_only_where_its_verdict_is_decided(verdict, marked):
    """Lost runs can leave an effect undecided whose p-value is small: they might have turned its sign."""
    point = StepEffect(4, verdict=verdict, value=0.2, low=0.1, high=0.3, p_holm=0.001, p_all=0.001)
    assert decided(point) is decided_together(point) is marked
    assert short_cell(point).endswith("*") is marked


def test_the_middle_of_a_curve_that_does_not_rise_is_not_said_to_be_half_of_a_rise(tmp_path):
    sweep = planted(tmp_path / "s")
    reward_curves(tmp_path / "s", "all_on", lambda step: 0.2)
    (said,) = [n for n in steps_section(analyse(load_sweep(sweep.folder))).notes if "middle of the curve" in n]
    assert "here step 6:" in said and "or half of the steps where it never rises by 0.1" in said
