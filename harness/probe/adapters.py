"""Which weights answered the rollouts: by log-probs where those of two weights are given, else by name."""

import math
from collections.abc import Iterable

import numpy as np

from harness.answering import LEAST_TOKENS, compared, explained
from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Logprobs, Material, Turn
from harness.seams import Scores

TELL = (
    "log-probs of some served replies, computed by the trainer with the current adapter (adapter_logprobs) and with "
    "the base model or the step before (base_logprobs); or the name that answered, at two steps at least"
)


def another_adapter_answers(material: Material) -> Finding:
    """The rollouts are answered by other weights than those that are trained."""
    scores = _scores(material.turns)
    if scores is None:
        return _by_name(material)
    reading = _numbers(vars(scores))
    text = (
        f"the served log-probs are {scores.gap:.2g} nats from those of the weights that should have answered and "
        f"{scores.rival_gap:.2g} from the others ({scores.tokens} tokens)"
    )
    if not scores.apart > 0:
        return cannot_tell(f"both weights give the same log-probs; {text}", TELL, **reading)
    if (right := explained(scores, material.exact)) is None:
        return cannot_tell(f"{text}: neither explains them clearly better", "more replies, or later steps", **reading)
    if not right and scores.preference > 0:  # neither of the two: trainer_and_sampler_disagree says so
        return cannot_tell(f"{text}: near neither", "log-probs on the ids as they were served", **reading)
    return absent(text, **reading) if right else present(text, **reading)


def updates_without_effect(material: Material) -> Finding:
    """Weights were updated, and the trainer's log-probs by the adapter are those without it: it is never loaded."""
    numbers = [u.step for u in material.updates if u.step is not None]
    steps = {r.step for r in material.rollouts if r.step is not None}
    shift = 0 if numbers and max(numbers) in steps else 1
    first = min((u.step for u in material.updates if u.step is not None and u.moved), default=None)
    later = [r for r in material.rollouts if first is not None and r.step is not None and r.step > first - shift]
    scores = _scores(turn for rollout in later for turn in rollout.turns)
    if scores is None or scores.tokens < LEAST_TOKENS:
        return cannot_tell("no log-probs of two weights are given at a step after one that moved weights", TELL)
    text = (
        f"the log-probs of the two weights are {scores.apart:.2g} nats apart after an update ({scores.tokens} tokens)"
    )
    reading = _numbers(vars(scores))
    return absent(text, **reading) if scores.apart > 0 else present(text, **reading)


def _by_name(material: Material) -> Finding:
    answered: dict[int, set[str]] = {}
    for rollout in material.rollouts:
        of_rollout = {turn.model for turn in rollout.turns if turn.model}
        if rollout.step is not None and of_rollout:
            answered.setdefault(rollout.step, set()).update(of_rollout)
    if len(answered) < 2:
        return cannot_tell("neither log-probs of two weights nor the names of two steps are given", TELL)
    steps = sorted(answered)
    lag = [step - behind for step in steps if (behind := _oldest(answered[step])) is not None]
    if len(lag) < len(steps):
        return cannot_tell(f"the names, as {min(answered[steps[0]])}, have no step", TELL, steps=len(steps))
    names = sorted({name for each in answered.values() for name in each})
    reading = {"steps": len(steps), "names": len(names), "lag_first": lag[0], "lag_last": lag[-1]}
    if len(names) == 1:
        return present(f"{names[0]} answered at all of steps {steps[0]} to {steps[-1]}", **reading)
    if len(set(lag)) == 1:
        return absent(f"the adapter that answers moves on with the steps, from {names[0]}, by its name", **reading)
    return cannot_tell(f"{len(names)} names answered {len(steps)} steps, at no fixed distance", TELL, **reading)


def _oldest(names: Iterable[str]) -> int | None:
    """The first step among names as ART gives them, `name@step`."""
    numbers = [number for _, at, number in (name.rpartition("@") for name in names) if at and number.isdecimal()]
    return min(map(int, numbers), default=None)


def _scores(turns: Iterable[Turn]) -> Scores | None:
    known = [[*map(_known, (t.logprobs, t.adapter_logprobs, t.base_logprobs))] for t in turns]
    triples = [
        (number, three)
        for number, each in enumerate(known)
        if len(set(map(len, each))) == 1
        for three in zip(*each, strict=True)
        if all(map(math.isfinite, three))
    ]
    if not triples:
        return None
    served, answering, rival = np.array([three for _, three in triples]).T
    return compared(served, answering, rival, np.array([number for number, _ in triples]))


def _known(logprobs: Logprobs | None) -> list[float]:
    return [math.nan if p is None else p for p in logprobs or ()]


def _numbers(values: dict[str, float]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items() if math.isfinite(value)}


FINDINGS = (another_adapter_answers, updates_without_effect)
