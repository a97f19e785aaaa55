"""Scripted users say what the scenario says, then confirm a few times, then stop."""

import pytest

from harness.env import load_domain
from harness.env.user import CONFIRMATION, CONFIRMATIONS, Script, first_person


@pytest.mark.parametrize(
    ("scenario", "said"),
    [
        ("You want to return your order.", "I want to return my order."),
        ("You are Yusuf Rossi in zipcode 19122.", "I am Yusuf Rossi in zipcode 19122."),
        ("If the agent asks you, you don't insist.", "If the agent asks me, I don't insist."),
    ],
)
def test_scenarios_are_told_in_the_first_person(scenario, said):
    assert first_person(scenario) == said


def test_a_benchmark_user_confirms_a_bounded_number_of_times():
    domain = load_domain("retail")
    episode = domain.start(domain.train_ids[0])
    assert "I am" in episode.first and "\n" in episode.first
    answers = [episode.answer("Shall I?") for _ in range(CONFIRMATIONS + 1)]
    assert answers == [CONFIRMATION] * CONFIRMATIONS + [None]


@pytest.mark.parametrize(
    ("text", "after_tool", "satisfied"),
    [
        ("All done.", True, True),
        ("Your order is cancelled. Is there anything else I can do?", True, True),
        ("I found the order. Shall I cancel it?", True, False),
        ("Let me look that up.", False, False),
        ("All done.", False, False),
    ],
)
def test_a_user_who_confirms_stops_at_a_text_that_reports_and_asks_nothing(text, after_tool, satisfied):
    assert Script("Cancel my order.", (CONFIRMATION,), confirms=True).satisfied(text, after_tool) is satisfied
    assert not Script("Close task_1.", ("And task_2.",)).satisfied(text, after_tool), "a script is followed to its end"


def test_a_benchmark_episode_ends_with_the_report_of_what_was_done():
    domain = load_domain("retail")
    episode = domain.start("17")
    episode.call_tool("c", "get_order_details", {"order_id": "#W8665881"})
    assert episode.answer("Shall I change the address?") == CONFIRMATION
    episode.call_tool("c", "get_order_details", {"order_id": "#W8665881"})
    assert episode.answer("All done.") is None
