"""What `harness certificate` asks, and what it compares between two times that the same rows were asked."""

import asyncio
import json
from collections import Counter

import pytest

from harness.episode import Turn
from harness.errors import EngineError
from harness.launch.certificate import measured
from harness.launch.company import difference


def turn(ids, logprobs, prompt=(1, 2)):
    return Turn(prompt, ids, logprobs, "", (), "stop", "m", 0.0)


ONE = turn((5, 6, 7), (-0.1, -0.2, -0.3))
CASES = [  # the other answer -> same, tokens, largest, mean
    (ONE, (1, 3, 0.0, 0.0)),
    (turn((5, 6, 7), (-0.1, -0.2, -0.6)), (1, 3, 0.3, 0.1)),
    (turn((5, 8, 7), (-0.2, -0.9, -0.9)), (0, 1, 0.1, 0.1)),  # what follows another token answers another context
    (turn((5, 6), (-0.1, -0.2)), (0, 2, 0.0, 0.0)),
]


@pytest.mark.parametrize(("other", "expected"), CASES)
def test_log_probs_are_compared_as_long_as_the_tokens_are_the_same(other, expected):
    found = difference([ONE], [other])
    assert found.rows == 1
    assert (found.same, found.tokens, found.largest, found.mean) == pytest.approx(expected)


def test_another_prompt_is_no_answer_to_the_same_row():
    with pytest.raises(EngineError, match="other token ids of the same prompt"):
        difference([ONE], [turn((5, 6, 7), (-0.1, -0.2, -0.3), prompt=(1, 3))])


def test_an_engine_that_answers_by_content_alone_is_certified_bit_for_bit(
    sweep_config, stand_in, tmp_path, monkeypatch
):
    monkeypatch.setenv("FAKE_ASKED", str(tmp_path / "asked.jsonl"))
    for name, value in stand_in.items():
        monkeypatch.setenv(name, value)
    found = asyncio.run(measured(sweep_config("backend.device=cpu", "backend.in_flight=24", "backend.max_loras=5")))
    assert found.again == found.company and found.company.text() == "all 32 the same bit for bit"
    assert found.beside == {"requests": 24, "adapters": 4}
    asked = [json.loads(line) for line in (tmp_path / "asked.jsonl").read_text().splitlines()]
    rows = {name: [{**a, "model": ""} for a in asked if a["model"] == name] for name in ("alone", "again", "company")}
    assert rows["alone"] == rows["again"] == sorted(rows["company"], key=rows["alone"].index)
    others = Counter(a["model"] for a in asked) - Counter({"alone": 32, "again": 32, "company": 32})
    assert set(others) == {"micro", "other1", "other2", "other3"} and others.total() >= 16
