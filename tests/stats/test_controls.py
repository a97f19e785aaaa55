"""What cannot matter is not found to matter, and what cannot learn is seen when it does."""

import json
from dataclasses import replace

import numpy as np
import pytest

from harness.designs import design
from harness.factors import CONTROL, Arm, Factor, Factors
from harness.fixes import placebo, signal
from harness.fixes.registry import note
from harness.records.load import load_sweep
from harness.stats.contrasts import all_contrasts
from harness.stats.controls import controls_of
from harness.stats.effects import analyse, estimate_family
from harness.stats.measured import measure
from harness.stats.outcomes import Outcomes
from harness.stats.sweep_statistics import effects_json, statistics_of
from tests import synthetic
from tests.synthetic import TASKS, unshown, write_sweep

THREE = Factors((Factor("gain"), Factor("nothing"), placebo.FACTOR))
KINDS = {"leave_one_out": "leave_one_out", "full_factorial": "main"}


def luck_alone(name, seeds, tasks, rng, between=0.5):
    """A sweep in which `gain` matters, and each arm has luck of its own under each seed: the placebo's levels too.

    between: standard deviation of a run's log odds of success; tasks add 1, an episode its own coin
    """
    arms = design(name, THREE)
    gain = np.array([1.5 if arm.level("gain") == "on" else 0.0 for arm in arms])
    odds = gain[:, None, None] + between * rng.normal(size=(len(arms), seeds, 1)) + rng.normal(size=tasks)
    last = rng.random(odds.shape) < 1 / (1 + np.exp(-odds))
    rewards = np.stack([np.zeros_like(last), last], axis=2).astype(float)
    counted = np.ones((len(arms), seeds), dtype=bool)
    names = tuple(f"task-{t}" for t in range(tasks))
    return Outcomes(THREE, tuple(arms), tuple(range(seeds)), (0, 8), names, rewards, counted, ())


def seems_to_matter(outcomes, kind):
    """p of the placebo after Holm's correction over the three factors, as a report has it."""
    usable = (True,) * len(outcomes.arms)
    family = [c for c in all_contrasts(THREE, outcomes.arms, usable, [False] * len(usable)) if c.kind == kind]
    measured = {id(c): measure(outcomes, c, "final") for c in family}
    found = {e.factors[0]: e for e in estimate_family(outcomes, "final", family, measured)}
    return found["placebo"].p_holm < 0.05


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_a_placebo_seems_to_matter_in_at_most_5_percent_of_sweeps(name, seeds):
    rng = np.random.default_rng(13)
    sweeps = [luck_alone(name, seeds, 30, rng) for _ in range(200)]
    assert sum(seems_to_matter(sweep, KINDS[name]) for sweep in sweeps) <= 0.05 * len(sweeps)


def test_with_one_seed_luck_alone_seems_to_matter_far_more_often():
    """Why the report says so: the interval is over tasks, and a run's own luck is in all of them."""
    rng = np.random.default_rng(13)
    sweeps = [luck_alone("leave_one_out", 1, 30, rng, between=1.0) for _ in range(100)]
    assert sum(seems_to_matter(sweep, "leave_one_out") for sweep in sweeps) > 15


# A sweep on disk: leave-one-out of tools and the placebo, and the three negative controls.

CONTROLS = ("shuffled_rewards", "shuffled_advantages", "rate_0")
TWO = Factors((*note(), placebo.FACTOR))
ALL_ON = TWO.with_off()
NAMES = {level: Arm((*ALL_ON.levels, ("signal", level))).name for level in CONTROLS}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """All on rises from .2 to .5, and so does it without the placebo; the controls stay where they were."""
    monkeypatch.setattr(synthetic, "arm_name", lambda levels: Arm.of(levels).name)
    monkeypatch.setattr(synthetic, "FACTORS", (*TWO.names, "signal"))
    arms = [ALL_ON, TWO.with_off("tools"), TWO.with_off("placebo")]
    arms += [Arm((*ALL_ON.levels, ("signal", level))) for level in CONTROLS]
    levels = [{"signal": "on"} | arm.as_dict for arm in arms]
    declared = {"factors": [f.record() for f in TWO], "controls": [signal.FACTOR.record()]}
    folder = write_sweep(tmp_path / "s", arms=levels, seeds=range(4), **declared)
    plan = [json.loads(line) for line in (folder / "plan.jsonl").read_text().splitlines()]
    for line in plan:
        if line["levels"]["signal"] == "on":
            del line["levels"]["signal"]
    (folder / "plan.jsonl").write_text("".join(json.dumps(line) + "\n" for line in plan))
    for level in CONTROLS:
        plant(folder, NAMES[level], lambda seed, step: 6)
    return folder


def plant(folder, arm, solved, seeds=range(4)):
    """solved: (seed, step) -> how many of the 30 tasks an arm solves then"""
    for seed in seeds:
        path = synthetic.run_folder(folder, arm, seed) / "validation.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            got = solved(seed, line["step"])
            line["reference"] = {
                "mean": got / len(TASKS),
                "by_task": {task: float(n < got) for n, task in enumerate(TASKS)},
                "missing": 0,
            }
        synthetic.write_jsonl(path, lines)


def controls(folder):
    sweep = load_sweep(folder)
    return controls_of(sweep, analyse(sweep))


def by_level(found):
    return {control.level: control for control in found.negatives}


def test_a_sound_sweep_passes(folder):
    found = controls(folder)
    assert (found.sound, found.failed) == (True, ())
    assert [(p.factor, p.matters) for p in found.placebos] == [("placebo", False)]
    for level, control in by_level(found).items():
        assert (control.learned, control.loses, control.shown) == (False, True, True)
        assert control.rise.value == 0 and control.lead.value == pytest.approx(found.all_on.value, abs=0.1)
        assert control.summary == signal.FACTOR.levels[level]


def test_a_control_that_learns_fails_and_the_sweep_with_it(folder):
    plant(folder, NAMES["shuffled_rewards"], lambda seed, step: 6 + step + seed % 2 * (step > 0))
    found = controls(folder)
    assert (found.sound, found.failed) == (False, (NAMES["shuffled_rewards"],))
    assert [control.learned for control in found.negatives] == [True, False, False]


def test_a_control_that_ends_where_all_on_does_fails_though_it_started_there(folder):
    level = load_sweep(folder).runs_of("all_on")
    last = {run.seed: round(run.validations[-1].reference * 30) for run in level}
    plant(folder, NAMES["rate_0"], lambda seed, step: last[seed])
    found = controls(folder)
    assert by_level(found)["rate_0"].loses is False and found.failed == (NAMES["rate_0"],)


def test_a_rise_of_single_seeds_is_a_walk_and_no_learning(folder):
    plant(folder, NAMES["shuffled_rewards"], lambda seed, step: 6 + (-1, 1, -2, 4)[seed] * (step > 0))
    found = by_level(controls(folder))["shuffled_rewards"]
    assert found.rise.value > 0 and found.learned is False and found.loses is True


def test_where_all_on_learns_nothing_nobody_can_lose_to_it(folder):
    for arm in ("all_on", "without_placebo"):
        plant(folder, arm, lambda seed, step: 6)
    found = controls(folder)
    assert (found.sound, found.failed) == (None, ())


def test_a_control_whose_switch_no_step_shows_proves_nothing(folder):
    for seed in range(4):
        unshown(folder, NAMES["rate_0"], "signal", seed)
    found = controls(folder)
    assert by_level(found)["rate_0"].shown is False and found.sound is None


def test_controls_pay_for_further_looks(folder):
    """A rise of every seed that one look takes for learning is not shown over three looks."""
    plant(folder, NAMES["shuffled_rewards"], lambda seed, step: 6 + (6, 7, 6, 8)[seed] * (step > 0))
    one = by_level(controls(folder))["shuffled_rewards"]
    manifest = json.loads((folder / "manifest.json").read_text())
    beyond = {"seeds_planned": [0, 1], "looks": [{"seeds": list(range(n))} for n in (2, 3)]}
    synthetic.write_json(folder / "manifest.json", manifest | beyond)
    many = by_level(controls(folder))["shuffled_rewards"]
    assert (one.learned, many.learned) == (True, False)
    assert many.rise.high - many.rise.low > 1.2 * (one.rise.high - one.rise.low)


def test_a_control_holds_whatever_its_missing_episodes_were(folder):
    """Were the failures that it lost successes, it would have risen further."""
    one = by_level(controls(folder))["shuffled_rewards"]
    for seed in range(4):
        path = synthetic.run_folder(folder, NAMES["shuffled_rewards"], seed) / "validation.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[-1]["reference"]["by_task"][TASKS[-1]] = None
        synthetic.write_jsonl(path, lines)
    many = by_level(controls(folder))["shuffled_rewards"]
    assert many.rise.high >= one.rise.high + 1 / len(TASKS) and many.lead.low <= one.lead.low - 1 / len(TASKS)


def test_an_invalid_control_has_no_estimate_and_says_why(folder):
    for seed in range(4):
        synthetic.make_invalid(folder, NAMES["rate_0"], "signal", "the weights moved", seed)
    control = by_level(controls(folder))["rate_0"]
    assert (control.rise, control.lead, control.learned, control.loses) == (None, None, None, None)
    assert "INVALID: signal: the weights moved" in control.note


def test_a_placebo_that_makes_a_difference_fails(folder):
    plant(folder, "without_placebo", lambda seed, step: 6)
    found = controls(folder)
    assert found.placebos[0].matters is True and found.failed == ("placebo",)


def test_no_effect_claim_or_ranking_is_made_of_control_arms(folder):
    sweep = load_sweep(folder)
    assert {run.arm for run in sweep.controls} == set(NAMES.values())
    assert sweep.factors == TWO.names and len(sweep.runs) == 12
    with_controls, without = statistics_of(sweep), statistics_of(replace(sweep, controls=()))
    assert with_controls.effects == without.effects and with_controls.verdicts == without.verdicts


def test_effects_json_has_them_under_a_key_of_their_own(folder):
    sweep = load_sweep(folder)
    found = json.loads(effects_json(statistics_of(sweep)))
    assert found["controls"]["sound"] is True and len(found["controls"]["negatives"]) == 3
    without = json.loads(effects_json(statistics_of(replace(sweep, controls=()))))
    assert {k: v for k, v in found.items() if k != "controls"} == {k: v for k, v in without.items() if k != "controls"}


def test_a_sweep_without_them_has_no_such_key(tmp_path):
    assert "controls" not in json.loads(effects_json(statistics_of(load_sweep(write_sweep(tmp_path / "s")))))


def test_a_control_declares_itself(folder):
    assert [Factor.from_record(record).role for record in load_sweep(folder).manifest["controls"]] == [CONTROL]
