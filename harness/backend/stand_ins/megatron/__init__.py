"""Answers every `import megatron…` with empty classes, where Megatron is not installed.

ART 0.5.18 imports `megatron.core` and `megatron.bridge` at the top of modules that its LocalBackend always loads
(art/dev/get_model_config.py -> art/megatron/model_support), and uses them with its Megatron backend only. Nothing here
is ever instantiated: Unsloth trains.
"""

import sys
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


def _decorator(*_args: Any, **_options: Any) -> Callable[[Any], Any]:
    return lambda decorated: decorated


class _Class(type):
    """The class of the empty classes. ART decorates functions with some of their methods, such as register_bridge."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _decorator


class _Module(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Class(name, (), {"__module__": self.__name__})


class _Importer(MetaPathFinder, Loader):
    """Finds every module below `megatron`."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname.startswith(f"{__name__}.") else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing to run."""


sys.meta_path.append(_Importer())
