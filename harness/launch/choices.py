"""What a command line can choose: groups, their options and keys, read from files. Hydra is not imported.

For help, completion and hints, which must be quick; Hydra's composition says what counts.
"""

import importlib.util
import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from harness.paths import CONF

Groups = dict[str, dict[str, Path]]  # group -> option -> file


def folders(arguments: Sequence[str]) -> list[Path]:
    """Our configuration, then the folders that `--config-dir` and `hydra.searchpath` add."""
    found = [CONF]
    for argument, following in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, _, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            found.append(Path(value or following))
        elif name.lstrip("+") == "hydra.searchpath":
            found += [place for entry in re.split(r"[\[\],\s'\"]+", value) for place in _search_path(entry)]
    return [folder for folder in found if folder.is_dir()]


def _search_path(entry: str) -> list[Path]:
    """Of one entry: file://FOLDER or pkg://PACKAGE."""
    kind, _, name = entry.partition("://")
    if kind != "pkg":
        return [Path(name)] if kind == "file" else []
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    return [Path(place) for place in (spec and spec.submodule_search_locations) or ()]


def groups(places: Sequence[Path]) -> Groups:
    """All groups, sorted. Where two folders have an option, the first counts, as for Hydra."""
    found: Groups = {}
    for place in places:
        for file in sorted(place.rglob("*.yaml")):
            if (group := file.parent.relative_to(place).as_posix()) != ".":
                found.setdefault(group, {}).setdefault(file.stem, file)
    return dict(sorted(found.items()))


def defaults() -> dict[str, str]:
    """The option that each group has when nothing is said, in the order of config.yaml."""
    entries = [entry for entry in read(CONF / "config.yaml")["defaults"] if isinstance(entry, dict)]
    return {name.removeprefix("override "): str(option) for entry in entries for name, option in entry.items()}


def note(file: Path) -> str:
    """What an option's file says of itself: its first comment that is neither a package nor a command."""
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return ""
        text = line.lstrip("# ")
        if not text.startswith(("@package", "python -m harness")):
            return text
    return ""


def keys(group: str, file: Path) -> dict[str, Any]:
    """The keys that an option sets and their values: {"train.steps": 8}. group: '' for config.yaml."""
    header = re.search(r"^#\s*@package\s+(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    package = header[1] if header else group.replace("/", ".")
    return _flat(read(file), "" if package == "_global_" else package)


def _flat(node: dict[str, Any], package: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in node.items():
        key = f"{package}.{name}" if package else str(name)
        if isinstance(value, dict):
            out |= _flat(value, key)
        elif name not in ("_target_", "defaults"):
            out[key] = value
    return out


def read(file: Path) -> dict[str, Any]:
    """A YAML file that holds a mapping; {} for one that does not, or is broken."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return content if isinstance(content, dict) else {}
