"""What a page shows of a sweep that runs, that has ended, that was killed; and when it is made anew."""

import json
import os
import re
import time

import pytest

from harness.live import live_page
from harness.live.live_page import LivePage
from harness.live.standing import SILENT
from harness.machine.gpu_use import GpuUse
from harness.records.layout import SweepFiles
from harness.records.looks import record_look
from tests.synthetic import leave_one_out, make_invalid, run_folder, write_json, write_status, write_sweep

SAID = {
    "process": 4711,
    "host": "node-7",
    "summary": "0/2 runs, 3/12 steps, about 8 min to go",
    "seconds": 130.0,
    "note": "",
    "stopping": "",
    "engines": [],
    "runs": [{"run": "all_on/seed=0", "step": 3, "validation": 0.4}],
}


@pytest.fixture(autouse=True)
def always_due(monkeypatch, undrawn):
    monkeypatch.setattr(live_page, "EVERY", 0.0)
    monkeypatch.setattr(live_page, "SHARE", 0.0)


@pytest.fixture
def folder(tmp_path):
    """A sweep whose first run is under way. No verdict was made of it."""
    sweep = write_sweep(tmp_path / "s", arms=leave_one_out()[:2], steps=6, seeds_planned=[0])
    write_status(sweep, "all_on", state="running")
    return sweep


@pytest.fixture
def page(folder):
    return LivePage(folder, "the-token")


def says(folder, **changes):
    """The sweep says where it stands. ago: seconds"""
    ago = changes.pop("ago", 0.0)
    path = SweepFiles(folder).now_path
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(SAID | changes))
    os.utime(path, (time.time() - ago,) * 2)


def test_a_sweep_that_runs_shows_curves_checks_and_how_long_it_will_take_and_judges_nothing(folder, page):
    says(folder)
    record_look(folder)  # of an earlier start
    html = page.html()
    assert "about 8 min to go" in html and "all_on/seed=0 at step 3" in html
    assert 'class="curves"' in html and "Manipulation checks" in html
    assert 'class="verdict"' not in html and 'class="chip"' not in html
    assert "No verdict stands here: it is made when the sweep has ended" in html


def test_a_sweep_that_has_ended_shows_its_whole_report(folder, page):
    write_status(folder, "all_on")
    record_look(folder)  # as the command that ran it does
    html = page.html()
    assert 'class="verdict"' in html and "Nothing computes here now" in html
    assert "No verdict stands here" not in html and "<form" not in html


def test_watching_is_no_look_at_a_sweep_that_was_stopped(folder, page):
    write_status(folder, "all_on", state="completed")
    write_status(folder, "without_endpoint", state="running")
    before = SweepFiles(folder).manifest_path.read_bytes()
    html = page.html()
    assert 'class="verdict"' not in html and "<code>harness report</code> makes one" in html
    assert SweepFiles(folder).manifest_path.read_bytes() == before


def test_an_invalid_run_is_shown_with_what_was_measured_while_others_run(folder, page):
    says(folder)
    first = page.html()
    make_invalid(folder, "without_endpoint", "endpoint", "another adapter answered")
    assert "another adapter answered" not in first and "another adapter answered" in page.html()


def test_the_table_of_a_sweep_that_runs_calls_an_arm_invalid(folder, page):
    says(folder)
    make_invalid(folder, "without_endpoint", "endpoint", "another adapter answered")
    (row,) = re.findall(r"<tr[^>]*>(?:(?!</tr>).)*</i>without_endpoint</td>.*?</tr>", page.html(), re.S)
    assert "INVALID" in row


def test_how_long_it_runs_is_what_the_sweep_says(folder, page):
    says(folder, seconds=130.0)
    assert "<b>Running</b> for 2 min 10 s: " in page.now()["html"]


def test_of_two_sweeps_that_run_side_by_side_its_own_alone_is_asked_to_stop(folder, page, tmp_path):
    others = [write_sweep(tmp_path / name, arms=leave_one_out()[:1], steps=1) for name in ("r", "t")]
    for each in (folder, *others):
        says(each)
    page.stop()
    assert [SweepFiles(each).stop_path.exists() for each in (folder, *others)] == [True, False, False]
    assert not any(SweepFiles(tmp_path).stop_path.parent.glob("stop*"))


def test_which_engine_holds_which_run_is_shown(folder, page):
    engines = [
        {"engine": 0, "doing": "trains, ready on GPU 0", "seconds": 60.0, "runs": ["all_on/seed=0", "later/seed=0"]},
        {"engine": 1, "doing": "starting the vLLM server", "seconds": 34.0, "runs": []},
    ]
    says(folder, engines=engines)
    html = page.html()
    assert "<td>trains, ready on GPU 0</td><td>1 min 00 s</td><td>all_on/seed=0 at step 3</td>" in html
    assert "<td>starting the vLLM server</td><td>34 s</td><td></td>" in html


def test_how_busy_the_gpus_are_is_shown_as_far_as_the_driver_says_it(folder, page, monkeypatch):
    found = (GpuUse(0, "NVIDIA H100", 93, 61.04, 79.6), GpuUse(1, "NVIDIA GB10", None, None, 119.7))
    monkeypatch.setattr(live_page, "gpu_use", lambda: found)
    html = page.now()["html"]
    assert "GPU 0, NVIDIA H100: 93 % busy, 61.0 of 79.6 GiB." in html
    assert "GPU 1, NVIDIA GB10: 119.7 GiB." in html


def test_a_sweep_that_says_nothing_more_is_not_called_running(folder, page):
    says(folder, ago=SILENT + 5)
    html = page.html()
    assert "No word</b> from process 4711 of node-7" in html
    assert "<form" not in html


def test_one_that_stops_says_so_and_has_no_second_button(folder, page):
    says(folder, stopping="Stopping: what is being written is finished first.")
    html = page.html()
    assert "<b>Stopping</b>" in html and "<form" not in html


def test_what_a_record_or_an_engine_says_is_text(folder, page):
    says(folder, note="<script>alert(1)</script>")
    assert "<script>alert(1)" not in page.html() and "&lt;script&gt;alert(1)" in page.html()


def test_the_page_is_made_again_when_a_record_was_written_and_only_then(folder, page):
    says(folder)
    html, version = page.html(), page.now()["version"]
    assert f'data-version="{version}"' in html
    says(folder, summary="1/2 runs")  # is asked for apart
    assert page.html() is html and "1/2 runs" in page.now()["html"]
    with open(run_folder(folder, "all_on") / "steps.jsonl", "a") as file:
        file.write('{"step": 7}\n')
    newer = page.now()["version"]
    assert newer != version and f'data-version="{newer}"' in page.html()


def test_a_page_that_takes_long_is_made_seldom(folder, page, monkeypatch):
    """Else watching would take the cores from the sweep; and the browser is not sent for a page that is not due."""
    monkeypatch.setattr(live_page, "SHARE", 1000.0)
    says(folder)
    html, version = page.html(), page.now()["version"]
    write_status(folder, "all_on", state="failed", error="no memory")
    assert page.html() is html and page.now()["version"] == version


def test_that_a_sweep_stops_or_has_ended_is_said_at_once(folder, page, monkeypatch):
    monkeypatch.setattr(live_page, "EVERY", 1000.0)
    says(folder)
    assert "<b>Running</b>" in page.html()
    page.stop()
    assert "<b>Stopping</b>" in page.html()
    SweepFiles(folder).now_path.unlink()
    assert "Nothing computes here now" in page.html()


def test_a_folder_that_cannot_be_read_for_a_moment_is_a_sentence(folder, page):
    whole = SweepFiles(folder).manifest_path.read_text()
    SweepFiles(folder).manifest_path.write_text(whole[:20])
    assert "manifest.json is damaged" in page.html()
    write_json(SweepFiles(folder).manifest_path, json.loads(whole))
    assert "is damaged" not in page.html() and "without_endpoint" in page.html()
