"""The verdict: three plain sentences that claim no more than the sweep shows."""

import json
import re

import pytest
from omegaconf import OmegaConf

from harness.designs import design, listed
from harness.fixes.registry import note
from harness.paths import CONF
from harness.records.load import load_sweep
from harness.report import formats
from harness.report.verdict import caveats, verdict_sentences
from harness.stats.effects import analyse, to_json
from tests.synthetic import TASKS, factorial, leave_one_out, make_invalid, run_folder, write_status, write_sweep

NOTE = note()


def verdict(folder):
    sweep = load_sweep(folder)
    effects = analyse(sweep)
    return verdict_sentences(sweep, effects), caveats(sweep, effects)


def named(name):
    path = CONF / "ablation" / f"{name}.yaml"
    arms = OmegaConf.load(path).hydra.sweeper.get("arms") if path.exists() else None
    return [arm.as_dict for arm in (listed(NOTE, arms) if arms else design(name, NOTE))]


@pytest.mark.parametrize("arms", [leave_one_out(), factorial()], ids=["leave_one_out", "factorial"])
def test_it_says_what_matters_how_sure_and_what_is_not_known(arms, tmp_path):
    (what, sure, unknown), _ = verdict(write_sweep(tmp_path / "s", arms=arms, seeds=range(5)))
    assert what.startswith("With all fixes on the policy goes from 0.167 to 0.527; endpoint (+0.360 [")
    assert "exploration" in what and "logprobs" in what and "tools" not in what
    assert "after Holm's correction over 6 fixes, over 30 held-out tasks and 5 seeds" in sure
    assert "whether tools (" in unknown and "split made no difference to the reference reward (exactly 0; " in unknown
    assert "(exactly 0; a failure in up to 45 % of seeds could have been missed)" in unknown


def test_one_seed_is_said_to_be_one_seed(tmp_path):
    (_, sure, _), notes = verdict(write_sweep(tmp_path / "s", seeds=(3,)))
    assert "seed 3 alone" in sure and "another may differ" in sure
    assert notes[0].startswith("One seed")


def test_a_validation_on_the_training_tasks_is_said_to_be_one(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(3))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["config"] = {"validation": {"split": "train"}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (_, sure, _), _ = verdict(folder)
    assert "training tasks" in sure and "held-out" not in sure
    assert "validation.split=train" in formats.notes(load_sweep(folder))[0]


def test_one_at_a_time_is_flat_by_construction_and_never_no_effect(tmp_path):
    (what, _, unknown), _ = verdict(write_sweep(tmp_path / "s", arms=named("one_at_a_time"), seeds=range(3)))
    assert "by construction" in what
    assert unknown.startswith("Not known: which of the fixes matter")
    assert "no difference" not in what + unknown


def test_a_fraction_says_that_it_mixes_effects(tmp_path):
    (what, _, unknown), _ = verdict(write_sweep(tmp_path / "s", arms=named("screening"), seeds=range(3)))
    assert "stand out" in what and "matter" not in what  # split is planted as nothing, and its sum stands out
    assert "split + … (+" in what and "cannot take apart" in what
    assert "mixes it with interactions of three fixes" in unknown and "+ablation=gate_aware" in unknown


def test_an_invalid_fix_is_unknown_and_never_no_effect(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(3))
    for seed in range(3):
        make_invalid(folder, "without_split", "split", "…", seed)
    (_, _, unknown), notes = verdict(folder)
    assert "what split does (its runs are INVALID)" in unknown
    assert "no difference" not in unknown
    assert any("3 INVALID" in note for note in notes)


def test_a_sweep_without_pairs_points_to_one_with(tmp_path):
    (what, _, unknown), _ = verdict(write_sweep(tmp_path / "s", arms=named("smoke")))
    assert "nothing about single fixes" in what
    assert "+ablation=leave_one_out" in unknown


def test_a_sweep_without_completed_runs_says_nothing(tmp_path):
    folder = write_sweep(tmp_path / "s")
    for path in folder.glob("runs/*/*/*.json*"):
        path.unlink()
    assert verdict(folder)[0] == ("Nothing can be said yet: no run has completed with valid switches.",)


def test_it_says_without_which_fixes_no_update_was_made_here_and_calls_none_a_gate_by_nature(tmp_path):
    _, notes = verdict(write_sweep(tmp_path / "s"))
    (note,) = [note for note in notes if "one_at_a_time" in note]
    assert note.startswith("Here no update was made without exploration (0 of 6 batches) or logprobs (0 of 6 batches)")
    assert "depends on the loop" in note


def test_where_no_pair_of_arms_shows_it_nothing_is_said_of_gates(tmp_path):
    _, notes = verdict(write_sweep(tmp_path / "s", arms=named("one_at_a_time")))
    assert not any("update was made without" in note for note in notes)


def test_where_nothing_moves_nothing_is_called_no_difference(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(3))
    for path in folder.glob("runs/*/*/validation.jsonl"):
        path.write_text(re.sub(r'("task-\d\d"): [01]\.0', r"\1: 0.0", path.read_text()))
    (what, _, unknown), _ = verdict(folder)
    assert "no arm ends 0.1 reward from where it began or from another arm, so this sweep cannot tell" in what
    assert "made no difference" not in unknown


def test_where_the_policy_gets_worse_with_all_fixes_nothing_is_called_no_difference(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(3))
    for path in folder.glob("runs/*/*/validation.jsonl"):
        first, *later = path.read_text().splitlines()
        fallen = [re.sub(r'("task-\d\d"|"mean"): [\d.]+', r"\1: 0.0", line) for line in later]
        path.write_text("\n".join([first, *fallen]) + "\n")
    (what, _, unknown), _ = verdict(folder)
    assert "goes from 0.167 to 0.000 (−0.167 [−0." in what and "]): training itself failed here (by its" in what
    assert "split made no difference to the reference reward (exactly 0; " in unknown  # the same weights throughout
    assert "whether endpoint (" in unknown and "reward (" in unknown


def test_where_seeds_do_not_agree_that_the_policy_gets_worse_training_is_not_said_to_have_failed(tmp_path):
    """On average all_on ends lower; one of two seeds ends where it began."""
    folder = write_sweep(tmp_path / "s", seeds=range(2))
    for seed, last in ((0, 0.0), (1, 5 / 30)):
        path = run_folder(folder, "all_on", seed) / "validation.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            share = 15 / 30 if line["step"] == 0 and seed == 0 else 5 / 30 if line["step"] == 0 else last
            by_task = {task: float(i < round(30 * share)) for i, task in enumerate(TASKS)}
            line["reference"] |= {"by_task": by_task, "mean": share}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    effects = analyse(load_sweep(folder))
    assert effects.fails and effects.decline.low < 0 < effects.decline.high
    what = verdict(folder)[0][0]
    assert "goes from 0.333 to 0.083 (−0.250 [←−1.000, 1.000→]): whether training itself failed is not shown" in what
    assert "training itself failed here" not in what
    assert "what a fix is good for" in what and "decline" in json.loads(to_json(effects))


def all_on_loses(folder, lost):
    """Each of five seeds solves 20 of 30 tasks at first, and later not some of its own."""
    for seed in range(5):
        path = run_folder(folder, "all_on", seed) / "validation.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        gone = [(4 * seed + i) % 20 for i in range(lost)]
        for line in lines:
            solved = [i for i in range(20) if line["step"] == 0 or i not in gone]
            by_task = {task: float(i in solved) for i, task in enumerate(TASKS)}
            line["reference"] |= {"by_task": by_task, "mean": len(solved) / 30}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))


@pytest.mark.parametrize(("lost", "fails"), [(1, False), (2, True)])
def test_a_small_decline_that_is_sure_and_beyond_the_margin_is_said_to_be_a_failure_of_training(lost, fails, tmp_path):
    """By .033 or .067 in every seed: below the .1 that is enough of an estimate."""
    folder = write_sweep(tmp_path / "s", seeds=range(5))
    all_on_loses(folder, lost)
    effects, what = analyse(load_sweep(folder)), verdict(folder)[0][0]
    assert effects.fails is fails and bool(effects.rankings) is not fails
    assert ("training itself failed here" in what) is fails
    assert not fails or "goes from 0.667 to 0.600 (−0.067 [−0." in what


def test_what_a_fix_that_lowers_the_reward_loses_is_said_to_be_a_gain_without_it(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(5))
    assert "below zero" not in verdict(folder)[0][0]
    for seed in range(5):
        path = run_folder(folder, "without_tools", seed) / "validation.jsonl"
        first, *later = path.read_text().splitlines()
        risen = [re.sub(r'("task-\d\d"|"mean"): [\d.]+', r"\1: 1.0", line) for line in later]
        path.write_text("\n".join([first, *risen]) + "\n")
    what = verdict(folder)[0][0]
    assert "tools (−0." in what and "(95 % interval; below zero: the reward ends higher without the fix)." in what


def test_beside_an_effect_stands_what_it_would_be_were_its_invalid_run_what_it_is_named_after(tmp_path):
    """A run that broke, and whose check took it for one of another policy."""
    folder = write_sweep(tmp_path / "s", seeds=range(5))
    assert not any("INVALID runs" in note for note in verdict(folder)[1])
    path = run_folder(folder, "without_tools", 1) / "validation.jsonl"
    path.write_text(re.sub(r'("task-\d\d"|"mean"): [\d.]+', r"\1: 0.0", path.read_text()))
    make_invalid(folder, "without_tools", "endpoint", "another policy answered", seed=1)
    notes = verdict(folder)[1]
    assert "1 run is left out: 1 INVALID." in notes
    (said,) = [note for note in notes if "INVALID runs" in note]
    assert re.search(r"would be: tools \(leave one out\) \+0\.\d+ \[.*\] over 5 seeds instead of [+−]0\.\d+\.$", said)


def test_the_decline_of_one_seed_is_said_to_be_of_one_seed(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0,))
    for path in folder.glob("runs/*/*/validation.jsonl"):
        first, *later = path.read_text().splitlines()
        fallen = [re.sub(r'("task-\d\d"|"mean"): [\d.]+', r"\1: 0.0", line) for line in later]
        path.write_text("\n".join([first, *fallen]) + "\n")
    assert ", one seed): training itself failed here" in verdict(folder)[0][0]
    assert "decline" not in json.loads(to_json(analyse(load_sweep(write_sweep(tmp_path / "rises")))))


def test_a_sweep_that_is_not_finished_is_not_sent_to_the_design_that_it_has(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=(0,))
    for path in folder.glob("runs/*/seed=0/status.json"):
        path.write_text(path.read_text().replace("completed", "running")) if "all_on" in str(path) else None
    (what, _, unknown), _ = verdict(folder)
    assert what.startswith("No run with all fixes on counts; ")  # what it has shown so far is no end
    assert unknown == "Not known: which of the fixes matter; 1 of its runs is not finished."


def test_seeds_are_counted_by_the_runs_that_an_effect_has(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(5))
    assert "and 5 seeds of baseline note that all arms share" in verdict(folder)[0][1]
    write_status(folder, "without_tools", 4, state="failed", error="RuntimeError: loss is NaN")
    assert "and 4 to 5 of 5 seeds of baseline note" in verdict(folder)[0][1]


def test_where_a_run_failed_its_fix_makes_no_claim_to_have_no_effect(tmp_path):
    folder = write_sweep(tmp_path / "s", seeds=range(8))
    assert "split made no difference" in verdict(folder)[0][2]
    for seed in (1, 4):
        write_status(folder, "without_split", seed, state="failed", error="RuntimeError: loss is NaN")
    (_, _, unknown), _ = verdict(folder)
    assert "made no difference" not in unknown and "split (0.000" in unknown
    (split,) = (e for e in analyse(load_sweep(folder)).of("leave_one_out") if e.factors == ("split",))
    assert split.verdict == "undecided" and "2 runs of its arms failed" in split.note


def test_one_seed_stands_beside_every_number(tmp_path):
    (what, _, _), _ = verdict(write_sweep(tmp_path / "s"))
    assert what.count("], one seed)") == 3


def test_the_verdict_follows_the_kind_of_effect_that_the_sweep_answers_most_of(tmp_path):
    (what, _, _), _ = verdict(write_sweep(tmp_path / "s", arms=named("short_term"), seeds=range(3)))
    assert "no fix alone moves the broken loop, which is so by construction" in what
