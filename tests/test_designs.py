"""Which arms a design compares, and what they are called."""

import json

import pytest
from omegaconf import OmegaConf

from harness.designs import (
    DESIGNS,
    alias_table,
    aliases,
    closest,
    design,
    is_orthogonal,
    listed,
    named_design,
    resolution,
    restrict,
)
from harness.errors import ConfigError
from harness.factors import Factor, Factors, derive_seed
from harness.fixes.registry import note
from harness.paths import CONF

NOTE = note()


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("full_factorial", 64),
        ("leave_one_out", 8),
        ("one_at_a_time", 8),
        ("screening", 16),
        ("gate_aware", 19),
        ("smoke", 2),
    ],
)
def test_a_design_has_its_arms_once_each_with_names_of_their_own(name, runs):
    arms = design(name, NOTE)
    assert len(arms) == len(set(arms)) == len({a.name for a in arms}) == runs


def test_arms_are_named_by_the_shorter_of_what_is_on_and_what_is_off():
    assert NOTE.with_off().name == "all_on"
    assert NOTE.with_on().name == "all_off"
    assert NOTE.with_off("tools").name == "without_tools"
    assert NOTE.with_on("endpoint", "tools").name == "only_endpoint_tools"
    assert NOTE.with_off("endpoint", "tools").name == "without_endpoint_tools"


def test_leave_one_out_holds_all_on_each_single_removal_and_all_off():
    names = [a.name for a in design("leave_one_out", NOTE)]
    assert names == ["all_on", *(f"without_{f}" for f in NOTE.names), "all_off"]


def test_an_override_keeps_the_arms_that_match_it():
    assert len(restrict(design("full_factorial", NOTE), {"tools": ("on",)})) == 32
    assert [a.name for a in restrict(design("leave_one_out", NOTE), {"tools": ("off",)})] == [
        "without_tools",
        "all_off",
    ]


def test_an_override_that_no_arm_matches_is_refused():
    with pytest.raises(ConfigError, match="No arm of this design"):
        restrict(design("smoke", NOTE), {"tools": ("on",), "split": ("off",)})


def test_an_unknown_design_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match="Did you mean 'leave_one_out'"):
        design("leave_one_ou", NOTE)
    assert closest("xyz", DESIGNS) == ""


def test_seeds_depend_on_everything_that_they_are_for():
    assert derive_seed(0, "train", 1, "a", 2) == derive_seed(0, "train", 1, "a", 2)
    seeds = {derive_seed(s, p, n, t) for s in (0, 1) for p in ("x", "y") for n in (0, 1) for t in ("a", "b")}
    assert len(seeds) == 16
    assert all(0 <= s < 2**31 for s in seeds)


def test_the_gate_aware_design_crosses_the_free_factors_inside_open_gates():
    arms = design("gate_aware", NOTE)
    inside = [a for a in arms if all(a.level(g) == "on" for g in NOTE.gates)]
    assert len(inside) == 8
    assert len({(a.level("tools"), a.level("reward"), a.level("split")) for a in inside}) == 8


def test_the_gate_aware_design_costs_at_most_30_percent_of_the_factorial():
    assert len(design("gate_aware", NOTE)) <= 0.3 * len(design("full_factorial", NOTE))


def test_the_gate_aware_design_closes_each_gate_alone_and_with_the_other_fixes_off():
    arms = set(design("gate_aware", NOTE))
    for gate in NOTE.gates:
        assert NOTE.with_off(gate) in arms
        assert NOTE.with_on(*(g for g in NOTE.gates if g != gate)) in arms
    assert {NOTE.with_off(f) for f in NOTE.names} <= arms


def test_screening_is_balanced_and_mixes_no_main_effect_with_a_two_way_interaction():
    arms = design("screening", NOTE)
    assert is_orthogonal(arms)
    for factor in NOTE.names:
        assert {len(other) for _, other in aliases(arms, (factor,))} == {3}


def test_screening_keeps_main_effects_clear_of_the_interaction_of_the_gates():
    arms = design("screening", NOTE)
    assert all(set(other) != set(NOTE.gates) for f in NOTE.names for _, other in aliases(arms, (f,)))


def test_the_alias_table_of_screening_names_every_main_effect_and_interaction():
    table = alias_table(design("screening", NOTE))
    assert len(table) == 6 + 15
    assert "endpoint × exploration = tools × reward" in table
    assert "tools = endpoint × exploration × reward, endpoint × logprobs × split" in table


def test_the_full_factorial_mixes_nothing_and_leave_one_out_is_no_orthogonal_array():
    assert alias_table(design("full_factorial", NOTE)) == ["No effect of up to three factors is mixed with another."]
    assert "Not an orthogonal design" in alias_table(design("leave_one_out", NOTE))[0]


@pytest.mark.parametrize(("name", "runs"), [("one_and_two", 5), ("short_term", 11)])
def test_a_listed_design_is_the_arms_of_its_ablation_file(name, runs):
    arms = listed(NOTE, OmegaConf.load(CONF / "ablation" / f"{name}.yaml").hydra.sweeper.arms)
    assert len(arms) == len({a.name for a in arms}) == runs


def test_short_term_runs_the_five_experiments_alone_and_stacked_beside_the_baseline():
    names = [a.name for a in listed(NOTE, OmegaConf.load(CONF / "ablation" / "short_term.yaml").hydra.sweeper.arms)]
    assert names[0] == "all_off"
    assert names[1:6] == [f"only_{f}" for f in ("endpoint", "tools", "exploration", "reward", "logprobs")]
    assert "only_endpoint_tools" in names and "without_split" in names and "all_on" in names


def test_a_listed_design_names_factors_only():
    with pytest.raises(ConfigError, match="Did you mean 'tools'"):
        listed(NOTE, [["tool"]])


def more(count):
    """The note's factors and further ones."""
    return Factors((*NOTE.all, *(Factor(f"x{n}") for n in range(count))))


@pytest.mark.parametrize(("further", "runs"), [(1, 16), (2, 16), (3, 32)])
def test_screening_is_of_resolution_four_for_any_number_of_factors(further, runs):
    arms = design("screening", more(further))
    assert len(set(arms)) == runs and is_orthogonal(arms) and resolution(arms) == 4


@pytest.mark.parametrize(("name", "runs"), [("full_factorial", 128), ("leave_one_out", 9), ("one_at_a_time", 9)])
def test_a_seventh_factor_is_in_every_design(name, runs):
    assert len(set(design(name, more(1)))) == runs


def test_the_gate_aware_design_crosses_a_seventh_factor_with_the_free_ones():
    arms = design("gate_aware", more(1))
    inside = [a for a in arms if all(a.level(g) == "on" for g in NOTE.gates)]
    assert len(inside) == 16 and len(arms) < 0.3 * 128


def test_factors_without_gates_have_a_full_factorial_for_a_gate_aware_design():
    plain = Factors.named(["a", "b", "c"])
    assert set(design("full_factorial", plain)) <= set(design("gate_aware", plain))


def test_a_further_level_is_crossed_and_left_out_beside_off():
    levels = {"reward": ("on", "off", "mine")}
    assert len(design("full_factorial", NOTE, levels)) == 96
    assert "all_on_with_reward=mine" in [a.name for a in design("leave_one_out", NOTE, levels)]


def test_arms_of_further_levels_are_named_after_them():
    arm = NOTE.with_off("tools").but(reward="mine")
    assert arm.name == "without_tools_with_reward=mine"
    assert NOTE.with_on().but(reward="mine").name == "all_off_with_reward=mine"


def test_a_factor_is_kept_as_plain_data_and_read_again():
    assert [Factor.from_record(json.loads(json.dumps(f.record()))) for f in NOTE] == list(NOTE.all)


def test_sealed_controls_of_the_gate_aware_design_do_not_depend_on_which_factors_come_first():
    turned = Factors(tuple(sorted(NOTE, key=lambda f: f.name not in NOTE.sealing)))
    arms = design("gate_aware", turned)
    assert len(arms) == len(design("gate_aware", NOTE))
    assert sum(turned.no_update(arm) for arm in arms) == sum(NOTE.no_update(arm) for arm in design("gate_aware", NOTE))


def test_a_design_is_named_without_enumerating_a_factorial_that_it_cannot_be():
    many = more(40)
    assert named_design(many, design("leave_one_out", many)) == "leave_one_out"
