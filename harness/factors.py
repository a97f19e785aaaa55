"""Factor, Arm, Run and seeds: what is compared, and the luck that it shares.

Factor = fix; level `off` = as upstream, `on` = fixed, any other name = another way; arm = one level per factor;
run = arm × seed, or arm × block × seed in a sweep that has blocks (blocks.py). Which factors there are is never written
here: they declare themselves (`harness.fixes.registry`), and a sweep keeps those it was made with.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

OFF, ON = "off", "on"
# The loops that `off` may mean, each with what it is in a sentence.
NOTE, AS_LAUNCHED = "note", "as_launched"
BASELINES = {
    NOTE: "the loop as the investigation note describes it, its defaults and its mechanisms",
    AS_LAUNCHED: "the loop as its launch script ran it",
}
# What a factor may change: the training rollouts, what the trainer is given or does, what the arm reports of itself.
EPISODES, BATCH, REPORTED = "episodes", "batch", "reported"
# What a factor is there for. A placebo's levels differ in nothing that can matter: it is compared like a fix, and must
# not be found to matter. A control breaks what makes the loop learn: each of its levels but `on` is an arm beside the
# design, all_on but for that, which must not learn. No effect is made of control arms.
FIX, PLACEBO, CONTROL = "fix", "placebo", "control"


@dataclass(frozen=True)
class Factor:
    """A factor as it declares itself: all that designs, plans and reports know of it. Plain data, kept with the sweep.

    summary: one line; levels: what each level does, one line each, `off` first
    changes: of EPISODES, BATCH, REPORTED
    proof: what its check reads
    rank: its place in the investigation note's ranking, from 1; None: the note does not name it
    baselines: in which loops the fault was there; (): in none, it is one of the ART that runs here, 0.5.18
    launched: how the loop as it was launched had it right, with the source, where it had
    role: FIX, PLACEBO or CONTROL
    today: whether the fault is still possible in ART 0.5.23: `yes: ` or `no: `, why, and the source in its code (a
        column of the reports); empty for a factor that is not ours

    What follows from its mechanism is an assumption that a sweep's controls test:
    no_update: levels at which no gradient step is taken
    first_policy: levels at which rollouts are those of the first policy, whatever was trained since
    apart: levels at which the trainer scores another policy or context than was served
    """

    name: str
    summary: str = ""
    levels: Mapping[str, str] = field(default_factory=lambda: {OFF: "", ON: ""})
    changes: tuple[str, ...] = (EPISODES, BATCH, REPORTED)
    proof: str = ""
    rank: int | None = None
    no_update: tuple[str, ...] = ()
    first_policy: tuple[str, ...] = ()
    apart: tuple[str, ...] = ()
    baselines: tuple[str, ...] = (NOTE, AS_LAUNCHED)
    launched: str = ""
    today: str = ""
    role: str = FIX

    @property
    def only_reported(self) -> bool:
        """Whether it changes neither what is trained nor how."""
        return self.changes == (REPORTED,)

    @property
    def trains(self) -> bool:
        """Whether runs that differ in it may take other gradient steps."""
        return EPISODES in self.changes or BATCH in self.changes

    def record(self) -> dict[str, Any]:
        return asdict(self) | {"levels": dict(self.levels)}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Factor":
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in record.items()}
        return cls(**fields)


@dataclass(frozen=True, order=True)
class Arm:
    """levels: (factor, level) of each factor of a sweep, in the sweep's order; of a control only where it is not on."""

    levels: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, levels: Mapping[str, str]) -> "Arm":
        return cls(tuple(levels.items()))

    def level(self, factor: str) -> str:
        """Raises KeyError for a factor that the sweep does not have."""
        return self.as_dict[factor]

    @cached_property
    def as_dict(self) -> dict[str, str]:
        return dict(self.levels)

    @property
    def factors(self) -> tuple[str, ...]:
        return tuple(factor for factor, _ in self.levels)

    def at(self, level: str) -> tuple[str, ...]:
        """The factors that have this level."""
        return tuple(factor for factor, own in self.levels if own == level)

    def but(self, **levels: str) -> "Arm":
        """The arm with other levels of some factors."""
        return Arm(tuple((factor, levels.get(factor, own)) for factor, own in self.levels))

    @property
    def name(self) -> str:
        """`all_on`, `all_off`, else the shorter of `only_<on fixes>` and `without_<off fixes>`; further levels behind:
        `all_on_with_reward=mine`."""
        on, off = self.at(ON), self.at(OFF)
        if not off:
            name = "all_on"
        elif not on:
            name = "all_off"
        else:
            name = "only_" + "_".join(on) if len(on) <= len(off) else "without_" + "_".join(off)
        further = [f"{factor}={level}" for factor, level in self.levels if level not in (OFF, ON)]
        return "_with_".join((name, "_".join(further))) if further else name


@dataclass(frozen=True)
class Factors:
    """The factors of a sweep, in order."""

    all: tuple[Factor, ...]

    @classmethod
    def named(cls, names: Iterable[str]) -> "Factors":
        """Factors of which nothing but the name is known; nothing is assumed of them."""
        return cls(tuple(Factor(name) for name in names))

    def __iter__(self) -> Iterator[Factor]:
        return iter(self.all)

    def __len__(self) -> int:
        return len(self.all)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(factor.name for factor in self.all)

    @property
    def placebos(self) -> tuple[str, ...]:
        return tuple(factor.name for factor in self.all if factor.role == PLACEBO)

    def compares(self, arm: Arm) -> bool:
        """Whether the arm has a level of these factors alone. One with more is a negative control: all_on with a level
        of a control beside it."""
        return set(arm.factors) <= set(self.names)

    def with_on(self, *on: str) -> Arm:
        """The arm in which exactly the named fixes are on."""
        return Arm(tuple((name, ON if name in on else OFF) for name in self.names))

    def with_off(self, *off: str) -> Arm:
        """The arm in which exactly the named fixes are off."""
        return Arm(tuple((name, OFF if name in off else ON) for name in self.names))

    def no_update(self, arm: Arm) -> bool:
        """Whether by some factor's mechanism the arm takes no gradient step: it is sealed."""
        return any(arm.level(factor.name) in factor.no_update for factor in self.all)

    def first_policy(self, arm: Arm) -> bool:
        """Whether by some factor's mechanism the arm's rollouts are those of the first policy."""
        return any(arm.level(factor.name) in factor.first_policy for factor in self.all)

    @property
    def sealing(self) -> tuple[str, ...]:
        """Factors that stop all updates when they are off."""
        return tuple(factor.name for factor in self.all if OFF in factor.no_update)

    @property
    def masking(self) -> tuple[str, ...]:
        """Factors that let the trainer go on when they are off, and hide what is learned."""
        return tuple(factor.name for factor in self.all if OFF in factor.first_policy)

    @property
    def gates(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name in (*self.sealing, *self.masking))

    @property
    def free(self) -> tuple[str, ...]:
        return tuple(name for name in self.names if name not in self.gates)

    @property
    def only_reported(self) -> tuple[str, ...]:
        return tuple(factor.name for factor in self.all if factor.only_reported)

    @property
    def training(self) -> tuple[str, ...]:
        """Factors on which gradient steps depend, those first that stop all of them."""
        names = [factor.name for factor in self.all if factor.trains]
        return tuple(sorted(names, key=lambda name: name not in self.sealing))


@dataclass(frozen=True, order=True)
class Run:
    """An arm under one seed. block: its name; empty in a sweep without blocks."""

    arm: Arm
    seed: int
    block: str = ""

    @property
    def name(self) -> str:
        """Also the path of its folder."""
        return "/".join(filter(None, (self.arm.name, self.block, f"seed={self.seed}")))

    @property
    def model(self) -> str:
        """What its model is called at the server, without the step."""
        return "-".join(filter(None, (self.arm.name, self.block, f"seed{self.seed}")))


def differ_in(one: Arm, other: Arm) -> tuple[str, ...]:
    """The factors whose levels differ."""
    return tuple(f for f, level in one.levels if level != other.level(f))


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 31-bit seed from (seed, purpose, step, task, rollout, …): arms with one seed meet the same luck."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
