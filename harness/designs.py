"""Designs: which arms a sweep compares, made from the factors that it is given."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from math import prod

from harness.errors import ConfigError, closest
from harness.factors import OFF, ON, Arm, Factors

Levels = Mapping[str, Sequence[str]]  # by factor; `on` first


def full_factorial(factors: Factors, levels: Levels | None = None) -> list[Arm]:
    """Every combination of the levels, all_on first."""
    of = _levels(factors, levels)
    return [Arm(tuple(zip(factors.names, own, strict=True))) for own in product(*(of[n] for n in factors.names))]


def leave_one_out(factors: Factors, levels: Levels | None = None) -> list[Arm]:
    """all_on, each fix off in turn (further levels too), all_off. Informative also behind gates."""
    of, all_on = _levels(factors, levels), factors.with_off()
    changed = [all_on.but(**{n: level}) for n in factors.names for level in of[n] if level != ON]
    return [all_on, *changed, factors.with_on()]


def one_at_a_time(factors: Factors, levels: Levels | None = None) -> list[Arm]:
    """all_off, each fix added alone (further levels too), all_on. Flat by construction where a gate stays closed."""
    of, all_off = _levels(factors, levels), factors.with_on()
    changed = [all_off.but(**{n: level}) for n in factors.names for level in of[n] if level != OFF]
    return [all_off, *changed, factors.with_off()]


def ends(factors: Factors, levels: Levels | None = None) -> list[Arm]:
    """All on and all off."""
    return [factors.with_off(), factors.with_on()]


def gate_aware(factors: Factors, levels: Levels | None = None) -> list[Arm]:
    """All main effects, interactions and Shapley values of the factorial from a part of its arms.

    It assumes what the factors declare of their mechanism: with a sealing one off no update is made; with a masking one
    off rollouts show the first policy whatever is learned. These are its assumed gates, and its controls test them. The
    free factors are crossed with all gates open. With a masking gate closed those of them are crossed that change more
    than what is reported, and once all are off. With a sealing gate closed there are controls only: each closed alone,
    each closed with the free fixes off, the first two other fixes alone, all off. What is assumed for the other arms,
    and how the controls test it: `stats/assumed_arms.py`.
    """
    free, masking, sealing = factors.free, factors.masking, factors.sealing
    all_on = factors.with_off()
    inside = [all_on.but(**dict(zip(free, own, strict=True))) for own in product((ON, OFF), repeat=len(free))]
    crossed = [name for name in free if name not in factors.only_reported]
    subsets = [s for size in range(len(crossed) + 1) for s in combinations(crossed, size)]
    masked = [
        arm
        for gate in masking
        for arm in (*(factors.with_off(gate, *s) for s in subsets), factors.with_off(gate, *free))
    ]
    others = [name for name in factors.names if name not in sealing]
    sealed = [
        *(factors.with_off(gate) for gate in sealing),
        *(factors.with_on(*masking, *(s for s in sealing if s != gate)) for gate in sealing),
        factors.with_on(*others[:2]),
        factors.with_on(),
    ]
    return list(dict.fromkeys([*inside, *masked, *sealed]))


def screening(factors: Factors, levels: Levels | None = None) -> list[Arm]:
    """A fraction of the factorial of resolution IV or more, as small as it gets: no main effect is mixed with another
    or with a two-way interaction.

    The base factors are crossed in full; each other one is the product of an odd number of them, at least three, so
    that every word of the defining relation is even (Box, Hunter & Hunter, Statistics for Experimenters, ch. 6). Where
    it is possible, no main effect is mixed with the interaction of all gates, which is large when they are gates.
    """
    names = [*factors.gates, *factors.free]
    size = next(p for p in range(1, len(names) + 1) if len(names) <= max(2 ** (p - 1), p if p < 4 else 0))
    base, derived = names[:size], names[size:]
    odd = [c for n in range(3, size + 1, 2) for c in combinations(base, n)]
    found = _generators(derived, odd, set(factors.gates))
    arms = []
    for signs_of_base in product((1, -1), repeat=size):
        sign = dict(zip(base, signs_of_base, strict=True))
        sign |= {name: prod(sign[b] for b in generator) for name, generator in found.items()}
        arms.append(Arm(tuple((n, ON if sign[n] > 0 else OFF) for n in factors.names)))
    return arms


def _generators(derived: Sequence[str], odd: Sequence[tuple[str, ...]], gates: set[str]) -> dict[str, tuple[str, ...]]:
    """For each derived factor another product; of the choices, the first that keeps main effects clear of the gates."""
    choices = list(combinations(odd, len(derived)))
    for chosen in choices:
        found = dict(zip(derived, chosen, strict=True))
        words = [{name, *generator} for name, generator in found.items()]
        relation = [_product(some) for n in range(1, len(words) + 1) for some in combinations(words, n)]
        if not any(gates < word and len(word) == len(gates) + 1 for word in relation):
            return found
    return dict(zip(derived, choices[0], strict=True))


def _product(words: Sequence[set[str]]) -> set[str]:
    """Of columns of signs: what stands in an even number of words cancels."""
    out: set[str] = set()
    for word in words:
        out ^= word
    return out


def _levels(factors: Factors, levels: Levels | None) -> dict[str, Sequence[str]]:
    return {name: (levels or {}).get(name, (ON, OFF)) for name in factors.names}


DESIGNS: dict[str, Callable[[Factors, Levels | None], list[Arm]]] = {
    "full_factorial": full_factorial,
    "leave_one_out": leave_one_out,
    "one_at_a_time": one_at_a_time,
    "screening": screening,
    "gate_aware": gate_aware,
    "smoke": ends,
}


def named_design(factors: Factors, arms: Sequence[Arm]) -> str | None:
    """The name of the design that has exactly these arms. The factorial, which doubles with each factor, is enumerated
    only where the number of arms is right."""
    for name, make in DESIGNS.items():
        if make is full_factorial and len(set(arms)) != 2 ** len(factors):
            continue
        if make is gate_aware and len(set(arms)) < 2 ** len(factors.free):
            continue
        if set(make(factors, None)) == set(arms):
            return name
    return None


def design(name: str, factors: Factors, levels: Levels | None = None) -> list[Arm]:
    """The arms of a named design. Raises ConfigError for an unknown name."""
    if name not in DESIGNS:
        raise ConfigError(f"No design is called {name!r}.{closest(name, DESIGNS)} Designs: {', '.join(DESIGNS)}.")
    return DESIGNS[name](factors, levels)


def listed(factors: Factors, on: Sequence[Sequence[str]]) -> list[Arm]:
    """A design of one's own: per arm the fixes that are on. Raises ConfigError for a name that is no factor."""
    for name in (name for arm in on for name in arm):
        if name not in factors.names:
            raise ConfigError(
                f"hydra.sweeper.arms names {name!r}, which is no factor of this sweep.{closest(name, factors.names)} "
                f"Factors: {', '.join(factors.names)}."
            )
    return list(dict.fromkeys(factors.with_on(*arm) for arm in on))


def restrict(arms: list[Arm], levels: Mapping[str, tuple[str, ...]]) -> list[Arm]:
    """The arms whose level of each named factor is among the given ones, in their order."""
    kept = [a for a in arms if all(a.level(f) in allowed for f, allowed in levels.items())]
    if not kept:
        wish = ", ".join(f"fix/{f}={','.join(allowed)}" for f, allowed in levels.items())
        raise ConfigError(f"No arm of this design has {wish}. Drop the override or choose +ablation=all.")
    return kept


def signs(arms: Sequence[Arm], *factors: str) -> tuple[int, ...]:
    """Per arm the product of +1 (on) and -1 (off) over the factors: the column of an effect."""
    return tuple(prod(1 if arm.level(f) == ON else -1 for f in factors) for arm in arms)


def aliases(arms: Sequence[Arm], effect: tuple[str, ...], order: int = 3) -> list[tuple[int, tuple[str, ...]]]:
    """The other effects of up to `order` factors with the column of `effect` or its negative, and the sign.

    What a design estimates as `effect` is its sum with these.
    """
    column = signs(arms, *effect)
    minus = tuple(-c for c in column)
    found = []
    for size in range(1, order + 1):
        for other in combinations(arms[0].factors, size):
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
        for effect in combinations(arms[0].factors, size):
            others = [f"{'−' if sign < 0 else ''}{' × '.join(o)}" for sign, o in aliases(arms, effect)]
            if others:
                lines.append(f"{' × '.join(effect)} = {', '.join(others)}")
    return lines or ["No effect of up to three factors is mixed with another."]


def resolution(arms: Sequence[Arm]) -> int | None:
    """The length of the shortest word of the defining relation: the fewest factors whose product is constant over the
    arms. None for a full factorial, which has none."""
    for size in range(1, len(arms[0].factors) + 1):
        for word in combinations(arms[0].factors, size):
            if len(set(signs(arms, *word))) == 1:
                return size
    return None


def is_orthogonal(arms: Sequence[Arm]) -> bool:
    """Whether every factor has the levels on and off evenly, and every pair of factors is crossed evenly."""
    if not arms or any(level not in (ON, OFF) for arm in arms for _, level in arm.levels):
        return False
    names = arms[0].factors
    return all(sum(signs(arms, f)) == 0 for f in names) and all(
        sum(signs(arms, *pair)) == 0 for pair in combinations(names, 2)
    )
