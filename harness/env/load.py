"""From plain data to an environment: a dotted target and its arguments, as they cross to other processes.

What can be wrong with somebody else's environment is said here, before an engine starts.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
from collections import Counter
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from harness.env.agents import Awaits
from harness.env.environment import (
    AwaitedUser,
    Conversation,
    Environment,
    Role,
    declared_user,
    task_groups,
    validation_sets,
)
from harness.env.project import Project
from harness.errors import ConfigError, HarnessError, raised

OPTION = "env._target_"
AWAITED = ("opening", "reply")
OUR_USERS = ("scripted", "withholding", "llm")  # kinds of `user=`


def load_environment(source: Mapping[str, Any], user: Mapping[str, Any] | None = None) -> Environment:
    """Calls `source["_target_"]` with the rest of `source`, checks what comes back, and gives it its user. Raises
    ConfigError.

    user: who it is (`UserConfig.identity`); None: the environment's own
    """
    return _with_user(_made(source), user or {"kind": "scripted"})


def _with_user(made: Environment, user: Mapping[str, Any]) -> Environment:
    if user["kind"] == "scripted":
        return made
    declared = declared_user(made)
    if declared is not None:
        raise ConfigError(
            f"user={user['kind']}: env={made.name} brings a user of its own ({declared['kind']}). Leave user out."
        )
    change = getattr(made, "played_by" if user["kind"] == "llm" else user["kind"], None)
    if change is None:
        raise ConfigError(
            f"user={user['kind']}: env={made.name} brings its own user. Domains of tau2 (env=mock, retail, "
            "retail_single, retail_generated, airline) can be played with another one."
        )
    if user["kind"] == "llm":
        return change(_nobody)  # type: ignore[no-any-return]
    return change(**{name: value for name, value in user.items() if name != "kind"})  # type: ignore[no-any-return]


def _nobody(role: Role, seed: int) -> AwaitedUser:
    raise Awaits("who plays attaches the model first: harness.users.attached")


def _made(source: Mapping[str, Any]) -> Environment:
    arguments = {name: value for name, value in source.items() if name != "_target_"}
    target = str(source["_target_"])
    factory = _find(target)
    _accepts(target, factory, arguments)
    try:
        return _checked(target, factory(**arguments))
    except HarnessError:
        raise
    except Exception as error:
        raise ConfigError(f"{OPTION}={target} raised {raised(error)}.") from error


def _find(target: str) -> Callable[..., Any]:
    module_name, _, name = target.rpartition(".")
    if not module_name:
        raise ConfigError(
            f"{OPTION} is {target!r}; expected the dotted path of a function or class: package.module.load."
        )
    module = _module(target, module_name)
    if not hasattr(module, name):
        near = difflib.get_close_matches(name, dir(module), n=1)
        hint = f" Did you mean {module_name}.{near[0]}?" if near else ""
        raise ConfigError(f"{OPTION}={target}: module {module_name} has no {name!r}.{hint}")
    found = getattr(module, name)
    if not callable(found):
        raise ConfigError(f"{OPTION}={target} is a {type(found).__name__}; expected a function or class to call.")
    return found  # type: ignore[no-any-return]


def _module(target: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{OPTION}={target}: importing {name} raised {raised(error)}.") from error
        raise ConfigError(
            f"{OPTION}={target}: no module {error.name!r} can be imported. Install its package, or name its folder in "
            "PYTHONPATH: other processes import it as well."
        ) from None
    except Exception as error:
        raise ConfigError(f"{OPTION}={target}: importing {name} raised {raised(error)}.") from error


def _accepts(target: str, factory: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
    try:
        signature = inspect.signature(factory)
    except ValueError:  # written in C
        return
    try:
        signature.bind(**arguments)
    except TypeError as error:
        given = ", ".join(arguments) or "nothing"
        raise ConfigError(
            f"{OPTION}={target} takes {signature}, and env gives it {given}: {error}. Every other key of env is an "
            "argument: choose env=own and add only its arguments, with +env.NAME=VALUE."
        ) from None


def _checked(target: str, made: Any) -> Environment:
    if missing := _missing(made, Environment):
        raise ConfigError(
            f"{OPTION}={target} gave a {type(made).__name__} without {', '.join(missing)}. "
            "harness/env/environment.py says what an environment has."
        )
    train, test = list(made.train_ids), list(made.test_ids)
    for ids in (train, test):
        if odd := [i for i in ids if not isinstance(i, str)]:
            raise ConfigError(f"{OPTION}={target}: task id {odd[0]!r} is no text; expected ids such as 'sum_3'.")
    if twice := [i for i, times in Counter((*train, *test)).items() if times > 1]:
        raise ConfigError(
            f"{OPTION}={target}: task {twice[0]!r} is listed twice in train_ids and test_ids; expected each task once."
        )
    _check_groups(target, made)
    _check_sets(target, made)
    _check_user(target, getattr(made, "user", None))
    _check_tools(target, made.tools)
    if train and not isinstance(made, Project):  # its own rollout plays
        _check_start(target, made, train[0])
    return made  # type: ignore[no-any-return]


def _check_groups(target: str, made: Environment) -> None:
    declared = getattr(made, "task_groups", None) or {}
    if not isinstance(declared, Mapping) or any(not isinstance(name, str) for name in declared.values()):
        raise ConfigError(
            f"{OPTION}={target}: task_groups is {declared!r}; expected the name of a group by task id: "
            "{'sum_3': 'sum', 'sum_4': 'sum'}."
        )
    if unknown := [i for i in task_groups(made) if i not in {*made.train_ids, *made.test_ids}]:
        raise ConfigError(
            f"{OPTION}={target}: task_groups names task {unknown[0]!r}, which is in neither train_ids nor test_ids."
        )


def _check_sets(target: str, made: Environment) -> None:
    declared = getattr(made, "validation_sets", None) or {}
    if not isinstance(declared, Mapping) or any(isinstance(ids, str) or not list(ids) for ids in declared.values()):
        raise ConfigError(
            f"{OPTION}={target}: validation_sets is {declared!r}; expected lists of task ids by the name of their set."
        )
    for name, ids in validation_sets(made).items():
        if shared := [i for i in ids if i in {*made.train_ids, *made.test_ids}]:
            raise ConfigError(
                f"{OPTION}={target}: task {shared[0]!r} of validation_sets[{name!r}] is also in train_ids or test_ids."
            )


def _check_user(target: str, declared: Any) -> None:
    if declared is None:
        return
    kind = declared.get("kind") if isinstance(declared, Mapping) else None
    if not isinstance(kind, str) or kind in OUR_USERS or not _is_plain(dict(declared)):
        raise ConfigError(
            f"{OPTION}={target}: user is {declared!r}; expected who the user is as plain data, with a kind that is "
            f"none of {', '.join(OUR_USERS)}: {{'kind': 'model', 'model': 'gpt-4o', 'temperature': 0.0}}."
        )


def _is_plain(data: Any) -> bool:
    try:
        return bool(json.loads(json.dumps(data, allow_nan=False)) == data)
    except (TypeError, ValueError):
        return False


def _check_tools(target: str, tools: Any) -> None:
    for tool in tools:
        function = tool.get("function") if isinstance(tool, dict) and tool.get("type") == "function" else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ConfigError(
                f"{OPTION}={target}: {tool!r} is no tool schema; expected "
                '{"type": "function", "function": {"name": …, "description": …, "parameters": …}}.'
            )


def _check_start(target: str, made: Environment, task_id: str) -> None:
    try:
        started = made.start(task_id, 0)
    except Exception as error:
        raise ConfigError(f"{OPTION}={target}: start({task_id!r}, 0) raised {raised(error)}.") from error
    if missing := _missing(started, Conversation):
        raise ConfigError(
            f"{OPTION}={target}: start({task_id!r}, 0) gave a {type(started).__name__} without {', '.join(missing)}. "
            "harness/env/environment.py says what a conversation has."
        )
    for name in AWAITED:
        if not inspect.iscoroutinefunction(getattr(started, name)):
            raise ConfigError(
                f"{OPTION}={target}: {name} of the {type(started).__name__} that start({task_id!r}, 0) gave is not "
                f"awaited; expected `async def {name}`, since a user may be a model."
            )


def _missing(made: Any, protocol: type) -> list[str]:
    wanted = [name for name in vars(protocol) if not name.startswith("_")]
    return [name for name in wanted if inspect.getattr_static(made, name, None) is None]
