"""What effects would be, were INVALID runs what they are named after.

An INVALID run is left out with its seed, and no bound can be given: it is another arm than its name says. But whether
a check fails may depend on how the run went. A run that breaks can look like one that another policy answered, and a
check may err. So the effect with these runs in stands beside the one without. No verdict is made of it.
"""

from collections.abc import Mapping
from dataclasses import replace

from harness.records.load import SweepRecords
from harness.stats.measured import Measured, contrasts_of, measure
from harness.stats.outcomes import Outcomes, outcomes_of
from harness.stats.reward_range import DIFFERENCE, brackets

KINDS = ("leave_one_out", "main", "added_alone")
Estimate = tuple[float | None, int]  # of an effect on the final reward, and from how many seeds


def as_named(
    sweep: SweepRecords, outcomes: Outcomes, without: Mapping[tuple[str, tuple[str, ...]], Estimate]
) -> tuple[str, ...]:
    """A sentence on the final reward; none where no run is INVALID or no effect would be another.

    sweep: one block; without: by kind and factors, the effects that leave these runs out
    """
    if not any(x.why == "INVALID" for x in outcomes.left_out):
        return ()
    every = outcomes_of(replace(sweep, runs=tuple(replace(run, valid=True, invalid=()) for run in sweep.runs)))
    said = []
    for contrast in contrasts_of(every, "final"):
        estimate = without.get((contrast.kind, contrast.factors)) if contrast.kind in KINDS else None
        found = measure(every, contrast, "final")
        if estimate and not contrast.aliases and isinstance(found, Measured) and found.spread.seeds != estimate[1]:
            what = f"{' × '.join(contrast.factors)} ({contrast.kind.replace('_', ' ')})"
            said.append(f"{what} {_both(every, found, estimate[0])}")
    if not said:
        return ()
    return (f"Were INVALID runs what they are named after, effects on the final reward would be: {'; '.join(said)}.",)


def _both(every: Outcomes, found: Measured, without: float | None) -> str:
    low, high = found.judged(every).ends()
    interval = "" if low is None or high is None else f" {brackets(low, high, DIFFERENCE)}"
    instead = "no answer" if without is None else f"{without + 0.0:+.3f}"
    told = f"{found.spread.mean + 0.0:+.3f}{interval} over {found.spread.seeds} seeds instead of {instead}"
    return told.replace("-", "−")
