"""Scripted users say what the scenario says, then confirm a few times, then stop."""

import pytest

from harness.env import load_domain
from harness.env.user import CONFIRMATION, CONFIRMATIONS, first_person


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
    assert "I am" in episode.opening and "\n" in episode.opening
    answers = [episode.reply("Shall I?") for _ in range(CONFIRMATIONS + 1)]
    assert answers == [CONFIRMATION] * CONFIRMATIONS + [None]
