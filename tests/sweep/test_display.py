"""What a sweep says while it runs."""

import io
import threading
import time
from itertools import product

import pytest
from rich.console import Console

from harness.factors import Arm
from harness.sweep import display as module
from harness.sweep.display import Progress, duration


def lines_of(file):
    return [line.split(" ", 1)[1] for line in file.getvalue().splitlines()]


def test_without_a_terminal_each_run_says_when_it_starts_and_ends_and_steps_say_nothing():
    file = io.StringIO()
    with Progress(total_runs=1, total_steps=6, file=file) as progress:
        progress.start_run("all_on/seed=0")
        for step in range(7):
            progress.step("all_on/seed=0", step, 0.1 * step)
        progress.finish_run("all_on/seed=0", "completed", "valid")
    assert lines_of(file) == [
        "all_on/seed=0 started",
        "all_on/seed=0 completed at step 6, validation 0.600",
        "1/1 runs, 6/6 steps; took 0 s",
    ]


def test_without_a_terminal_a_summary_comes_at_most_every_fifteen_seconds(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    file = io.StringIO()
    with Progress(total_runs=4, total_steps=400, file=file) as progress:
        progress.start_run("a/seed=0")
        for step in range(100):
            now[0] += 1.0
            progress.step("a/seed=0", step, None)
    summaries = [line for line in lines_of(file) if "to go" in line and "took" not in line]
    assert len(summaries) == 6
    assert summaries[0] == "0/4 runs, 14/400 steps, about 6 min to go"


def test_an_invalid_run_is_called_so():
    file = io.StringIO()
    with Progress(total_runs=2, total_steps=2, file=file) as progress:
        progress.finish_run("a/seed=0", "completed", "INVALID")
        progress.finish_run("b/seed=0", "failed", None)
    assert "a/seed=0 completed INVALID at step 0" in lines_of(file)
    assert lines_of(file)[-1].startswith("2/2 runs (1 failed, 1 INVALID), 2/2 steps")


def test_sixty_four_active_runs_fit_on_a_low_terminal(monkeypatch):
    progress = Progress(total_runs=64, total_steps=384, file=io.StringIO())
    progress._console = Console(file=io.StringIO(), width=80, height=12, force_terminal=True)
    for i in range(64):
        progress.start_run(f"arm{i}/seed=0")
        progress.step(f"arm{i}/seed=0", i % 3, 0.2)
    shown = Console(file=io.StringIO(), width=80)
    shown.print(progress._picture())
    text = shown.file.getvalue()
    assert len(text.splitlines()) <= 12
    assert "and 55 more runs" in text


LONG = "only_endpoint_exploration_reward_logprobs/learning_rate=0.002/seed=0"


def drawn(progress, width, height=24):
    progress._console = Console(file=io.StringIO(), width=width, height=height, force_terminal=True)
    shown = Console(file=io.StringIO(), width=width)
    shown.print(progress._picture())
    return [line.rstrip() for line in shown.file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_name_and_no_number_is_cut_on_a_narrow_terminal(width, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    progress = Progress(total_runs=64, total_steps=640, file=io.StringIO())
    for run in (LONG, "all_on/seed=0"):
        progress.start_run(run)
        for step in range(3):
            now[0] += 100.0
            progress.step(run, step, 0.2)
    for number in range(3):
        progress.finish_run(f"r{number}", "failed" if number else "completed", "valid" if number else "INVALID")
    lines = drawn(progress, width)
    assert "".join(line.split("  ")[0] for line in lines).count(LONG) == 1
    text = " ".join(" ".join(lines).split())
    assert "3/64 runs (2 failed, 1 INVALID), 34/640 steps, about 22 h 5 min to go" in text
    assert sum("step 2  validation 0.200" in line for line in lines) == 2
    assert "…" not in text


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize("height", [12, 24, 60])
def test_of_sixty_four_arms_with_further_levels_each_name_that_is_shown_is_whole(width, height, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    factors = ("endpoint", "tools", "exploration", "reward", "logprobs", "split")
    arms = [Arm.of(dict(zip(factors, levels, strict=True))) for levels in product(("on", "off", "overlap"), repeat=6)]
    runs = sorted((f"{arm.name}/learning_rate=0.002/seed={seed}" for seed, arm in enumerate(arms)), key=len)[-64:]
    assert min(map(len, runs)) > 80  # every name is longer than the line
    progress = Progress(total_runs=64, total_steps=640, file=io.StringIO())
    for run in runs:
        progress.start_run(run)
    for run in runs:
        now[0] += 1.0
        progress.step(run, 9, 0.2)
        lines = drawn(progress, width, height)
        names = "".join(line.split("  ")[0] for line in lines)
        assert run in names and "…" not in names and len(lines) <= height
        shown = sum("validation" in line for line in lines)
        assert sum(each in names for each in runs) == shown and f"and {64 - shown} more runs: " in names


@pytest.mark.parametrize("width", [60, 80])
def test_what_takes_time_before_the_first_run_is_named_with_how_long(width, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    progress = Progress(total_runs=8, total_steps=48, file=io.StringIO())
    progress.note("starting the vLLM server")
    now[0] = 34.0
    assert drawn(progress, width)[-1] == "starting the vLLM server, for 34 s"
    progress.start_run("all_on/seed=0")
    assert "vLLM" not in " ".join(drawn(progress, width))


def test_each_engine_that_holds_no_run_is_named_with_what_it_does(monkeypatch):
    monkeypatch.setattr(module.time, "monotonic", lambda: 0.0)
    progress = Progress(total_runs=8, total_steps=48, file=io.StringIO())
    progress.engine(0, "trains, ready on GPU 0", ("all_on/seed=0",))
    progress.engine(1, "starting the vLLM server")
    progress.note("engine 1: starting the vLLM server")
    assert progress.stands()["note"] == ""  # an engine said it
    assert drawn(progress, 60)[-1] == "engine 1: starting the vLLM server, for 0 s"
    assert [line for line in drawn(progress, 60) if "engine" in line] == drawn(progress, 60)[-1:]


def test_a_watcher_is_told_which_engine_holds_which_run():
    progress = Progress(total_runs=2, total_steps=4, file=io.StringIO())
    progress.engine(1, "trains, ready on GPU 1", ("all_on/seed=0", "all_off/seed=0"))
    progress.start_run("all_on/seed=0")
    progress.step("all_on/seed=0", 1, 0.5)
    stands = progress.stands()
    (engine,) = stands["engines"]
    assert (engine["doing"], engine["runs"]) == ("trains, ready on GPU 1", ("all_on/seed=0", "all_off/seed=0"))
    assert stands["runs"] == [{"run": "all_on/seed=0", "step": 1, "validation": 0.5}]
    assert stands["summary"].startswith("0/2 runs, 1/4 steps")


def test_an_error_inside_is_named_and_not_swallowed():
    file = io.StringIO()
    with pytest.raises(KeyboardInterrupt), Progress(1, 1, file=file):
        raise KeyboardInterrupt
    assert lines_of(file)[-1].endswith("stopped by KeyboardInterrupt")


def test_many_threads_may_report_at_once():
    progress = Progress(total_runs=8, total_steps=8 * 200, file=io.StringIO())

    def report(name):
        for step in range(201):
            progress.step(name, step, 0.5)
        progress.finish_run(name, "completed", "valid")

    threads = [threading.Thread(target=report, args=(f"r{i}",)) for i in range(8)]
    started = time.process_time()
    with progress:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert "8/8 runs, 1600/1600 steps" in progress._console.file.getvalue()
    assert time.process_time() - started < 1.0


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "7 s"), (700, "12 min"), (12000, "3 h 20 min")])
def test_durations_read_as_a_person_says_them(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize("terminal", [True, False])
def test_a_warning_is_one_line_that_stays(terminal):
    file = io.StringIO()
    progress = Progress(total_runs=1, total_steps=1, file=file)
    progress._console = Console(file=file, width=40, force_terminal=terminal)
    with progress:
        progress.warn("W&B failed " + "and said much " * 10)
    assert [line.count("and said much") for line in file.getvalue().splitlines() if "W&B" in line] == [10]
