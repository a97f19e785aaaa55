"""`harness probe`: symptoms of somebody's loop, from files of rollouts or from an endpoint, or of this one."""

import json
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, Exit, visible
from harness.launch.probed import Probed, facts_of_endpoint, facts_of_files, facts_of_loop, rollouts_in
from harness.probe import Material, files, material_of
from harness.probe import examined as of_material
from harness.probe.declared import Declared, declared_of
from harness.probe.material import Replayed
from harness.probe.objects import groups_of
from harness.probe.text import as_json, lines

OF_ROLLOUTS = (
    *("validation", "updates", "tasks", "group_size", "epochs", "tokenizer", "template", "exact"),
    *("env", "declared"),
)
OF_ENV = ("env.", "+env.", "user", "user.", "+user.")  # beginnings of the options that shape an environment
OWN = "this project's rollouts"  # of a reply's calls its loop executes the first
OF_ENDPOINT = ("model", "adapter")


def run(asked: Namespace) -> int:
    _check(asked)
    if asked.page:
        from harness.launch import probe_page

        probe_page.refuse(asked.page)
    probed = list(_probed(asked))
    findings = [found for each in probed for found in each.findings]
    code = Exit.PRESENT if any(found.verdict == "present" for found in findings) else Exit.DONE
    source = "; ".join(each.source for each in probed)
    print(as_json(findings, source) if asked.json else "\n".join([source, *lines(findings)]))
    if asked.page:
        probe_page.write(asked.page, findings, tuple(fact for each in probed for fact in each.facts), code)
        if not asked.json:
            print(visible(str(asked.page)))
    return code


def _probed(asked: Namespace) -> Iterator[Probed]:
    if asked.trajectories:
        yield _of_files(asked)
    if asked.url:
        yield _of_endpoint(asked)
    if not (asked.trajectories or asked.url):
        from harness.launch import probe_loop

        source = " ".join(["this project's loop", *asked.options])
        yield Probed(source, facts_of_loop(asked.options), probe_loop.findings(asked.options))


def _check(asked: Namespace) -> None:
    """Raises ConfigError for options that do not go together."""

    def given(names: Sequence[str]) -> list[str]:
        return [f"--{name.replace('_', '-')}" for name in names if getattr(asked, name)]

    of_env = [option for option in asked.options if asked.env and option.partition("=")[0].startswith(OF_ENV)]
    odd = [option for option in asked.options if option not in of_env]
    if odd and (asked.trajectories or asked.url):
        raise ConfigError(
            f"{odd[0]!r} is an option of this project's loop, and --trajectories and --url look at another."
        )
    if asked.env == "":
        raise ConfigError("--env names no environment: --env NAME, as --env mock.")
    if not asked.trajectories and (alone := given(OF_ROLLOUTS)):
        raise ConfigError(f"{alone[0]} says more of rollouts: name their file with --trajectories.")
    if not asked.url and (alone := given(OF_ENDPOINT)):
        raise ConfigError(f"{alone[0]} is a name at an endpoint: name it with --url.")
    if asked.url and not asked.model:
        raise ConfigError("--url needs the base model's name there: --model NAME.")
    for name in ("group_size", "epochs"):
        if (number := getattr(asked, name)) is not None and number < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {number}, and it must be 1 at least.")
    if asked.template and not asked.tokenizer:
        raise ConfigError("--template needs the trainer's tokenizer: --tokenizer PATH, a tokenizer.json or its folder.")
    if asked.tools and not (asked.trajectories or asked.url):
        raise ConfigError("--tools says what a policy was sent: name rollouts (--trajectories) or an endpoint (--url).")


def _of_files(asked: Namespace) -> Probed:
    kinds, rows = _read(asked.trajectories)
    material = _material(asked, rows, 1 if OWN in kinds else None)
    _refuse_other_environment(asked, material)
    source = f"{rollouts_in(material)}, {kinds}"
    return Probed(source, facts_of_files(asked, kinds, material), of_material(material))


def _material(asked: Namespace, rows: list[Any], calls: int | None) -> Material:
    """calls: how many of a reply's are executed, where the file's kind says it"""
    words, loop = None, _declared(asked.declared)
    template = None
    if asked.tokenizer:
        from harness.probe.rendering import words_of

        words = words_of(asked.tokenizer)
    if words is not None and asked.template:
        from harness.probe.rendering import template_of

        template = template_of(asked.template)
    material = material_of(
        rows,
        validation=_read(asked.validation)[1] if asked.validation else (),
        updates=files.rows_of(asked.updates) if asked.updates else (),
        known_tasks=_text(asked.tasks).split() if asked.tasks else None,
        group_size=asked.group_size,
        epochs=asked.epochs,
        sent_tools=_tools(asked.tools),
        tokenizer=words,
        exact=asked.exact,
        environment=_environment(asked) if asked.env else None,
        declared=replace(loop, calls=loop.calls or calls),
        template=template,
    )
    if words is None or template is None:
        return material
    from harness.probe.rendering import rendered

    return rendered(material, template, words, str(asked.template))


def _declared(path: Path | None) -> Declared:
    found = None if path is None else _json(path)
    if path is not None and found is None:
        raise ConfigError(f"{path} declares nothing: it holds null, and not a JSON object.")
    return declared_of(found)


def _environment(asked: Namespace) -> Any:
    """Made anew from its options. Raises ConfigError."""
    from harness.config import typed
    from harness.env import load_environment
    from harness.launch.one_run import untyped

    config = typed(untyped([f"env={asked.env}", *asked.options]))
    return load_environment(config.env.source, config.user.identity())


def _refuse_other_environment(asked: Namespace, material: Material) -> None:
    """Raises ConfigError where no rollout can be replayed: all that was to be held against it would be left out."""
    rollouts = [*material.rollouts, *material.validation]
    found = material.replay.all(rollouts, material.declared.calls) if material.replay else []
    if material.replay and not any(isinstance(each, Replayed) for each in found):
        why = next((each for each in found if each), "none of them has a task and a reply")
        raise ConfigError(f"env={asked.env} can replay none of {rollouts_in(material)}: {why}.")


def _of_endpoint(asked: Namespace) -> Probed:
    from harness.probe import endpoint
    from harness.probe.asking import Endpoint

    at = Endpoint(asked.url, os.environ.get("OPENAI_API_KEY", ""))
    served = at.models()
    names = [asked.model, *(asked.adapter or ())]
    if missing := [name for name in names if served and name not in served]:
        raise ConfigError(f"{asked.url} serves no {missing[0]!r}; it serves {', '.join(served)}.")
    answers = endpoint.ask(at, asked.model, asked.adapter or (), _tools(asked.tools) or ())
    source = f"{asked.model} at {asked.url}"
    return Probed(source, facts_of_endpoint(asked, answers), endpoint.examined(answers))


def _read(paths: Sequence[Path]) -> tuple[str, list[Any]]:
    """What the files are, and their rows."""
    kinds, rows = [], []
    for path in paths:
        kind, found = files.read(path)
        _refuse_odd(path, found)
        kinds.append(kind)
        rows += found
    return ", ".join(dict.fromkeys(kinds)), rows


def _refuse_odd(path: Path, rows: Sequence[Any]) -> None:
    """Raises ConfigError for the first row that no rollout can be made of."""
    for number, row in enumerate(rows, start=1):
        try:
            groups_of([row])
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"{path}, rollout {number} has a field of another kind than docs/probe.md says: {error}."
            ) from None
        if not isinstance(row, Mapping | Sequence) or isinstance(row, str):
            raise ConfigError(f"{path}, rollout {number} is no rollout, but {json.dumps(row)[:40]}.")


def _tools(path: Path | None) -> list[Any] | None:
    if path is None:
        return None
    found = _json(path)
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ConfigError(f'{path} holds no list of tools, as they are sent: [{{"type": "function", …}}].')
    return found


def _json(path: Path) -> Any:
    try:
        return json.loads(_text(path))
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}.") from None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None
