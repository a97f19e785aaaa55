"""The kinds of request that a policy has room to learn (experiments/room_to_learn.py)."""

from math import nan

from experiments.room_to_learn import has_room, success_by_kind


def test_success_is_counted_by_kind_and_what_is_missing_is_left_out() -> None:
    greedy = {"t_0.swap": 0.0, "t_1.swap": 1.0, "t_2.track": 1.0, "t_3.track": None, "t_4.paid": 0.0}
    sampled = {"t_0.swap": (0.0, 1.0), "t_1.swap": (1.0, None), "t_2.track": (1.0, 1.0), "t_3.track": (0.0,)}
    assert success_by_kind(greedy, sampled) == {"swap": (0.5, 0.75, 2), "track": (1.0, 1.0, 1)}


def test_there_is_room_where_greedy_decoding_mostly_fails_and_sampling_sometimes_succeeds() -> None:
    assert has_room(0.2, 0.4)
    assert not has_room(0.5, 0.5), "solved already"
    assert not has_room(0.0, 0.1), "groups without spread"
    assert not has_room(0.4, 0.9), "groups without spread, all solved"
    assert not has_room(nan, nan)
