"""Sigmoid fits of reward against step, where a curve has enough points to tell one from a line."""

from dataclasses import dataclass

import numpy as np

from harness.analysis.outcomes import Outcomes

POINTS = 5  # a sigmoid has four parameters
RISE = 0.1  # a curve that moves less than this has no middle to speak of


@dataclass(frozen=True)
class Sigmoid:
    """reward(step) = low + span / (1 + exp(-(step - middle) / width)); residual: root mean square error."""

    arm: str
    low: float
    span: float
    middle: float
    width: float
    residual: float


def sigmoids(outcomes: Outcomes) -> tuple[Sigmoid, ...]:
    """One per arm whose mean curve has at least 5 validations and moves by at least 0.1; else none."""
    if len(outcomes.steps) < POINTS:
        return ()
    out = []
    for i, arm in enumerate(outcomes.arms):
        seeds = outcomes.counted_A_N[i]
        if seeds.any():
            curve = np.nanmean(outcomes.rewards_A_N_S_T[i][seeds], axis=(0, 2))
            if np.ptp(curve) >= RISE:
                out.append(fit(arm.name, np.array(outcomes.steps, dtype=float), curve))
    return tuple(out)


def fit(arm: str, steps: np.ndarray, rewards: np.ndarray) -> Sigmoid:
    """Least squares: low and span in closed form on a grid of middles and widths, so always the same answer."""
    length = steps[-1] - steps[0]
    best: Sigmoid | None = None
    for middle in np.linspace(steps[0], steps[-1], 61):
        for width in np.geomspace(length / 60, length / 2, 25):
            shape = 1 / (1 + np.exp(-np.clip((steps - middle) / width, -50, 50)))
            columns = np.stack([np.ones_like(shape), shape], axis=1)
            (low, span), *_ = np.linalg.lstsq(columns, rewards, rcond=None)
            residual = float(np.sqrt(np.mean((columns @ (low, span) - rewards) ** 2)))
            inside = -0.05 <= low <= 1.05 and -0.05 <= low + span <= 1.05
            if inside and (best is None or residual < best.residual - 1e-9):
                best = Sigmoid(arm, float(low), float(span), float(middle), float(width), residual)
    assert best is not None, "a flat fit (span 0) is always inside"
    return best
