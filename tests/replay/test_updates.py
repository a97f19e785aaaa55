"""When two updates of one key are the same: weights to the byte, or within what rounding makes of an AdamW step."""

import pytest
import torch

from harness.backend.shared import packed
from harness.engine.state import State
from harness.replay.findings import DIFFERS, SAME, WITHIN
from harness.replay.updates import compare_updates

RATE, METRICS = 1e-3, [{"loss": 0.5}, {"loss": 0.25}]  # two gradient steps


def update(shift=0.0, metrics=METRICS, size=8):
    """shift: of each weight, as a share of what two steps at this rate may move it"""
    adapter = {"x.lora_A.weight": torch.zeros(2, size), "x.lora_B.weight": torch.full((size, 2), shift * RATE * 2)}
    return packed(State.of(adapter, {}, "base"), metrics)


CASES = [
    (update(), SAME, ""),
    (update(0.001), WITHIN, "weights differ by 0.00071 of what such an update may move one (tolerance 0.01)"),
    (update(0.1), DIFFERS, "weights differ by 0.071"),
    (update(metrics=[{"loss": 0.5}, {"loss": 0.2}]), DIFFERS, "the same weights, and another loss"),
    (update(0.001, METRICS[:1]), DIFFERS, "2 gradient steps there, 1 here"),
    (update(size=4), DIFFERS, "another shape of adapter"),
]


@pytest.mark.parametrize(("again", "verdict", "text"), CASES)
def test_updates(again, verdict, text):
    found = compare_updates(update(), again, RATE, exact=True)
    assert (found.verdict, found.detail[: len(text)]) == (verdict, text)


def test_sixteen_bits_round_more():
    assert compare_updates(update(), update(0.1), RATE, exact=False).verdict == WITHIN
