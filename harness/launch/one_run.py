"""The options of a command, composed to the configuration of one run."""

from collections.abc import Sequence

from omegaconf import DictConfig, open_dict

from harness.config import SweepConfig, typed
from harness.launch.command_line import understood
from harness.launch.plugins import register
from harness.launch.search_path import SearchPath
from harness.levels import factors_of_one


def composed(options: Sequence[str]) -> SweepConfig:
    """options: as for a sweep. Raises ConfigError."""
    cfg = untyped(options)
    cfg.factors = list(factors_of_one(cfg))
    return typed(cfg)


def untyped(options: Sequence[str]) -> DictConfig:
    """The run as Hydra composes it, without Hydra's own part. Raises ConfigError."""
    register()
    cfg = SearchPath(None, "config", []).compose(understood(options))
    with open_dict(cfg):
        del cfg["hydra"]
    return cfg
