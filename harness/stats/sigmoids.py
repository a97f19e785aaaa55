"""Sigmoid fits of reward against step, where a curve has enough points to tell one from a line."""

from dataclasses import dataclass

import numpy as np

from harness.stats.outcomes import Outcomes

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
        seeds = outcomes.counts("area")[i]
        if seeds.any():
            curve = np.nanmean(outcomes.rewards_A_N_S_T[i][seeds], axis=(0, 2))
            if np.ptp(curve) >= RISE:
                out.append(fit(arm.name, np.array(outcomes.steps, dtype=float), curve))
    return tuple(out)


def fit(arm: str, steps: np.ndarray, rewards: np.ndarray) -> Sigmoid:
    """Least squares: low and span in closed form on a grid of middles and widths, so always the same answer."""
    length = steps[-1] - steps[0]
    middles, widths = np.linspace(steps[0], steps[-1], 61), np.geomspace(length / 60, length / 2, 25)
    middle_G, width_G = (grid.ravel() for grid in np.meshgrid(middles, widths, indexing="ij"))
    shape_G_S = 1 / (1 + np.exp(-np.clip((steps - middle_G[:, None]) / width_G[:, None], -50, 50)))
    centred = shape_G_S - shape_G_S.mean(axis=1, keepdims=True)
    size = (centred**2).sum(axis=1)
    span_G = np.divide(centred @ rewards, size, out=np.zeros_like(size), where=size > 1e-12)
    low_G = rewards.mean() - span_G * shape_G_S.mean(axis=1)
    misses = low_G[:, None] + span_G[:, None] * shape_G_S - rewards
    residual_G = np.sqrt((misses**2).mean(axis=1))
    ends = np.stack([low_G, low_G + span_G])
    inside = ((ends >= -0.05) & (ends <= 1.05)).all(axis=0)
    # Rounded, so that the first of several equally good fits is taken on every machine.
    best = int(np.argmin(np.where(inside, residual_G.round(9), np.inf)))
    found = (low_G, span_G, middle_G, width_G, residual_G)
    return Sigmoid(arm, *(float(values[best]) for values in found))
