"""A Hydra sweeper that knows designs: `hydra.sweeper.design` names the arms, everything else is as usual.

Overrides of `fix/<factor>` keep the arms of the design that match them, and levels beyond on and off add arms. Any
other comma list multiplies the arms, as in Hydra's basic sweeper: `+ablation=all fix/tools=on seed=0,1` is 32 arms × 2
seeds. Of other options than the seed it makes blocks (blocks.py): `train.learning_rate=0.002,0.004`, and
`train.learning_rate=choice(0.004)` for one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from harness.config import BLOCK, BLOCK_DEFAULTS
from harness.designs import design, listed, restrict
from harness.errors import ConfigError
from harness.factors import CONTROL, OFF, ON, Arm, Factors
from harness.levels import declared, factor_names

Wishes = Mapping[str, tuple[str, ...]]  # levels by factor, as the command line names them
Given = tuple[Override, str]  # an option with one of its values


class DesignSweeper(Sweeper):
    """design: a name of `harness.designs`; arms: a design of one's own, per arm the fixes that are on.

    implied: fixes among the overrides that the command line does not name (launch/command_line.py appends those of
    other packages): they choose no arms
    """

    config: DictConfig  # once it is set up

    def __init__(
        self, design: str | None, arms: Sequence[Sequence[str]] | None = None, implied: Sequence[str] = ()
    ) -> None:
        self.design, self.arms, self.implied = design, arms, implied

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.loader: ConfigLoader = hydra_context.config_loader
        self.config = config
        self.context, self.task_function = hydra_context, task_function

    def sweep(self, arguments: list[str]) -> Any:
        parsed = OverridesParser.create(config_loader=self.loader).parse_overrides(arguments)
        fixes = [o for o in parsed if _key(o).startswith("fix/")]
        rest = [o for o in parsed if not _key(o).startswith("fix/")]
        keys = {_factor(o): o.get_key_element() for o in fixes}  # a foreign fix is appended: `+fix/kl`
        given = {_factor(o): tuple(_values(o)) for o in fixes}
        wished = {f: levels for f, levels in given.items() if f not in self.implied}
        options = Options.of(rest)
        factors, controls = self._factors(wished, given, options.first, keys)
        arms = self._arms(factors, wished)
        arms += beside(factors, arms, controls)
        constant = {f: levels[0] for f, levels in given.items() if f not in factors.names}
        constant |= dict.fromkeys((f for f in controls if f in given), ON)
        launcher: Any = Plugins.instance().instantiate_launcher(
            hydra_context=self.context, task_function=self.task_function, config=self.config
        )
        launcher.design = None if set(wished) & set(factors.names) else self.design
        chosen = [
            [f"{keys.get(f, f'fix/{f}')}={level}" for f, level in (constant | arm.as_dict).items()] for arm in arms
        ]
        named = f"factors=[{','.join(factors.names)}]"
        return launcher.launch(self._jobs(chosen, options, named), initial_job_idx=0)

    def _jobs(self, chosen: list[list[str]], options: "Options", named: str) -> list[list[str]]:
        """The overrides of every run: arm × block × what else has several values."""
        of_fixes = [o for o, _ in (*options.of_fixes, *options.blocks[0]) if _is_option_of_fix(o)]
        having = {_key(o): self._having(chosen, o) for o in of_fixes}
        everybody = range(len(chosen))
        defaults = self._defaults(options, chosen[0])
        return [
            [
                *levels,
                *(_text(each) for each in (*options.of_fixes, *block) if arm in having.get(_key(each[0]), everybody)),
                *(text for each in others if not (text := _text(each)).startswith("factors=")),
                named,
                *_block_overrides(block, defaults),
            ]
            for arm, levels in enumerate(chosen)
            for block in options.blocks
            for others in product(*options.axes)
        ]

    def _having(self, chosen: list[list[str]], option: Override) -> list[int]:
        """The arms (numbers) whose level of a fix has an option. Raises ConfigError for one that none has."""
        group = f"fix/{_key(option).split('.')[1]}"
        of = [tuple(o for o in levels if o.lstrip("+").startswith(f"{group}=")) for levels in chosen]
        composed = {own: self.loader.load_sweep_config(self.config, list(own)) for own in set(of)}
        having = [arm for arm, own in enumerate(of) if _has(composed[own], _key(option))]
        if not having:
            raise ConfigError(
                f"{option.get_key_element()}={_values(option)[0]}: no level of {group} in this sweep has that option."
            )
        return having

    def _defaults(self, options: "Options", levels: list[str]) -> dict[str, Any]:
        """What the options of the blocks are when nothing is said of them."""
        if not options.blocks[0]:
            return {}
        cfg = self.loader.load_sweep_config(self.config, [*levels, *(_text(axis[0]) for axis in options.axes)])
        choices = cfg.hydra.runtime.choices
        return {_key(o): choices.get(_key(o), OmegaConf.select(cfg, _key(o))) for o, _ in options.blocks[0]}

    def _arms(self, factors: Factors, wished: Wishes) -> list[Arm]:
        wished = {f: levels for f, levels in wished.items() if f in factors.names}
        if self.arms is not None:
            return self._wished(listed(factors, self.arms), wished)
        if self.design is None:
            axes = [wished.get(name, (ON,)) for name in factors.names]
            return [Arm(tuple(zip(factors.names, own, strict=True))) for own in product(*axes)]
        further = {f: (ON, OFF, *(v for v in levels if v not in (ON, OFF))) for f, levels in wished.items()}
        return self._wished(design(self.design, factors, further), wished)

    def _wished(self, arms: list[Arm], wished: Wishes) -> list[Arm]:
        """The arms with the wished levels. Raises ConfigError for a level that none of them has."""
        called = self.design or "hydra.sweeper.arms"
        for factor, levels in wished.items():
            there = {arm.level(factor) for arm in arms}
            if missing := [level for level in levels if level not in there]:
                known = " and ".join(sorted(there, reverse=True))
                raise ConfigError(
                    f"No arm has fix/{factor}={missing[0]}: the design {called} has the level{'s' * (len(there) > 1)} "
                    f"{known} only. Use +ablation=all or leave_one_out."
                )
        kept = restrict(arms, wished)
        for factor, levels in wished.items():
            if missing := [level for level in levels if level not in {arm.level(factor) for arm in kept}]:
                others = ", ".join(f"fix/{f}={','.join(own)}" for f, own in wished.items() if f != factor)
                raise ConfigError(
                    f"No arm of the design {called} has fix/{factor}={missing[0]} together with {others}. "
                    "Drop one of them, or use +ablation=all."
                )
        return kept

    def _factors(
        self, wished: Wishes, given: Wishes, others: list[str], keys: Mapping[str, str]
    ) -> tuple[Factors, Wishes]:
        """Those that `factors=` names, and every fix that is swept over; and the levels of controls among them."""
        levels = [f"{keys[f]}={own[0]}" for f, own in given.items()]
        cfg = self.loader.load_sweep_config(self.config, [*levels, *others])
        named = factor_names(cfg)
        swept = [
            f for f, own in wished.items() if f not in named and (len(own) > 1 or (self._is_plain and own != (ON,)))
        ]
        found = declared(cfg, (*named, *swept))
        controls = {
            factor.name: wished[factor.name] if len(wished.get(factor.name, ())) > 1 else tuple(factor.levels)
            for factor in found
            if factor.role == CONTROL and (factor.name in named or len(wished[factor.name]) > 1)
        }
        return Factors(tuple(factor for factor in found if factor.role != CONTROL)), controls

    @property
    def _is_plain(self) -> bool:
        """Whether the arms are what the command line lists, without a design."""
        return self.design is None and self.arms is None


@dataclass(frozen=True)
class Options:
    """The overrides beside the levels of fixes.

    blocks: the options that make them, with their values, one entry per block; one without options where none do
    of_fixes: other options of some level of a fix; axes: all others with their values, the seed's may be several
    """

    blocks: Sequence[Sequence[Given]]
    of_fixes: Sequence[Given]
    axes: Sequence[Sequence[Given]]

    @classmethod
    def of(cls, overrides: Sequence[Override]) -> "Options":
        varied = [o for o in overrides if o.is_sweep_override() and _key(o) != "seed"]
        alone = [o for o in overrides if o not in varied]
        return cls(
            [tuple(zip(varied, own, strict=True)) for own in product(*(_values(o) for o in varied))],
            [(o, _values(o)[0]) for o in alone if _is_option_of_fix(o)],
            [[(o, value) for value in _values(o)] for o in alone if not _is_option_of_fix(o)],
        )

    @property
    def first(self) -> list[str]:
        """Those that every arm takes, in the first run."""
        given = [*(axis[0] for axis in self.axes), *self.blocks[0]]
        return [_text(each) for each in given if not _is_option_of_fix(each[0])]


def beside(factors: Factors, arms: Sequence[Arm], controls: Wishes) -> list[Arm]:
    """All fixes on but for a control, once for each of the control's levels that take something away.

    Raises ConfigError where these are to lose to an arm that is not there.
    """
    all_on = factors.with_off()
    if controls and all_on not in arms:
        raise ConfigError(f"Negative controls are compared with all_on, and none of these {len(arms)} arms is that.")
    return [Arm((*all_on.levels, (f, level))) for f, levels in controls.items() for level in levels if level != ON]


def _has(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent)
    return isinstance(node, DictConfig) and name in node


def _block_overrides(block: Sequence[Given], defaults: Mapping[str, Any]) -> list[str]:
    """What a run's configuration keeps of its block."""
    if not block:
        return []
    own = ",".join(f"{_key(option)}:{value}" for option, value in block)
    usual = ",".join(f"{key}:{_written(value)}" for key, value in defaults.items())
    return [f"+{BLOCK}={{{own}}}", f"+{BLOCK_DEFAULTS}={{{usual}}}"]


def _written(value: object) -> str:
    """For Hydra's grammar; text is quoted, so that `null` and `1` stay text."""
    if value is None:
        return "null"
    return "'{}'".format(value.replace("'", "\\'")) if isinstance(value, str) else str(value)


def _text(given: Given) -> str:
    option, value = given
    return f"{option.get_key_element()}={value}"


def _is_option_of_fix(override: Override) -> bool:
    return _key(override).startswith("fix.")


def _key(override: Override) -> str:
    return override.get_key_element().lstrip("+~")


def _factor(override: Override) -> str:
    return _key(override).removeprefix("fix/")


def _values(override: Override) -> list[str]:
    if override.is_sweep_override():
        return [str(value) for value in override.sweep_string_iterator()]
    return [str(override.get_value_element_as_str())]
