"""How the controls of a sweep came out, in words: the section, and the sentence that stands beside the verdict."""

from collections.abc import Sequence

from harness.report import effect_text, formats
from harness.report.sections import Grid, Section
from harness.stats.controls import Controls, Estimate, NegativeControl, Placebo
from harness.stats.reward_range import DIFFERENCE

FIGURE = "controls"
DISTRUST = "DO NOT TRUST THIS SWEEP'S VERDICT"
ONE_SEED = "so that a difference of this size means nothing at one seed"
PLACEBO_MEANS = (
    "A placebo's levels differ only in luck of the same kind. It is estimated, corrected and judged like a fix; in a "
    "sound sweep of two seeds or more it seems to matter in at most 5 % of cases. With one seed an interval knows "
    "nothing of luck, and the placebo's difference is what luck alone does in that seed."
)
NEGATIVE_MEANS = (
    "A negative control is all_on without what it takes to learn. It must not learn (its rise is not shown to be above "
    "0, by more than {margin:g}), and it must lose (all_on is shown to end above it). Both are judged by intervals "
    "that hold for all controls together; the brackets are those of one alone. A rise that lies inside its bracket is "
    "not excluded. With one seed an interval knows nothing of luck: blind updates are a random walk, which may go up."
)


def control_line(controls: Controls | None) -> tuple[str, ...]:
    """What a reader of the verdict must know of them; nothing for a sweep without controls."""
    if controls is None:
        return ()
    if controls.failed:
        reasons = [*map(_placebo_failed, controls.placebos), *(_failed(n, controls) for n in controls.negatives)]
        return (f"{DISTRUST}: {'; '.join(filter(None, reasons))}.",)
    parts = [_placebo_clause(placebo) for placebo in controls.placebos]
    if controls.negatives:
        parts.append(_negatives_clause(controls))
    return (f"Controls: {'; '.join(parts)}.",)


def control_section(controls: Controls) -> Section:
    grids, notes = [], []
    if controls.placebos:
        grids.append(("Placebo", _placebos_grid(controls.placebos)))
        notes.append(PLACEBO_MEANS)
    if controls.negatives:
        grids.append(("Negative controls", _negatives_grid(controls)))
        notes.append(NEGATIVE_MEANS.format(margin=controls.margin))
        notes += [f"{n.level}: {n.note}." for n in controls.negatives if n.note]
    return Section("Controls", control_line(controls), FIGURE, tuple(grids), tuple(notes))


def _placebo_clause(placebo: Placebo) -> str:
    if placebo.effect is None:
        return f"no comparison tells what {placebo.factor} does"
    does = "matters" if placebo.matters else "is not shown to matter"
    return f"{placebo.factor} {does} ({_shown(placebo)})"


def _shown(placebo: Placebo) -> str:
    assert placebo.effect is not None
    return effect_text.final(placebo.effect) + ", one seed" * (placebo.effect.seeds == 1)


def _placebo_failed(placebo: Placebo) -> str:
    if not placebo.matters or placebo.effect is None:
        return ""
    said = f"{placebo.factor} seems to matter ({_shown(placebo)}), and its levels differ only in luck"
    if placebo.effect.seeds == 1:
        return f"{said}, {ONE_SEED}"
    return f"{said}; in a sound sweep this happens in at most 5 % of cases"


def _failed(control: NegativeControl, controls: Controls) -> str:
    if control.arm not in controls.failed:
        return ""
    if control.learned and control.rise is not None:
        said = f"{control.level} rose ({_estimate(control.rise)}) although nothing can be learned from it"
        return said + (f", {ONE_SEED}" if control.rise.seeds == 1 else "")
    lead = "" if control.lead is None else f" ({_estimate(control.lead)})"
    return f"{control.level} does not lose to all_on{lead}"


def _negatives_clause(controls: Controls) -> str:
    of = len(controls.negatives)
    still = sum(n.learned is False for n in controls.negatives)
    lose = sum(n.loses is True for n in controls.negatives)
    shown = sum(n.shown for n in controls.negatives)
    text = f"of {of} negative control{'s' * (of != 1)} {still} not shown to learn and {lose} lose to all_on"
    if shown < of:
        text += f", {of - shown} not shown to have taken effect"
    if not controls.learns:
        text += ". But all_on itself is not shown to learn, so that nobody can lose to it"
    return text


def _placebos_grid(placebos: Sequence[Placebo]) -> Grid:
    rows = []
    for placebo in placebos:
        effect = placebo.effect
        if effect is None:
            rows.append((placebo.factor, formats.NONE, formats.NONE, formats.NONE, "not answered"))
            continue
        kind = effect_text.KIND_TITLES[effect.kind]
        p = effect_text.p_value(effect.p_holm)
        rows.append((placebo.factor, kind, effect_text.final(effect), p, "FAILS" if placebo.matters else "not shown"))
    return Grid(("placebo", "comparison", "final", "p", "matters"), tuple(rows))


def _negatives_grid(controls: Controls) -> Grid:
    rows = [
        (
            n.level,
            n.summary or formats.NONE,
            _estimate(n.rise),
            {None: formats.NONE, True: "FAILS: it rose", False: "not shown to learn"}[n.learned],
            _estimate(n.lead),
            {None: "not shown to lose", True: "loses", False: "FAILS: does not lose"}[n.loses],
            "✓" if n.shown else formats.NONE,
        )
        for n in controls.negatives
    ]
    if controls.all_on is not None:
        learns = "learned" if controls.learns else "not shown to learn"
        none = formats.NONE
        rows.insert(0, ("all_on", "nothing is taken away", _estimate(controls.all_on), learns, none, none, none))
    return Grid(("arm", "what is taken away", "rise", "", "all_on ends above it by", "", "took effect"), tuple(rows))


def _estimate(found: Estimate | None) -> str:
    return (
        formats.NONE
        if found is None
        else f"{formats.signed(found.value)} {effect_text.interval(found.low, found.high, found.seeds, DIFFERENCE)}"
    )
