"""What can be chosen on the command line: the config groups on Hydra's search path, --config-dir's among them."""

import copy
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.object_type import ObjectType
from hydra.core.utils import JobRuntime
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from harness.errors import ConfigError, closest
from harness.paths import CONF


class SearchPath:
    """The config folders, and what lies on them.

    folder: of --config-dir; config_name: of the primary config; added: the override of hydra.searchpath, or none
    Raises ConfigError for a folder that is not there and for a config that Hydra cannot compose.
    """

    def __init__(self, folder: str | None, config_name: str, added: Sequence[str]) -> None:
        version.setbase("1.3")
        JobRuntime().set("name", "harness")
        path = create_config_search_path(str(CONF))
        if folder is not None:
            if not Path(folder).is_dir():
                raise ConfigError(f"--config-dir {folder}: there is no such folder.")
            place = f"file://{os.path.abspath(folder)}"
            path.prepend(provider="command-line", path=place, anchor=SearchPathQuery(provider="schema"))
        assert isinstance(path, ConfigSearchPathImpl)
        self._name, self._added = config_name, list(added)
        self._loader = ConfigLoaderImpl(path)
        self._composed: dict[tuple[str, ...], DictConfig] = {}
        cfg = self.compose([])
        self.chosen = dict(cfg.hydra.runtime.choices)  # by group, without a word from the command line
        self._sources = [
            SourcesRegistry.instance().resolve(source.schema)(source.provider, f"{source.schema}://{source.path}")
            for source in cfg.hydra.runtime.config_sources
            if source.provider not in ("hydra", "schema")  # Hydra's own groups
        ]

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """The configuration of a single run, in a copy of one's own."""
        if tuple(overrides) not in self._composed:
            self._composed[tuple(overrides)] = self._compose(overrides)
        return copy.deepcopy(self._composed[tuple(overrides)])

    def _compose(self, overrides: Sequence[str]) -> DictConfig:
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="provider=.*is not available")
                return self._loader.load_configuration(
                    self._name, [*self._added, *overrides], RunMode.MULTIRUN, validate_sweep_overrides=False
                )
        except UserWarning as missing:
            raise ConfigError(f"hydra.searchpath has a folder that is not there: {missing}") from None
        except MissingConfigException as error:
            if error.missing_cfg_file == self._name:
                names = self._loader.repository.get_group_options("", ObjectType.CONFIG)
                near = closest(self._name, names)
                raise ConfigError(f"--config-name {self._name}: there is no such config.{near}") from None
            raise ConfigError(f"The configuration cannot be composed: {str(error).splitlines()[0]}") from error
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError, OSError) as error:
            cause = error.__cause__ if isinstance(error.__cause__, OmegaConfBaseException) else None
            raise ConfigError(f"The configuration cannot be composed: {cause or error}") from error

    def options(self, group: str) -> list[str]:
        """The configs of a group, by name; none where there is no such group."""
        return self._list(group, ObjectType.CONFIG)

    def groups(self, parent: str = "") -> list[str]:
        """The groups below a folder, in full."""
        inner = [f"{parent}/{name}".lstrip("/") for name in self._list(parent, ObjectType.GROUP)]
        return [group for one in inner for group in (one, *self.groups(one))]

    def _list(self, group: str, kind: ObjectType) -> list[str]:
        found = {name for source in self._sources if source.is_group(group) for name in source.list(group, kind)}
        return sorted(name for name in found if not name.startswith(("_", ".")))
