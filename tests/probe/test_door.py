"""`harness.probe.check` as a trainer calls it: with ART's objects, with dictionaries, at once and without a model."""

import json
import lzma
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import art
import pytest

from harness.fixes import logprobs, tools
from harness.probe import check, material_of
from harness.rollout import SourcedEpisode, trajectory
from tests.fakes import SEAMS, TOOLS, episode, turn
from tests.probe.loops import loop

RECORDED = Path(__file__).parents[2] / "results" / "cpu_24_steps" / "records.jsonl.xz"
CALL = ({"id": "c", "name": "close", "arguments": "{}"},)


def verdicts(*given, **known):
    return {f.symptom: f.verdict for f in check(*given, **known)}


def present(*given, **known):
    return {name for name, verdict in verdicts(*given, **known).items() if verdict == "present"}


def test_it_loads_within_a_second_and_without_what_a_trainer_or_a_server_needs():
    code = (
        "import sys, time; t = time.perf_counter(); from harness.probe import check; check([])\n"
        "heavy = {'torch', 'art', 'vllm', 'hydra', 'transformers', 'litellm', 'jinja2'}\n"
        "print(time.perf_counter() - t < 1.0, sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True []\n"


def of_art(seams=SEAMS, step=0):
    """Two groups as our loop gives them to ART: real objects of its classes."""

    def made(task, number):
        played = episode(task, turn((7, 8 + number), calls=CALL), turn((9,)), met=number)
        return trajectory(SourcedEpisode(played, f"{task}{number}", None), number, seams, TOOLS)

    return [art.TrajectoryGroup([made(task, n) for n in range(3)], metadata={"step": step}) for task in "ab"]


def test_arts_groups_are_read_without_importing_art():
    groups = material_of(of_art(step=3)).groups
    assert [(r.task, r.step, r.reward) for r in groups[0]] == [
        ("a", 3, 0.0),
        ("a", 3, 205 / 1024),
        ("a", 3, 410 / 1024),
    ]
    one = groups[1][2]
    assert [t.output_ids for t in one.turns] == [(7, 10), (9,)]
    assert (one.turns[0].logprobs, one.turns[0].finish_reason) == ((-0.1, -0.1), "stop")
    assert [m["role"] for m in one.messages] == ["user", "assistant", "assistant"] and one.said == (1, 2)
    assert one.tools == tuple(TOOLS) and one.calls_tools


def test_arts_trajectories_alone_are_grouped_by_their_task():
    alone = [t for group in of_art() for t in group.trajectories]
    assert [[r.task for r in group] for group in material_of(alone).groups] == [["a"] * 3, ["b"] * 3]


@pytest.mark.parametrize(
    ("factor", "off", "symptom"),
    [
        ("tools", tools.Off(), "tools_not_trained"),
        ("logprobs", logprobs.Off(), "logprobs_missing"),
    ],
)
def test_a_fix_that_is_off_is_named_from_arts_objects(factor, off, symptom):
    assert symptom not in present(of_art())
    assert symptom in present(of_art(replace(SEAMS, **{factor: off})))


def test_what_the_trainer_made_of_an_art_trajectory_stands_beside_it():
    one = of_art()[0].trajectories[0]
    given = [{"trajectory": one, "trained_ids": [1, 2, 7, 8, 9], "trained_mask": [0, 0, 1, 0, 1]}]
    (rollout,) = material_of(given).rollouts
    assert rollout.trained_ids == (1, 2, 7, 8, 9) and rollout.task == "a"
    assert verdicts(given)["assistant_tokens_masked"] == "absent"


def test_a_group_of_arts_that_raised_has_no_rollout_for_it():
    group = SimpleNamespace(trajectories=of_art()[0].trajectories, exceptions=["KeyError"])
    assert verdicts([group])["exceptions_scored"] == "absent"


def test_validation_rollouts_are_set_apart_by_their_split_or_given_apart():
    given = loop()
    of_validation = {"messages": [{"role": "assistant", "content": "x"}], "task": "0", "reward": 1.0}
    given.pop("validation_tasks")
    assert present(**given, validation=[of_validation]) == {"validation_on_training_tasks"}
    beside = {**given, "trajectories": [*given["trajectories"], [of_validation | {"split": "validation"}]]}
    assert present(**beside) == {"validation_on_training_tasks"}


def test_a_finding_is_plain_data():
    for finding in check(**loop()):
        json.dumps(finding.record)
        assert set(finding.record) == {"symptom", "about", "verdict", "text", "reading", "tell", "shown"}


def recorded(arm):
    """Real rollouts of the runs of an arm: ids as served and as ART rendered them. 2 of 6 rollouts of 2 of 6 groups of
    the first and the last step, so that little is seen of a group."""
    heat = 0.0 if arm in ("without_exploration", "all_off") else 1.0
    runs: dict[str, list[dict]] = {}
    with lzma.open(RECORDED) as file:
        rows = [json.loads(line)["rollout"] for line in file if line.startswith(b'{"rollout"')]
    for row in rows:
        if row["run"].startswith(f"{arm}/"):
            turns = [turn | {"temperature": heat} for turn in row["turns"]]
            runs.setdefault(row["run"], []).append(row | {"turns": turns, "success": row["raw_reward"]})
    return runs


RECORDED_SYMPTOMS = {
    "all_on": set(),
    "without_endpoint": set(),  # its rollouts alone do not say it
    "without_tools": {"tools_not_trained", "context_not_served"},
    "without_exploration": {"rollouts_identical"},
    "without_reward": set(),  # too few groups
    "without_logprobs": set(),  # the sample keeps the log-probs that the loop has dropped
    "without_split": set(),
    "all_off": {"rollouts_identical"},
}


@pytest.mark.parametrize("arm", RECORDED_SYMPTOMS)
def test_of_a_committed_sweep_it_names_what_the_arm_did(arm):
    runs = recorded(arm)
    assert len(runs) == 4
    assert [present(rollouts, exact=True) for rollouts in runs.values()] == [RECORDED_SYMPTOMS[arm]] * 4


def test_rollouts_of_the_validation_are_not_taken_for_trained_ones():
    rows = [{"task": "a", "reward": 1.0, "messages": [], "split": split} for split in ("train", "validation")]
    material = material_of([rows])
    assert [[r.split for r in group] for group in material.groups] == [["train"]]
    assert [r.split for r in material.validation] == ["validation"]
