"""Effects as linear contrasts over arms: effect = Σ weight × mean reward of the arm.

main           mean over all combinations of the other fixes of (f on − f off)
leave_one_out  all_on − all_on without f
added_alone    f alone − all_off; flat by construction where a gate stays closed
interaction    how much more f adds where g is on: (on,on) − (off,on) − (on,off) + (off,off), mean over the rest
shapley        f's fair share of all_on − all_off (shapley.py)

A design that cannot answer one of them says so in `problem`; a note says what an answer rests on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from math import prod

import numpy as np

from harness.designs import aliases, full_factorial, is_orthogonal, signs
from harness.factors import OFF, ON, Arm, Factors
from harness.stats import assumed_arms
from harness.stats.shapley import shapley_weights

KINDS = ("main", "leave_one_out", "added_alone", "interaction", "shapley")
Array = np.ndarray
ASSUMES = "assumes that sealed gates are sealed (see gate_checks)"
BEHIND = "flat by construction: neither arm takes a gradient step"


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


@dataclass(frozen=True)
class Switch:
    """Two levels of a factor that an effect compares: `plus` against `minus`."""

    factor: str
    plus: str = ON
    minus: str = OFF

    @property
    def name(self) -> str:
        """The factor, or `reward=mine` for a level beyond on and off."""
        return self.factor if self.plus == ON else f"{self.factor}={self.plus}"


def switches(factors: Factors, arms: Sequence[Arm]) -> list[Switch]:
    """On against off of every factor, and each further level that some arm has against the baseline: off where the
    sweep has it, else on."""
    out = []
    for name in factors.names:
        there = dict.fromkeys(arm.level(name) for arm in arms)
        further = [level for level in there if level not in (ON, OFF)]
        out += [Switch(name), *(Switch(name, level, OFF if OFF in there else ON) for level in further)]
    return out


def all_contrasts(
    factors: Factors, arms: Sequence[Arm], usable: Sequence[bool], still: Sequence[bool]
) -> list[Contrast]:
    """Every effect of every kind, answered or not. usable: arms with a counted run in every kept seed; still: arms that
    take no gradient step."""
    of, all_on, all_off = switches(factors, arms), factors.with_off(), factors.with_on()
    pairs = [(a, b) for a, b in combinations(of, 2) if a.factor != b.factor]
    filled = None if _is_crossed(arms) else assumed_arms.fill(factors, arms, usable)
    alone = partial(_two_arms, arms, still)
    return [
        *(_factorial("main", (s,), arms, usable, filled, factors) for s in of),
        *(alone("leave_one_out", s, all_on, all_on.but(**{s.factor: OFF if s.plus == ON else s.plus})) for s in of),
        *(alone("added_alone", s, all_off.but(**{s.factor: s.plus}), all_off) for s in of),
        *(_factorial("interaction", p, arms, usable, filled, factors) for p in pairs),
        *(_shapley(s, arms, filled, factors) for s in of),
    ]


def _two_arms(arms: Sequence[Arm], still: Sequence[bool], kind: str, switch: Switch, plus: Arm, minus: Arm) -> Contrast:
    weights, names = np.zeros(len(arms)), (switch.name,)
    for arm, sign in ((plus, 1.0), (minus, -1.0)):
        if arm not in arms:
            return Contrast(kind, names, weights, problem=f"{arm.name} is not in this design")
        weights[list(arms).index(arm)] = sign
    notes = [BEHIND] if all(still[list(arms).index(a)] for a in (plus, minus)) else []
    if switch.plus != ON:
        notes.append(f"{plus.level(switch.factor)} against {minus.level(switch.factor)}")
    return Contrast(kind, names, weights, note="; ".join(notes))


def _factorial(
    kind: str,
    of: tuple[Switch, ...],
    arms: Sequence[Arm],
    usable: Sequence[bool],
    filled: tuple[Array, str] | None,
    factors: Factors,
) -> Contrast:
    """A main effect or a two-way interaction, as the full factorial defines it."""
    names, plain = tuple(s.name for s in of), tuple(s.factor for s in of)
    if _is_crossed(arms):
        return _over_cells(kind, of, arms, usable)
    if filled is not None and all(s.plus == ON for s in of):
        rows, missing = filled
        if missing:
            return Contrast(kind, names, np.zeros(len(arms)), problem=missing)
        column = np.array(signs(full_factorial(factors), *plain)) * (2 ** len(of) / len(rows))
        return Contrast(kind, names, column @ rows, note=ASSUMES)
    if is_orthogonal(arms):
        mixed = tuple(f"{'−' if s < 0 else ''}{' × '.join(o)}" for s, o in aliases(arms, plain))
        column = np.array(signs(arms, *plain)) * (2 ** len(of) / len(arms))
        return Contrast(kind, names, column, f"mixed with {', '.join(mixed)}" if mixed else "", aliases=mixed)
    what = "main effect" if kind == "main" else "interaction"
    return Contrast(kind, names, np.zeros(len(arms)), problem=f"this design identifies no {what}")


def _over_cells(kind: str, of: tuple[Switch, ...], arms: Sequence[Arm], usable: Sequence[bool]) -> Contrast:
    """Mean over the combinations of the other factors in which every needed arm is usable."""
    names, own = tuple(s.name for s in of), {s.factor: s for s in of}
    weights = np.zeros(len(arms))
    cells: dict[tuple[str, ...], list[int]] = {}
    for i, arm in enumerate(arms):
        if all(arm.level(f) in (s.plus, s.minus) for f, s in own.items()):
            cells.setdefault(tuple(level for f, level in arm.levels if f not in own), []).append(i)
    whole = [c for c in cells.values() if len(c) == 2 ** len(of) and all(usable[i] for i in c)]
    if not cells or any(len(c) < 2 ** len(of) for c in cells.values()):
        fixed = [f for f, s in own.items() if not {s.plus, s.minus} <= {a.level(f) for a in arms}]
        return Contrast(kind, names, weights, problem=f"{' and '.join(fixed)} has one level in this sweep")
    if not whole:
        return Contrast(kind, names, weights, problem="no combination of the other fixes has all its arms valid")
    for i in (i for c in whole for i in c):
        weights[i] = prod(1 if arms[i].level(f) == s.plus else -1 for f, s in own.items()) / len(whole)
    notes = [f"{f} is {arms[0].level(f)} throughout" for f in arms[0].factors if len({a.level(f) for a in arms}) == 1]
    notes += [f"{s.name} against {s.minus}" for s in of if s.plus != ON]
    if len(whole) < len(cells):
        notes.append(f"over {len(whole)} of {len(cells)} combinations, the others have INVALID or missing runs")
    return Contrast(kind, names, weights, note="; ".join(notes), partial=len(whole) < len(cells))


def _shapley(switch: Switch, arms: Sequence[Arm], filled: tuple[Array, str] | None, factors: Factors) -> Contrast:
    names = (switch.name,)
    if switch.plus != ON:
        return Contrast("shapley", names, np.zeros(len(arms)), problem="a Shapley share is of on against off")
    if len(set(arms)) == 2 ** len(factors) and _is_crossed(arms):
        return Contrast("shapley", names, shapley_weights(arms, switch.factor))
    if filled is None or filled[1]:
        why = filled[1] if filled else "this design does not hold every combination of the fixes"
        return Contrast("shapley", names, np.zeros(len(arms)), problem=why)
    return Contrast("shapley", names, shapley_weights(full_factorial(factors), switch.factor) @ filled[0], note=ASSUMES)


def _is_crossed(arms: Sequence[Arm]) -> bool:
    """Whether the arms are every combination of the levels that are there, and at least two factors vary."""
    if not arms:  # every arm is a negative control
        return False
    there = [{arm.level(f) for arm in arms} for f in arms[0].factors]
    return sum(len(levels) > 1 for levels in there) >= 2 and len(set(arms)) == prod(len(levels) for levels in there)
