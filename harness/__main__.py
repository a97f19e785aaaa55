"""The door: Hydra in, typed config out. `python -m harness --help` says what can be asked."""

import os
import sys

# Before any import of litellm, tqdm or transformers: no look-ups in the network, no bars of their own.
os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
if "WANDB_API_KEY" not in os.environ:
    os.environ.setdefault("WANDB_SILENT", "true")  # offline there is no address to print

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig

from harness.errors import HarnessError
from harness.launch.hints import hint
from harness.launch.paths import CONF
from harness.launch.plugins import register


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> None:
    """One run, as a sweep of one."""
    from harness.config import typed
    from harness.launch.sweep import execute

    code = execute([typed(cfg)], name=cfg.sweep, plan_only=cfg.plan_only)
    if code:
        sys.exit(code)


def door() -> None:
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
