"""What a probe found and what it looked at, in words for a reader. An endpoint's key is not among them."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from harness.probe.endpoint import Asked
from harness.probe.finding import Finding
from harness.probe.material import Material

OTHER_FILES = ("tools", "tokenizer", "template", "declared")
Facts = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Probed:
    """source: what was looked at, in a line; facts: the same for a table, as (name, value)"""

    source: str
    facts: Facts
    findings: Sequence[Finding]


def rollouts_in(material: Material) -> str:
    return f"{count(sum(map(len, material.groups)), 'rollout')} in {count(len(material.groups), 'group')}"


def facts_of_files(asked: Namespace, kinds: str, material: Material) -> Facts:
    rollouts, turns = list(material.rollouts), list(material.turns)
    with_ids = sum(turn.prompt_ids is not None for turn in turns)
    with_logprobs = sum(turn.logprobs is not None for turn in turns)
    with_context = sum(rollout.trained_ids is not None for rollout in rollouts)
    known = len(material.known_tasks or ())
    facts = [
        ("files of rollouts", _names(asked.trajectories)),
        ("what they are", kinds),
        ("rollouts", rollouts_in(material)),
        ("replies", f"{len(turns)}; {with_ids} with their prompt's token ids, {with_logprobs} with log-probs"),
        ("trained contexts", f"{with_context} of {count(len(rollouts), 'rollout')}"),
        ("validation", f"{count(len(material.validation), 'rollout')}{_of(asked.validation)}"),
        ("training calls", f"{len(material.updates)}{_of(asked.updates)}"),
        *([("tasks that exist", f"{known}{_of(asked.tasks)}")] if asked.tasks else []),
        *((name, str(path)) for name in OTHER_FILES if (path := getattr(asked, name))),
        *([("environment", " ".join([f"env={asked.env}", *asked.options]))] if asked.env else []),
        ("precision", "float32 everywhere" if asked.exact else "16 bits are allowed for"),
    ]
    return tuple(facts)


def facts_of_endpoint(asked: Namespace, answers: Asked) -> Facts:
    questions = len(answers.base) + len(answers.again) + sum(map(len, answers.adapters.values()))
    questions += len((answers.bare, answers.equipped, answers.cool, answers.warm))
    return (
        ("endpoint", address(asked.url)),
        ("base model", asked.model),
        ("adapters", ", ".join(asked.adapter or ()) or "none"),
        ("questions", f"{questions}, at temperature 0 but for two"),
        ("tools", str(asked.tools or "one of the probe's own")),
    )


def facts_of_loop(options: Sequence[str]) -> Facts:
    return (
        ("loop", "this project's own; a fix that is off is looked at in an arm of its own"),
        ("options", " ".join(options) or "none"),
    )


def address(url: str) -> str:
    """Without a user, a password and a query, which may be keys."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths))


def _of(given: Path | Sequence[Path] | None) -> str:
    paths = [given] if isinstance(given, Path) else given or ()
    return f" in {_names(paths)}" if paths else ""
