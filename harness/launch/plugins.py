"""Shows our sweeper and launchers to Hydra, which takes plugins from a package named `hydra_plugins` only.

`Plugins.register` alone is not enough: Hydra 1.3.8 refuses any `_target_` outside that package, and imports the
target by its name. So stand-ins are offered under `hydra_plugins.harness`, without a folder of that name. A stand-in
imports the class that it stands for when Hydra makes it: help and refusals load no sweep.
"""

import importlib
import sys
import types
from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.plugin import Plugin
from hydra.plugins.sweeper import Sweeper

PACKAGE = "hydra_plugins"
OURS: dict[str, tuple[type[Plugin], str]] = {
    "DesignSweeper": (Sweeper, "harness.launch.sweeper"),
    "NodeLauncher": (Launcher, "harness.launch.local"),
    "RayLauncher": (Launcher, "harness.launch.ray_launcher"),
    "SlurmLauncher": (Launcher, "harness.launch.slurm_launcher"),
}


def register() -> None:
    """Makes `hydra/sweeper=design` and `hydra/launcher=node|ray|slurm` known. Idempotent."""
    plugins = Plugins.instance()  # scans installed plugins first, so that theirs stay importable
    try:
        package = __import__(PACKAGE)
    except ImportError:
        package = sys.modules[PACKAGE] = types.ModuleType(PACKAGE)
        package.__path__ = []
    if hasattr(package, "harness"):
        return
    ours = types.ModuleType(f"{PACKAGE}.harness")
    for name, (kind, module) in OURS.items():
        plugin = stand_in(name, kind, module)
        plugin.__module__ = ours.__name__
        setattr(ours, name, plugin)
        plugins.register(plugin)
    package.harness = ours  # type: ignore[attr-defined]
    sys.modules[ours.__name__] = ours


def stand_in(name: str, kind: type[Plugin], module: str) -> type[Plugin]:
    """A class of Hydra's kind whose instances are the module's."""

    def make(cls: type, *args: Any, **options: Any) -> Any:
        return getattr(importlib.import_module(module), name)(*args, **options)

    made = type(name, (kind,), {"__new__": make})
    made.__abstractmethods__ = frozenset()  # type: ignore[attr-defined]  # the instances have them
    return made
