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
from omegaconf.errors import OmegaConfBaseException

from harness.disk import fault
from harness.endings import CONTINUE, stopped
from harness.errors import ConfigError, Exit, HarnessError, exit_of
from harness.launch.command_line import understood, with_json
from harness.launch.plugins import register
from harness.launch.quiet import quiet
from harness.paths import CONF


@contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Ends the process with what went wrong and the code of `errors.Exit`: our own errors are complete sentences and
    need no traceback."""
    try:
        yield
    except (HarnessError, HydraException, OmegaConfBaseException) as error:
        # Hydra wraps what a launcher or sweeper raises when it is made
        ours = next((each for each in (error, error.__cause__) if isinstance(each, HarnessError)), ConfigError(error))
        print(f"{type(ours).__name__}: {ours}", file=sys.stderr)
        code = exit_of(ours)
        if code is Exit.WRONG_INPUT:
            print("`python -m harness --help` lists fixes, ablations and options.", file=sys.stderr)
        sys.exit(code)
    except KeyboardInterrupt:
        sys.exit(stopped(CONTINUE))
    except Exception as error:
        if (full := fault(error)) is None:
            raise
        print(f"{type(full).__name__}: {full}", file=sys.stderr)
        sys.exit(exit_of(full))


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def main(cfg: DictConfig) -> None:
    """One run, as a sweep of one, where the launcher would train a sweep."""
    from harness.config import typed
    from harness.launch.execute import execute
    from harness.levels import factors_of_one

    with errors_as_sentences():  # here too: Hydra writes a line of its own for an error that leaves its job
        cfg.factors = list(factors_of_one(cfg))
        launcher, config = instantiate(HydraConfig.get().launcher), typed(cfg)
        code = execute(config, launcher.train, launcher.engines(config))
    if code:
        sys.exit(code)


def run() -> None:
    """Ends with 0 when all is done, 1 if a run failed, 2 for wrong input, 3 if a run is INVALID, and 128 + the number
    of a signal that stopped it: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""
    quiet()
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # else Hydra wraps what goes wrong
    with errors_as_sentences():
        register()
        sys.argv[1:] = understood(with_json(sys.argv[1:]))
        main()
