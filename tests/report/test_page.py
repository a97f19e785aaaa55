"""The figures and the page, made from records alone."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from itertools import combinations, islice

import numpy as np
import pytest

from harness.commands import run_command
from harness.designs import design
from harness.fixes.registry import note
from harness.records.json_files import read_lines, write_lines
from harness.records.load import load_sweep
from harness.report.arm_rows import arms_in_order
from harness.report.curve_figure import curve_figure
from harness.report.curves import (
    average,
    contrasted_factors,
    factor_curves,
    merged,
    pair_curves,
    valid_curves,
)
from harness.report.effect_figures import effect_figure
from harness.report.figures import BLACK, GREY, NAMED, arm_colours, factor_figure, overview_figure, spread
from harness.report.page import page as page_of
from harness.report.page import write_report
from harness.report.page_parts import plain_names
from harness.report.palette import palette
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import factorial, leave_one_out, make_invalid, run_folder, write_status, write_sweep

NOTE = note()

VOID = {"meta", "path", "use", "br", "rect", "image"}


class Balanced(HTMLParser):
    """Raises on a tag that closes what is not open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag


def page(sweep):
    return page_of(sweep, statistics_of(sweep))


def well_formed(text):
    parser = Balanced()
    parser.feed(text)
    return parser.open == []


def test_curves_that_coincide_are_one_with_all_their_names(tmp_path):
    curves = merged(valid_curves(load_sweep(write_sweep(tmp_path / "s", arms=factorial()))))
    assert len(curves) == 5
    assert sum(len(curve.arms) for curve in curves) == 64
    assert {curve.label(30) for curve in curves} >= {"all_on = without_split", "all_off and 55 others"}


def test_a_mean_over_seeds_covers_the_steps_that_all_reached():
    curve = average(["a"], [[(0, 0.0), (1, 0.4), (2, 0.9)], [(0, 0.2), (1, 0.6)]])
    assert curve.steps == (0, 1)
    assert curve.mean == pytest.approx((0.1, 0.5))
    assert (curve.low, curve.high) == ((0.0, 0.4), (0.2, 0.6))


def test_an_arm_without_a_valid_run_does_not_count_for_its_factor(tmp_path):
    sweep = write_sweep(tmp_path / "s")
    make_invalid(sweep, "without_tools", "tools", "…")
    assert factor_curves(load_sweep(sweep), "tools")["off"].arms == ("all_off",)


def test_a_factor_with_one_level_has_no_panel(tmp_path):
    arms = [a for a in leave_one_out() if a["split"] == "on"]
    assert "split" not in contrasted_factors(load_sweep(write_sweep(tmp_path / "s", arms=arms)))


def test_an_invalid_pair_has_no_panel_rather_than_a_confounded_one(tmp_path):
    folder = write_sweep(tmp_path / "s")
    make_invalid(folder, "without_split", "split", "…")
    assert contrasted_factors(load_sweep(folder)) == ("endpoint", "tools", "exploration", "reward", "logprobs")


@pytest.mark.parametrize(
    ("name", "lines"),
    [("leave_one_out", ["all on", "without"]), ("one_at_a_time", ["alone", "all off"]), ("screening", [])],
)
def test_a_panel_shows_the_pair_of_arms_that_the_design_holds(name, lines, tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", arms=[arm.as_dict for arm in design(name, NOTE)]))
    assert list(pair_curves(sweep, "tools")) == lines
    assert "tools" in contrasted_factors(sweep)


def test_labels_keep_their_order_and_their_distance():
    places = spread([0.5, 0.49, 0.1, 0.5], 0.05, 0.52)
    assert sorted(places) == [places[i] for i in (2, 1, 0, 3)]
    gaps = [b - a for a, b in zip(sorted(places), sorted(places)[1:], strict=False)]
    assert min(gaps) == pytest.approx(0.05)
    assert max(places) <= 0.52


def test_the_page_stands_alone_and_says_everything(tmp_path):
    sweep = write_sweep(tmp_path / "s", seeds=(0, 1))
    make_invalid(sweep, "without_tools", "tools", "equal contexts <1.0>")
    write_status(sweep, "without_reward", state="failed", error="EngineError: died")
    text = page(load_sweep(sweep))
    assert well_formed(text)
    assert not re.search(r'(src|href)="(https?:)?//|<script .*src|@import|<link', text)
    for part in ("without_tools/seed=0", "equal contexts &lt;1.0&gt;", "EngineError: died", "f78796e", "0.20.2"):
        assert part in text
    assert "python -m harness +ablation=leave_one_out" in text
    assert "endpoint is off: share 0.0" in text
    # chips, curves, fix by fix, forest, steps, profiles, arms
    assert text.count("<svg") == 6 + 1 + 6 + 2 + 2 + 2 + 8
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert {ref for ref in re.findall(r'href="#([^"]+)"', text)} <= set(ids)


def test_the_one_script_that_a_browser_may_run_is_ours(tmp_path):
    text = page(load_sweep(write_sweep(tmp_path / "s", arms=leave_one_out()[:2])))
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in text
    assert "innerHTML" not in script and "eval" not in script


def test_the_same_records_give_the_same_page(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", arms=leave_one_out()[:2]))
    assert page(sweep) == page(sweep)


def test_sixty_four_arms_are_one_picture_and_not_sixty_four(tmp_path):
    text = page(load_sweep(write_sweep(tmp_path / "s", arms=factorial())))
    # chips, curves, fix by fix, forest, steps, Shapley, profiles, gaps
    assert text.count("<svg") == 6 + 1 + 6 + 2 + 2 + 2 + 2 + 2
    assert len(text) < 1_000_000


@pytest.mark.parametrize("moment", ["planned", "one validation", "running"])
def test_a_report_can_be_made_at_any_moment(tmp_path, moment):
    sweep = write_sweep(tmp_path / "s", arms=leave_one_out()[:3])
    for arm in ("all_on", "without_endpoint", "without_tools"):
        folder = run_folder(sweep, arm)
        keep = {"planned": 0, "one validation": 1, "running": 3}[moment]
        for name in ("steps", "validation", "checks"):
            path = folder / f"{name}.jsonl"
            path.write_text("".join(path.read_text().splitlines(keepends=True)[:keep]))
        (folder / "status.json").unlink()
    write_report(load_sweep(sweep))
    assert well_formed((sweep / "report.html").read_text())
    assert (sweep / "figures" / "curves.png").exists() == (moment != "planned")


def no_reading(line):
    return line | {"reference": {"mean": None, "by_task": dict.fromkeys(line["reference"]["by_task"]), "missing": 9}}


def every_third_reading_missing(line):
    scores = line["reference"]["by_task"]
    kept = scores | {task: None for number, task in enumerate(scores) if number % 3 == line["step"] % 3}
    return line | {"reference": line["reference"] | {"by_task": kept, "missing": len(kept) // 3}}


def of_another_task(line):
    return line | {"reference": {"mean": 0.5, "by_task": {"elsewhere": 0.5}, "missing": 0}}


ODD = [  # of seed 0, the runs whose validation is changed
    (no_reading, ("all_on", "without_endpoint", "without_tools"), (0,)),
    (no_reading, ("without_tools",), (0, 1)),
    (every_third_reading_missing, ("all_on", "without_tools"), (0, 1)),
    (of_another_task, ("without_tools",), (0, 1)),
]


@pytest.mark.parametrize(("change", "arms", "seeds"), ODD)
def test_a_report_can_be_made_of_whatever_validation_has_found(tmp_path, change, arms, seeds):
    sweep = write_sweep(tmp_path / "s", arms=leave_one_out()[:3], seeds=seeds)
    for arm in arms:
        path = run_folder(sweep, arm) / "validation.jsonl"
        write_lines(path, map(change, read_lines(path)))
    write_report(load_sweep(sweep))
    assert well_formed((sweep / "report.html").read_text())


def test_the_command_makes_page_twin_and_figures(tmp_path, capsys):
    sweep = write_sweep(tmp_path / "s")
    assert run_command("report", [str(sweep)]) == 0
    assert "report.html" in capsys.readouterr().out
    for name in ("report.html", "report.md", "figures/curves.png", "figures/factors.png", "figures/reported.png"):
        assert (sweep / name).stat().st_size > 1000
    twin = (sweep / "report.md").read_text()
    assert "| all_on | ● ● ● ● ● ● |" in twin and "](figures/curves.png)" in twin


def test_the_command_refuses_what_is_no_sweep(tmp_path, capsys):
    assert run_command("report", [str(tmp_path)]) == 2
    assert "no sweep folder" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="2"):
        run_command("report", [])


def test_all_on_is_the_thick_black_line(tmp_path):
    axes = overview_figure(load_sweep(write_sweep(tmp_path / "s"))).axes[0]
    thickest = max(axes.lines, key=lambda line: line.get_linewidth())
    assert thickest.get_color() == "#000000"


def test_64_arms_with_curves_of_their_own_have_64_colours_and_64_lines(tmp_path):
    folder = write_sweep(tmp_path / "s", arms=factorial(), steps=2)
    for number, run in enumerate(load_sweep(folder).runs):
        path = folder / "runs" / run.name / "validation.jsonl"
        lines = read_lines(path)
        lines[-1]["reference"]["mean"] = number / 100
        write_lines(path, lines)
    sweep = load_sweep(folder)
    colours = arm_colours(sweep)
    assert len(set(colours.values())) == len(sweep.arms) == 64
    assert [colours[arm] for arm in arms_in_order(sweep)][:9] == [BLACK, *islice(palette(), 8)]
    text = curve_figure(sweep)
    assert all(text.count(f'style="--c:{colour}"') == 2 for colour in colours.values())
    assert text.count('class="line faint"') == 64 - NAMED


def test_the_palette_begins_with_okabe_and_ito_and_every_further_colour_can_be_seen_on_white():
    first = list(islice(palette(), 7))
    assert first == ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#7a5c00", "#56B4E9", "#E69F00"]
    many = [*islice(palette(), 64), BLACK, GREY, "#ffffff"]
    assert min(np.linalg.norm(rgb(one) - rgb(other)) for one, other in combinations(many, 2)) > 0.04
    assert all(1.05 / (linear(rgb(colour)) @ (0.2126, 0.7152, 0.0722) + 0.05) > 3 for colour in many[7:64])


def rgb(colour):
    return np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255


def linear(colour):
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def test_an_arm_has_one_colour_in_curves_profiles_and_table(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", seeds=(0, 1)))
    colours = arm_colours(sweep)
    effects = statistics_of(sweep).effects
    profile = effect_figure("profiles", effects, colours).axes[0]
    drawn = {line.get_label(): line.get_color() for line in profile.lines}
    assert drawn["without_tools"] == colours["without_tools"]
    text = page(sweep)
    swatch = f'<i class="swatch" style="--c:{colours["without_tools"]}"></i>'
    assert f"<td>{swatch}without_tools</td>" in text
    (line,) = re.findall(r'<li data-line="(\d+)" data-arms="without_tools">', text)
    assert f'<g class="line plain" data-line="{line}" style="--c:{colours["without_tools"]}">' in text


def test_an_arm_has_the_same_colour_fix_by_fix_as_among_all_curves(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s"))
    colours = arm_colours(sweep)
    drawn = {}
    for factor in contrasted_factors(sweep):
        fixed, without = factor_figure(sweep, factor).axes[0].lines[:2]
        drawn[factor] = (fixed.get_color(), without.get_color())
    grey_where_both = {f: GREY if colours[f"without_{f}"] == BLACK else colours[f"without_{f}"] for f in drawn}
    assert drawn == {factor: (BLACK, colour) for factor, colour in grey_where_both.items()}
    assert len(set(grey_where_both.values())) > 2


def test_a_measure_is_called_by_plain_words_and_its_internal_name_is_a_tooltip():
    assert plain_names("rises: reference_rise of all_on is 1 <") == (
        'rises: <abbr title="reference_rise">reference rise</abbr> of all_on is 1 &lt;'
    )
