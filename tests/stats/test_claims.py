"""The note's claims against hand-made records."""

import json
import re

import pytest
import yaml

from harness.commands import run_command
from harness.designs import design
from harness.errors import ConfigError
from harness.fixes.registry import note
from harness.paths import CLAIMS
from harness.records.load import load_sweep
from harness.stats.claims import CONFIRMED, INCONCLUSIVE, NOT_TESTED, REFUTED, load_claims, verdicts
from harness.stats.effects import analyse
from tests.synthetic import (
    TASKS,
    make_invalid,
    run_folder,
    write_json,
    write_jsonl,
    write_run,
    write_status,
    write_sweep,
)

NOTE = note()
SEEDS = (0, 1, 2, 3, 4)


@pytest.fixture
def sweep(tmp_path):
    """leave_one_out with the arms of the note's last sentence, and the measurements that the checks write."""
    folder = write_sweep(tmp_path / "sweep", seeds=SEEDS)
    extra = NOTE.with_on("endpoint", "tools")
    plan = (folder / "plan.jsonl").read_text()
    for seed in SEEDS:
        line = {"run": f"{extra.name}/seed={seed}", "arm": extra.name, "levels": extra.as_dict, "seed": seed}
        plan += json.dumps(line) + "\n"
        write_run(folder, extra.name, extra.as_dict, seed, 6)
    (folder / "plan.jsonl").write_text(plan)
    for run in load_sweep(folder).runs:
        checks = [
            json.loads(line)
            for line in (run_folder(folder, run.arm, run.seed) / "checks.jsonl").read_text().splitlines()
        ]
        for check in checks:
            check["reading"] = {
                "endpoint": {"asked_current_adapter": float(check["level"] == "on" or check["step"] == 1)},
                "exploration": {"distinct_per_group": 4.5 if check["level"] == "on" else 1.0},
            }.get(check["factor"], {})
        write_jsonl(run_folder(folder, run.arm, run.seed) / "checks.jsonl", checks)
        change_steps(run_folder(folder, run.arm, run.seed), arm=run.arm, seed=run.seed)
    return folder


def change_steps(folder, *, arm, seed):
    """Without tools a wider log-prob gap; without shaped reward fewer groups with spread."""
    steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    for step in steps:
        if arm == "without_tools":
            step |= {"logprob_gap": 0.04 + 0.002 * seed, "probs_corr": 0.985 - 0.0005 * seed, "grad_norm": 0.5}
        if arm == "without_reward":
            step["groups_with_spread"] = 1 + seed % 2
    write_jsonl(folder / "steps.jsonl", steps)


def found(folder):
    return {v.claim.id: v for v in verdicts(load_sweep(folder), load_claims(CLAIMS))}


def test_the_six_mechanisms_are_confirmed_where_their_symptoms_are_seen(sweep):
    assert {k: v.verdict for k, v in found(sweep).items() if k in "abcdef"} == dict.fromkeys("abcdef", CONFIRMED)


def test_a_check_that_is_repeated_says_so_and_confirms_nothing_alone(sweep, tmp_path):
    parts = {v.claim.id: [p.check for p in v.claim.parts] for v in found(sweep).values()}
    assert {k: checks.index(True) for k, checks in parts.items() if any(checks)} == dict.fromkeys("acef", 0)
    assert "(confirmed, repeats the manipulation check)" in found(sweep)["c"].evidence
    text = yaml.safe_load((CLAIMS / "c_exploration.yaml").read_text())
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(text | {"parts": text["parts"][:1]}))
    (alone,) = verdicts(load_sweep(sweep), load_claims(tmp_path))
    assert [f.verdict for f in alone.findings] == [CONFIRMED] and alone.verdict == INCONCLUSIVE


def test_the_policy_not_queried_shows_in_the_reported_reward(sweep):
    contrast = found(sweep)["a"].findings[-1]
    assert contrast.verdict == CONFIRMED
    assert "reported_rise of all_on minus that of without_endpoint is 0.360 [" in contrast.evidence
    for seed in SEEDS:  # an endpoint that serves the adapter although the name is pinned
        path = run_folder(sweep, "without_endpoint", seed) / "validation.jsonl"
        path.write_text((run_folder(sweep, "all_on", seed) / "validation.jsonl").read_text())
    assert found(sweep)["a"].findings[-1].verdict == REFUTED


def test_fixes_one_and_two_are_refuted_by_a_flat_curve(sweep):
    assert found(sweep)["h"].verdict == REFUTED


def test_the_ranking_is_refuted_by_three_gates_tied_at_the_top(sweep):
    verdict = found(sweep)["g"]
    assert verdict.verdict == REFUTED
    assert "Kendall" in verdict.evidence and "endpoint +" in verdict.evidence


def test_a_ranking_over_unequal_seeds_says_how_many_its_effects_share(sweep):
    make_invalid(sweep, "without_reward", "reward", "nothing changed", seed=2)
    make_invalid(sweep, "without_tools", "tools", "nothing changed", seed=4)
    verdict = found(sweep)["g"]
    assert verdict.seeds == 3
    assert "over 3 of 5 seeds, those that all its arms share" in verdict.evidence


def test_a_claim_whose_arms_are_absent_is_not_tested_and_never_refuted(tmp_path):
    folder = write_sweep(tmp_path / "smoke", arms=[a.as_dict for a in design("smoke", NOTE)], seeds=SEEDS)
    assert {v.verdict for v in found(folder).values()} == {NOT_TESTED}
    assert "without_tools is not in this sweep" in found(folder)["b"].evidence


def test_where_the_policy_gets_worse_with_all_fixes_nothing_is_said_of_what_is_learned(sweep):
    for path in sweep.glob("runs/*/*/validation.jsonl"):
        first, *later = path.read_text().splitlines()
        fallen = [re.sub(r'("task-\d\d"|"mean"): [\d.]+', r"\1: 0.0", line) for line in later]
        path.write_text("\n".join([first, *fallen]) + "\n")
    verdicts = found(sweep)
    assert {verdicts[name].verdict for name in "acdeg"} == {NOT_TESTED}
    assert "with all fixes on the policy ended below its start" in verdicts["g"].evidence


def test_a_validation_on_the_training_tasks_tests_no_claim_about_held_out_ones(sweep):
    manifest = json.loads((sweep / "manifest.json").read_text()) | {"config": {"validation": {"split": "train"}}}
    (sweep / "manifest.json").write_text(json.dumps(manifest))
    verdicts = found(sweep)
    assert {verdicts[name].verdict for name in "agh"} == {NOT_TESTED}
    assert "validated on its training tasks" in verdicts["g"].evidence
    assert verdicts["b"].verdict == CONFIRMED, "the log-prob gap needs no validation"


def test_a_claim_whose_arm_is_invalid_is_not_tested_and_says_why(sweep):
    for seed in SEEDS:
        make_invalid(sweep, "without_tools", "tools", "off: 100 % of contexts are equal", seed=seed)
    verdict = found(sweep)["b"]
    assert verdict.verdict == NOT_TESTED
    assert "100 % of contexts are equal" in verdict.evidence


def test_one_contrary_part_refutes_a_claim(sweep):
    for seed in SEEDS:
        folder = run_folder(sweep, "without_logprobs", seed)
        steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        write_jsonl(folder / "steps.jsonl", [s | {"gradient_steps": 3} for s in steps])
    verdict = found(sweep)["e"]
    assert verdict.verdict == REFUTED
    assert [f.verdict for f in verdict.findings] == [CONFIRMED, REFUTED, CONFIRMED, CONFIRMED, CONFIRMED]


def test_an_interval_that_reaches_over_the_expected_bound_decides_nothing(sweep):
    for seed in SEEDS:
        folder = run_folder(sweep, "without_tools", seed)
        steps = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
        write_jsonl(folder / "steps.jsonl", [s | {"logprob_gap": 0.01 * (1 + seed % 3)} for s in steps])
    verdict = found(sweep)["b"]
    assert verdict.verdict == INCONCLUSIVE
    assert verdict.parts == "1 inconclusive, 2 confirmed"


def test_a_ratio_is_called_one_and_is_not_divided_by_rounding(sweep):
    for seed in SEEDS:
        change = {"logprob_gap": 3e-8, "grad_norm": 0.3}
        path = run_folder(sweep, "all_on", seed) / "steps.jsonl"
        write_jsonl(path, [json.loads(line) | change for line in path.read_text().splitlines()])
    (gap, _, _) = found(sweep)["b"].findings
    assert (
        "the ratio of first_logprob_gap of without_tools to that of all_on (each at least 0.001) is 43." in gap.evidence
    )
    assert gap.verdict == CONFIRMED and "minus" not in gap.evidence


def test_two_arms_that_are_the_same_do_not_show_that_one_learns_sooner(sweep):
    for seed in SEEDS:
        for name in ("validation.jsonl", "steps.jsonl"):
            text = (run_folder(sweep, "all_on", seed) / name).read_text()
            (run_folder(sweep, "without_reward", seed) / name).write_text(text)
    sooner = found(sweep)["d"].findings[-1]
    assert "0.000 [0.000, 0.000]" in sooner.evidence and "expected above 0" in sooner.evidence
    assert sooner.verdict == REFUTED


def test_that_nothing_changes_takes_five_seeds_or_the_same_episodes(sweep):
    same = found(sweep)["f"].findings[-1]
    assert same.verdict == CONFIRMED and "a failure in up to 45 % of seeds could have been missed" in same.evidence
    for seed in SEEDS:  # other weights, the same episodes: zero by luck
        path = run_folder(sweep, "without_split", seed) / "steps.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        write_jsonl(path, [line | {"update": f"own-{seed}-{line['step']}"} for line in lines])
    assert found(sweep)["f"].findings[-1].verdict == CONFIRMED
    make_invalid(sweep, "without_split", "split", "all ids exist", seed=4)
    lucky = found(sweep)["f"].findings[-1]
    assert lucky.verdict == INCONCLUSIVE and "fewer than 5 seeds" in lucky.evidence


def test_a_torn_run_is_not_compared_at_an_earlier_step(sweep):
    for arm, seed in (("all_on", 2), ("without_endpoint", 1)):
        path = run_folder(sweep, arm, seed) / "validation.jsonl"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:3]))
    _, flat, rise, contrast = found(sweep)["a"].findings
    assert "in 4 runs" in flat.evidence
    assert "over 4 of 5 seeds" in rise.evidence and "over 3 of 5 seeds" in contrast.evidence


def test_a_claim_counts_the_runs_that_effects_count_and_knows_their_floor(sweep):
    path = run_folder(sweep, "all_on", 2) / "validation.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for task in TASKS[:20]:  # most of the last validation is missing
        lines[-1]["reference"]["by_task"][task] = None
    write_jsonl(path, lines)
    effect = next(e for e in analyse(load_sweep(sweep)).of("leave_one_out") if e.factors == ("logprobs",))
    assert effect.seeds == found(sweep)["e"].findings[-1].seeds == 4
    assert f"[{effect.low:.3f}, {effect.high:.3f}]" in found(sweep)["e"].evidence  # flat without it: rise is final


def looked_at_beyond_its_plan(folder):
    """The fifth look beyond a plan of two seeds: nothing is left to it."""
    seen = [(0, 1), (0, 2), (0, 1, 2), (0, 1, 2, 3)]
    manifest = json.loads((folder / "manifest.json").read_text())
    write_json(folder / "manifest.json", manifest | {"seeds_planned": [0, 1], "looks": [{"seeds": s} for s in seen]})


def test_a_claim_pays_for_looks_as_effects_do_and_keeps_what_earlier_ones_saw(sweep):
    looked_at_beyond_its_plan(sweep)
    effect = next(e for e in analyse(load_sweep(sweep)).of("leave_one_out") if e.factors == ("logprobs",))
    evidence = found(sweep)["e"].evidence
    assert f"[{effect.low:.3f}, {effect.high:.3f}]" in evidence


def test_an_interval_without_a_level_is_said_in_words(sweep):
    looked_at_beyond_its_plan(sweep)
    for seed in (0, 1, 2):
        make_invalid(sweep, "without_logprobs", "logprobs", "they are there", seed=seed)
    verdicts = found(sweep)
    assert "which give no interval: all looks beyond the plan are used (inconclusive)" in verdicts["e"].evidence
    assert "inf]" not in " ".join(v.evidence for v in verdicts.values())
    assert "all looks beyond the plan are used" in verdicts["g"].evidence and verdicts["g"].verdict == INCONCLUSIVE


def gaps(sweep, seeds, all_on, without_tools):
    """Give the first updates of both arms other gaps between trainer and sampler, in nats."""
    for arm, gap in (("all_on", all_on), ("without_tools", without_tools)):
        for seed in seeds:
            path = run_folder(sweep, arm, seed) / "steps.jsonl"
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            write_jsonl(path, [line | {"logprob_gap": gap} for line in lines])


def test_two_gaps_that_are_both_next_to_nothing_have_no_ratio(sweep):
    """3e-8 over 5e-4 refutes nothing, and is no 1."""
    gaps(sweep, SEEDS, 3e-8, 5e-4)
    ratio = found(sweep)["b"].findings[0]
    assert ratio.verdict == NOT_TESTED and "in every seed both lie below 0.001, so there is no ratio" in ratio.evidence
    gaps(sweep, SEEDS, 3e-8, 5e-2)
    ratio = found(sweep)["b"].findings[0]
    assert ratio.verdict == CONFIRMED and "is 50.00 [50.00, 50.00] over 5 seeds" in ratio.evidence


def test_where_some_seeds_have_no_ratio_the_others_decide_nothing(sweep):
    gaps(sweep, SEEDS, 3e-8, 5e-2)
    gaps(sweep, SEEDS[:2], 3e-8, 5e-4)
    ratio = found(sweep)["b"].findings[0]
    assert ratio.verdict == INCONCLUSIVE
    assert "] over 3 seeds; in 2 more both lie below 0.001 and have no ratio, expected at least 1.5" in ratio.evidence


def test_runs_that_failed_speak_against_an_end_without_an_error(sweep):
    for seed in SEEDS[:3]:
        write_status(sweep, "without_logprobs", seed, state="failed", error="ValueError: no log-probs")
    verdict = found(sweep)["e"]
    (ended,) = [f for f in verdict.findings if "ended_without_error" in f.evidence]
    assert ended.verdict == verdict.verdict == REFUTED and "40% of 5 measurements" in ended.evidence


def test_a_rule_that_was_changed_shows_what_it_was_when_and_why():
    claims = {c.id: c for c in load_claims(CLAIMS)}
    assert all(p.changed.was and p.changed.why for c in claims.values() for p in c.parts if p.changed)
    assert "2026-11-26" in claims["b"].remarks[-1] and "0.405465" in claims["b"].changes[0]
    assert claims["g"].would_confirm and claims["h"].would_confirm
    assert "mechanism alone refutes it" in claims["h"].note


def test_a_claim_that_can_be_tested_in_part_only_is_not_refuted(sweep):
    plan = [line for line in (sweep / "plan.jsonl").read_text().splitlines() if "all_off" not in line]
    (sweep / "plan.jsonl").write_text("\n".join(plan) + "\n")
    verdict = found(sweep)["h"]
    assert [f.verdict for f in verdict.findings] == [REFUTED, NOT_TESTED, REFUTED]
    assert verdict.verdict == NOT_TESTED


def test_one_seed_cannot_decide_what_has_one_number_per_run(tmp_path, sweep):
    plan = [line for line in (sweep / "plan.jsonl").read_text().splitlines() if json.loads(line)["seed"] == 0]
    (sweep / "plan.jsonl").write_text("\n".join(plan) + "\n")
    verdict = found(sweep)["b"]
    assert verdict.verdict == INCONCLUSIVE
    assert "one seed, which gives no interval" in verdict.evidence


def test_a_verdict_of_one_seed_says_so_beside_it(sweep):
    assert {v.label for v in found(sweep).values() if v.verdict == REFUTED} == {REFUTED}
    plan = [line for line in (sweep / "plan.jsonl").read_text().splitlines() if json.loads(line)["seed"] == 0]
    (sweep / "plan.jsonl").write_text("\n".join(plan) + "\n")
    assert {v.label for v in found(sweep).values() if v.verdict == CONFIRMED} == {f"{CONFIRMED}, one seed"}
    assert found(sweep)["g"].seeds == 1


def test_a_fraction_of_the_factorial_does_not_test_the_ranking(tmp_path):
    arms = [a.as_dict for a in design("screening", NOTE)]
    verdict = found(write_sweep(tmp_path / "screening", arms=arms, seeds=SEEDS))["g"]
    assert verdict.verdict == NOT_TESTED and "one by one" in verdict.evidence


def test_a_claim_about_one_environment_is_held_against_no_other(tmp_path):
    world = {"_target_": "harness.env.search_qa.SearchQa", "shuffled": True}
    for number, env in enumerate((world, world | {"shuffled": False}, {"domain": "mock"})):
        folder = write_sweep(tmp_path / f"s{number}", config={"env": env})
        assert ("i" in found(folder)) is (env is world)


def test_each_claim_has_a_prediction_and_a_decision_rule():
    claims = load_claims(CLAIMS)
    assert [c.id for c in claims] == list("abcdefghi")
    assert all(c.prediction and c.statement and c.source and c.parts for c in claims)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parts: []", "is no claim"),
        ("parts: [{says: x, metric: reference_rise, arm: a}]", "needs one of `every` and `interval`"),
        ("parts: [{says: x, metric: nonsense, arm: a, interval: {at_least: 0}}]", "'nonsense' is none of"),
        ("parts: [{says: x, metric: reference_rise, arm: a, interval: {over: 0}}]", "neither at_least"),
    ],
)
def test_a_file_that_is_no_claim_is_refused_with_the_reason(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_claims(tmp_path)


def test_the_verdict_is_printed_as_a_table_and_as_json(sweep, capsys):
    assert run_command("claims", [str(sweep)]) == 0
    shown = capsys.readouterr().out
    assert "refuted" in shown and shown.startswith("baseline note")
    assert run_command("claims", [str(sweep), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = found["claims"]
    assert rows[1]["changes"] and rows[6]["would_confirm"]
    assert (found["schema"], found["baseline"]) == (1, "note")
    assert [r["id"] for r in rows] == list("abcdefgh")
    assert all(r["parts"][0]["evidence"] for r in rows)


def test_a_folder_that_is_no_sweep_ends_with_a_sentence(tmp_path, capsys):
    assert run_command("claims", [str(tmp_path / "nothing")]) == 2
    assert "no folder" in capsys.readouterr().err
