"""The sample of rollouts holds what was served and what was trained on, for the same tasks in every arm."""

import asyncio
import json
import lzma
import random
from dataclasses import replace

import pytest
from pyarrow import parquet

from harness.backend.tokenizer import tokenizer_of
from harness.commands import run_command
from harness.env import load_domain
from harness.episode import Episode, Turn
from harness.errors import ConfigError
from harness.policy import load_policy
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.run_records import RunRecords
from harness.records.store import Store, digest
from harness.seams import Outcome
from harness.sweep import sample as sampling
from harness.sweep.manifest import write_plan
from harness.sweep.sample import keep_sample, sample, tasks_of

ARMS = ("all_on", "without_tools", "without_logprobs")
PLACES = [(step, task, number) for step in range(3) for task in ("a", "b", f"only_{step}") for number in range(3)]


@pytest.fixture
def sweep(sweep_config, tmp_path):
    """Three arms with one seed and three steps; the rollouts of a place are the same in every arm."""
    domain, policy = load_domain("mock"), load_policy("micro")
    overrides = ([], ["fix/tools=off"], ["fix/logprobs=off"])
    config = sweep_config("train.steps=3", runs=overrides)
    folder = tmp_path / "s"
    write_plan(folder, "s", config, [], [], {"policy": policy.digest, "domain": domain.digest})
    store, tokenizer = Store(SweepFiles(folder).store), tokenizer_of(str(policy.path))
    start = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    prompt = tokenizer.apply_chat_template(
        start, tools=domain.tools, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    output = (*tokenizer.encode("Done.", add_special_tokens=False), tokenizer.eos_token_id)
    turn = Turn(tuple(prompt), output, None, "Done.", (), "stop", "base", 1.0)
    episode = Episode("a", (*start, 0), (turn,), Outcome(0.0, 1, 2, 0, 0, False), 0.1)
    rows = []
    for step, task, number in PLACES:
        key = digest(step, task, number)
        luck = random.Random(key)  # so that a rollout more takes room
        shown = replace(turn, logprobs=tuple(-luck.random() for _ in output))
        made = replace(episode, task_id=task, turns=(shown,))

        async def compute(made=made):
            return made.to_bytes()

        asyncio.run(store.get("episodes", key, "all_on/seed=0", compute))
        row = {"step": step, "task": task, "rollout": number, "episode": key, "reward": 0.4, "raw_reward": 0.0}
        said = [*start, {"role": "assistant", "content": "Done.", "tool_calls": []}]
        rows.append(row | {"end": "user_stop", "shared_with": None, "messages": json.dumps(said)})
    for arm in ARMS:
        RunRecords(SweepFiles(folder).run(f"{arm}/seed=0").folder).write_trajectories(rows)
    return folder


def test_every_arm_has_the_same_places_of_the_first_and_the_last_step(sweep):
    places = {arm: [] for arm in ARMS}
    for rollout in sample(sweep):
        places[rollout["run"].split("/")[0]].append((rollout["step"], rollout["task"], rollout["rollout"]))
    expected = [(step, task, number) for step in (0, 2) for task in ("a", "b") for number in (0, 1)]
    assert places == dict.fromkeys(ARMS, expected)


def test_of_the_last_validation_it_has_the_tasks_on_which_arms_differ_most(sweep, monkeypatch):
    monkeypatch.setattr(sampling, "HELD_OUT", 1)
    for arm in ARMS:
        run = SweepFiles(sweep).run(f"{arm}/seed=0")
        rows = parquet.read_table(run.trajectories).to_pylist()
        earned = {"easy": 1.0, "hard": float(arm == "all_on")}
        held_out = [rows[0] | {"step": 3, "task": t, "reward": r, "kind": "validation"} for t, r in earned.items()]
        RunRecords(run.folder).write_trajectories([row | {"kind": "training"} for row in rows] + held_out)
    kept = [rollout for rollout in sample(sweep) if rollout["kind"] == "validation"]
    assert [(r["run"], r["step"], r["task"]) for r in kept] == [(f"{arm}/seed=0", 3, "hard") for arm in ARMS]
    assert [rollout["trained_ids"] for rollout in kept] == [[], [], []]


def test_a_rollout_has_its_served_and_its_trained_ids(sweep):
    of = {rollout["run"].split("/")[0]: rollout for rollout in sample(sweep)}
    (turn,) = of["all_on"]["turns"]
    served = [*turn["prompt_ids"], *turn["output_ids"]]
    assert of["all_on"]["trained_ids"] == served
    assert 0 < len(of["without_tools"]["trained_ids"]) < len(served)
    assert of["without_logprobs"]["trained_ids"] == []
    assert len(turn["logprobs"]) == len(turn["output_ids"])
    assert turn["logprobs"][0] == round(turn["logprobs"][0], 6)


def test_a_rollout_says_what_each_of_its_tokens_means(sweep):
    for rollout in sample(sweep):
        (turn,) = rollout["turns"]
        assert "".join(rollout["texts"][str(token)] for token in turn["output_ids"]).startswith("Done.")
        assert {str(token) for token in (*turn["prompt_ids"], *rollout["trained_ids"])} <= rollout["texts"].keys()


def test_a_sweep_that_has_ended_keeps_its_sample_for_the_report(sweep):
    keep_sample(sweep)
    assert load_sweep(sweep).rollouts() == []  # no run has completed
    for arm in ARMS:
        RunRecords(SweepFiles(sweep).run(f"{arm}/seed=0").folder).set_status(state="completed")
    keep_sample(sweep)
    assert len(load_sweep(sweep).rollouts()) == 24


def test_a_sweep_that_cannot_be_sampled_ends_without_one(sweep):
    for arm in ARMS:
        RunRecords(SweepFiles(sweep).run(f"{arm}/seed=0").folder).set_status(state="completed")
    for path in SweepFiles(sweep).store.glob("episodes/*/*"):
        path.unlink()
    keep_sample(sweep)
    assert load_sweep(sweep).rollouts() == []


def test_a_rollout_has_its_conversation_and_its_rewards(sweep):
    rollout = sample(sweep)[0]
    assert rollout["messages"][-1]["content"] == "Done."
    assert (rollout["reward"], rollout["raw_reward"], rollout["end"]) == (0.4, 0.0, "user_stop")
    assert rollout["outcome"]["actions_matched"] == 1 and rollout["outcome"]["db_match"] is False


def test_tasks_that_both_steps_have_come_first():
    assert tasks_of(["a", "b", "c"], ["c", "d"]) == (["c", "a"], ["c", "d"])
    assert tasks_of(["a", "b", "c"], ["d", "e"]) == (["a", "b"], ["d", "e"])


def test_the_sample_stays_below_its_limit_with_every_arm(sweep, monkeypatch):
    whole = sample(sweep)
    size = len(lzma.compress("".join(map(json.dumps, whole)).encode(), preset=1))
    monkeypatch.setattr(sampling, "LIMIT", size - 200)
    taken = sample(sweep)
    assert 0 < len(taken) < len(whole)
    assert len(taken) % len(ARMS) == 0 and {r["step"] for r in taken} == {0, 2}


def test_where_not_even_the_first_rollouts_fit_the_archive_says_so(sweep, monkeypatch, capsys):
    monkeypatch.setattr(sampling, "LIMIT", 100)
    with pytest.raises(ConfigError, match=r"its first 6 rollouts alone take [\d,]+ bytes, the limit is 100"):
        sample(sweep)
    assert run_command("archive", [str(sweep)]) == 0
    assert "No sample of rollouts is taken: its first 6 rollouts" in capsys.readouterr().out


def test_arms_that_were_trained_on_different_tasks_have_no_sample(sweep):
    path = SweepFiles(sweep).run("without_tools/seed=0").trajectories
    rows = parquet.read_table(path)
    parquet.write_table(rows.set_column(rows.column_names.index("task"), "task", [["else"] * len(rows)]), path)
    with pytest.raises(ConfigError, match="no task of the first or the last step in common"):
        sample(sweep)


def test_an_archive_keeps_the_sample(sweep, capsys):
    assert run_command("archive", [str(sweep)]) == 0
    assert "24 rollouts" in capsys.readouterr().out
    assert len(load_sweep(sweep).rollouts()) == 24


def test_another_policy_is_not_rendered_with(sweep):
    files = SweepFiles(sweep)
    files.write_manifest(files.manifest() | {"content": {"policy": "another"}})
    with pytest.raises(ConfigError, match="policy on this machine is not the one"):
        sample(sweep)


def test_without_a_store_the_archive_says_that_it_has_no_sample(sweep, capsys):
    for path in SweepFiles(sweep).store.glob("episodes/*/*"):
        path.unlink()
    assert run_command("archive", [str(sweep)]) == 0
    assert "No sample of rollouts is taken: the store has no episode" in capsys.readouterr().out


def test_a_folder_that_is_no_sweep_is_named(tmp_path, capsys):
    assert run_command("archive", [str(tmp_path)]) == 2
    assert "no plan.jsonl" in capsys.readouterr().err
