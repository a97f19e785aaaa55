"""Shows our sweeper and launcher to Hydra, which takes plugins from a package named `hydra_plugins` only.

`Plugins.register` alone is not enough: Hydra 1.3.8 refuses any `_target_` outside that package, and imports the
target by its name. So the classes are offered under `hydra_plugins.harness`, without a folder of that name.
"""

import sys
import types

from hydra.core.plugins import Plugins

PACKAGE = "hydra_plugins"


def register() -> None:
    """Makes `hydra/sweeper=design` and `hydra/launcher=node|ray|slurm` known. Idempotent."""
    from harness.launch.local import NodeLauncher
    from harness.launch.ray_launcher import RayLauncher
    from harness.launch.slurm_launcher import SlurmLauncher
    from harness.launch.sweeper import DesignSweeper

    plugins = Plugins.instance()  # scans installed plugins first, so that theirs stay importable
    try:
        package = __import__(PACKAGE)
    except ImportError:
        package = sys.modules[PACKAGE] = types.ModuleType(PACKAGE)
        package.__path__ = []
    ours = types.ModuleType(f"{PACKAGE}.harness")
    for plugin in (DesignSweeper, NodeLauncher, RayLauncher, SlurmLauncher):
        plugin.__module__ = ours.__name__
        setattr(ours, plugin.__name__, plugin)
        plugins.register(plugin)
    package.harness = ours  # type: ignore[attr-defined]
    sys.modules[ours.__name__] = ours
