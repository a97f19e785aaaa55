"""Designs: which arms a sweep compares."""

import difflib
from collections.abc import Mapping
from itertools import product

from harness.arm import FACTORS, LEVELS, Arm
from harness.errors import ConfigError


def full_factorial() -> list[Arm]:
    """Every combination of the six levels: 64 arms, all_on first."""
    return [Arm(levels) for levels in product(reversed(LEVELS), repeat=len(FACTORS))]


def leave_one_out() -> list[Arm]:
    """all_on, each fix taken away alone, all_off. Informative also behind gates."""
    return [Arm.with_off(), *(Arm.with_off(f) for f in FACTORS), Arm.with_on()]


def one_at_a_time() -> list[Arm]:
    """all_off, each fix added alone, all_on. Flat by construction where a gate stays closed."""
    return [Arm.with_on(), *(Arm.with_on(f) for f in FACTORS), Arm.with_off()]


def one_and_two() -> list[Arm]:
    """The note's claim that fixes 1 and 2 suffice, with its controls."""
    return [
        Arm.with_on("endpoint", "tools"),
        Arm.with_on("endpoint"),
        Arm.with_on("tools"),
        Arm.with_on(),
        Arm.with_off(),
    ]


def smoke() -> list[Arm]:
    """The two ends."""
    return [Arm.with_off(), Arm.with_on()]


DESIGNS = {
    "full_factorial": full_factorial,
    "leave_one_out": leave_one_out,
    "one_at_a_time": one_at_a_time,
    "one_and_two": one_and_two,
    "smoke": smoke,
}


def closest(word: str, valid: object) -> str:
    """` Did you mean 'x'?`, or nothing when no valid word is near."""
    near = difflib.get_close_matches(word, [str(v) for v in valid], n=1)  # type: ignore[attr-defined]
    return f" Did you mean {near[0]!r}?" if near else ""


def design(name: str) -> list[Arm]:
    """The arms of a named design. Raises ConfigError for an unknown name."""
    if name not in DESIGNS:
        raise ConfigError(
            f"No design is called {name!r}.{closest(name, DESIGNS)} Designs: {', '.join(DESIGNS)}."
        )
    return DESIGNS[name]()


def restrict(arms: list[Arm], levels: Mapping[str, tuple[str, ...]]) -> list[Arm]:
    """The arms whose level of each named factor is among the given ones, in their order."""
    kept = [a for a in arms if all(a.level(f) in allowed for f, allowed in levels.items())]
    if not kept:
        wish = ", ".join(f"fix/{f}={','.join(allowed)}" for f, allowed in levels.items())
        raise ConfigError(f"No arm of this design has {wish}. Drop the override or choose +ablation=all.")
    return kept
