"""Effects as linear contrasts over arms: effect = Σ weight × mean reward of the arm.

main           mean over all combinations of the other five fixes of (f on − f off)
leave_one_out  all_on − all_on without f
added_alone    f alone − all_off; flat by construction where a gate stays closed
interaction    how much more f adds where g is on: (on,on) − (off,on) − (on,off) + (off,off), mean over the rest
shapley        f's fair share of all_on − all_off (shapley.py)

A design that cannot answer one of them says so in `problem`; a note says what an answer rests on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from harness.designs import aliases, full_factorial, is_orthogonal, signs
from harness.factors import FACTORS, LEVELS, Arm
from harness.stats import gates
from harness.stats.shapley import shapley_weights

KINDS = ("main", "leave_one_out", "added_alone", "interaction", "shapley")
Array = np.ndarray
ASSUMES = "assumes that sealed gates are sealed (see gate_checks)"
BEHIND = "flat by construction: exploration or logprobs is off in both arms, so neither of them trains"


@dataclass(frozen=True)
class Contrast:
    """weights_A: one number per arm; all zero where `problem` says why there is no answer."""

    kind: str
    factors: tuple[str, ...]
    weights_A: Array
    note: str = ""
    problem: str = ""
    aliases: tuple[str, ...] = ()  # what a fraction of the factorial adds to this effect, inseparably
    partial: bool = False  # some combinations are left out, since their runs are INVALID or missing


def all_contrasts(arms: Sequence[Arm], usable: Sequence[bool]) -> list[Contrast]:
    """Every effect of every kind, answered or not. usable: arms with a counted run in every kept seed."""
    pairs = list(combinations(FACTORS, 2))
    filled = None if _is_crossed(arms) else gates.fill(arms, usable)
    return [
        *(_factorial("main", (f,), arms, usable, filled) for f in FACTORS),
        *(_two_arms("leave_one_out", f, arms, Arm.with_off(), Arm.with_off(f)) for f in FACTORS),
        *(_two_arms("added_alone", f, arms, Arm.with_on(f), Arm.with_on()) for f in FACTORS),
        *(_factorial("interaction", p, arms, usable, filled) for p in pairs),
        *(_shapley(f, arms, filled) for f in FACTORS),
    ]


def _two_arms(kind: str, factor: str, arms: Sequence[Arm], plus: Arm, minus: Arm) -> Contrast:
    weights = np.zeros(len(arms))
    for arm, sign in ((plus, 1.0), (minus, -1.0)):
        if arm not in arms:
            return Contrast(kind, (factor,), weights, problem=f"{arm.name} is not in this design")
        weights[list(arms).index(arm)] = sign
    return Contrast(kind, (factor,), weights, note=BEHIND if gates.is_sealed(plus) and gates.is_sealed(minus) else "")


def _factorial(
    kind: str,
    factors: tuple[str, ...],
    arms: Sequence[Arm],
    usable: Sequence[bool],
    filled: tuple[Array, str] | None,
) -> Contrast:
    """A main effect or a two-way interaction, as the full factorial defines it."""
    if _is_crossed(arms):
        return _over_cells(kind, factors, arms, usable)
    if filled is not None:
        rows, missing = filled
        if missing:
            return Contrast(kind, factors, np.zeros(len(arms)), problem=missing)
        column = np.array(signs(full_factorial(), *factors)) * (2 ** len(factors) / len(rows))
        return Contrast(kind, factors, column @ rows, note=ASSUMES)
    if is_orthogonal(arms):
        mixed = tuple(f"{'−' if s < 0 else ''}{' × '.join(o)}" for s, o in aliases(arms, factors))
        column = np.array(signs(arms, *factors)) * (2 ** len(factors) / len(arms))
        return Contrast(kind, factors, column, f"mixed with {', '.join(mixed)}" if mixed else "", aliases=mixed)
    what = "main effect" if kind == "main" else "interaction"
    return Contrast(kind, factors, np.zeros(len(arms)), problem=f"this design identifies no {what}")


def _over_cells(kind: str, factors: tuple[str, ...], arms: Sequence[Arm], usable: Sequence[bool]) -> Contrast:
    """Mean over the combinations of the other factors in which every needed arm is usable."""
    cells: dict[tuple[str, ...], list[int]] = {}
    for i, arm in enumerate(arms):
        cells.setdefault(tuple(arm.level(f) for f in FACTORS if f not in factors), []).append(i)
    weights = np.zeros(len(arms))
    whole = [c for c in cells.values() if len(c) == 2 ** len(factors) and all(usable[i] for i in c)]
    if any(len(c) < 2 ** len(factors) for c in cells.values()):
        fixed = [f for f in factors if len({a.level(f) for a in arms}) == 1]
        return Contrast(kind, factors, weights, problem=f"{' and '.join(fixed)} has one level in this sweep")
    if not whole:
        return Contrast(kind, factors, weights, problem="no combination of the other fixes has all its arms valid")
    column = signs(arms, *factors)
    for i in (i for c in whole for i in c):
        weights[i] = column[i] / len(whole)
    notes = [f"{f} is {arms[0].level(f)} throughout" for f in FACTORS if len({a.level(f) for a in arms}) == 1]
    if len(whole) < len(cells):
        notes.append(f"over {len(whole)} of {len(cells)} combinations, the others have INVALID or missing runs")
    return Contrast(kind, factors, weights, note="; ".join(notes), partial=len(whole) < len(cells))


def _shapley(factor: str, arms: Sequence[Arm], filled: tuple[Array, str] | None) -> Contrast:
    whole = full_factorial()
    if set(arms) == set(whole):
        return Contrast("shapley", (factor,), shapley_weights(arms, factor))
    if filled is None or filled[1]:
        why = filled[1] if filled else "this design does not hold every combination of the fixes"
        return Contrast("shapley", (factor,), np.zeros(len(arms)), problem=why)
    return Contrast("shapley", (factor,), shapley_weights(whole, factor) @ filled[0], note=ASSUMES)


def _is_crossed(arms: Sequence[Arm]) -> bool:
    """Whether the arms are every combination of the factors that vary, and at least two vary."""
    varied = sum({a.level(f) for a in arms} == set(LEVELS) for f in FACTORS)
    return varied >= 2 and len(set(arms)) == 2**varied
