"""One override of the command line, as a person typed it: parsed by Hydra's grammar, refused in our words."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, QuotedString, Transformer
from hydra.errors import HydraException

from harness.errors import ConfigError, closest
from harness.launch.search_path import SearchPath

TEXTS = ("sweep", "results")  # 2024, 1e3 and true are names


@dataclass(frozen=True)
class GivenOverride:
    """key: without its + signs; values: one, or all that are asked for; text: the override, for Hydra

    swept: whether it makes runs (`choice(1)` makes one, `1` makes none)
    glob: stands for the options of a group that it matches, until `chosen_from` is told them
    """

    key: str
    values: tuple[Any, ...]
    text: str
    swept: bool = False
    glob: Glob | None = None

    @property
    def given(self) -> str:
        return self.text.split("=", 1)[1]

    @property
    def several(self) -> bool:
        return len(self.values) > 1

    @property
    def is_text(self) -> bool:
        return self.key in TEXTS

    @property
    def first(self) -> str:
        """The override with its first value alone."""
        return f"{self.text.split('=', 1)[0]}={self.values[0]}" if self.swept else self.text

    def chosen_from(self, options: Sequence[str]) -> tuple[Any, ...]:
        if self.glob is None:
            return self.values
        if not (found := self.glob.filter(list(options))):
            raise ConfigError(f"{self.text} matches none of {', '.join(options)}.")
        return tuple(found)

    def written(self, values: Sequence[Any], appended: bool) -> "GivenOverride":
        """With these values for a group, spelled out."""
        given = ",".join(map(str, values))
        given = f"choice({given})" if self.swept and len(values) == 1 else given
        return replace(self, values=tuple(values), text=f"{'+' * appended}{self.key}={given}", glob=None)

    def renamed(self, appended: bool) -> "GivenOverride":
        return replace(self, text=f"{'+' * appended}{self.key}={self.given}")


def asked_for(text: str, path: SearchPath) -> GivenOverride:
    """Raises ConfigError for what is no `option=value`, a deletion, or a group at another place."""
    if text.startswith("~"):
        name = text[1:].split("=")[0]
        raise ConfigError(f"{text}: nothing can be taken out, since every run needs all options. Give {name} a value.")
    if "=" not in text:
        raise ConfigError(f"{text!r} is no option=value.{_choice_called(text, path)}")
    override, text = _parsed(text)
    if override.package is not None:
        raise ConfigError(f"{text}: an option stands at its own place. Write it without @{override.package}.")
    key = override.key_or_group
    if isinstance(override._value, IntervalSweep):
        raise ConfigError(f"{text}: an interval has no values to run. Write {key}=0,1,2 or {key}=range(0,3).")
    if isinstance(override._value, Glob):
        return GivenOverride(key, ("*",), text, swept=True, glob=override._value)
    if not override.is_sweep_override():
        return GivenOverride(key, (override.value(),), text)
    values = [value.text if isinstance(value, QuotedString) else value for value in _of_sweep(override)]
    if not values:
        raise ConfigError(f"{text} has no value; expected at least one.")
    return GivenOverride(key, tuple(values), text, swept=True)


def _choice_called(name: str, path: SearchPath) -> str:
    """` Did you mean '+ablation=smoke'?` for smoke."""
    every = {o: f"{'+' * (g not in path.chosen)}{g}={o}" for g in reversed(path.groups()) for o in path.options(g)}
    return f" Did you mean {every[name]!r}?" if name in every else closest(name, path.groups())


def _of_sweep(override: Override) -> list[Any]:
    try:
        return list(override.sweep_iterator(transformer=Transformer.identity))
    except (HydraException, ValueError, TypeError) as error:
        raise ConfigError(f"{override.input_line} cannot be read: {error}") from None


def _parsed(text: str) -> tuple[Override, str]:
    """By Hydra's grammar; a text that it would take for something else is quoted."""
    key, _, value = text.partition("=")
    is_text = key.lstrip("+") in TEXTS and "${" not in value and value not in ("", "null")
    quoted = "{}='{}'".format(key, value.replace("'", "\\'"))
    parser = OverridesParser.create()
    try:
        override = parser.parse_override(text)
    except (HydraException, ValueError, TypeError) as error:
        if is_text and "," not in value:
            return parser.parse_override(quoted), quoted
        first = str(error).splitlines()[0].split(" expecting ")[0]
        raise ConfigError(f"{text} cannot be read: {first}. Quote what is one value: '{key}=\"{value}\"'.") from None
    plain = not override.is_sweep_override() and isinstance(override._value, int | float | bool)
    return (parser.parse_override(quoted), quoted) if is_text and plain else (override, text)
