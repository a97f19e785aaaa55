"""A sweep from the command line: Hydra in, typed config out. `python -m harness --help` says what can be asked."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig

from harness.errors import HarnessError
from harness.launch.hints import hint
from harness.launch.plugins import register
from harness.launch.quiet import quiet
from harness.paths import CONF


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Ends the process with what went wrong: our own errors are complete sentences and need no traceback."""
    try:
        yield
    except (HarnessError, HydraException) as error:
        for ours in (error, error.__cause__):  # Hydra wraps what a launcher or sweeper raises when it is made
            if isinstance(ours, HarnessError):
                sys.exit(f"{type(ours).__name__}: {ours}")
        what = hint(sys.argv[1:]) or str(error)
        sys.exit(f"ConfigError: {what}\n`python -m harness --help` lists fixes, ablations and options.")
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command continues where it stopped.")


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> None:
    """One run, as a sweep of one, where the launcher would train a sweep."""
    from harness.config import factors_of_one, typed
    from harness.launch.execute import execute

    with errors_as_sentences():  # here too: Hydra writes a line of its own for an error that leaves its job
        cfg.factors = list(factors_of_one(cfg))
        launcher, runs = instantiate(HydraConfig.get().launcher), [typed(cfg)]
        code = execute(runs, cfg.sweep, launcher.train, cfg.plan_only, launcher.engines(runs))
    if code:
        sys.exit(code)


def run() -> None:
    quiet()
    register()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra wraps what goes wrong
    with errors_as_sentences():
        main()
