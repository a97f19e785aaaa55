"""What no step shows, the steps of a run may show together (harness/records/together.py)."""

from math import nan
from typing import Any

import pytest

from harness import answering
from harness.records import together
from harness.records.schema import CheckRecord, not_shown


def reading(preference: float | None, error: float | None = 1.0, replies: float = 200.0) -> dict[str, Any]:
    return {"preference": preference, "preference_error": error, "telling_replies": replies}


def check(step: int, took_effect: bool | None, **told: Any) -> CheckRecord:
    return CheckRecord(step, "endpoint", "on", told, took_effect, "")


def test_steps_that_lean_one_way_show_together_what_none_shows_alone() -> None:
    assert together.shown_together([reading(2.0)] * 10)
    assert not together.shown_together([reading(2.0)] * 2), "2 standard errors twice come by chance"
    assert not together.shown_together([reading(0.3)] * 10)


def test_steps_that_lean_the_other_way_take_away_what_others_add() -> None:
    assert not together.shown_together([reading(2.0), reading(-2.0)] * 20)


def test_a_switch_that_did_not_take_effect_is_never_shown_together() -> None:
    assert not together.shown_together([reading(-2.0)] * 10)


def test_a_single_step_is_no_company_and_an_extreme_one_does_not_outweigh_the_others() -> None:
    assert not together.shown_together([reading(100.0)])
    assert not together.shown_together([reading(1e6), *[reading(-2.0)] * 4])


@pytest.mark.parametrize(
    "tells_nothing", [{}, reading(None), reading(nan, nan), reading(3.0, 0.0), reading(3.0, replies=1.0)]
)
def test_a_step_that_tells_nothing_is_left_out(tells_nothing: dict[str, Any]) -> None:
    assert together.shown_together([reading(2.0), tells_nothing] * 10)
    assert not together.shown_together([tells_nothing] * 10)


def test_few_replies_say_less() -> None:
    assert together.shown_together([reading(2.5, replies=100.0)] * 4)
    assert not together.shown_together([reading(2.5, replies=3.0)] * 4)


def test_by_chance_is_as_rare_as_at_a_single_step() -> None:
    assert together.CHANCE == answering.CHANCE


def test_a_factor_is_shown_by_a_judged_step_or_by_all_together() -> None:
    apart = [check(step, None, **reading(0.5)) for step in range(1, 5)]
    assert not_shown(apart) == ("endpoint",)
    assert not_shown([*apart, check(5, False)]) == ()
    assert not_shown([check(step, None, **reading(2.5)) for step in range(1, 5)]) == ()
