"""Which fixes there are: each module of this package declares one, in `FACTOR`; a foreign one brings its own.

A foreign fix is found by its config group (`fix/<name>/{off,on}.yaml` on Hydra's search path): the classes that its
`_target_`s name carry the declaration.
"""

import importlib
import math
import pkgutil
from functools import cache

import harness.fixes
from harness.factors import AS_LAUNCHED, Factor, Factors


@cache
def note() -> Factors:
    """The fixes that the investigation note names, in its ranking."""
    ranked = [factor for factor in own() if factor.rank is not None]
    return Factors(tuple(sorted(ranked, key=lambda factor: factor.rank or 0)))


@cache
def as_launched() -> Factors:
    """The fixes of faults that the loop as it was launched had: those of the note in its ranking, then by name."""
    had = [factor for factor in own() if AS_LAUNCHED in factor.baselines]
    return Factors(tuple(sorted(had, key=lambda factor: (factor.rank or math.inf, factor.name))))


@cache
def own() -> tuple[Factor, ...]:
    """The fixes of this package."""
    modules = [importlib.import_module(f"harness.fixes.{m.name}") for m in pkgutil.iter_modules(harness.fixes.__path__)]
    return tuple(module.FACTOR for module in modules if hasattr(module, "FACTOR"))
