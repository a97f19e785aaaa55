"""The levels of fixes that a configuration chooses: the factors that they declare, their strategies, the arm."""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, get_type_hints

from omegaconf import DictConfig, OmegaConf

from harness.errors import ConfigError, closest
from harness.factors import AS_LAUNCHED, BASELINES, CONTROL, NOTE, ON, Arm, Factors
from harness.fixes import registry
from harness.seams import OPEN, Seams, Strategy, open_seams
from harness.strict import made


def factor_names(cfg: DictConfig) -> tuple[str, ...]:
    """The factors that `factors` names, controls among them: a list of fixes, or a baseline for the fixes of its
    faults: `note` for those of the investigation note."""
    asked = OmegaConf.to_container(cfg.factors) if OmegaConf.is_config(cfg.factors) else cfg.factors
    if isinstance(asked, str) and asked in BASELINES:
        return (registry.as_launched() if asked == AS_LAUNCHED else registry.note()).names
    names = [str(name) for name in asked] if isinstance(asked, list) else []
    known = [str(name) for name in cfg.fix]
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None:
        ours = {factor.name for factor in registry.own()}
        hint = closest(wrong, known) or (" (Is --config-dir missing?)" if ours.issuperset(known) else "")
        raise ConfigError(f"factors names {wrong!r}, which is no fix.{hint} Fixes: {', '.join(known)}.")
    if not names or len(set(names)) < len(names):
        expected = f"{', '.join(BASELINES)}, or a list of fixes: factors=[{known[0]},{known[1]}]"
        raise ConfigError(f"factors is {asked!r}; expected {expected}.")
    return tuple(names)


def compared_names(cfg: DictConfig) -> tuple[str, ...]:
    """Those of the factors that `factors` names which effects are made of: all but negative controls."""
    named = factor_names(cfg)
    compared = tuple(name for name in named if name not in cfg.fix or _class(cfg, name).factor.role != CONTROL)
    if not compared:
        raise ConfigError(f"factors=[{','.join(named)}] compares nothing: a negative control stands beside a design.")
    return compared


def declared(cfg: DictConfig, names: Sequence[str]) -> Factors:
    """The factors of these names as their classes declare them. Raises ConfigError for a class that does not."""
    return Factors(tuple(_class(cfg, name).factor for name in names))


def with_luck(factors: Factors, seams: Seams) -> Factors:
    """The factors where the user has luck of its own: what some declare of equal rewards does not hold there."""
    others = {s.factor.name: s.with_luck for s in seams.all() if hasattr(s, "with_luck")}
    return Factors(tuple(others.get(factor.name, factor) for factor in factors))


def _class(cfg: DictConfig, name: str) -> type[Strategy]:
    """The class behind a fix's chosen level."""
    target = str(cfg.fix[name].get("_target_"))
    module, _, attribute = target.rpartition(".")
    try:
        found: type[Strategy] = getattr(import_module(module), attribute)
    except Exception as error:  # whatever an import of somebody's package raises
        package = target.partition(".")[0]
        absent = isinstance(error, ModuleNotFoundError) and error.name == package
        hint = f". Put the folder that holds {package} on PYTHONPATH, or start in that folder." if absent else ""
        raise ConfigError(f"fix/{name}: {target} cannot be imported: {error}{hint}") from error
    what = getattr(getattr(found, "factor", None), "name", None)
    if what != name:
        raise ConfigError(
            f"fix/{name}: {target} must declare `factor = Factor(name={name!r}, …)` (harness.seams.Factor); "
            f"it declares {what!r}."
        )
    if missing := [a for a in ("level", "needs", "check") if not hasattr(found, a)]:
        raise ConfigError(f"fix/{name}: {target} lacks {', '.join(missing)}; harness.seams.Strategy says what it is.")
    return found


def refuse_misnamed(cfg: DictConfig) -> None:
    """Raises ConfigError for a class that has another level's name than the config option that chose it.

    cfg: as Hydra composed it, its own part included
    """
    for group, chosen in cfg.hydra.runtime.choices.items():
        name = str(group).removeprefix("fix/")
        if name != group and chosen is not None and (found := _class(cfg, name)).level != chosen:
            raise ConfigError(
                f"{group}={chosen}: {cfg.fix[name]._target_}.level is {found.level!r}; set level = {str(chosen)!r}."
            )


def seams_of(cfg: DictConfig) -> Seams:
    """The strategies of a run. Raises ConfigError for a foreign one at no open seam."""
    strategies = {str(n): made(f"fix.{n}", _plain(cfg.fix[n])) for n in cfg.fix if _class(cfg, str(n))}
    owned = registry.note().names
    if missing := [name for name in owned if name not in strategies]:
        raise ConfigError(f"fix/{missing[0]} is missing; a run needs a level of each fix.")
    seams = get_type_hints(Seams)
    for name in owned:
        _refuse_incomplete(name, strategies[name], seams[name])
    further = {name: s for name, s in sorted(strategies.items()) if name not in owned}
    for name, strategy in further.items():
        target = f"{type(strategy).__module__}.{type(strategy).__name__}"
        for seam in open_seams(strategy) or (None,):
            _refuse_closed(name, target, strategy, seam, owned)
    return Seams(**{name: strategies[name] for name in owned}, further=tuple(further.values()))


def _refuse_closed(name: str, target: str, strategy: Strategy, seam: str | None, owned: Sequence[str]) -> None:
    """Raises ConfigError for a strategy at no open seam, or one without the seam's method."""
    if seam not in OPEN:
        raise ConfigError(
            f"fix/{name}: {target}.seam is {seam!r}; expected one of {', '.join(OPEN)} (harness.seams). Another "
            f"way to act at the seam of {', '.join(owned)} is a further level of that fix."
        )
    if not callable(getattr(strategy, seam, None)):
        raise ConfigError(
            f"fix/{name}: {target}.seam is {seam!r}, but {target} has no method {seam}; "
            f"harness.seams.{OPEN[seam].__name__} says what it is given and returns."
        )


def _refuse_incomplete(name: str, strategy: Strategy, seam: type) -> None:
    """Raises ConfigError for a level that lacks what the loop asks of it at its seam."""
    asked = [*seam.__annotations__, *(member for member in vars(seam) if not member.startswith("_"))]
    if missing := [member for member in asked if not hasattr(strategy, member)]:
        target = f"{type(strategy).__module__}.{type(strategy).__name__}"
        raise ConfigError(
            f"fix/{name}: {target} lacks {', '.join(missing)}; harness.seams.{seam.__name__} says what that is."
        )


def refuse_foreign_to(baseline: str, seams: Seams) -> None:
    """Raises ConfigError for a fault that another baseline's loop had and this one's had not."""
    for strategy in seams.all():
        factor, level = strategy.factor, strategy.level
        if factor.baselines and baseline not in factor.baselines and level != ON and level in factor.levels:
            raise ConfigError(
                f"fix/{factor.name}={level}: the loop of baseline={baseline} did not have this fault, since "
                f"{factor.launched or 'its factor says so'}. Leave the fix on, or choose baseline={NOTE}."
            )


def arm_of(seams: Seams, names: Sequence[str]) -> Arm:
    """The levels of these factors, and of each control that is not on."""
    levels = {s.factor.name: s.level for s in seams.all()}
    controls = {s.factor.name: s.level for s in seams.all() if s.factor.role == CONTROL and s.level != ON}
    return Arm.of({name: levels[name] for name in names} | controls)


def factors_of_one(cfg: DictConfig) -> tuple[str, ...]:
    """Of a single run: those that `factors` names, and every other fix that is not on; no control."""
    named, known = compared_names(cfg), {str(name): _class(cfg, str(name)) for name in cfg.fix}
    off = (name for name, found in known.items() if found.level != ON and found.factor.role != CONTROL)
    return tuple(dict.fromkeys((*named, *off)))


def others(seams: Seams, factors: Factors) -> dict[str, str]:
    """Levels of all fixes that the sweep does not compare; a control is none."""
    beside = (s for s in seams.all() if s.factor.role != CONTROL)
    return {s.factor.name: s.level for s in beside if s.factor.name not in factors.names}


def held(seams: Seams, factors: Factors) -> dict[str, str]:
    """Levels of the fixes that the sweep does not compare and that are not on."""
    return {name: level for name, level in others(seams, factors).items() if level != ON}


def _plain(options: DictConfig) -> Any:
    return OmegaConf.to_container(options, resolve=True)
