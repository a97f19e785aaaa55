"""What a user who is a model will cost is said before anything runs."""

import json

from harness.sweep.user_cost import ASSUMED, PlannedUser, cost_lines, tokens

USER = PlannedUser("gpt-4o", roles=4000, messages=None, replies=30)


def test_each_message_is_asked_for_with_all_that_was_said_before():
    one, three = tokens(USER, 1, 1), tokens(USER, 1, 3)
    assert one.prompt == 1000 + 10
    assert three.prompt == 3 * one.prompt + 100 + 200
    assert tokens(USER, 10, 3) == type(one)(30, 10 * three.prompt, 10 * three.reply)


def test_an_earlier_sweep_with_this_user_says_how_many_messages_an_episode_takes(tmp_path):
    reuse = {"user": {"calls": 30, "found": 10}, "episodes": {"computed": 10}}
    (tmp_path / "reuse.json").write_text(json.dumps(reuse))
    measured, _ = cost_lines(USER, 100, [tmp_path])
    assert measured.startswith(f"user's messages: about 400 (4 of an episode: measured in {tmp_path})")
    assumed, _ = cost_lines(USER, 100, [tmp_path / "absent"])
    assert assumed.startswith(f"user's messages: about {100 * ASSUMED} ({ASSUMED} of an episode: assumed")


def test_a_price_that_is_not_known_is_said_to_be_none():
    *_, price = cost_lines(PlannedUser("hosted_vllm/mine", 4000, None, 30), 100, [])
    assert price == "user's price: not known; litellm's map has none for hosted_vllm/mine"
