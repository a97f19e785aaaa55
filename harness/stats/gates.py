"""The factorial's 64 arms from the 19 of the gate-aware design, and the test of what that assumes.

Assumption 1, sealed gates: with exploration or logprobs off no gradient step is taken (groups without spread
are dropped; no token is trainable). The weights stay those of step 0, so all these arms have one and the same
reference reward, which the mean of the sealed controls estimates.
Assumption 2, the split behind the closed endpoint: `split` does not change the reference reward there, so the
arms with split off are what the arms with split on are. (Nothing is assumed of tools and reward there: with
endpoint off the trainer still moves the adapter, and the reference ruler sees it.)
The controls test both. Where they refute them, the effects that rest on them are not answered.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

from harness.designs import GATES, SEALED, full_factorial
from harness.factors import Arm

Array = np.ndarray
FREE = ("tools", "reward", "split")


def is_sealed(arm: Arm) -> bool:
    return any(arm.level(gate) == "off" for gate in SEALED)


def fill(arms: Sequence[Arm], usable: Sequence[bool]) -> tuple[Array, str] | None:
    """(64, A) weights that make every arm of the factorial out of the usable ones, and what is missing.

    None where the design is not gate-aware: not all 8 arms inside the open gates, or no control behind one of
    the gates. The text is empty, or names the cell that has no usable arm; its row is NaN then.
    """
    if not _is_gate_aware(arms):
        return None
    rows, problem = [], ""
    for wanted in full_factorial():
        stands_for = [u and _stands_for(a, wanted) for a, u in zip(arms, usable, strict=True)]
        if not any(stands_for):
            problem = problem or f"no usable arm stands for {wanted.name}"
            rows.append(np.full(len(arms), np.nan))
        else:
            rows.append(np.array(stands_for) / sum(stands_for))
    return np.array(rows), problem


def checks(arms: Sequence[Arm], usable: Sequence[bool]) -> list[tuple[str, Array]]:
    """(what is compared, (A,) contrast) for each comparison that is zero if the assumptions hold."""
    present = [i for i, u in enumerate(usable) if u]
    out = []
    sealed = [i for i in present if is_sealed(arms[i])]
    for i in sealed if len(sealed) > 1 else []:
        weights = np.zeros(len(arms))
        weights[sealed] = -1 / (len(sealed) - 1)
        weights[i] = 1.0
        out.append((f"{arms[i].name} against the other sealed arms", weights))
    for i, j in combinations(present, 2):
        if all(_behind_endpoint(arms[k]) for k in (i, j)) and _differ_in(arms[i], arms[j]) == ("split",):
            weights = np.zeros(len(arms))
            weights[i], weights[j] = 1.0, -1.0
            out.append((f"{arms[i].name} against {arms[j].name}", weights))
    return out


def _is_gate_aware(arms: Sequence[Arm]) -> bool:
    everything = dict.fromkeys(("endpoint", "tools", "exploration", "reward", "logprobs", "split"), "on")
    inside = {Arm.of(everything | dict(zip(FREE, levels, strict=True))) for levels in product(("on", "off"), repeat=3)}
    return inside <= set(arms) and all(any(a.level(g) == "off" for a in arms) for g in GATES)


def _stands_for(arm: Arm, wanted: Arm) -> bool:
    if is_sealed(wanted):
        return is_sealed(arm)
    if _behind_endpoint(wanted):
        return _behind_endpoint(arm) and set(_differ_in(arm, wanted)) <= {"split"}
    return arm == wanted


def _behind_endpoint(arm: Arm) -> bool:
    return arm.level("endpoint") == "off" and not is_sealed(arm)


def _differ_in(one: Arm, other: Arm) -> tuple[str, ...]:
    return tuple(f for f in one.as_dict if one.level(f) != other.level(f))
