"""Hydra overrides of which some stand in the place of others: the harness refuses a key that is given twice."""

from collections.abc import Sequence


def replaced(defaults: Sequence[str], given: Sequence[str]) -> list[str]:
    """The defaults whose key is not given, then what is given."""
    keys = {override.partition("=")[0] for override in given}
    return [*(override for override in defaults if override.partition("=")[0] not in keys), *given]
