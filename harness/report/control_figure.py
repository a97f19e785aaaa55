"""The curves of a sweep's controls beside that of all_on."""

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.factors import ON
from harness.records.load import SweepRecords
from harness.report.curves import valid_curves
from harness.report.figures import BLACK, DASHED, GREY, End, _axes, _band, _figure, _frame, _label_ends
from harness.report.palette import palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAPTION = (
    "Black: all fixes on. Grey: the same with another luck (placebo off). Dashed: negative controls, all fixes on but "
    "for what the name says. Bands: range over seeds."
)
ALT = "Reference validation of the controls against training step, beside that of all fixes on"


def control_figure(sweep: SweepRecords, width: float = 9.0) -> "Figure":
    """Reference validation; arms without a valid run are left out."""
    figure = _figure(width, 3.6)
    axes, free = _axes(figure), palette()
    shown, names = _shown(sweep)
    ends = []
    for curve in valid_curves(shown):
        arm = curve.arms[0]
        best, control = names[arm] == "all_on", arm in {run.arm for run in sweep.controls}
        colour = BLACK if best else next(free) if control else GREY
        axes.plot(curve.steps, curve.mean, color=colour, lw=2.8 if best else 1.6, ls=DASHED if control else "-")
        _band(axes, curve, colour)
        ends.append(End(names[arm], curve.steps[-1], curve.mean[-1], colour, best))
    _frame(axes, shown, "reward")
    _label_ends(axes, ends)
    return figure


def _shown(sweep: SweepRecords) -> tuple[SweepRecords, dict[str, str]]:
    """The sweep of all_on, the same without each placebo, and the controls; and what each arm is called."""
    names: dict[str, str] = {}
    placebos = sweep.declared.placebos
    for run in sweep.runs:
        off = [factor for factor, level in run.levels.items() if level != ON]
        if not off or (len(off) == 1 and off[0] in placebos):
            names[run.arm] = f"{off[0]} off" if off else "all_on"
    for run in sweep.controls:
        names[run.arm] = next(level for factor, level in run.levels.items() if factor not in sweep.factors)
    runs = tuple(run for run in (*sweep.runs, *sweep.controls) if run.arm in names)
    return replace(sweep, runs=runs, controls=()), names
