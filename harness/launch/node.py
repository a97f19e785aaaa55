"""A Hydra launcher that runs all jobs of a sweep on this node, interleaved on one engine."""

import sys
from collections.abc import Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from harness.config import typed


class NodeLauncher(Launcher):
    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context = hydra_context
        self.config = config

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Composes and validates every job before the first one starts. Exits with 1 if a run failed."""
        from harness.launch.sweep import execute

        configs = [self._compose(overrides) for overrides in job_overrides]
        code = execute([typed(cfg) for cfg in configs], name=configs[0].sweep, plan_only=configs[0].plan_only)
        if code:
            sys.exit(code)
        return [
            JobReturn(overrides=overrides, cfg=cfg, _return_value=None, status=JobStatus.COMPLETED)
            for overrides, cfg in zip(job_overrides, configs, strict=True)
        ]

    def _compose(self, overrides: Sequence[str]) -> Any:
        cfg = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg
