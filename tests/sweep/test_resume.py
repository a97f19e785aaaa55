"""A sweep that is started again: by another source it is refused or mixed knowingly, and a refusal changes nothing."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import ConfigError, EngineError
from harness.launch.execute import execute
from harness.records.archive import pack
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.records.run_records import RunRecords
from harness.report import formats
from harness.report.source_text import rerun_hint
from harness.sweep import manifest, plan
from harness.sweep.manifest import alone_in, typed_command
from harness.sweep.source import source_now

EDITED = "harness/fixes/reward.py: changed"


@pytest.fixture
def edited(monkeypatch):
    """From now on the reward's formula is another one."""

    def edit(**versions):
        def other(config):
            now = source_now(config)
            code = now.code | ({} if versions else {"harness/fixes/reward.py": "0"})
            return replace(now, code=code, versions=now.versions | versions)

        monkeypatch.setattr(plan, "source_now", other)

    return edit


@pytest.fixture
def start(sweep_config, monkeypatch):
    """A start whose runs complete, or as far as `train` goes. No engine."""
    monkeypatch.setattr("harness.launch.execute.report", lambda *_: None)

    def run(*overrides, seeds=(0,), train=complete):
        return execute(sweep_config("sweep=s", *overrides, runs=[[f"seed={n}"] for n in seeds]), train)

    return run


def complete(sweep, runs, state="completed"):
    for each in runs:
        records = RunRecords(SweepFiles(sweep.folder).run(each.run.name).folder)
        sources = list(dict.fromkeys([*records.status().get("sources", []), sweep.source_name]))
        records.set_status(run=each.run.name, state=state, sources=sources)


def stop(sweep, runs):
    complete(sweep, runs, "running")
    raise EngineError("the server is gone")


def content(folder: Path):
    """Every file with its bytes and the time of its last change."""
    return {p: (p.is_file() and p.read_bytes(), p.stat().st_mtime_ns) for p in sorted(folder.rglob("*"))}


def test_a_reward_that_was_edited_between_two_starts_is_refused_with_its_file(start, edited, tmp_path):
    with pytest.raises(EngineError):
        start(train=stop)
    edited()
    before = content(tmp_path)
    with pytest.raises(ConfigError, match="runs are left to do") as refused:
        start()
    assert EDITED in str(refused.value) and "resume=mixed" in str(refused.value)
    assert content(tmp_path) == before


def test_a_run_whose_status_is_damaged_is_no_new_one(start, edited, tmp_path):
    start()
    (tmp_path / "s" / "runs" / "all_on" / "seed=0" / "status.json").write_text("")
    edited()
    with pytest.raises(ConfigError, match="runs are left to do"):
        start()


def test_more_seeds_by_another_source_are_refused_too(start, edited):
    start()
    edited(torch="99")
    with pytest.raises(ConfigError, match=r"torch: \S+ there, 99 now"):
        start(seeds=(0, 1))


def test_a_mixed_sweep_says_of_each_run_which_source_it_comes_from(start, edited, tmp_path):
    with pytest.raises(EngineError):
        start(seeds=(0, 1), train=lambda sweep, runs: (complete(sweep, runs[:1]), stop(sweep, runs[1:])))
    edited()
    start("resume=mixed", seeds=(0, 1, 2))
    sweep = load_sweep(tmp_path / "s")
    first, second = sweep.manifest["sources"]
    assert [run.sources for run in sweep.runs] == [(first,), (first, second), (second,)]
    notes = " ".join(formats.notes(sweep))
    assert f"From {first}: all_on/seed=0." in notes
    assert f"From {first} and then {second}: all_on/seed=1." in notes
    assert f"From {second}: all_on/seed=2." in notes
    assert "other than in the first: harness/fixes/reward.py" in notes


def test_once_mixed_the_same_source_goes_on_without_asking(start, edited):
    start()
    edited()
    start("resume=mixed", seeds=(0, 1))
    start(seeds=(0, 1, 2))


def test_a_sweep_of_one_source_says_nothing_of_sources(start, tmp_path):
    start()
    start("resume=mixed", seeds=(0, 1))
    sweep = load_sweep(tmp_path / "s")
    assert len(sweep.manifest["sources"]) == 1 and formats.notes(sweep) == formats.notes(replace(sweep, runs=()))


def test_a_finished_sweep_is_reported_by_any_source(start, edited, tmp_path):
    start()
    edited()
    before = SweepFiles(tmp_path / "s").manifest()
    start()
    assert SweepFiles(tmp_path / "s").manifest() == before


def test_where_nothing_was_computed_an_edit_mixes_nothing(start, edited, tmp_path):
    def never(sweep, runs):
        raise EngineError("no server")

    with pytest.raises(EngineError):
        start(train=never)
    edited()
    start()
    assert len(SweepFiles(tmp_path / "s").manifest()["sources"]) == 1


def test_a_newer_wandb_is_named_and_goes_on(start, edited, capsys):
    start()
    edited(wandb="99")
    start(seeds=(0, 1))
    assert "99 now; no number depends on it" in capsys.readouterr().out


def test_a_sweep_that_recorded_no_source_goes_on_only_if_asked(start, tmp_path):
    start()
    files = SweepFiles(tmp_path / "s")
    older = {k: v for k, v in files.manifest().items() if k not in ("sources", "source", "starts")}
    files.write_manifest(older)
    run = RunRecords(files.run("all_on/seed=0").folder)
    run.set_status(run="all_on/seed=0", state="completed")
    with pytest.raises(ConfigError, match="its source was not recorded"):
        start(seeds=(0, 1))
    start("resume=mixed", seeds=(0, 1))
    assert "its files were not recorded" in " ".join(formats.notes(load_sweep(tmp_path / "s")))


def test_further_fixes_bring_files_and_no_other_source(start, tmp_path):
    start("factors=[tools]")
    start("factors=[tools]", "fix/signal=on", seeds=(0, 1))
    assert len(SweepFiles(tmp_path / "s").manifest()["sources"]) == 1


def test_a_configuration_is_never_mixed(start):
    start()
    with pytest.raises(ConfigError, match="train.learning_rate: 0.0015 there, 0.5 now"):
        start("resume=mixed", "train.learning_rate=0.5", seeds=(1,))


def test_a_second_start_on_a_locked_folder_changes_no_byte(start, tmp_path):
    start()
    folder = tmp_path / "s"
    with alone_in(folder):
        before = content(folder)
        with pytest.raises(ConfigError, match="Another process is computing"):
            start(seeds=(0, 1, 2))
        assert content(folder) == before
    assert SweepFiles(folder).manifest()["seeds_planned"] == [0]


def test_a_start_holds_the_folder_while_it_plans(start, tmp_path, monkeypatch):
    def written(*arguments):
        with pytest.raises(ConfigError, match="Another process"), alone_in(tmp_path / "s"):
            pass
        return write(*arguments)

    write = manifest.write_plan
    monkeypatch.setattr(plan, "write_plan", written)
    start()


def refuse(sweep, runs):
    raise ConfigError("backend.engines is 5, and there is no GPU")


@pytest.mark.parametrize("archived", [False, True])
def test_what_a_launcher_refuses_leaves_plan_and_records_as_they_were(archived, start, tmp_path):
    start()
    folder = tmp_path / "s"
    if archived:
        pack(folder)
    before = {path: kept for path, (kept, _) in content(folder).items()}
    with pytest.raises(ConfigError, match="backend.engines"):
        start(seeds=(0, 1, 2), train=refuse)
    assert {path: kept for path, (kept, _) in content(folder).items()} == before


def test_a_new_sweep_that_is_refused_leaves_no_folder(start, tmp_path, monkeypatch):
    with pytest.raises(ConfigError):
        start(train=refuse)
    monkeypatch.setattr(manifest, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(ConfigError, match="is free"):
        start()
    assert list(tmp_path.iterdir()) == []


def test_what_ran_before_a_refusal_stays(start, tmp_path):
    def one_then_refuse(sweep, runs):
        complete(sweep, runs[:1])
        refuse(sweep, runs)

    with pytest.raises(ConfigError):
        start(seeds=(0, 1), train=one_then_refuse)
    assert [run.state for run in load_sweep(tmp_path / "s").runs] == ["completed", "missing"]


TYPED = [
    (["py", "-m", "harness", "+ablation=all", "seed=0,1"], "python -m harness +ablation=all seed=0,1"),
    (["py", "-X", "dev", "-u", "-m", "harness", "-m", "a=1"], "python -m harness -m a=1"),
    (
        ["py", "/bin/harness", "--config-dir", "my conf", "-m", "a=[x,y]"],
        "python -m harness --config-dir 'my conf' -m 'a=[x,y]'",
    ),
    (["py", "-c", "code", "placebo=true"], "python -m harness placebo=true"),
    (["py"], "python -m harness"),
]


@pytest.mark.parametrize(("given", "command"), TYPED)
def test_a_command_is_kept_as_it_was_typed(given, command, monkeypatch):
    monkeypatch.setattr(sys, "orig_argv", given)
    assert typed_command() == command


def test_a_hint_has_every_command_that_planned_runs(start, tmp_path, monkeypatch):
    for words in (["a=1", "b='x y'"], ["seed=1", "-m"], ["resume=mixed", "a=1", "b='x y'"]):
        monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "harness", *words])
        with pytest.raises(EngineError):
            start(train=stop)
    first = """`python -m harness resume=mixed a=1 'b='"'"'x y'"'"''`"""
    assert f"Rerun: {first}, then `python -m harness seed=1 -m`." in rerun_hint(load_sweep(tmp_path / "s"))


def test_the_command_that_is_kept_is_not_what_hydra_was_given():
    words = ["+ablation=leave_one_out", "placebo=true"]
    code = "import sys; from harness.sweep.manifest import typed_command; sys.argv[1:] = ['x']; print(typed_command())"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["python", "-m", "harness", *words]
