"""What a word of the command line may become: commands, their options, and Hydra's overrides.

Hydra's own completion composes the configuration for each answer, which takes a second; this reads the files.
"""

import os
from argparse import Action, _SubParsersAction
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness.commands import COMMANDS, parser_of
from harness.launch import choices
from harness.paths import CONF

FLAGS = ("--help", "--multirun", "--cfg", "--config-dir", "--resolve", "--info", "--hydra-help")


def candidates(before: Sequence[str], word: str) -> list[str]:
    """What `word` may become after the words before it, `harness` left out."""
    if before and before[0] in COMMANDS:
        return _of_command(before[0], before[1:], word)
    commands = _starting(word, COMMANDS) if not before else []
    return [*commands, *_of_run(before, word)]


def _of_command(name: str, before: Sequence[str], word: str) -> list[str]:
    parser = parser_of(name)
    positionals = _positionals(parser._actions)
    expecting: Action | None = None  # the option whose value comes next
    for given in before:
        if expecting is not None:
            expecting = None
        elif option := parser._option_string_actions.get(given):
            expecting = option if option.nargs != 0 else None
        elif positionals:
            action = positionals[0] if positionals[0].nargs == "*" else positionals.pop(0)
            if isinstance(action, _SubParsersAction) and given in action.choices:
                parser = action.choices[given]
                positionals = _positionals(parser._actions)
    if expecting is not None:
        return _values(expecting, word)
    if positionals and positionals[0].metavar == "KEY=VALUE" and not word.startswith("-"):
        return _of_run([given for given in before if "=" in given], word)
    if word.startswith("-"):
        return _starting(word, (o for o in parser._option_string_actions if o.startswith("--")))
    return _values(positionals[0], word) if positionals else []


def _positionals(actions: Iterable[Action]) -> list[Action]:
    return [action for action in actions if not action.option_strings]


def _values(action: Action, word: str) -> list[str]:
    if action.choices is not None:
        return _starting(word, action.choices)
    if action.metavar == "NAME":
        from harness.policy import POLICIES

        return _starting(word, POLICIES)
    if action.metavar == "SWEEP" and not word and Path("results").is_dir():
        return paths("results/", files=False)
    return paths(word, files=action.metavar == "PATH") if action.metavar else []


def _of_run(before: Sequence[str], word: str) -> list[str]:
    if before and before[-1] in ("--cfg", "-c"):
        return _starting(word, ("job", "hydra", "all"))
    if before and before[-1] in ("--config-dir", "-cd"):
        return paths(word, files=False)
    if word.startswith("-"):
        return _starting(word, FLAGS)
    groups, chosen = choices.groups(choices.folders(before)), choices.defaults()
    for given in before:
        name, _, option = given.lstrip("+").partition("=")
        if option in groups.get(name, {}):
            chosen[name] = option
    plus = word[: len(word) - len(word.lstrip("+"))]
    known = choices.keys("", CONF / "config.yaml")
    for name, option in chosen.items():
        if file := groups.get(name, {}).get(option):
            known |= choices.keys(name, file)
    key, equals, value = word[len(plus) :].partition("=")
    if equals:
        return [f"{plus}{key}={answer}" for answer in _of_key(key, value, groups, known)]
    added = {name for name in groups if name not in chosen and not name.startswith("fix/")}  # these need the +
    names = [f"+{name}=" for name in groups if name in added]
    if plus != "+":
        names = [f"{plus}{name}=" for name in groups if name not in added] + names * (not plus)
        parts = (_next_part(name, len(key)) for name in known if name.startswith(key))
        names += [plus + part for part in dict.fromkeys(parts)]
    return _starting(word, names)


def _next_part(key: str, start: int) -> str:
    """Up to the next dot: from `tr`, `train.` of `train.steps`; the last part ends in `=`."""
    dot = key.find(".", start)
    return f"{key}=" if dot < 0 else key[: dot + 1]


def _of_key(key: str, value: str, groups: choices.Groups, known: dict[str, object]) -> list[str]:
    """Values of a group or a key; after a comma, another one of them."""
    listed, comma, last = value.rpartition(",")
    if key in groups:
        taken = listed.split(",")
        return [listed + comma + option for option in _starting(last, groups[key]) if option not in taken]
    if key == "results":
        return paths(value, files=False)
    now = known.get(key)
    if isinstance(now, bool):
        return _starting(value, ("true", "false"))
    return _starting(value, [] if now is None else [str(now)])


def paths(word: str, files: bool) -> list[str]:
    """Folders that begin so, and files where they are wanted; hidden ones where a dot was typed."""
    folder, name = os.path.split(word)
    try:
        entries = sorted(os.scandir(os.path.expanduser(folder) or "."), key=lambda entry: entry.name)
    except OSError:
        return []
    return [
        os.path.join(folder, entry.name) + ("/" if entry.is_dir() else "")
        for entry in entries
        if entry.name.startswith(name)
        and (entry.is_dir() or files)
        and (name.startswith(".") or not entry.name.startswith("."))
    ]


def _starting(word: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(word)]
