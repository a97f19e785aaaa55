"""ART's loss without the rest of ART.

`import art` loads litellm, openai and aiohttp: 2 s and 100 MiB that a trainer's process, which asks nobody, does
without. There only `art.loss` and what it needs is loaded, and transformers is patched as ART patches it. The package
itself is not kept: who imports `art` later gets all of it.
"""

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

PACKAGES = ("art", "art.utils", "art.preprocessing")  # whose own modules load the clients


@contextmanager
def _empty_packages() -> Iterator[None]:
    """Modules of ART can be imported, and none of its packages has run. No effect where ART is loaded."""
    if "art" in sys.modules:
        yield
        return
    found = importlib.util.find_spec("art")
    assert found and found.submodule_search_locations
    (root,) = found.submodule_search_locations
    for name in PACKAGES:
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [root + name.removeprefix("art").replace(".", "/")]
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "art"]:
            del sys.modules[name]


with _empty_packages():
    from art.loss import loss_fn, shift_tensor
    from art.transformers.patches import patch_preprocess_mask_arguments

    if "art.model" not in sys.modules:  # else ART has done it
        patch_preprocess_mask_arguments()

__all__ = ["loss_fn", "shift_tensor"]
