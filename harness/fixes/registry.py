"""Which fixes there are: each module of this package declares one, in `FACTOR`; a foreign one brings its own.

A foreign fix is found by its config group (`fix/<name>/{off,on}.yaml` on Hydra's search path): the classes that its
`_target_`s name carry the declaration.
"""

import importlib
import pkgutil
from functools import cache

import harness.fixes
from harness.factors import Factor, Factors


@cache
def note() -> Factors:
    """The fixes that the investigation note names, in its ranking."""
    ranked = [factor for factor in own() if factor.rank is not None]
    return Factors(tuple(sorted(ranked, key=lambda factor: factor.rank or 0)))


@cache
def own() -> tuple[Factor, ...]:
    """The fixes of this package."""
    modules = [importlib.import_module(f"harness.fixes.{m.name}") for m in pkgutil.iter_modules(harness.fixes.__path__)]
    return tuple(module.FACTOR for module in modules if hasattr(module, "FACTOR"))
