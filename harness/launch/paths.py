"""Where the configuration lives, by the name that programs outside this repository know."""

from harness.paths import CONF

__all__ = ["CONF"]
