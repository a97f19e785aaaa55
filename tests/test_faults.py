"""The matrix of faults (experiments/benchmarks/faults.py) labels what it sees, and a small part of it runs here."""

import sys
from types import SimpleNamespace

import pytest

from experiments.benchmarks import faults, faulty
from experiments.benchmarks.faults import Row, Served, judged
from tests.stand_in_server import KINDS


def run(state="completed", valid=True, missing=(0, 0), error=None):
    steps = [{"step": step, "missing": count} for step, count in enumerate(missing, 1)]
    checks = [SimpleNamespace(step=1, took_effect=True), SimpleNamespace(step=2, took_effect=valid)]
    findings = (f"{sum(missing)} rollouts are missing after retries",) if any(missing) else ()
    invalid = () if valid else (("endpoint", "on: the wrong weights"),)
    return SimpleNamespace(
        state=state, valid=valid, steps=steps, checks=checks, findings=findings, invalid=invalid, error=error
    )


LABELS = [
    (run(), ("repaired", None, "")),
    (run("failed", missing=(0,), error="no memory"), ("failed", 2, "no memory")),
    (run(valid=False, missing=(0, 1)), ("INVALID", 2, "on: the wrong weights")),
    (run(missing=(0, 3)), ("missing", 2, "3 rollouts are missing after retries")),
    (run("running"), ("unseen: running", None, "")),
]


@pytest.mark.parametrize(("found", "label"), LABELS, ids=[label[0] for _, label in LABELS])
def test_a_run_is_labelled_with_the_step_that_shows_it(found, label):
    assert judged(found) == label


def test_another_reason_than_the_faults_is_not_what_was_expected():
    one = faults.row("out of memory", "trainer", "failed", "memory", run("failed", missing=(0,), error="a typo"), True)
    assert (one.seen, one.good) == ("failed, otherwise", False)


ROWS = [
    (Row("f", "w", "failed", "failed", 0, True), True),
    (Row("f", "w", "failed", "failed", 1, True), True),
    (Row("f", "w", "failed", "failed", 2, True), False),
    (Row("f", "w", "failed", "failed", -1, True), False),
    (Row("f", "w", "failed", "failed", 0, False), False),
    (Row("f", "w", "failed", "repaired", None, True), False),
    (Row("f", "w", "repaired", "repaired", None, True), True),
    (Row("f", "w", "repaired", "never came", None, True), False),
]


@pytest.mark.parametrize(("one", "good"), ROWS)
def test_the_matrix_ends_with_1_where_a_row_is_not_as_expected(one, good, monkeypatch, capsys):
    monkeypatch.setattr(faults, "MATRIX", {"config": lambda _: iter([one])})
    monkeypatch.setattr(sys, "argv", ["faults"])
    with pytest.raises(SystemExit) as ended:
        faults.main()
    assert ended.value.code == (0 if good else 1)
    assert ("**(not as expected)**" in capsys.readouterr().out) is not good


def test_every_fault_that_the_stand_in_and_the_fix_know_is_in_the_matrix():
    assert {each.options["kind"] for each in faults.SERVED} == set(KINDS)
    assert {level for level in faulty.LEVELS if level not in ("on", "off")} == {*faults.TRAINER, "never"}
    assert [each.level for each in faulty.CLASSES] == list(faulty.LEVELS)


@pytest.mark.engine
def test_a_fault_of_one_runs_requests_is_labelled_and_the_other_run_completes(tmp_path, monkeypatch):
    """A part of the matrix as it is; its other runs are the one without a fault."""
    one = Served("503, for all", "failed", faults.NONE_PLAYED, {"kind": "503"})
    stale = Served("the step before answers", "INVALID", "log-probs are", {"kind": "stale"})
    monkeypatch.setattr(faults, "SERVED", (one, stale))
    found = list(faults.in_server(tmp_path))
    assert [(each.seen, each.within, each.others) for each in found] == [("failed", 0, True), ("INVALID", 0, True)]
