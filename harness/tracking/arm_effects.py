"""What a run's arm does to the reward, for its W&B summary. A property of the sweep: it is known when that has ended.

    vs_all_on/last, area    the run's reward minus that of all_on with the same seed and block; vs_all_off/* likewise
    effect/fix, final, low, high, verdict    of an arm with one fix off: what is lost with it, as effects.json has it

The first is a plain difference of two runs and judges nothing; a mean over the seeds of an arm is W&B's to take. The
second is the report's leave-one-out effect, the same for all seeds of the arm, of the main block alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from harness.factors import OFF, ON
from harness.records.json_files import read_object
from harness.records.load import RecordedRun, SweepRecords
from harness.report.arm_rows import area

ENDS = "all_on", "all_off"  # arms
LEAVE_ONE_OUT = "leave_one_out"
Curve = list[tuple[int, float]]  # step, reference reward


def run_effects(sweep: SweepRecords) -> dict[str, dict[str, Any]]:
    """What is known, by run name. Of runs that have not completed, or are INVALID: nothing."""
    counted = [run for run in sweep.with_controls.runs if run.state == "completed" and run.valid]
    ends = {(run.arm, run.block, run.seed): run for run in counted if run.arm in ENDS}
    judged = dict(arm_effects(read_effects(sweep)))
    found: dict[str, dict[str, Any]] = {}
    for run in counted:
        own: dict[str, Any] = {}
        for end in ENDS:
            if end != run.arm and (other := ends.get((end, run.block, run.seed))):
                own |= _against(end, curve_of(run), curve_of(other))
        if run.block == sweep.main_block and (off := _one_switched(run.levels)):
            own |= judged.get(off, {})
        found[run.name] = own
    return {name: own for name, own in found.items() if own}


def read_effects(sweep: SweepRecords) -> Mapping[str, Any]:
    """effects.json of the sweep's folder; {} where there is no report yet."""
    return read_object(sweep.folder / "effects.json")


def curve_of(run: RecordedRun) -> Curve:
    return [(v.step, v.reference) for v in run.validations if v.reference is not None]


def _against(end: str, curve: Curve, other: Curve) -> dict[str, float]:
    """Nothing where the two were not validated at the same steps."""
    if not curve or [step for step, _ in curve] != [step for step, _ in other]:
        return {}
    difference = {f"vs_{end}/last": curve[-1][1] - other[-1][1]}
    own, others = area(curve), area(other)
    return difference if own is None or others is None else difference | {f"vs_{end}/area": own - others}


def arm_effects(effects: Mapping[str, Any]) -> Iterator[tuple[tuple[str, str], dict[str, Any]]]:
    """((factor, the level it has in place of `on`), what is said of it)."""
    for each in effects.get("effects") or ():
        if (each["kind"], each["outcome"]) == (LEAVE_ONE_OUT, "final"):
            factor, _, level = each["factors"][0].partition("=")
            said = {"fix": each["factors"][0], "final": each["value"], "verdict": each["verdict"]}
            said |= {bound: each[bound] for bound in ("low", "high")}
            yield (factor, level or OFF), {f"effect/{key}": value for key, value in said.items() if value is not None}


def _one_switched(levels: Mapping[str, str]) -> tuple[str, str] | None:
    """(factor, level) of an arm that differs from all_on in one factor."""
    switched = [(factor, level) for factor, level in levels.items() if level != ON]
    return switched[0] if len(switched) == 1 else None
