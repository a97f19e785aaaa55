"""What a loop is declared to do, said by whoever wrote it: with it a deviation is told exactly, not by statistics.

Nothing of it is read from rollouts. A field that is not given is not asked for.
"""

import math
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

from harness.errors import ConfigError
from harness.fixes.reward import Off, On
from harness.seams import Outcome

Earned = Callable[[Outcome], float]
Advantages = Callable[[Sequence[float]], list[float]]

# What a success and a failure are trained with: the benchmark's own 0 or 1; fix/reward's levels of this project
REWARDS: Mapping[str, Earned] = MappingProxyType(
    {
        "success": lambda outcome: outcome.reward,
        "partial": On().training_reward,
        "upstream": Off().training_reward,
    }
)


def _centred(rewards: Sequence[float]) -> list[float]:
    mean = statistics.fmean(rewards)
    return [reward - mean for reward in rewards]


def _scaled(spread: Callable[[Sequence[float]], float], eps: float) -> Advantages:
    return lambda rewards: [each / (spread(rewards) + eps) for each in _centred(rewards)]


# Of a group's rewards. art: ART 0.5.18 (preprocessing/tokenize.py); its packing then divides a step's advantages by
# their mean size over rollouts (preprocessing/pack.py). trl, verl: their GRPO with the defaults of 2025
ADVANTAGES: Mapping[str, Advantages] = MappingProxyType(
    {
        "centred": _centred,
        "leave_one_out": lambda rewards: [each * len(rewards) / (len(rewards) - 1) for each in _centred(rewards)],
        "art": _scaled(statistics.pstdev, 1e-6),
        "trl": _scaled(statistics.stdev, 1e-4),
        "verl": _scaled(statistics.stdev, 1e-6),
    }
)


CHOICES: Mapping[str, Collection[str]] = MappingProxyType(
    {"reward": REWARDS, "advantages": ADVANTAGES, "trained": ("sampled",), "parser": ("hermes",)}
)


def _is_number(given: object) -> bool:
    return isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given) and given >= 0


def _is_count(given: object) -> bool:
    return isinstance(given, int) and not isinstance(given, bool) and given >= 1


def _is_list(given: object) -> bool:
    return isinstance(given, Collection) and not isinstance(given, str | Mapping)


def _is_by_step(given: object) -> bool:
    return isinstance(given, Mapping) and all(
        str(step).isdecimal() and _is_list(tasks) for step, tasks in given.items()
    )


def _is_name(given: object) -> bool:
    try:
        return isinstance(given, str) and bool(given.format(step=0))
    except (ValueError, LookupError, AttributeError):
        return False


# Fields, what each must be, and whether it is
KINDS: Sequence[tuple[Sequence[str], str, Callable[[object], bool]]] = (
    (
        ("group_size", "groups_per_step", "epochs", "max_tokens", "max_turns", "calls", "groups_per_gradient_step"),
        "a whole number of 1 at least",
        _is_count,
    ),
    (("temperature", "learning_rate"), "a number of 0 at least", _is_number),
    (("train_tasks", "validation_tasks"), "a list of ids", _is_list),
    (("batches",), "a list of ids for each step", _is_by_step),
    (("model",), "a name, where {step} stands for the step", _is_name),
)


@dataclass(frozen=True)
class Declared:
    """group_size: rollouts of a group; groups_per_step: groups of a step; epochs: how often each rollout is trained on

    temperature: of training rollouts; max_tokens: of a reply; max_turns: replies of an episode
    model: the name that answers at a step, as "policy@{step}"
    calls: how many tool calls of a reply are executed at most; parser: that makes calls of a reply's text, "hermes"
    reward: of an outcome, or one of REWARDS by its name; advantages: one of ADVANTAGES
    trained: "sampled": a trained row is what was served and sampled, and its trained tokens are those sampled
    batches: by step the tasks of its groups; train_tasks, validation_tasks: the lists that the loop is given
    learning_rate: of each step; groups_per_gradient_step: groups with an advantage that one gradient step has at most
    """

    group_size: int | None = None
    groups_per_step: int | None = None
    epochs: int | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    max_turns: int | None = None
    model: str | None = None
    calls: int | None = None
    parser: str | None = None
    reward: Earned | str | None = None
    advantages: str | None = None
    trained: str | None = None
    batches: Mapping[int, Collection[str]] | None = None
    train_tasks: Collection[str] | None = None
    validation_tasks: Collection[str] | None = None
    learning_rate: float | None = None
    groups_per_gradient_step: int | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for what is no declaration."""
        for name, valid in CHOICES.items():
            given = getattr(self, name)
            of_python = name == "reward" and callable(given)
            if not (given is None or of_python or (isinstance(given, str) and given in valid)):
                raise ConfigError(f"{name} is declared as {given!r}; it may be {', '.join(valid)}.")
        for names, what, is_such in KINDS:
            for name in names:
                given = getattr(self, name)
                if not (given is None or is_such(given)):
                    raise ConfigError(f"{name} is declared as {given!r}, and it must be {what}.")

    @property
    def earned(self) -> Earned | None:
        return REWARDS[self.reward] if isinstance(self.reward, str) else self.reward

    def advantages_of(self, rewards: Sequence[float]) -> list[float] | None:
        """Of a whole group, before anything is scaled over a step."""
        if self.advantages is None or len(rewards) < 2 or not all(map(math.isfinite, rewards)):
            return None
        return ADVANTAGES[self.advantages](rewards)


def declared_of(given: "Declared | Mapping[str, Any] | None") -> Declared:
    """A declaration from plain data, with its ids as texts, as those of rollouts are. Raises ConfigError."""
    if given is None:
        return Declared()
    if not isinstance(given, Declared):
        if not isinstance(given, Mapping):
            raise ConfigError("A declaration is one JSON object with the fields that docs/probe.md lists.")
        known = [field.name for field in fields(Declared)]
        if odd := sorted(map(str, set(given) - set(known))):
            raise ConfigError(f"Nothing is declared by {odd[0]!r}. Fields: {', '.join(known)}.")
        given = Declared(**given)
    return replace(
        given,
        batches=None if given.batches is None else {int(step): _texts(ids) for step, ids in given.batches.items()},
        train_tasks=None if given.train_tasks is None else _texts(given.train_tasks),
        validation_tasks=None if given.validation_tasks is None else _texts(given.validation_tasks),
    )


def _texts(ids: Collection[Any]) -> tuple[str, ...]:
    return tuple(map(str, ids))
