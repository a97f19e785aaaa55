"""When two episodes of one key are the same, and what is said where they are not."""

from dataclasses import replace

import pytest

from harness.replay.episodes import compare_episodes
from harness.replay.findings import DIFFERS, OTHER_TOKENS, SAME, WITHIN
from tests.fakes import episode, outcome, turn

TWO = episode("t", turn((7, 8)), turn((9,)), success=1.0)


def changed(number=0, **values):
    """The episode with another turn."""
    turns = list(TWO.turns)
    turns[number] = replace(turns[number], **values)
    return replace(TWO, turns=tuple(turns))


CASES = {
    "took longer": (replace(TWO, seconds=9.0), SAME, ""),
    "rounding": (changed(logprobs=(-0.1, -0.10001)), WITHIN, "3.3e-06 nats"),
    "other log-probs": (changed(logprobs=(-0.1, -0.2)), DIFFERS, "0.033 nats in the mean (tolerance 0.0001)"),
    "no number": (changed(logprobs=(-0.1, float("nan"))), DIFFERS, "nan nats"),
    "no log-probs": (changed(logprobs=None), DIFFERS, "log-probs on one side alone"),
    "other tokens": (changed(output_ids=(7, 5)), OTHER_TOKENS, "turn 1: other tokens after 1 equal ones"),
    "other tokens of other weights": (
        changed(output_ids=(7, 5), logprobs=(-0.5, -0.1)),
        DIFFERS,
        "0.4 nats in the mean",
    ),
    "another prompt": (changed(1, prompt_ids=(1, 3)), DIFFERS, "turn 2: the same replies so far, and another prompt"),
    "another reward": (
        replace(TWO, outcome=outcome(0.0)),
        DIFFERS,
        "the same tokens, and another judgement: reward 1.0 there, 0.0 here",
    ),
    "another answer of the user": (
        replace(TWO, messages=({"role": "user", "content": "no"}, 0, 1)),
        DIFFERS,
        "other messages",
    ),
    "fewer turns": (replace(TWO, turns=TWO.turns[:1]), DIFFERS, "2 turns there, 1 here"),
    "other weights": (changed(answered_by="others"), DIFFERS, "said to be answered by other weights"),
}


@pytest.mark.parametrize("name", CASES)
def test_episodes(name):
    again, verdict, text = CASES[name]
    found = compare_episodes(TWO.to_bytes(), again.to_bytes(), tolerance=1e-4)
    assert found.verdict == verdict and text in found.detail and found.turns == 2
    assert verdict == SAME or found.detail.startswith("task t: ")
