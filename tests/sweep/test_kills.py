"""What `experiments/benchmarks/kills.py` would find: lines that are lost or doubled, changed entries, processes."""

import json
import random
import subprocess
import sys
import time
from collections import Counter

import psutil
import pytest

from experiments.benchmarks.kills import Asked, Budget, Command, Kill, Record, committed, doubled, lost, role_of, table
from harness.records.json_files import read_object


@pytest.fixture
def folder(tmp_path):
    """A sweep of one run with two lines, the second torn, and one stored entry."""
    run = tmp_path / "runs/all_on/seed=0"
    run.mkdir(parents=True)
    (run / "steps.jsonl").write_text('{"step": 1}\n{"step": 2')
    entry = tmp_path / "store/episodes/aa/aabb"
    entry.parent.mkdir(parents=True)
    entry.write_text("reply")
    (entry.parent / ".new-1").write_text("under way")
    return tmp_path


STEPS, ENTRY = "runs/all_on/seed=0/steps.jsonl", "store/episodes/aa/aabb"


def test_a_torn_line_and_a_write_under_way_are_not_committed(folder):
    found = committed(folder)
    assert found[STEPS] == ('{"step": 1}',)
    assert set(found) == {STEPS, ENTRY}


@pytest.mark.parametrize("path", [STEPS, ENTRY])
def test_a_line_or_an_entry_that_is_gone_or_changed_is_lost(folder, path):
    before = committed(folder)
    assert lost(before, before) == 0
    (folder / path).write_text('{"step": 7}\n')
    assert lost(before, committed(folder)) == 1
    (folder / path).unlink()
    assert lost(before, committed(folder)) == 1


def test_two_lines_of_one_step_are_doubled_but_not_those_of_two_factors(folder):
    checks = [{"step": 1, "factor": "tools"}, {"step": 1, "factor": "split"}, {"step": 2, "factor": "tools"}]
    path = folder / "runs/all_on/seed=0/checks.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in checks))
    assert doubled(committed(folder)) == 0
    path.write_text("".join(json.dumps(line) + "\n" for line in [*checks, checks[0]]))
    assert doubled(committed(folder)) == 1


def test_a_process_is_told_by_its_own_command_not_by_those_that_it_holds():
    program = [sys.executable, "-c", "print(flush=True); input()"]
    commands = {
        "guard": ["engine/guard.py", "vllm.entrypoints.openai.api_server"],
        "server": ["vllm.entrypoints.openai.api_server"],
        "raylet": ["ray/core/src/ray/raylet/raylet", "--raylet_socket_name=/tmp/ray/sockets/raylet"],
        "gcs": ["ray/core/src/ray/gcs/gcs_server", "--log_dir=/tmp/ray/logs"],
        "other": ["workers/default_worker.py", "--raylet-name=/tmp/ray/sockets/raylet"],
    }
    for role, words in commands.items():
        process = subprocess.Popen([*program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            process.stdout.readline()  # it has the command by now
            assert role_of(psutil.Process(process.pid)) == role
        finally:
            process.kill()
            process.communicate()


FORKS = """
import os, sys
if os.fork() == 0:
    input()
    words = ["-c", "import time; time.sleep(60)", "vllm.entrypoints.openai.api_server"]
    os.execv(sys.executable, [sys.executable, *words])
os.wait()
"""


def test_a_server_that_was_first_seen_as_a_copy_of_its_guard_is_a_server(tmp_path):
    """Between fork and exec it has the guard's command line."""
    guard = subprocess.Popen([sys.executable, "-c", FORKS, "engine/guard.py"], stdin=subprocess.PIPE)
    command = object.__new__(Command)
    command.process, command.seen = guard, {}
    try:
        for role in ("guard", "server"):
            deadline = time.monotonic() + 20
            while role not in command.living() and time.monotonic() < deadline:
                command.look()
            assert list(command.living()) == [role]
            if role == "guard":
                guard.stdin.write(b"\n")
                guard.stdin.flush()
    finally:
        for process in [*command.seen, guard]:
            process.kill()
        guard.communicate()


def test_each_role_is_hit_and_no_more_kills_are_given_than_asked():
    budget, rng = Budget(60), random.Random(0)
    drawn = Counter(budget.draw(["main", "player", "server"], rng) for _ in range(100))
    assert drawn.pop(None) == 40
    assert min(drawn.values()) >= 15


def test_roles_that_were_not_asked_for_are_never_hit():
    budget = Budget(5, Asked.of(["roles=raylet,gcs"]).roles)
    assert budget.draw(["main", "server"], random.Random(0)) is None
    assert {budget.draw(["main", "gcs"], random.Random(seed)) for seed in range(4)} == {"gcs"}
    assert budget.left == 1


@pytest.mark.parametrize("word", ["roles=rayled", "layouts=one,rey"])
def test_a_layout_or_role_that_does_not_exist_is_named_with_those_that_do(word):
    with pytest.raises(SystemExit, match=rf"{word.split('=')[0]}=r.* is unknown; known are .*ray"):
        Asked.of([word])


def test_another_seed_is_added_and_the_same_one_replaced(tmp_path):
    out = tmp_path / "kills.json"
    for seed, kills in ((0, 1), (1, 2), (0, 3)):
        record = Record(Asked.of([f"out={out}", f"seed={seed}"]))
        record.kills = [Kill(0, "one", "main", 1.5)] * kills
        record.write()
    assert [(part["seed"], len(part["kills"])) for part in read_object(out)["stand_in"]] == [(1, 2), (0, 3)]


def test_the_table_has_a_line_for_each_role_and_one_for_all():
    kills = [
        Kill(0, "one", "main", 1.0, resumed=True, seconds=2.0),
        Kill(0, "one", "main", 1.0, resumed=True, seconds=4.0, left=1),
        Kill(0, "one", "server", 1.0, lost=2),
    ]
    assert table(kills).splitlines()[2:] == [
        "| main | 2 | 2 | 0 | 0 | 1 | 3.0 | 4.0 |",
        "| server | 1 | 0 | 2 | 0 | 0 | – | – |",
        "| all | 3 | 2 | 2 | 0 | 1 | 3.0 | 4.0 |",
    ]
