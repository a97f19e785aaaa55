"""What W&B shows of the effect of a run's arm: differences to runs of the same seed, and the report's own effect."""

import pytest

from harness.records.load import load_sweep
from harness.report.page import write_report
from harness.tracking.arm_effects import read_effects, run_effects
from tests.synthetic import write_status, write_sweep


def last(sweep, arm, seed=0):
    (run,) = (run for run in sweep.runs_of(arm) if run.seed == seed)
    return run.validations[-1].reference


def test_a_run_is_held_against_all_on_and_all_off_of_its_seed(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", seeds=(0, 1, 2, 3), steps=3))
    found = run_effects(sweep)
    assert len({last(sweep, "all_on", seed) for seed in range(4)}) > 1
    for end in ("all_on", "all_off"):
        by_seed = [last(sweep, "without_tools", seed) - last(sweep, end, seed) for seed in range(4)]

        assert [found[f"without_tools/seed={n}"][f"vs_{end}/last"] for n in range(4)] == pytest.approx(by_seed)
    assert set(found["all_on/seed=1"]) == {"vs_all_off/last", "vs_all_off/area"}


def test_an_arm_with_one_fix_off_has_the_effect_that_the_report_gives(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", seeds=(0, 1)))
    write_report(sweep)
    (told,) = (
        each
        for each in read_effects(sweep)["effects"]
        if (each["kind"], each["outcome"], each["factors"]) == ("leave_one_out", "final", ["tools"])
    )
    for seed in (0, 1):
        found = run_effects(sweep)[f"without_tools/seed={seed}"]
        shown = [found[f"effect/{key}"] for key in ("fix", "final", "low", "high", "verdict")]
        assert shown == ["tools", told["value"], told["low"], told["high"], told["verdict"]]
    assert "effect/fix" not in run_effects(sweep)["all_on/seed=0"]


def test_nothing_is_said_of_a_run_that_failed_or_is_invalid_nor_against_one(tmp_path):
    folder = write_sweep(tmp_path / "s")
    write_status(folder, "all_on", validity="INVALID", invalid=[{"factor": "tools", "reading": "no"}])
    write_status(folder, "without_tools", state="failed", error="killed")
    write_report(load_sweep(folder))
    found = run_effects(load_sweep(folder))
    assert "all_on/seed=0" not in found and "without_tools/seed=0" not in found
    assert not {"vs_all_on/last", "vs_all_on/area"} & set(found["without_reward/seed=0"])


def test_blocks_are_held_apart(tmp_path):
    sweep = load_sweep(write_sweep(tmp_path / "s", blocks={"rate=1": 1.0, "rate=2": 2.0}))
    write_report(sweep)
    found = run_effects(sweep)
    for block in sweep.blocks:
        own = sweep.of_block(block)
        difference = last(own, "without_tools") - last(own, "all_on")
        assert found[own.runs_of("without_tools")[0].name]["vs_all_on/last"] == pytest.approx(difference)
    assert [b for b in sweep.blocks if "effect/fix" in found[f"without_tools/{b}/seed=0"]] == [sweep.main_block]
