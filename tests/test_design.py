"""Which arms a design compares, and what they are called."""

import pytest

from harness.arm import FACTORS, Arm, derive_seed
from harness.design import DESIGNS, closest, design, restrict
from harness.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "runs"),
    [("full_factorial", 64), ("leave_one_out", 8), ("one_at_a_time", 8), ("one_and_two", 5), ("smoke", 2)],
)
def test_a_design_has_its_arms_once_each_with_names_of_their_own(name, runs):
    arms = design(name)
    assert len(arms) == len(set(arms)) == len({a.name for a in arms}) == runs


def test_arms_are_named_by_the_shorter_of_what_is_on_and_what_is_off():
    assert Arm.with_off().name == "all_on"
    assert Arm.with_on().name == "all_off"
    assert Arm.with_off("tools").name == "without_tools"
    assert Arm.with_on("endpoint", "tools").name == "only_endpoint_tools"
    assert Arm.with_off("endpoint", "tools").name == "without_endpoint_tools"


def test_leave_one_out_holds_all_on_each_single_removal_and_all_off():
    names = [a.name for a in design("leave_one_out")]
    assert names == ["all_on", *(f"without_{f}" for f in FACTORS), "all_off"]


def test_an_override_keeps_the_arms_that_match_it():
    assert len(restrict(design("full_factorial"), {"tools": ("on",)})) == 32
    assert [a.name for a in restrict(design("leave_one_out"), {"tools": ("off",)})] == ["without_tools", "all_off"]


def test_an_override_that_no_arm_matches_is_refused():
    with pytest.raises(ConfigError, match="No arm of this design"):
        restrict(design("smoke"), {"tools": ("on",), "split": ("off",)})


def test_an_unknown_design_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="Did you mean 'leave_one_out'"):
        design("leave_one_ou")
    assert closest("xyz", DESIGNS) == ""


def test_seeds_depend_on_everything_that_they_are_for():
    assert derive_seed(0, "train", 1, "a", 2) == derive_seed(0, "train", 1, "a", 2)
    seeds = {derive_seed(s, p, n, t) for s in (0, 1) for p in ("x", "y") for n in (0, 1) for t in ("a", "b")}
    assert len(seeds) == 16
    assert all(0 <= s < 2**31 for s in seeds)
