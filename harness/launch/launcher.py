"""What our Hydra launchers have in common: all jobs of a sweep are composed, then trained as one sweep."""

import copy
import re
import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from harness.config import RunConfig, SweepConfig, typed
from harness.launch.execute import execute
from harness.levels import refuse_misnamed
from harness.sweep.plan import Sweep

SEED = re.compile(r"seed=(0|[1-9]\d*)")


class SweepLauncher(Launcher):
    """A launcher's options stand in `options.py` and in conf/hydra/launcher/<name>.yaml."""

    design: str | None = None  # the ablation whose arms these are, all of them

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    @abstractmethod
    def train(self, sweep: Sweep, runs: Sequence[RunConfig]) -> None:
        """Returns when every run has ended. Raises ConfigError for a place that cannot be, before anything starts."""

    def engines(self, config: SweepConfig) -> int | None:
        """How many would train its runs at once, for a plan; None where that is known only when they start."""
        return config.backend.engines

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Composes and validates every job before the first one starts. Exits where a run failed or is INVALID."""
        composed: dict[tuple[str, ...], Any] = {}
        configs = [self._compose(overrides, composed) for overrides in job_overrides]
        config = typed(*configs)
        code = execute(config, self.train, self.engines(config), self.design)
        if code:
            sys.exit(code)
        return [
            JobReturn(overrides=overrides, cfg=cfg, _return_value=None, status=JobStatus.COMPLETED)
            for overrides, cfg in zip(job_overrides, configs, strict=True)
        ]

    def _compose(self, overrides: Sequence[str], composed: dict[tuple[str, ...], Any]) -> Any:
        """A tenth of a second, but for a run that differs from one in `composed` by its seed alone."""
        seeds = [text for text in overrides if SEED.fullmatch(text)]
        others = tuple(text for text in overrides if text not in seeds)
        if others not in composed:
            composed[others] = self.hydra_context.config_loader.load_sweep_config(self.config, list(others))
            refuse_misnamed(composed[others])
            with open_dict(composed[others]):
                del composed[others]["hydra"]
        cfg = copy.deepcopy(composed[others])
        for text in seeds:
            cfg.seed = int(text.removeprefix("seed="))
        return cfg
