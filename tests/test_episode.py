"""An episode is stored as bytes and comes back the same."""

import json
import math

from harness.episode import Episode, Turn, same_rollout
from harness.seams import Outcome

CALL = {"id": "call_2_0", "name": "close", "arguments": "{}"}
TURN = Turn((1, 2), (3, 4), (-0.1, -0.2), None, (CALL,), "stop", "base", 0.7)
GOOD = Outcome(1.0, 1, 1, 0, 0, None, "done", "ValidationError: kwargs is list, expected a dict")
USER = {"kind": "a model", "model": "m", "temperature": 1.0}
EPISODE = Episode("t", ({"role": "user", "content": "hi"}, 0), (TURN,), GOOD, 0.5, USER)


def test_bytes_hold_all_of_it():
    assert Episode.from_bytes(EPISODE.to_bytes()) == EPISODE


def test_how_it_ended_is_read_from_the_outcome():
    assert EPISODE.end == EPISODE.outcome.end == "done"


def test_what_was_stored_before_it_had_a_user_and_temperatures_is_read():
    turn = {name: value for name, value in vars(TURN).items() if name != "temperature"}
    checks = {name: value for name, value in vars(GOOD).items() if name not in ("end", "raised")}
    old = {"task_id": "t", "messages": [0], "turns": [turn], "outcome": checks, "end": "length", "seconds": 0.5}
    read = Episode.from_bytes(json.dumps(old).encode())
    assert (read.end, read.outcome.raised, read.user) == ("length", None, {"kind": "scripted"})
    assert math.isnan(read.turns[0].temperature) and read.turns[0].output_ids == (3, 4)


def test_an_audit_compares_what_was_sampled_and_how_it_was_judged_and_not_the_time():
    slower = Episode(**vars(EPISODE) | {"seconds": 9.0})
    judged = Episode(**vars(EPISODE) | {"outcome": Outcome(0.0, 0, 1, 0, 0, None)})
    assert same_rollout(EPISODE.to_bytes(), slower.to_bytes())
    assert not same_rollout(EPISODE.to_bytes(), judged.to_bytes())
