"""The command line, checked before Hydra composes a sweep: `understood` returns it as Hydra wants it, or refuses it.

A refusal says what was given, what is allowed, and the nearest right spelling. Nothing is written, no domain and no
policy is loaded, and the configuration of one run is composed, however many are asked for.
"""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from hydra._internal.utils import get_args_parser
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from harness.disk import is_read_only
from harness.errors import ConfigError, closest
from harness.launch.hydra_options import (
    hydra_options,
    refuse_hydra_choice,
    refuse_hydra_option,
    refuse_launcher_options,
    refuse_unknown_option,
)
from harness.launch.overrides import GivenOverride, asked_for
from harness.launch.search_path import SearchPath
from harness.launch.wishes import joining, spelled_out
from harness.strict import shown

if TYPE_CHECKING:
    from harness.config import SweepConfig

UNSUPPORTED = {
    "config_path": "Add a folder of your own with --config-dir.",
    "experimental_rerun": "The same command continues a sweep.",
}
TRUTH = {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}


def with_json(arguments: Sequence[str]) -> list[str]:
    """The command line with `--json`, which goes with plan_only=true, as an option. Raises ConfigError."""
    if "--json" not in arguments:
        return list(arguments)
    if "plan_only=true" not in arguments:
        raise ConfigError("--json prints a plan. Add plan_only=true. What a sweep says prints `harness report --json`.")
    return ["plan_only=json" if each == "plan_only=true" else each for each in arguments if each != "--json"]


def understood(arguments: Sequence[str]) -> list[str]:
    """The arguments for `hydra.main`. Raises ConfigError. A flag that Hydra does not have ends the process with 2."""
    args = get_args_parser().parse_intermixed_args(list(arguments))
    if args.help or args.hydra_help or args.shell_completion or args.info:
        return list(arguments)
    for flag, instead in UNSUPPORTED.items():
        if getattr(args, flag):
            raise ConfigError(f"--{flag.replace('_', '-')} is not supported here. {instead}")
    folders = [text.lstrip("+") for text in args.overrides if text.lstrip("+").startswith("hydra.searchpath=")]
    path = SearchPath(args.config_dir, args.config_name or "config", folders)
    asked = [asked_for(text, path) for text in args.overrides]
    if twice := [key for key, count in Counter(each.key for each in asked).items() if count > 1]:
        both = " and ".join(each.text for each in asked if each.key == twice[0])
        raise ConfigError(f"{twice[0]} is given twice: {both}. Keep one of them.")

    groups = path.groups()
    options = [each for each in asked if not _is_choice(each, groups) and each.key != "hydra.searchpath"]
    choices = [chosen(each, path, groups) for each in asked if _is_choice(each, groups)]
    choices = with_every_fix(choices, joining(choices, options, path), path)
    ours = [each for each in options if not each.key.startswith("hydra.")]
    hydras = [each for each in options if each not in ours]
    ablation = next((each.given for each in choices if each.key == "ablation"), None)
    for each in hydras:
        refuse_hydra_option(each, ablation)
    first = with_their_options(choices, ours, path)
    cfg = path.compose(first)
    if hydras:
        for each in hydras:
            refuse_unknown_option(each, cfg)
        hydras = [each.renamed(appended=not _has(cfg, each.key)) for each in hydras]
        cfg = path.compose([*first, *(each.text for each in hydras)])
    refuse_launcher_options(cfg)
    multirun = args.multirun or cfg.hydra.mode == RunMode.MULTIRUN
    if not multirun and any(cfg.hydra.sweeper.get(name) for name in ("design", "arms")):
        given = f"Leave out hydra.mode={cfg.hydra.mode.name}." if cfg.hydra.mode else "Add -m."
        raise ConfigError(f"The design asks for several runs. {given}")
    blocks = _blocks(choices + ours, multirun)
    ours.sort(key=lambda each: each.key != "env._target_")  # it decides what env takes
    ours = [set_option(cfg, each, groups) for each in ours]
    ours = spelled_out(cfg, ours, path)
    _refuse_values(cfg, ours)
    for each in blocks:
        _refuse_block(each, path, first, ours, groups)

    flags = [each for each in arguments if each not in args.overrides]
    return [*flags, *folders, *(each.text for each in chain(choices, hydras, ours))]


def _is_choice(each: GivenOverride, groups: Sequence[str]) -> bool:
    return "/" in each.key or each.key in groups


def chosen(each: GivenOverride, path: SearchPath, groups: Sequence[str]) -> GivenOverride:
    """The choice from a group, as Hydra wants it: + for a group that the defaults list does not have, no glob."""
    group, options = each.key, path.options(each.key)
    if group.startswith("hydra/"):
        refuse_hydra_choice(each, hydra_options(group, options))
        return each
    if group.startswith("fix/") and group not in groups:
        fixes = [name.removeprefix("fix/") for name in groups if name.startswith("fix/")]
        name = group.removeprefix("fix/")
        raise ConfigError(f"No fix is called {name!r}.{closest(name, fixes)} Fixes: {', '.join(fixes)}.")
    if not options:
        if inner := [name for name in groups if name.startswith(f"{group}/")]:
            raise ConfigError(f"{each.text}: {group} has groups of its own; choose from one of {', '.join(inner)}.")
        raise ConfigError(f"No group is called {group!r}.{closest(group, groups)} Groups: {', '.join(groups)}.")
    values = each.chosen_from(options)
    if isinstance(values[0], dict | list):
        raise ConfigError(f"{each.text}: {group} is one of {', '.join(options)}; its options are given one by one.")
    what = "level" if group.startswith("fix/") else "option"
    for value in values:
        if value not in options:
            given = value if isinstance(value, str) else shown(value)
            near = closest(TRUTH.get(given.lower(), given), options)
            raise ConfigError(f"{group} has no {what} {given!r}.{near} {what.title()}s: {', '.join(options)}.")
    if len(set(values)) < len(values):
        raise ConfigError(f"{each.text} has the same {what} twice; each makes a run once.")
    return each.written(values, appended=group not in path.chosen)


def with_every_fix(choices: list[GivenOverride], joined: list[GivenOverride], path: SearchPath) -> list[GivenOverride]:
    """The choices, those that joined, and `on` for each further fix that the search path has and nobody mentions.

    Those of conf/config.yaml are in its defaults list. Hydra takes a fix from somebody else's folder as `+fix/kl=on`
    alone; its user says `fix/kl=off`, as for the others.
    """
    said = {each.key for each in choices}
    further = [group for group in path.groups("fix") if group not in path.chosen and group not in said]
    for group in further:
        if "on" not in (levels := path.options(group)):
            raise ConfigError(f"{group} has no level 'on' among {', '.join(levels)}. A fix needs off and on.")
    added = [*joined, *(asked_for(f"+{group}=on", path) for group in further)]
    names = ",".join(each.key.removeprefix("fix/") for each in added)
    return [*choices, *added, *([asked_for(f"hydra.sweeper.implied=[{names}]", path)] if names else [])]


def with_their_options(choices: list[GivenOverride], ours: list[GivenOverride], path: SearchPath) -> list[str]:
    """The first level of each fix that has the options which the command line gives it, else the first of all."""
    first = []
    for each in choices:
        given = [o.key for o in ours if o.key.startswith(f"{each.key.replace('/', '.')}.")]
        levels = [f"{each.text.split('=', 1)[0]}={value}" for value in each.values] if each.several and given else []
        first.append(next((level for level in levels if _have(path.compose([level]), given)), each.first))
    return first


def _have(cfg: DictConfig, keys: Sequence[str]) -> bool:
    return all(_has(cfg, key) for key in keys)


def set_option(cfg: DictConfig, each: GivenOverride, groups: Sequence[str]) -> GivenOverride:
    """Sets the (first) value in the configuration; the override as Hydra wants it. Raises ConfigError for a name that
    nothing reads."""
    from harness.config import is_ours, option_names

    known = option_names(cfg)
    if each.key.startswith("env.") and not is_ours(cfg.env.get("_target_")):
        known.append(each.key)  # arguments of an environment of one's own
    names = [name for name in known if not name.endswith("_target_")]
    if each.key not in known:
        if inner := [name for name in names if name.startswith(f"{each.key}.")]:
            raise ConfigError(f"{each.text}: {each.key} has options of its own; give these: {', '.join(inner)}.")
        raise ConfigError(_no_option(each, cfg, names, groups))
    appended = not _has(cfg, each.key)
    with open_dict(cfg):
        OmegaConf.update(cfg, each.key, each.values[0], force_add=True)
    return each.renamed(appended)


def _no_option(each: GivenOverride, cfg: DictConfig, names: Sequence[str], groups: Sequence[str]) -> str:
    section, *rest = each.key.split(".")
    if section == "fix" and len(rest) == 2 and (level := cfg.hydra.runtime.choices.get(f"fix/{rest[0]}")):
        beside = [name for name in names if name.startswith(f"fix.{rest[0]}.")]
        there = f" Options: {', '.join(beside)}." if beside else ""
        return f"fix/{rest[0]}={level} has no option {rest[1]!r}.{closest(each.key, beside)}{there}"
    beside = [name for name in names if name.startswith(f"{section}.")]
    near = closest(each.key, beside) or closest(each.key, [*names, *groups])
    top = [
        name
        for name in dict.fromkeys((*names, *groups))
        if "." not in name and "/" not in name and name not in ("fix", "hydra")
    ]
    return f"No option is called {each.key!r}.{near} Options: {', '.join(beside or [*top, 'fix/…'])}."


def _has(cfg: DictConfig, key: str) -> bool:
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    return isinstance(node, DictConfig) and name in node


def _blocks(asked: Sequence[GivenOverride], multirun: bool) -> list[GivenOverride]:
    """The options whose values make blocks. Several values make several runs, and some options are one for a sweep."""
    from harness.blocks import why_one

    swept = [each for each in asked if each.swept]
    blocks = [each for each in swept if each.key != "seed" and not each.key.startswith("fix/")]
    for each in blocks:
        if why := why_one(each.key):
            quoted = f" One value with a comma is quoted: '{each.key}=\"{each.given}\"'." if each.is_text else ""
            raise ConfigError(
                f"{each.text}: {each.key} cannot differ between the runs of a sweep: {why}. Give it one value, and "
                f"start one sweep per value.{quoted}"
            )
    if swept and not multirun:
        raise ConfigError(f"{swept[0].text} asks for several runs: add -m, or an ablation (+ablation=…).")
    return blocks


def _refuse_block(
    each: GivenOverride, path: SearchPath, first: Sequence[str], ours: Sequence[GivenOverride], groups: Sequence[str]
) -> None:
    """Builds the typed config of one run at each value of an option that makes blocks. Raises ConfigError for a value
    that is wrong or there twice, and for one that changes what is one for a sweep."""
    from harness.config import BLOCK, typed

    made = []
    for value in each.values:
        chosen = [f"{text.split('=')[0]}={value}" if _is_choice_of(text, each.key) else text for text in first]
        cfg = path.compose(chosen)
        for option in ours:
            set_option(cfg, replace(option, values=(value,)) if option.key == each.key else option, groups)
        with open_dict(cfg):
            del cfg["hydra"]
            cfg[BLOCK] = {each.key: value}
        made.append(cfg)
    typed(*made)
    if any(value in each.values[:place] for place, value in enumerate(each.values)):
        raise ConfigError(f"{each.text} has a value twice; each makes a block once.")


def _is_choice_of(text: str, group: str) -> bool:
    return text.split("=")[0].lstrip("+") == group


def _refuse_values(cfg: DictConfig, options: Sequence[GivenOverride]) -> None:
    """Builds the typed config of one run, and looks at its other seeds and at its folder."""
    from harness.config import check_seed, typed
    from harness.levels import refuse_misnamed

    refuse_misnamed(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    config = typed(cfg)
    for each in options:
        if each.key == "seed":
            for seed in each.values:
                check_seed(seed)
            if len(set(each.values)) < len(each.values):
                raise ConfigError(f"{each.text} has a seed twice; each arm needs each seed once.")
    _refuse_folder(config)


def _is_there(place: Path) -> bool:
    try:
        place.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _refuse_folder(config: "SweepConfig") -> None:
    try:
        for folder in (config.results, config.results / (config.name or "")):
            there = next(place for place in (folder, *folder.absolute().parents) if _is_there(place))
            if not there.is_dir():
                raise ConfigError(f"The results cannot go to {folder}: {there} is a file. Give results=FOLDER.")
            if not config.plan_only and not os.access(there, os.W_OK | os.X_OK):
                why = "is on a read-only file system" if is_read_only(there) else "is not writable"
                raise ConfigError(f"The results cannot go to {folder}: {there} {why}. Give results=FOLDER.")
    except OSError as error:
        text = f"The results cannot go to {config.results}: {error.strerror}. Give results=FOLDER."
        raise ConfigError(text) from None
