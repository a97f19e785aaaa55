"""A measurement is found again by all that it depends on, and said in words."""

import json
import shutil
from dataclasses import replace

import pytest

from harness.commands import run_command
from harness.launch import doctor
from harness.machine import certificate
from harness.machine.certificate import Certificate, Difference
from harness.paths import PACKAGE
from harness.policy import load_policy
from harness.records.layout import SweepFiles
from harness.records.load import load_sweep
from harness.report import formats
from harness.sweep.certified import known, subject
from harness.sweep.plan import prepare

SAME = Difference(32, 32, 224, 0.0, 0.0)
APART = Difference(32, 30, 200, 1.25e-3, 2e-5)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ablation-harness" / "certificates"


@pytest.fixture
def config(sweep_config):
    return sweep_config()


@pytest.fixture
def kept(config):
    """A measurement of this configuration; not kept yet."""
    about = subject(config, load_policy("micro"), "mock")
    return Certificate(about, SAME, APART, {"requests": 48, "adapters": 7}, 4.2, "2026-01-01T00:00:00+0000")


OTHER = [
    ("backend", {"in_flight": 64}),
    ("backend", {"max_loras": 4}),
    ("backend", {"batch_invariant": True, "device": "auto"}),
    ("rollout", {"max_tokens": 9}),
    ("rollout", {"temperature": 0.5}),
    ("policy", {"lora_rank": 4}),
]


def test_it_is_found_again_by_the_same_settings_alone(config, kept):
    policy = load_policy("micro")
    assert known(config, policy, "mock") is None
    certificate.keep(kept)
    assert known(config, policy, "mock") == kept
    for section, change in OTHER:
        other = replace(config, **{section: replace(getattr(config, section), **change)})
        assert known(other, policy, "mock") is None, change


def test_another_policy_environment_or_vllm_has_none(config, kept, monkeypatch):
    certificate.keep(kept)
    assert known(config, replace(load_policy("micro"), digest="other"), "mock") is None
    assert known(config, load_policy("micro"), "retail") is None
    monkeypatch.setattr("harness.sweep.certified._vllm", lambda _: "vllm-9")
    monkeypatch.setattr("harness.machine.inventory.server_python", lambda _: "python")
    assert known(config, load_policy("micro"), "mock") is None


def test_a_server_that_is_started_otherwise_has_none(config, kept, monkeypatch, tmp_path):
    shutil.copytree(PACKAGE / "engine", tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr("harness.sweep.certified.PACKAGE", tmp_path)
    certificate.keep(kept)
    assert known(config, load_policy("micro"), "mock") == kept
    for changed in (
        tmp_path / "engine" / "server_process.py",
        *(tmp_path / "engine" / "server_side").glob("[a-z]*.py"),
    ):
        before = changed.read_text()
        changed.write_text(before + "# another block size\n")
        assert known(config, load_policy("micro"), "mock") is None, changed
        changed.write_text(before)


def test_a_damaged_file_counts_as_none(config, kept):
    certificate.keep(kept).write_text('{"subject": {}')
    assert known(config, load_policy("micro"), "mock") is None and certificate.all_known() == []


def test_its_words():
    assert SAME.text() == "all 32 the same bit for bit"
    assert APART.text() == "30 of 32 with the same tokens, log-probs by up to 0.0013 nats (mean 2e-05)"


def test_the_doctor_shows_it_or_the_command_that_measures(kept):
    assert "not measured here; `python -m harness certificate` does" in "\n".join(doctor.examine().lines)
    certificate.keep(kept)
    shown = "\n".join(doctor.examine().lines)
    assert "answers in company (48 requests at once, 7 adapters) against answers alone: 30 of 32" in shown
    assert "policy micro, env mock" in shown and "not measured" not in shown


def test_a_sweep_records_what_is_known_and_its_report_says_it(config, kept):
    assert formats.company(load_sweep(prepare(replace(config, name="before")).folder)) == []
    certificate.keep(kept)
    folder = prepare(replace(config, name="after")).folder
    (start,) = SweepFiles(folder).manifest()["starts"]
    assert certificate.of_record(json.loads(json.dumps(start["certificate"]))) == kept
    (line,) = formats.company(load_sweep(folder))
    assert "30 of 32 answers in company had the same tokens as alone" in line and "up to 0.0013 nats" in line
    assert line in formats.notes(load_sweep(folder))


def test_stock_art_has_none_to_measure(capsys):
    assert run_command("certificate", ["backend=art_local"]) == 2
    assert "Stock ART serves each run by a server of its own" in capsys.readouterr().err
