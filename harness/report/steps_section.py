"""The section on how many steps an arm takes to reach a reward, and what cannot be said of arms that never do."""

from harness.report import effect_text, formats
from harness.report.sections import Grid, Section
from harness.stats.steps_to_threshold import CHOSEN, ArmSteps, StepsToThreshold
from harness.stats.sweep_statistics import SweepStatistics
from harness.stats.verdicts import no_interval

FEW = 5  # seeds; with fewer an interval over seeds is hardly more than a guess of the variance
MEANS = (
    "By: the validation at which a run first reached it, whether or not it stayed there; it may have been up to one "
    "validation earlier. Mean: up to the last step, with which a run counts that never got there. Slower: this mean "
    "minus that of all_on, seed by seed; ≥ where a longer sweep could only raise it. Brackets: 95 % over seeds "
    "(Student's t). p: Holm-corrected over the arms."
)


def steps_section(found: SweepStatistics) -> Section | None:
    steps = found.steps
    if not steps.arms or steps.threshold is None:
        return None
    source = "as the sweep was started (stats.threshold)" if steps.why == CHOSEN else steps.why
    return Section(
        "Steps to a threshold",
        (f"Steps until the reference reward reaches {formats.reward(steps.threshold)}: {source}.",),
        grids=(("", _grid(steps)),),
        notes=(MEANS, *_unsaid(steps)),
    )


def _grid(steps: StepsToThreshold) -> Grid:
    heads = ("arm", "reached", "by, each seed", "median", "mean", "slower than all_on", "p")
    return Grid(heads, tuple(_row(arm) for arm in steps.arms), "effects")


def _row(arm: ArmSteps) -> tuple[str, ...]:
    slower = arm.slower
    return (
        arm.arm,
        f"{arm.reached} of {len(arm.runs)}",
        " ".join(f">{run.after}" if run.by is None else str(run.by) for run in arm.runs),
        "not reached" if arm.median is None else f"{arm.median:g}",
        _estimate(f"{arm.mean:.1f}", arm.low, arm.high, len(arm.runs)),
        formats.NONE
        if slower is None
        else _estimate(_signed(slower.value, slower.at_least), slower.low, slower.high, slower.seeds),
        effect_text.p_value(slower.p_holm if slower else None),
    )


def _estimate(value: str, low: float | None, high: float | None, seeds: int) -> str:
    """With one seed the value alone: a note says that there is no interval."""
    if low is None or high is None:
        return value if seeds == 1 else f"{value} [{no_interval(seeds)}]"
    return f"{value} [{low:.1f}, {high:.1f}]".replace("-", "−")


def _signed(value: float, at_least: bool) -> str:
    return f"{'≥ ' * at_least}{value:+.1f}".replace("-", "−")


def _unsaid(steps: StepsToThreshold) -> list[str]:
    """What these seeds and steps do not show."""
    last, lines = steps.steps[-1], []
    if never := [arm for arm in steps.arms if arm.reached < len(arm.runs)]:
        lines.append(
            f"Whether the runs that had not reached it by step {last} ever would cannot be said: "
            f"{effect_text.listed([f'{arm.arm} ({len(arm.runs) - arm.reached} of {len(arm.runs)})' for arm in never])}."
        )
    seeds = min(len(arm.runs) for arm in steps.arms)
    if seeds == 1:
        lines.append("One seed: no interval; another seed may take other steps.")
    elif seeds < FEW:
        lines.append(
            f"{seeds} seeds: the intervals rest on a guess of the variance, and a median is that of {seeds} runs."
        )
    return lines
