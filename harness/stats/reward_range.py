"""What an estimate can be at all, as rewards lie between 0 and 1, and an interval that is cut there for print.

An interval of intervals.py is symmetric about its estimate and knows of no bounds: with few seeds it may hold values
that no reward can have. Its ends stay as they are in effects.json and in every verdict; what is printed is cut, and an
arrow stands at an end that went on.
"""

from collections.abc import Sequence

import numpy as np

from harness.stats.outcomes import step_weights

BELOW, ABOVE = "←", "→"
CUT = f"{BELOW} and {ABOVE}: the interval goes on; it is cut where rewards, 0 to 1, end. Verdicts rest on all of it."
Range = tuple[float, float]
ARM: Range = (0.0, 1.0)  # a mean reward
DIFFERENCE: Range = (-1.0, 1.0)  # of two of them
Array = np.ndarray


def reach(weights_A: Array | Sequence[float], by_step_S: Array) -> Range:
    """The least and the largest value of a contrast of arms and steps."""
    ends = np.outer(weights_A, by_step_S)
    return float(np.minimum(ends, 0.0).sum()), float(np.maximum(ends, 0.0).sum())


def reach_of(kind: str, outcome: str, steps: Sequence[int]) -> Range:
    """Of an effect: a difference of mean rewards, or for an interaction a difference of such differences."""
    arms = (1.0, -1.0) * (2 if kind == "interaction" else 1)
    return reach(arms, step_weights(outcome, steps))


def is_cut(text: str) -> bool:
    return BELOW in text or ABOVE in text


def cut(low: float, high: float, within: Range) -> tuple[float, float, str, str]:
    """The two ends, no farther than the range, and an arrow for each that was."""
    least, most = within
    before = BELOW if low < least - 1e-9 else ""
    after = ABOVE if high > most + 1e-9 else ""
    return max(low, least), min(high, most), before, after


def brackets(low: float, high: float, within: Range) -> str:
    """`[-0.045, 1.000→]`, for a note."""
    low, high, before, after = cut(low, high, within)
    return f"[{before}{low:.3f}, {high:.3f}{after}]"
