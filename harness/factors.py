"""Arm, Run and seeds: what is compared, and the luck that it shares.

Factor = fix; level `off` = upstream's behaviour, `on` = fixed; arm = one level per factor;
run = arm × seed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

# In the order in which the investigation note ranks them.
FACTORS = ("endpoint", "tools", "exploration", "reward", "logprobs", "split")
LEVELS = ("off", "on")


@dataclass(frozen=True, order=True)
class Arm:
    """One level per factor, in the order of `FACTORS`."""

    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        if len(self.levels) != len(FACTORS) or any(level not in LEVELS for level in self.levels):
            raise ValueError(f"An arm needs {len(FACTORS)} levels out of {LEVELS}, got {self.levels}")

    @classmethod
    def of(cls, levels: Mapping[str, str]) -> "Arm":
        return cls(tuple(levels[factor] for factor in FACTORS))

    @classmethod
    def with_on(cls, *on: str) -> "Arm":
        """The arm in which exactly the named fixes are on."""
        return cls(tuple("on" if factor in on else "off" for factor in FACTORS))

    @classmethod
    def with_off(cls, *off: str) -> "Arm":
        """The arm in which exactly the named fixes are off."""
        return cls(tuple("off" if factor in off else "on" for factor in FACTORS))

    def level(self, factor: str) -> str:
        return self.levels[FACTORS.index(factor)]

    @property
    def as_dict(self) -> dict[str, str]:
        return dict(zip(FACTORS, self.levels, strict=True))

    @property
    def name(self) -> str:
        """`all_on`, `all_off`, else the shorter of `only_<on fixes>` and `without_<off fixes>`."""
        on = [f for f in FACTORS if self.level(f) == "on"]
        off = [f for f in FACTORS if self.level(f) == "off"]
        if not off:
            return "all_on"
        if not on:
            return "all_off"
        return "only_" + "_".join(on) if len(on) <= len(off) else "without_" + "_".join(off)


@dataclass(frozen=True, order=True)
class Run:
    """An arm under one seed."""

    arm: Arm
    seed: int

    @property
    def name(self) -> str:
        return f"{self.arm.name}/seed={self.seed}"


def derive_seed(seed: int, *purpose: str | int) -> int:
    """A 31-bit seed from (seed, purpose, step, task, rollout, …): arms with one seed meet the same luck."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1
