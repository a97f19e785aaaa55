"""A run that was made anew, against its records: where a sweep has no store.

Nothing holds such a run on its rails. As long as each update has the name that was recorded, the replay had the same
state and the same batch, bit for bit, and all that follows from them is compared as it is. From the first other
name on only the distribution is the same: a difference in last digits grows with each update. There a validation is set
beside how much the seeds of the arm differ.
"""

import math
import statistics
from collections.abc import Mapping, Sequence

from harness.records.schema import Record, RunContent
from harness.replay.findings import DIFFERS, RUNS, SAME, UNJUDGED, WITHIN, Compared
from harness.replay.lines import contradictions, differences

# What a step counts; the rest of its line has last digits that the machine decides.
COUNTED = (
    *("reward", "raw_reward", "groups", "groups_with_spread", "rollouts", "missing"),
    *("trainable_tokens", "gradient_steps", "advanced_without_training"),
)
LEAST_SEEDS = 3
ONE_IN = 100  # of so many sound comparisons one is called different


def bit_for_bit(there: Sequence[Record], here: Sequence[Record], exact: bool) -> int:
    """The number of steps whose updates have the recorded names, from the first one on. A step without an update on
    both sides leaves the state as it was; what it sampled from it is the same in float32 alone."""
    steps = 0
    for one, other in zip(there, here, strict=False):
        if one.get("update") != other.get("update") or (one.get("update") is None and not exact):
            break
        steps += 1
    return steps


def compare_run(
    run: str, there: RunContent, here: RunContent, others: Sequence[Mapping[int, float]], exact: bool
) -> list[Compared]:
    """others: reference rewards by step of the arm's other seeds; exact: the policy answers in float32, where what the
    base policy does is the same on every machine but for ties."""
    same = bit_for_bit(there.steps, here.steps, exact)
    last = here.steps[-1]["step"] if here.steps else 0
    out = contradictions(run, there)
    steps = {line["step"]: line for line in here.steps}
    for line in there.steps[: max(same, 1 if exact else 0)]:
        if line["step"] in steps:
            told = [k for k in COUNTED if k in line]
            found = list(differences({k: line[k] for k in told}, steps[line["step"]]))
            verdict = DIFFERS if found else SAME if line["step"] <= same else WITHIN
            out.append(Compared(RUNS, f"{run}, step {line['step']}", verdict, "; ".join(found)))
    again = {line["step"]: line for line in here.validation}
    free = []  # validations that nothing but the distribution holds
    for line in there.validation:
        at = line["step"]
        if at not in again:
            if at <= last:
                out.append(Compared(RUNS, f"{run}, validation {at}", DIFFERS, "the replay makes no such validation"))
        elif at < same or (exact and at == 0):
            found = list(differences({"reference": line["reference"]}, again[at]))
            out.append(Compared(RUNS, f"{run}, validation {at}", DIFFERS if found else SAME, "; ".join(found[:3])))
        else:
            free.append(at)
    if free:
        out += _in_distribution(run, free, there, here, others)
    return out


def _in_distribution(
    run: str, steps: Sequence[int], there: RunContent, here: RunContent, others: Sequence[Mapping[int, float]]
) -> list[Compared]:
    """The last of these validations, and their mean, against the spread of the arm's seeds."""
    one, other = rewards(there), rewards(here)
    steps = [s for s in steps if s in one and s in other]
    out = []
    for name, of in (("last validation", steps[-1:]), ("mean of the validations", steps)):
        if not of or (name != "last validation" and len(of) == 1):
            continue
        place = f"{run}, {name} ({'step ' + str(of[0]) if len(of) == 1 else f'steps {of[0]} to {of[-1]}'})"
        values = [[each[s] for s in of] for each in (one, other, *others) if all(s in each for s in of)]
        means = [statistics.fmean(each) for each in values]
        gap = abs(means[0] - means[1])
        seeds = means[2:]  # without this one, whose records are in question
        both = f"{means[0]:.3f} there, {means[1]:.3f} here"
        if len(seeds) < LEAST_SEEDS:
            text = (
                f"{both}; {len(seeds)} other seed{'s' * (len(seeds) != 1)} of the arm cannot say how much it may differ"
            )
            out.append(Compared(RUNS, place, WITHIN if gap == 0 else UNJUDGED, text))
            continue
        allowed = _allowed(seeds, _tasks(there))
        text = f"{both}; two runs of the arm differ by less than {allowed:.3f} in 99 of 100 cases"
        out.append(Compared(RUNS, place, WITHIN if gap <= allowed else DIFFERS, text))
    return out


def rewards(content: RunContent) -> dict[int, float]:
    """Reference rewards by step."""
    found = {line["step"]: (line.get("reference") or {}).get("mean") for line in content.validation}
    return {step: mean for step, mean in found.items() if mean is not None}


def _tasks(content: RunContent) -> int:
    return max((len((line.get("reference") or {}).get("by_task") or {}) for line in content.validation), default=1)


def _allowed(seeds: Sequence[float], tasks: int) -> float:
    """By what two runs differ at most, one in ONE_IN excepted: Student's t, with the seeds' spread, and no less of it
    than one episode makes."""
    from scipy.special import stdtrit  # a quarter of a second that --help need not wait for

    spread = max(statistics.stdev(seeds), 1 / max(1, tasks))
    return float(stdtrit(len(seeds) - 1, 1 - 1 / (2 * ONE_IN))) * spread * math.sqrt(2)
