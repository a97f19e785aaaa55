"""An archive holds what `runs/` held: it loads as the live sweep did, and goes back into files."""

import json
import shutil

import pytest

from harness.errors import ConfigError
from harness.records.archive import pack, unpack
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.stats.effects import to_json
from harness.stats.sweep_statistics import statistics_of
from tests.synthetic import make_invalid, run_folder, write_status, write_sweep

ROLLOUTS = [{"run": "all_on/seed=0", "step": 0, "trained_ids": [1, 2, 3]}]


@pytest.fixture
def sweep(tmp_path):
    """A sweep in which one run failed, one is INVALID, one never started and one was torn."""
    folder = write_sweep(tmp_path / "s", seeds=(0, 1), steps=3)
    write_status(folder, "without_reward", state="failed", error="EngineError: gone")
    make_invalid(folder, "without_tools", "tools", "equal contexts 1.0")
    shutil.rmtree(run_folder(folder, "without_split", 1))
    path = run_folder(folder, "without_endpoint") / "validation.jsonl"
    path.write_text(path.read_text()[:-40])
    return folder


def effects(folder):
    return to_json(statistics_of(load_sweep(folder)).effects)


def test_an_archived_sweep_is_read_as_the_live_one_was(sweep):
    live, found = load_sweep(sweep), effects(sweep)
    pack(sweep)
    assert not (sweep / "runs").exists()
    assert load_sweep(sweep) == live
    assert effects(sweep) == found


def test_every_run_keeps_its_own_configuration(sweep):
    live = load_sweep(sweep)
    before = {run.name: live.config_of(run) for run in live.runs}
    pack(sweep)
    archived = load_sweep(sweep)
    assert {run.name: archived.config_of(run) for run in archived.runs} == before
    assert before["all_on/seed=1"] == {"arm": "all_on", "seed": 1, "train": {"steps": 3}}
    assert before["without_split/seed=1"] == {}


def test_unpacked_the_files_hold_what_they_held(sweep):
    def files():
        return {
            p.relative_to(sweep): p.read_text() for p in sweep.glob("runs/*/*/*") if p.suffix in (".jsonl", ".yaml")
        }

    (run_folder(sweep, "without_endpoint") / "validation.jsonl").write_text("")
    before, statuses = files(), {run.name: run.state for run in load_sweep(sweep).runs}
    pack(sweep)
    unpack(sweep)
    assert not SweepFiles(sweep).archived
    assert files() == {path: text for path, text in before.items() if text}
    assert {run.name: run.state for run in load_sweep(sweep).runs} == statuses


def test_the_same_records_give_the_same_bytes(sweep, tmp_path):
    shutil.copytree(sweep, tmp_path / "copy")
    assert pack(sweep, ROLLOUTS).read_bytes() == pack(tmp_path / "copy", ROLLOUTS).read_bytes()


def test_the_sample_of_rollouts_goes_along_and_survives_unpacking(sweep):
    pack(sweep, ROLLOUTS)
    assert load_sweep(sweep).rollouts() == ROLLOUTS
    unpack(sweep)
    assert load_sweep(sweep).rollouts() == ROLLOUTS
    pack(sweep)
    assert load_sweep(sweep).rollouts() == ROLLOUTS


COST = {"seconds": {"wall": 3.0, "cpu": 5.0}, "engines": 1}


def test_what_it_cost_goes_along_and_survives_unpacking(sweep):
    (sweep / "reuse.json").write_text(json.dumps(COST))
    live = load_sweep(sweep)
    pack(sweep)
    assert not (sweep / "reuse.json").exists()
    assert load_sweep(sweep) == live and SweepFiles(sweep).reuse() == COST
    unpack(sweep)
    assert json.loads((sweep / "reuse.json").read_text()) == COST


def test_an_archive_that_was_made_without_its_cost_takes_it_in(sweep):
    whole = pack(sweep, ROLLOUTS).read_bytes()
    (sweep / "reuse.json").write_text(json.dumps(COST))
    before = load_sweep(sweep)
    assert pack(sweep).read_bytes() != whole and not (sweep / "reuse.json").exists()
    assert load_sweep(sweep) == before and load_sweep(sweep).rollouts() == ROLLOUTS
    assert before.reuse == COST


def test_local_files_of_a_run_stay_where_they_are(sweep):
    text = run_folder(sweep, "all_on") / "trajectories.parquet"
    text.write_bytes(b"local")
    pack(sweep)
    assert [p for p in (sweep / "runs").rglob("*") if p.is_file()] == [text]


def test_while_there_is_an_archive_it_is_the_truth(sweep):
    """Killed while it unpacks or packs, a sweep has both."""
    pack(sweep)
    whole = load_sweep(sweep)
    run_folder(sweep, "all_on").mkdir(parents=True)
    (run_folder(sweep, "all_on") / "steps.jsonl").write_text('{"step": 1, "reward": 9}\n')
    assert load_sweep(sweep) == whole
    unpack(sweep)
    assert [run.steps for run in load_sweep(sweep).runs] == [run.steps for run in whole.runs]


def test_killed_while_it_removes_what_it_packed_it_is_finished_by_the_next_start(sweep, tmp_path):
    (sweep / "rollouts.jsonl").write_text(json.dumps(ROLLOUTS[0]) + "\n")
    shutil.copytree(sweep, tmp_path / "killed")
    raw = pack(sweep).read_bytes()
    killed = tmp_path / "killed"
    shutil.copy(sweep / "records.jsonl.xz", killed)
    (run_folder(killed, "all_on") / "steps.jsonl").unlink()  # it got as far as this
    assert pack(killed, [{"run": "another"}]).read_bytes() == raw
    assert {p.name for p in killed.iterdir()} == {p.name for p in sweep.iterdir()}
    assert not (killed / "runs").exists() and load_sweep(killed).rollouts() == ROLLOUTS


def test_of_a_run_that_the_archive_does_not_hold_nothing_is_removed(sweep):
    pack(sweep)
    with (sweep / "plan.jsonl").open("a") as plan:
        plan.write('{"run": "late/seed=0", "arm": "late", "levels": {}, "seed": 0}\n')
    (late := sweep / "runs" / "late" / "seed=0").mkdir(parents=True)
    (late / "steps.jsonl").write_text('{"step": 1}\n')
    pack(sweep)
    assert (late / "steps.jsonl").read_text() == '{"step": 1}\n'


def test_beside_a_damaged_archive_nothing_is_removed(sweep, tmp_path):
    (sweep / "records.jsonl.xz").write_bytes(b"torn")
    with pytest.raises(ConfigError, match="records.jsonl.xz cannot be read"):
        pack(sweep)
    assert (run_folder(sweep, "all_on") / "steps.jsonl").is_file()


def test_a_folder_without_a_plan_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="no plan.jsonl"):
        pack(tmp_path)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-30], lambda raw: b"no archive", lambda raw: b""])
def test_a_damaged_archive_is_named_with_what_to_do(sweep, damage):
    path = pack(sweep)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigError, match="records.jsonl.xz cannot be read.*committed again"):
        load_sweep(sweep)
