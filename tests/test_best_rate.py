"""The learning rate that a sweep over rates chooses (experiments/best_rate.py)."""

from pathlib import Path

from experiments.best_rate import best, means
from harness.records.load import load_sweep

RATES = Path(__file__).parent.parent / "results" / "h100_retail_wrong_decisions_kinds_rates"


def test_the_highest_mean_wins_and_of_equal_rates_the_smaller() -> None:
    assert best({1e-4: 0.4, 3e-4: 0.6, 1e-3: 0.5}) == 3e-4
    assert best({1e-4: 0.5, 3e-4: 0.5}) == 1e-4


def test_rates_are_read_from_the_runs_of_a_sweep_in_ascending_order() -> None:
    assert list(means(load_sweep(RATES))) == [1e-4, 1e-3]
