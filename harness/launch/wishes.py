"""`placebo=true` and `controls=true`, spelled out as the fixes that they stand for.

A factor that only a sweep which asks for it has (`fix/NAME: null` in the defaults list) joins when `factors` names it.
Which factors are placebos and which controls, they say themselves.
"""

from collections.abc import Sequence

from omegaconf import DictConfig, open_dict

from harness.errors import ConfigError
from harness.factors import CONTROL, PLACEBO
from harness.fixes import registry
from harness.launch.overrides import GivenOverride, asked_for
from harness.launch.search_path import SearchPath

ROLES = {"placebo": PLACEBO, "controls": CONTROL}


def wished(options: Sequence[GivenOverride]) -> list[str]:
    """The factors that `placebo=true` and `controls=true` stand for."""
    roles = [role for name, role in ROLES.items() for each in options if each.key == name and each.values[0] is True]
    return [factor.name for role in roles for factor in registry.own() if factor.role == role]


def joining(
    choices: Sequence[GivenOverride], options: Sequence[GivenOverride], path: SearchPath
) -> list[GivenOverride]:
    """`on` for each factor that joins: the command line names it and chooses no level of it."""
    listed = [name for each in options if each.key == "factors" and not each.several for name in _names(each)]
    said = {each.key for each in choices}
    waiting = {group for group, option in path.chosen.items() if option is None and group.startswith("fix/")}
    groups = dict.fromkeys(f"fix/{name}" for name in (*listed, *wished(options)))
    return [asked_for(f"{group}=on", path) for group in groups if group in waiting - said]


def _names(factors: GivenOverride) -> list[str]:
    return [str(name) for name in factors.values[0]] if isinstance(factors.values[0], list) else []


def spelled_out(cfg: DictConfig, ours: list[GivenOverride], path: SearchPath) -> list[GivenOverride]:
    """The options with the wishes as a list of factors, in cfg too. Raises ConfigError where no design takes them."""
    from harness.levels import factor_names

    asked = [each for each in ours if each.key in ROLES]
    names = wished(asked)
    if not names:
        return ours
    sweeper, given = cfg.hydra.sweeper, " ".join(each.text for each in asked if each.values[0] is True)
    if not sweeper.get("design") and not sweeper.get("arms"):
        raise ConfigError(f"{given} adds to the arms of a design: choose one, as in +ablation=leave_one_out {given}.")
    if sweeper.get("arms") and any(each.key == "placebo" and each.values[0] is True for each in asked):
        raise ConfigError(
            "placebo=true: this ablation lists which fixes are on in each arm, so the placebo would be off in all of "
            "them. Choose a design that is made from the factors, such as +ablation=leave_one_out."
        )
    factors = list(dict.fromkeys((*factor_names(cfg), *names)))
    with open_dict(cfg):
        cfg.factors = factors
        cfg.update(dict.fromkeys(ROLES, False))
    kept = [each for each in ours if each.key not in ("factors", *ROLES)]
    return [*kept, asked_for(f"factors=[{','.join(factors)}]", path)]
