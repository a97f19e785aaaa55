"""What a sweep made of its GPUs (experiments/benchmarks/gpu_use.py)."""

from pathlib import Path

import pytest

from experiments.benchmarks.gpu_use import COLUMNS, Use, _computed
from harness.records.load import load_sweep

RESULTS = Path(__file__).parent.parent / "results"


def test_what_was_computed_is_divided_by_the_seconds_of_all_cards_and_by_what_the_card_promises():
    use = Use("s", "NVIDIA H100 80GB HBM3", 2, 8, 100.0, 1000, 1e6, 50.0, 989.0 * 5)
    cells = dict(zip(COLUMNS, use.row().strip("| ").split(" | "), strict=True))
    assert (cells["episodes/s a card"], cells["trained tokens/s a card"]) == ("5.0", "5,000")
    assert (cells["training"], cells["MFU while training"], cells["MFU"]) == ("25%", "10.0%", "2.5%")


def test_an_update_that_several_runs_share_counts_once():
    sweep = load_sweep(RESULTS / "h100_retail_wrong_decisions_kinds")
    assert sum(bool(step.get("update_shared_with")) for run in sweep.runs for step in run.steps) == 73
    assert len(list(_computed(sweep))) == sweep.reuse["updates"]["computed"] == 269


def test_a_sweep_without_a_gpu_is_refused():
    with pytest.raises(ValueError, match="cpu_all: its records name no GPU"):
        Use.of(load_sweep(RESULTS / "cpu_all"))
