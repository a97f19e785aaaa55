"""Designs: which arms a sweep compares."""

import difflib
from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import prod

from harness.errors import ConfigError
from harness.factors import FACTORS, LEVELS, Arm


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


# With one of these off, the reported reward stays flat. Behind the sealed ones no gradient step is taken, so the
# weights stay those of step 0 and the reference reward is flat, too. Behind `endpoint` the trainer goes on,
# off-policy (on rollouts of the first policy): the adapter moves, and the reference ruler sees it.
GATES = ("endpoint", "exploration", "logprobs")
SEALED = ("exploration", "logprobs")


def gate_aware() -> list[Arm]:
    """All main effects, interactions and Shapley values of the factorial from 19 of its 64 arms.

    tools × reward × split in full inside the open gates (8 arms). Behind the closed endpoint tools × reward
    with split on (4) and all others off (1). Behind the sealed gates controls only (6): each closed alone,
    each closed with the other fixes off, the note's fixes 1 + 2, all off. What is assumed for the 45 other
    arms, and how the controls test it: `analysis/gates.py`.
    """
    open_gates = [
        Arm.of(dict.fromkeys(FACTORS, "on") | {"tools": t, "reward": r, "split": s})
        for t, r, s in product(reversed(LEVELS), repeat=3)
    ]
    behind_endpoint = [
        Arm.with_off("endpoint"),
        Arm.with_off("endpoint", "tools"),
        Arm.with_off("endpoint", "reward"),
        Arm.with_off("endpoint", "tools", "reward"),
        Arm.with_on("exploration", "logprobs"),
    ]
    sealed = [
        Arm.with_off("exploration"),
        Arm.with_off("logprobs"),
        Arm.with_on("endpoint", "logprobs"),
        Arm.with_on("endpoint", "exploration"),
        Arm.with_on("endpoint", "tools"),
        Arm.with_on(),
    ]
    return [*open_gates, *behind_endpoint, *sealed]


def screening() -> list[Arm]:
    """A quarter of the factorial, 2^(6-2) of resolution IV: 16 arms; no main effect is mixed with another
    or with a two-way interaction.

    Generators E = ABC, F = BCD. The letters are dealt so that no main
    effect is mixed with endpoint × exploration × logprobs, which is large when these three are gates.
    """
    arms = []
    for endpoint, exploration, tools, logprobs in product((1, -1), repeat=4):  # A, B, C, D
        signs = {
            "endpoint": endpoint,
            "exploration": exploration,
            "tools": tools,
            "logprobs": logprobs,
            "reward": endpoint * exploration * tools,
            "split": exploration * tools * logprobs,
        }
        arms.append(Arm.of({f: "on" if sign > 0 else "off" for f, sign in signs.items()}))
    return arms


def short_term() -> list[Arm]:
    """The note's five short-term experiments: each alone on the broken loop, then stacked in its order."""
    experiments = ("endpoint", "tools", "exploration", "reward", "logprobs")
    alone = [Arm.with_on(f) for f in experiments]
    stacked = [Arm.with_on(*experiments[:n]) for n in range(2, len(experiments) + 1)]
    return [Arm.with_on(), *alone, *stacked, Arm.with_off()]


def smoke() -> list[Arm]:
    """The two ends."""
    return [Arm.with_off(), Arm.with_on()]


DESIGNS = {
    "full_factorial": full_factorial,
    "leave_one_out": leave_one_out,
    "one_at_a_time": one_at_a_time,
    "one_and_two": one_and_two,
    "screening": screening,
    "gate_aware": gate_aware,
    "short_term": short_term,
    "smoke": smoke,
}


def closest(word: str, valid: object) -> str:
    """` Did you mean 'x'?`, or nothing when no valid word is near."""
    near = difflib.get_close_matches(word, [str(v) for v in valid], n=1)  # type: ignore[attr-defined]
    return f" Did you mean {near[0]!r}?" if near else ""


def design(name: str) -> list[Arm]:
    """The arms of a named design. Raises ConfigError for an unknown name."""
    if name not in DESIGNS:
        raise ConfigError(f"No design is called {name!r}.{closest(name, DESIGNS)} Designs: {', '.join(DESIGNS)}.")
    return DESIGNS[name]()


def restrict(arms: list[Arm], levels: Mapping[str, tuple[str, ...]]) -> list[Arm]:
    """The arms whose level of each named factor is among the given ones, in their order."""
    kept = [a for a in arms if all(a.level(f) in allowed for f, allowed in levels.items())]
    if not kept:
        wish = ", ".join(f"fix/{f}={','.join(allowed)}" for f, allowed in levels.items())
        raise ConfigError(f"No arm of this design has {wish}. Drop the override or choose +ablation=all.")
    return kept


def signs(arms: Sequence[Arm], *factors: str) -> tuple[int, ...]:
    """Per arm the product of +1 (on) and -1 (off) over the factors: the column of an effect."""
    return tuple(prod(1 if arm.level(f) == "on" else -1 for f in factors) for arm in arms)


def aliases(arms: Sequence[Arm], effect: tuple[str, ...], order: int = 3) -> list[tuple[int, tuple[str, ...]]]:
    """The other effects of up to `order` factors with the column of `effect` or its negative, and the sign.

    What a design estimates as `effect` is its sum with these.
    """
    column = signs(arms, *effect)
    minus = tuple(-c for c in column)
    found = []
    for size in range(1, order + 1):
        for other in combinations(FACTORS, size):
            if other != effect and signs(arms, *other) in (column, minus):
                found.append((1 if signs(arms, *other) == column else -1, other))
    return found


def alias_table(arms: Sequence[Arm]) -> list[str]:
    """Lines of text: with which effects of up to three factors each main effect and two-way interaction is
    mixed. One line says so where the design is no orthogonal array, or where nothing is mixed."""
    if not is_orthogonal(arms):
        return ["Not an orthogonal design: effects are differences between named arms, nothing is aliased."]
    lines = []
    for size in (1, 2):
        for effect in combinations(FACTORS, size):
            others = [f"{'−' if sign < 0 else ''}{' × '.join(o)}" for sign, o in aliases(arms, effect)]
            if others:
                lines.append(f"{' × '.join(effect)} = {', '.join(others)}")
    return lines or ["No effect of up to three factors is mixed with another."]


def is_orthogonal(arms: Sequence[Arm]) -> bool:
    """Whether every factor is balanced and every pair of factors is crossed evenly."""
    pairs = combinations(FACTORS, 2)
    return all(sum(signs(arms, f)) == 0 for f in FACTORS) and all(sum(signs(arms, *p)) == 0 for p in pairs)
