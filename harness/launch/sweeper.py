"""A Hydra sweeper that knows designs: `hydra.sweeper.design` names the arms, everything else is as usual.

Overrides of `fix/<factor>` keep the arms of the design that match them; any other comma list multiplies the
arms, as in Hydra's basic sweeper: `+ablation=all fix/tools=on seed=0,1` is 32 arms × 2 seeds.
"""

from itertools import product
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from harness.designs import closest, design, restrict
from harness.errors import ConfigError
from harness.factors import FACTORS, LEVELS


class DesignSweeper(Sweeper):
    def __init__(self, design: str | None) -> None:
        self.design = design
        self.launcher: Launcher | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> Any:
        assert self.launcher is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        wished: dict[str, tuple[str, ...]] = {}
        axes: list[list[str]] = []
        for override in parser.parse_overrides(arguments):
            key = override.get_key_element().lstrip("+~")
            values = (
                [str(v) for v in override.sweep_string_iterator()]
                if override.is_sweep_override()
                else [str(override.get_value_element_as_str())]
            )
            if key.startswith("fix/"):
                wished[factor_of(key)] = tuple(level_of(key, v) for v in values)
            else:
                axes.append([f"{override.get_key_element()}={value}" for value in values])
        fixes = self._fix_overrides(wished)
        jobs = [[*fix, *rest] for fix, rest in product(fixes, product(*axes))]
        return self.launcher.launch(jobs, initial_job_idx=0)

    def _fix_overrides(self, wished: dict[str, tuple[str, ...]]) -> list[list[str]]:
        if self.design is None:
            axes = [[f"fix/{f}={level}" for level in levels] for f, levels in wished.items()]
            return [list(levels) for levels in product(*axes)]
        arms = restrict(design(self.design), wished)
        return [[f"fix/{f}={arm.level(f)}" for f in FACTORS] for arm in arms]


def factor_of(key: str) -> str:
    factor = key.removeprefix("fix/")
    if factor not in FACTORS:
        raise ConfigError(f"No fix is called {factor!r}.{closest(factor, FACTORS)} Fixes: {', '.join(FACTORS)}.")
    return factor


def level_of(key: str, value: str) -> str:
    if value not in LEVELS:
        raise ConfigError(f"{key}={value}: a fix is either on or off (off = as upstream).")
    return value
