"""The factorial's arms from those of the gate-aware design, and the test of what that assumes.

Assumption 1, sealed arms: where a factor declares that its level takes no gradient step, the weights stay those of
step 0, so all these arms have one and the same reference reward, which the mean of the sealed controls estimates.
Assumption 2, behind a masking gate (rollouts of the first policy): a factor that changes only what is reported does not
change the reference reward, so the arms with its other level are the same. Nothing is assumed of the others there: the
trainer still moves the adapter, and the reference validation sees it.
The controls test both. Where they refute them, the effects that rest on them are not answered. Whether a factor *is* a
gate is therefore a result of a sweep, never a constant.
"""

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np

from harness.designs import full_factorial
from harness.factors import OFF, ON, Arm, Factors, differ_in

Array = np.ndarray


def fill(factors: Factors, arms: Sequence[Arm], usable: Sequence[bool]) -> tuple[Array, str] | None:
    """(all arms, A) weights that make every arm of the factorial out of the usable ones, and what is missing.

    None where the design is not gate-aware: not all arms inside the open gates, or no control behind one of them. The
    text is empty, or names the cell that has no usable arm; its row is NaN then.
    """
    if not _is_gate_aware(factors, arms):
        return None
    rows, problem = [], ""
    for wanted in full_factorial(factors):
        stands_for = [u and _stands_for(factors, a, wanted) for a, u in zip(arms, usable, strict=True)]
        if not any(stands_for):
            problem = problem or f"no usable arm stands for {wanted.name}"
            rows.append(np.full(len(arms), np.nan))
        else:
            rows.append(np.array(stands_for) / sum(stands_for))
    return np.array(rows), problem


def checks(factors: Factors, arms: Sequence[Arm], usable: Sequence[bool]) -> list[tuple[str, Array]]:
    """(what is compared, (A,) contrast) for each comparison that is zero if the assumptions hold."""
    present = [i for i, u in enumerate(usable) if u]
    out = []
    sealed = [i for i in present if factors.no_update(arms[i])]
    for i in sealed if len(sealed) > 1 else []:
        weights = np.zeros(len(arms))
        weights[sealed] = -1 / (len(sealed) - 1)
        weights[i] = 1.0
        out.append((f"{arms[i].name} against the other sealed arms", weights))
    for i, j in combinations(present, 2):
        apart = differ_in(arms[i], arms[j])
        if all(_is_masked(factors, arms[k]) for k in (i, j)) and set(apart) <= set(factors.only_reported):
            weights = np.zeros(len(arms))
            weights[i], weights[j] = 1.0, -1.0
            out.append((f"{arms[i].name} against {arms[j].name}", weights))
    return out


def _is_gate_aware(factors: Factors, arms: Sequence[Arm]) -> bool:
    if not factors.gates:
        return False
    free = factors.free
    inside = {
        factors.with_off().but(**dict(zip(free, own, strict=True))) for own in product((ON, OFF), repeat=len(free))
    }
    return inside <= set(arms) and all(any(a.level(g) == OFF for a in arms) for g in factors.gates)


def _stands_for(factors: Factors, arm: Arm, wanted: Arm) -> bool:
    if factors.no_update(wanted):
        return factors.no_update(arm)
    if _is_masked(factors, wanted):
        return _is_masked(factors, arm) and set(differ_in(arm, wanted)) <= set(factors.only_reported)
    return arm == wanted


def _is_masked(factors: Factors, arm: Arm) -> bool:
    """Whether its rollouts are the first policy's although it trains."""
    return factors.first_policy(arm) and not factors.no_update(arm)
