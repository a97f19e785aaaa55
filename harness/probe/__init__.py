"""What is wrong with a loop, from its rollouts alone: symptoms, each with what was measured and a verdict.

check()         the door for a trainer: ART's objects or plain lists in, findings out
material.py     what is looked at, as plain data; objects.py makes it of objects and dictionaries
finding.py      what is said of a symptom: present, absent, or that it cannot be told and what would tell
the symptoms    one function each, in a file for each thing that is judged:
                who answers: adapters.py, logprobs.py, sampling.py
                what is trained beside what was served: contexts.py, tools_in_contexts.py, contexts_twice.py,
                thoughts.py, with differences.py; masks.py
                what was served: prompts.py; beside the messages: wording.py, with served_text.py
                groups.py, copies.py, instances.py; rewards.py, advantages.py, outcomes.py
                the environment: tool_answers.py, answers_to_calls.py, calls.py, conversations.py
                tasks.py, updates.py
by reference    spelled.py (the template, the parser), replayed.py (the environment, to which replay.py feeds the
                replies), as_declared.py and trained_as_declared.py (what declared.py says the loop is meant to do):
                whatever differs is a symptom of the part that it is in
from elsewhere  files.py (ART, verifiers, TRL, chat), rendering.py (what a template makes of them); endpoint.py with
                asking.py: symptoms of a server; text.py: findings for a reader, and for a program

No torch, art, vllm or hydra: it loads in a fraction of a second, and a trainer can ask it after every step. It
knows fixes and the data of seams, and no sweep.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from harness.probe import (
    adapters,
    advantages,
    answers_to_calls,
    as_declared,
    calls,
    contexts,
    contexts_twice,
    conversations,
    copies,
    groups,
    instances,
    logprobs,
    masks,
    outcomes,
    prompts,
    replayed,
    rewards,
    sampling,
    spelled,
    tasks,
    thoughts,
    tool_answers,
    tools_in_contexts,
    trained_as_declared,
    updates,
    wording,
)
from harness.probe.declared import ADVANTAGES, Declared, declared_of
from harness.probe.finding import Finding
from harness.probe.material import Material, Render
from harness.probe.objects import groups_of, update_of
from harness.probe.replay import Replay, World
from harness.seams import Outcome

__all__ = [
    "ADVANTAGES",
    "SYMPTOMS",
    "Declared",
    "Finding",
    "Material",
    "Outcome",
    "Replay",
    "World",
    "check",
    "examined",
    "material_of",
]

Tasks = Sequence[Any] | Mapping[int, Sequence[Any]] | None  # or for each step
Symptom = Callable[[Material], Finding]

MODULES = (
    *(adapters, logprobs, tools_in_contexts, contexts_twice, thoughts, contexts, prompts, wording, masks, sampling),
    *(groups, copies, instances, rewards, advantages, outcomes),
    *(tool_answers, calls, answers_to_calls, conversations),
    *(tasks, updates, spelled, replayed, as_declared, trained_as_declared),
)
SYMPTOMS: tuple[Symptom, ...] = tuple(symptom for module in MODULES for symptom in module.FINDINGS)


def check(trajectories: Iterable[Any], **known: Any) -> list[Finding]:
    """A finding for each symptom, in a fixed order.

    trajectories, known: as for `material_of`
    """
    return examined(material_of(trajectories, **known))


def examined(material: Material) -> list[Finding]:
    return [
        replace(symptom(material), symptom=symptom.__name__, about=(symptom.__doc__ or "").strip())
        for symptom in SYMPTOMS
    ]


def material_of(
    trajectories: Iterable[Any],
    *,
    validation: Iterable[Any] = (),
    updates: Iterable[Any] = (),
    train_tasks: Tasks = None,
    validation_tasks: Tasks = None,
    known_tasks: Iterable[Any] | None = None,
    group_size: int | None = None,
    epochs: int | None = None,
    sent_tools: Sequence[Any] | None = None,
    tokenizer: Any = None,
    bos: int | None = None,
    eos: int | Iterable[int] | None = None,
    exact: bool = False,
    environment: World | Replay | None = None,
    declared: Declared | Mapping[str, Any] | None = None,
    template: str | Render | None = None,
) -> Material:
    """What is known, as plain data.

    trajectories: ART's trajectories or groups, or dictionaries (docs/probe.md), or lists of these as groups
    validation: those of the loop's own validation; updates: what each training call reported
    train_tasks, validation_tasks: ids in the order in which they are asked, or such a list for each
        step; group_size: rollouts that are asked for in each group; known_tasks: those that exist
    epochs: how often each rollout is to be trained on
    sent_tools: the schemas that were sent to the policy, for rollouts that do not say it themselves
    tokenizer: with `decode`; shows texts instead of token ids; bos, eos: token ids, where it does not say them
    exact: sampler and trainer compute in float32
    environment: whose tasks these are: replies are fed to it once more; a Replay, to do that once for several calls
    declared: what the loop is meant to do; template: the chat template's text, which with a tokenizer that has `encode`
        shows what prompts are, token for token; or what `rendering.render_of` makes of both
    Raises ConfigError for a declaration that is none.
    """
    loop = declared_of(declared)
    found = groups_of(trajectories)
    if sent_tools:
        sent = tuple(dict(tool) for tool in sent_tools)
        found = tuple(tuple(r if r.sent_tools else replace(r, sent_tools=sent) for r in group) for group in found)
    asked = (rollout for group in groups_of(validation) for rollout in group)
    trained = tuple(tuple(r for r in group if r.split == "train") for group in found)
    return Material(
        groups=tuple(group for group in trained if group),
        validation=(*(r for group in found for r in group if r.split != "train"), *asked),
        updates=tuple(map(update_of, updates)),
        train_tasks=_ids(train_tasks),
        validation_tasks=_ids(validation_tasks),
        validations=tuple(map(_listed, _by_step(validation_tasks))),
        trainings=tuple(map(_listed, _by_step(train_tasks))),
        group_size=loop.group_size if group_size is None else group_size,
        epochs=loop.epochs if epochs is None else epochs,
        known_tasks=None if known_tasks is None else frozenset(map(str, known_tasks)),
        decode=getattr(tokenizer, "decode", None),
        bos=getattr(tokenizer, "bos_token_id", None) if bos is None else bos,
        eos=_eos(getattr(tokenizer, "eos_token_id", None) if eos is None else eos),
        exact=exact,
        declared=loop,
        replay=environment if isinstance(environment, Replay | None) else Replay(environment),
        render=_render(template, tokenizer) if isinstance(template, str) else template,
    )


def _render(template: str, tokenizer: Any) -> Render:
    from harness.probe.rendering import render_of  # its template engine is not loaded where nobody asks for it

    return render_of(template, tokenizer)


def _ids(tasks: Tasks) -> tuple[str | None, ...] | None:
    """The first step's as they are, and what later ones have beside them."""
    if not isinstance(tasks, Mapping):
        return None if tasks is None else _listed(tasks)
    if not tasks:
        return None
    first, *later = map(_listed, _by_step(tasks))
    return (*first, *dict.fromkeys(task for each in later for task in each if task not in first))


def _by_step(tasks: Tasks) -> list[Sequence[Any]]:
    return [tasks[step] for step in sorted(tasks)] if isinstance(tasks, Mapping) else []


def _listed(tasks: Sequence[Any]) -> tuple[str | None, ...]:
    return tuple(None if task is None else str(task) for task in tasks)


def _eos(given: int | Iterable[int] | None) -> frozenset[int]:
    return frozenset() if given is None else frozenset([given] if isinstance(given, int) else given)
