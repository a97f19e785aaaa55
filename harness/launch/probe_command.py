"""`harness probe`: symptoms of somebody's loop, from files of rollouts or from an endpoint, or of this one."""

import json
import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from harness.errors import ConfigError, Exit
from harness.probe import Finding, Material, files, material_of
from harness.probe import examined as of_material
from harness.probe.text import as_json, lines

OF_ROLLOUTS = ("validation", "updates", "tasks", "tokenizer", "template", "exact")
OF_ENDPOINT = ("model", "adapter")


def run(asked: Namespace) -> int:
    _check(asked)
    findings: list[Finding] = []
    sources: list[str] = []
    if asked.trajectories:
        source, found = _of_files(asked)
        sources.append(source)
        findings += found
    if asked.url:
        sources.append(f"{asked.model} at {asked.url}")
        findings += _of_endpoint(asked)
    if not sources:
        from harness.launch import probe_loop

        sources.append(" ".join(["this project's loop", *asked.options]))
        findings += probe_loop.findings(asked.options)
    source = "; ".join(sources)
    print(as_json(findings, source) if asked.json else "\n".join([source, *lines(findings)]))
    return Exit.PRESENT if any(each.verdict == "present" for each in findings) else Exit.DONE


def _check(asked: Namespace) -> None:
    """Raises ConfigError for options that do not go together."""

    def given(names: Sequence[str]) -> list[str]:
        return [f"--{name}" for name in names if getattr(asked, name)]

    if asked.options and (asked.trajectories or asked.url):
        raise ConfigError(
            f"{asked.options[0]!r} is an option of this project's loop, and --trajectories and --url look at another."
        )
    if not asked.trajectories and (alone := given(OF_ROLLOUTS)):
        raise ConfigError(f"{alone[0]} says more of rollouts: name their file with --trajectories.")
    if not asked.url and (alone := given(OF_ENDPOINT)):
        raise ConfigError(f"{alone[0]} is a name at an endpoint: name it with --url.")
    if asked.url and not asked.model:
        raise ConfigError("--url needs the base model's name there: --model NAME.")
    if asked.template and not asked.tokenizer:
        raise ConfigError("--template needs the trainer's tokenizer: --tokenizer PATH, a tokenizer.json or its folder.")
    if asked.tools and not (asked.trajectories or asked.url):
        raise ConfigError("--tools says what a policy was sent: name rollouts (--trajectories) or an endpoint (--url).")


def _of_files(asked: Namespace) -> tuple[str, list[Finding]]:
    kinds, rows = _read(asked.trajectories)
    material = _material(asked, rows)
    count, groups = sum(map(len, material.groups)), len(material.groups)
    text = f"{count} rollout{'s' * (count != 1)} in {groups} group{'s' * (groups != 1)}, {kinds}"
    return text, of_material(material)


def _material(asked: Namespace, rows: list[Any]) -> Material:
    words = None
    if asked.tokenizer:
        from harness.probe.rendering import words_of

        words = words_of(asked.tokenizer)
    material = material_of(
        rows,
        validation=_read(asked.validation)[1] if asked.validation else (),
        updates=files.rows_of(asked.updates) if asked.updates else (),
        known_tasks=_text(asked.tasks).split() if asked.tasks else None,
        sent_tools=_tools(asked.tools),
        tokenizer=words,
        exact=asked.exact,
    )
    if words is None or not asked.template:
        return material
    from harness.probe.rendering import rendered, template_of

    return rendered(material, template_of(asked.template), words, str(asked.template))


def _of_endpoint(asked: Namespace) -> list[Finding]:
    from harness.probe import endpoint
    from harness.probe.asking import Endpoint

    at = Endpoint(asked.url, os.environ.get("OPENAI_API_KEY", ""))
    served = at.models()
    names = [asked.model, *(asked.adapter or ())]
    if missing := [name for name in names if served and name not in served]:
        raise ConfigError(f"{asked.url} serves no {missing[0]!r}; it serves {', '.join(served)}.")
    return endpoint.examined(endpoint.ask(at, asked.model, asked.adapter or (), _tools(asked.tools) or ()))


def _read(paths: Sequence[Path]) -> tuple[str, list[Any]]:
    """What the files are, and their rows."""
    kinds, rows = [], []
    for path in paths:
        kind, found = files.read(path)
        kinds.append(kind)
        rows += found
    return ", ".join(dict.fromkeys(kinds)), rows


def _tools(path: Path | None) -> list[Any] | None:
    if path is None:
        return None
    try:
        found = json.loads(_text(path))
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}.") from None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ConfigError(f'{path} holds no list of tools, as they are sent: [{{"type": "function", …}}].')
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}.") from None
