"""A report says what its intervals are worth if a failure is there that its seeds did not show."""

import json

import pytest

from experiments.benchmarks.calibration_tables import unseen_failures as planted
from experiments.benchmarks.calibration_tables import write_failures
from harness.records.load import load_sweep
from harness.report.effect_sections import effects_section
from harness.report.step_sections import steps_section
from harness.stats import unseen_failures as module
from harness.stats.effects import analyse
from harness.stats.unseen_failures import unseen_failures
from tests.synthetic import write_sweep


@pytest.fixture
def simulated(tmp_path, monkeypatch):
    """5 seeds cover 71 %, 20 seeds 96 %."""
    path = tmp_path / "unseen_failures.json"
    cells = {"5": {"share": 0.15, "coverage": 0.71}, "20": {"share": 0.05, "coverage": 0.96}}
    path.write_text(json.dumps({"outcomes": {"final": cells}}))
    monkeypatch.setattr(module, "PATH", path)
    module._simulated.cache_clear()
    yield
    module._simulated.cache_clear()


def test_the_coverage_is_that_of_the_next_fewer_seeds_that_were_simulated(simulated):
    found = unseen_failures("leave_one_out", "final", 8)
    assert (found.coverage, found.share, found.simulated_seeds) == (0.71, 0.15, 5)
    assert found.could_miss == pytest.approx(1 - 0.05 ** (1 / 8))


@pytest.mark.parametrize(
    ("kind", "seeds"), [("leave_one_out", 1), ("leave_one_out", 3), ("leave_one_out", 20), ("main", 5)]
)
def test_nothing_is_said_where_nothing_was_simulated_or_the_intervals_hold(simulated, kind, seeds):
    assert unseen_failures(kind, "final", seeds) is None


def notes(folder):
    sweep = load_sweep(folder)
    return " ".join(effects_section(analyse(sweep), sweep.declared).notes)


def test_the_report_says_it_beside_its_intervals(simulated, tmp_path):
    said = notes(write_sweep(tmp_path / "five", seeds=range(5)))
    assert "5 seeds may not show a failure of up to 45 %" in said
    assert "Where 15 % of one arm's runs fail, such 95 % intervals cover 71 %" in said
    assert "may not show" not in notes(write_sweep(tmp_path / "one", seeds=(0,)))


def test_the_bands_over_the_steps_point_to_it(simulated, tmp_path):
    def bands(seeds):
        found = steps_section(analyse(load_sweep(write_sweep(tmp_path / str(len(seeds)), seeds=seeds))))
        return "The bands, too, know nothing of failures" in " ".join(found.notes)

    assert bands(range(5)) and not bands((0,))


def test_the_committed_numbers_are_those_of_a_calibration():
    """Planted failures that few seeds do not show lower the coverage; the file has every number of seeds."""
    found = json.loads(module.PATH.read_text())
    assert found["sweeps"] >= 400 and set(found["outcomes"]) == {"final", "area", "slope"}
    final = found["outcomes"]["final"]
    assert set(final) == {"2", "3", "4", "5", "8", "10", "20"}
    assert final["5"]["coverage"] < 0.93


def test_the_program_writes_what_the_report_reads(tmp_path, monkeypatch):
    write_failures(planted(8, 1), 8, 1, tmp_path / "written.json")
    monkeypatch.setattr(module, "PATH", tmp_path / "written.json")
    module._simulated.cache_clear()
    assert set(module._simulated()["final"]) == {"2", "3", "4", "5", "8", "10", "20"}
    module._simulated.cache_clear()
