"""What the report holds for each design, and that making it again changes nothing."""

import json
import time
from dataclasses import replace

import pytest

from harness.commands import run_command
from harness.designs import design
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.report import formats
from harness.report.effect_sections import effect_sections, pairing_section, shapley_section
from harness.report.markdown import markdown
from harness.report.page import page, write_report
from harness.stats.claims import CONFIRMED, REFUTED
from harness.stats.effects import analyse
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import factorial, leave_one_out, make_invalid, write_sweep

NOTE = note()


EFFECTS, STEPS = "Effects of the fixes", "Effects over the steps"
PROFILES, ABSENT = "Performance profiles", "What this sweep cannot answer"
SECTIONS = {
    "full_factorial": [EFFECTS, STEPS, "Interactions", "Shapley attribution", "Ranking", PROFILES],
    "leave_one_out": [EFFECTS, STEPS, "Ranking", PROFILES, ABSENT],
    "screening": [EFFECTS, "Interactions", PROFILES, ABSENT],
    "one_at_a_time": [EFFECTS, PROFILES, ABSENT],
    "smoke": [PROFILES, ABSENT],
}


def sections(folder):
    sweep = load_sweep(folder)
    return {s.title: s for s in effect_sections(statistics_of(sweep).effects, sweep.declared)}


@pytest.mark.parametrize("name", SECTIONS)
def test_what_a_design_cannot_fill_is_left_out_with_the_reason(name, tmp_path):
    arms = [arm.as_dict for arm in design(name, NOTE)]
    found = sections(write_sweep(tmp_path / "s", arms=arms, seeds=(0, 1)))
    assert list(found) == SECTIONS[name]
    if name == "leave_one_out":
        lines = found[ABSENT].notes
        assert "Interaction: this design identifies no interaction." in lines


TODAY = "in ART 0.5.23"


@pytest.mark.usefixtures("undrawn")
def test_each_table_of_effects_says_which_faults_are_still_possible_and_names_the_sources(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", arms=factorial(), seeds=(0, 1)))
    found = statistics_of(sweep)
    section = next(effect_sections(found.effects, sweep.declared))
    assert len(section.grids) == 3  # leave-one-out, main, added alone
    for _, grid in section.grids:
        column = grid.heads.index(TODAY)
        assert {row[0]: row[column] for row in grid.rows} == {f.name: f.today.partition(":")[0] for f in NOTE}
    (line,) = [note for note in section.notes if note.startswith("In ART 0.5.23")]
    assert "tools no, in RL the server's own prompt ids are trained (art/preprocessing/tokenize.py" in line
    assert all(factor.today.partition(": ")[2] in line for factor in NOTE)
    for text in (markdown(sweep, found), page(sweep, found)):
        assert TODAY in text and "art/preprocessing/tokenize.py" in text


@pytest.mark.usefixtures("undrawn")
def test_a_sweep_that_does_not_know_which_faults_are_still_possible_has_no_such_column(tmp_path):
    older = [{k: v for k, v in factor.record().items() if k != "today"} for factor in NOTE]
    sweep = load_sweep(write_sweep(tmp_path / "s", factors=older))
    found = statistics_of(sweep)
    for text in (markdown(sweep, found), page(sweep, found)):
        assert "ART 0.5.23" not in text


def test_a_factor_of_ones_own_has_a_dash_where_others_say_whether_the_fault_is_still_possible(tmp_path):
    own = [factor.record() | ({"today": ""} if factor.name == "tools" else {}) for factor in NOTE]
    (_, grid), *_ = sections(write_sweep(tmp_path / "s", factors=own))[EFFECTS].grids
    assert {row[0]: row[-1] for row in grid.rows}["tools"] == "–"


@pytest.mark.usefixtures("undrawn")
def test_a_report_names_the_fixes_that_it_does_not_compare(tmp_path):
    others = {"kl": "on", "clip": "off", "scale": "on"}
    sweep = load_sweep(write_sweep(tmp_path / "s", others=others))
    found = statistics_of(sweep)
    for text in (markdown(sweep, found), page(sweep, found)):
        assert "Not compared here: kl, scale (on); clip (off)." in text
    plain = load_sweep(write_sweep(tmp_path / "plain"))
    assert "Not compared here" not in markdown(plain, statistics_of(plain))


def test_the_heat_map_is_a_triangle_that_says_its_colours_in_numbers(tmp_path):
    (_, grid), *_ = sections(write_sweep(tmp_path / "s", arms=factorial(), seeds=(0, 1)))["Interactions"].grids
    assert [len([c for c in row[1:] if c]) for row in grid.rows] == [1, 2, 3, 4, 5]
    for row, shades in zip(grid.rows, grid.shades, strict=True):
        for cell, shade in zip(row, shades, strict=True):
            assert shade is None or (shade > 0) == cell.startswith("+")
    assert sum(shade is not None for shades in grid.shades for shade in shades) == 15


def test_a_fraction_names_the_sum_that_it_estimates_wherever_it_shows_a_number(tmp_path):
    arms = [arm.as_dict for arm in design("screening", NOTE)]
    found = sections(write_sweep(tmp_path / "s", arms=arms, seeds=(0, 1)))
    (_, grid), *_ = found[EFFECTS].grids
    assert {row[1] for row in grid.rows} == {"mixed with its aliases"}
    assert {row[0].count(" × ") for row in grid.rows} == {4}  # two aliases of three fixes each
    assert any("cannot take apart" in note for note in found["Interactions"].notes)
    assert any("sums of effects" in note for note in found[ABSENT].notes)


@pytest.mark.usefixtures("undrawn")
def test_one_seed_stands_beside_every_verdict_and_claim(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    found = statistics_of(sweep)
    (_, grid), *_ = sections(sweep.folder)[EFFECTS].grids
    assert grid.rows and all(row[1].endswith(", one seed") for row in grid.rows)
    text = page(sweep, found)
    decided = [v for v in found.verdicts if v.verdict in (CONFIRMED, REFUTED)]
    assert decided
    for claim in decided:
        assert f"{claim.verdict}, one seed" in text and f"{claim.verdict}, one seed" in markdown(sweep, found)


def test_rank_probabilities_of_a_fix_add_up(tmp_path):
    (_, grid), *_ = sections(write_sweep(tmp_path / "s", seeds=range(3)))["Ranking"].grids
    assert len(grid.shades) == len(grid.rows) == 6
    for row in grid.shades:
        assert sum(p for p in row if p is not None) == pytest.approx(1.0)


def test_an_invalid_fix_is_not_answered_with_what_was_measured(tmp_path):
    folder = write_sweep(tmp_path / "s")
    make_invalid(folder, "without_tools", "tools", "equal contexts 1.0")
    found = sections(folder)
    (_, grid), *_ = found[EFFECTS].grids
    assert next(row for row in grid.rows if row[0] == "tools")[1:3] == ("not answered", "–")
    assert any("equal contexts 1.0" in line for line in found[ABSENT].notes)


def test_what_pairing_bought_is_a_factor_in_runs(tmp_path):
    section = pairing_section(statistics_of(load_sweep(write_sweep(tmp_path / "s", seeds=range(3)))).effects)
    assert "times less variable" in section.sentences[0]


@pytest.mark.usefixtures("undrawn")
def test_the_page_says_cost_origin_claims_and_numbers_of_the_verdict(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0, 1))
    (folder / "reuse.json").write_text(
        json.dumps(
            {
                "episodes": {"asked": 900, "computed": 300, "shared": 600},
                "seconds": {"wall": 148.0, "cpu": 173.0},
                "cores": 2,
            }
        )
    )
    sweep = load_sweep(folder)
    text = page(sweep, statistics_of(sweep))
    for part in (
        "2 min 28 s of wall time and 2 min 53 s of CPU time for 16 runs, on 2 cores",
        "3.0 times fewer episodes",
        "python -m harness report results/s",
        "(a) policy not queried",
        "not tested here",
    ):
        assert part in text
    assert text.index('id="verdict"') < text.index('id="reference-validation"') < text.index('id="arms"')


def test_the_same_records_give_the_same_bytes(tmp_path):
    folder = write_sweep(tmp_path / "s", arms=leave_one_out(), seeds=(0, 1))
    made = []
    for _ in range(2):
        write_report(load_sweep(folder))
        made.append([(folder / name).read_bytes() for name in ("effects.json", "report.html", "report.md")])
    assert made[0] == made[1]
    assert json.loads(made[0][0])["design"] == "leave_one_out"


def test_sixty_four_arms_of_five_seeds_take_seconds(tmp_path):
    write_report(
        load_sweep(write_sweep(tmp_path / "first", arms=leave_one_out()[:2]))
    )  # loads matplotlib and lists the fonts
    sweep = load_sweep(write_sweep(tmp_path / "s", arms=factorial(), seeds=range(5)))
    started = time.process_time()
    write_report(sweep)
    assert time.process_time() - started < 15  # about 10 on one core


def test_shares_of_next_to_nothing_are_not_written(tmp_path):
    """+.03 and −.037 are no −400 % and 500 % of a whole of −.007."""
    effects = analyse(load_sweep(write_sweep(tmp_path / "s", arms=factorial(), seeds=(0, 1))))

    def shares(part):
        scaled = [e if e.value is None else replace(e, value=part * e.value) for e in effects.effects]
        ((_, grid),) = shapley_section(replace(effects, effects=tuple(scaled))).grids
        return {row[2] for row in grid.rows}

    assert all(share.endswith(" %") for share in shares(1)) and "−0 %" not in shares(-1)
    assert shares(0.1) == {formats.NONE}


@pytest.mark.usefixtures("undrawn")
def test_a_report_for_a_program_is_json(tmp_path, capsys):
    folder = write_sweep(tmp_path / "s")
    assert run_command("report", [str(folder), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["effects"] == json.loads((folder / "effects.json").read_text())
    assert said["arms"][0]["arm"] == "all_on"
    assert said["schema"] == 1 and said["verdict"][0].startswith("With all fixes on")
