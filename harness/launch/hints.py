"""What a mistyped command probably meant."""

from collections.abc import Sequence

from harness.designs import closest
from harness.paths import CONF


def hint(arguments: Sequence[str]) -> str:
    """A did-you-mean for the first argument that names no fix, level, ablation or option of a group; else ''."""
    factors = sorted(path.name for path in (CONF / "fix").iterdir())
    for argument in arguments:
        key, _, value = argument.partition("=")
        key = key.lstrip("+")
        if key.startswith("fix/") and (factor := key.removeprefix("fix/")) not in factors:
            return f"No fix is called {factor!r}.{closest(factor, factors)} Fixes: {', '.join(factors)}."
        options = [path.stem for path in (CONF / key).glob("*.yaml")]
        if value and options and value not in options and "," not in value:
            return f"{key} has no option {value!r}.{closest(value, options)} Options: {', '.join(sorted(options))}."
    return ""
