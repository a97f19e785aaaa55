"""How often few seeds find an effect that is not there, where runs take off or fail by chance.

Planted in results/calibration.md: each run of each arm fails with probability one half, and nothing else differs. Then
two or three runs of one kind may agree by luck in all seeds, and an interval over them knows nothing of the other kind.
The numbers are those of the cells "null, half of all runs collapse, alike otherwise", final reward;
tests/stats/test_by_chance.py holds them against that file.
"""

from harness.stats.unseen_failures import TWO_ARMS

# By seeds: the share of sweeps of leave_one_out with a significant effect (Holm over six fixes) where there is none.
WRONG = {2: 0.07, 3: 0.115, 4: 0.055, 5: 0.015}
ENOUGH = 5  # seeds from which on it is rare


def wrong_by_chance(kind: str, seeds: int) -> float | None:
    """None where it is rare, where it was not planted (means over many arms), and for one seed, whose intervals speak
    of that seed alone."""
    return WRONG.get(seeds) if kind in TWO_ARMS and seeds < ENOUGH else None
