"""What a loop is declared to do, said by whoever wrote it: with it a deviation is told exactly, not by statistics.

Nothing of it is read from rollouts. A field that is not given is not asked for.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
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
    batches: Mapping[int, Sequence[str]] | None = None
    train_tasks: Sequence[str] | None = None
    validation_tasks: Sequence[str] | None = None
    learning_rate: float | None = None
    groups_per_gradient_step: int | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for what is no declaration."""
        one_of = {"reward": REWARDS, "advantages": ADVANTAGES, "trained": ("sampled",), "parser": ("hermes",)}
        for name, valid in one_of.items():
            given = getattr(self, name)
            if not (given is None or given in valid or (name == "reward" and callable(given))):
                raise ConfigError(f"{name} is declared as {given!r}; it may be {', '.join(valid)}.")
        for name in ("group_size", "groups_per_step", "epochs", "max_tokens", "max_turns", "calls"):
            given = getattr(self, name)
            if given is not None and (not isinstance(given, int) or given < 1):
                raise ConfigError(f"{name} is declared as {given!r}, and it must be a whole number of 1 at least.")

    @property
    def earned(self) -> Earned | None:
        return REWARDS[self.reward] if isinstance(self.reward, str) else self.reward

    def advantages_of(self, rewards: Sequence[float]) -> list[float] | None:
        """Of a whole group, before anything is scaled over a step."""
        if self.advantages is None or len(rewards) < 2 or not all(map(math.isfinite, rewards)):
            return None
        return ADVANTAGES[self.advantages](rewards)


def declared_of(given: "Declared | Mapping[str, Any] | None") -> Declared:
    """A declaration from plain data. Raises ConfigError."""
    if given is None or isinstance(given, Declared):
        return given or Declared()
    if not isinstance(given, Mapping):
        raise ConfigError("A declaration is one JSON object with the fields that docs/probe.md lists.")
    known = [field.name for field in fields(Declared)]
    if odd := sorted(set(given) - set(known)):
        raise ConfigError(f"Nothing is declared by {odd[0]!r}. Fields: {', '.join(known)}.")
    try:
        made = Declared(**given)
        batches = None if made.batches is None else {int(s): [*map(str, ids)] for s, ids in made.batches.items()}
    except (TypeError, ValueError, AttributeError) as error:
        raise ConfigError(f"The declaration has a field of another kind than docs/probe.md says: {error}.") from None
    return replace(made, batches=batches)
