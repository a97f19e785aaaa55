"""An episode is stored as bytes and comes back the same."""

from harness.episode import Episode, Turn, same_rollout
from harness.seams import Outcome

CALL = {"id": "call_2_0", "name": "close", "arguments": "{}"}
TURN = Turn((1, 2), (3, 4), (-0.1, -0.2), None, (CALL,), "stop", "base")
GOOD = Outcome(1.0, 1, 1, 0, 0, None)
EPISODE = Episode("t", ({"role": "user", "content": "hi"}, 0), (TURN,), GOOD, "user_stop", 0.5)


def test_bytes_hold_all_of_it():
    assert Episode.from_bytes(EPISODE.to_bytes()) == EPISODE


def test_an_audit_compares_what_was_sampled_and_how_it_was_judged_and_not_the_time():
    slower = Episode(**vars(EPISODE) | {"seconds": 9.0})
    judged = Episode(**vars(EPISODE) | {"outcome": Outcome(0.0, 0, 1, 0, 0, None)})
    assert same_rollout(EPISODE.to_bytes(), slower.to_bytes())
    assert not same_rollout(EPISODE.to_bytes(), judged.to_bytes())
