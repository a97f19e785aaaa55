"""The door: Hydra in, typed config out. `python -m harness --help` says what can be asked."""

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

from harness.errors import HarnessError
from harness.launch.environment import quiet
from harness.launch.hints import hint
from harness.launch.paths import CONF
from harness.launch.plugins import register


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> None:
    """One run, as a sweep of one, where the launcher would train a sweep."""
    from harness.config import typed
    from harness.launch.sweep import execute

    launcher = instantiate(HydraConfig.get().launcher)
    code = execute([typed(cfg)], cfg.sweep, launcher.train, cfg.plan_only)
    if code:
        sys.exit(code)


def door() -> None:
    quiet()
    register()
    # Hydra wraps what goes wrong; our own errors are complete sentences and need no traceback.
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")
    try:
        main()
    except HarnessError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except HydraException as error:
        what = hint(sys.argv[1:]) or str(error)
        sys.exit(f"ConfigError: {what}\n`python -m harness --help` lists fixes, ablations and options.")
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command continues where it stopped.")


if __name__ == "__main__":
    door()
