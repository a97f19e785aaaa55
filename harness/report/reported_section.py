"""The section on what the arms reported: effects on the reported reward, and where they differ from the reference."""

from harness.report import effect_text, formats
from harness.report.sections import Grid, Section
from harness.stats.reported_effects import (
    AGREE,
    DIFFER,
    KINDS_REPORTED,
    OUTCOMES_REPORTED,
    UNCLEAR,
    Compared,
    ReportedEffects,
)
from harness.stats.sweep_statistics import SweepStatistics

WHAT = (
    "What somebody sees who watches each arm by its own rules. Tasks, temperature, reward and endpoint of that "
    "validation may be others in each arm; this is part of the effect."
)
COLUMNS = (
    "Final, area, rise: at the last validation, time-averaged, last minus first. At the first validation all arms have "
    "the same policy, so final minus rise is what the other way of measuring does alone.",
    "Reported − reference: by how much the effect on the reported reward exceeds that on the reference reward (final). "
    "Two verdicts may differ although this is undecided.",
    "Seeds are paired. Tasks are paired, too, where the arms asked the same existing ones; an id that does not exist "
    "scores 0 in every seed. Brackets: 95 % interval of that effect alone. p: Holm-corrected over the fixes.",
)


def reported_section(found: SweepStatistics) -> Section | None:
    reported = found.reported
    kinds = [k for k in KINDS_REPORTED if any(e.value is not None for e in reported.of(k))]
    if not kinds:
        return None
    compared = {k: [c for c in reported.compared if c.kind == k] for k in kinds}
    leading = max(kinds, key=lambda k: len(compared[k]))
    return Section(
        "Effects on the reported reward",
        (WHAT, *((_verdicts(leading, compared[leading], found),) if compared[leading] else ())),
        grids=tuple((f"{effect_text.KIND_TITLES[k]}: {effect_text.KIND_MEANS[k]}", _grid(reported, k)) for k in kinds),
        notes=(*COLUMNS, *_notes(found, kinds)),
    )


def _verdicts(kind: str, compared: list[Compared], found: SweepStatistics) -> str:
    """One sentence: of which fixes the reported reward tells another story than the reference."""
    parts = []
    if apart := [c for c in compared if c.agreement == DIFFER]:
        parts.append(f"the two effects differ for {effect_text.listed([_both(c, found) for c in apart])}")
    if unclear := [c for c in compared if c.agreement == UNCLEAR]:
        names = effect_text.listed([_both(c, found) for c in unclear])
        parts.append(f"the verdicts differ, and the difference of the effects is undecided, for {names}")
    if same := [c for c in compared if c.agreement == AGREE]:
        each = [f"{c.factor} ({effect_text.VERDICTS[c.reported]})" for c in same]
        parts.append(f"both verdicts are the same for {effect_text.listed(each)}")
    return f"Reported against reference, {effect_text.KIND_BY[kind]} on the final reward: {'; '.join(parts)}."


def _both(compared: Compared, found: SweepStatistics) -> str:
    of_kind = (found.reported.of(compared.kind), found.effects.of(compared.kind))
    values = [next(e.value for e in effects if e.factors == (compared.factor,)) for effects in of_kind]
    verdicts = (effect_text.VERDICTS[v] for v in (compared.reported, compared.reference))
    reported, reference = (f"{v} {formats.signed(x)}" for v, x in zip(verdicts, values, strict=True))
    return f"{compared.factor} (reported: {reported}; reference: {reference})"


def _grid(reported: ReportedEffects, kind: str) -> Grid:
    outcomes = [o for o in OUTCOMES_REPORTED if reported.of(kind, o)]
    apart = [e for e in reported.differences if e.kind == kind]
    rows = []
    for place, effect in enumerate(reported.of(kind)):
        cells = [effect_text.name(effect), effect_text.verdict(effect)]
        for outcome in outcomes:
            same = reported.of(kind, outcome)[place]
            cells += [effect_text.estimate(same), effect_text.p_value(same.p_holm)]
        cells += [effect_text.estimate(apart[place]), effect_text.p_value(apart[place].p_holm)]
        rows.append(tuple(cells))
    heads = ("fix", "verdict", *(h for o in outcomes for h in (o, "p")), "reported − reference", "p")
    return Grid(heads, tuple(rows), "effects")


def _notes(found: SweepStatistics, kinds: list[str]) -> tuple[str, ...]:
    """What the estimates on the final reward rest on, and why others are not there, if the reference's are."""
    known = {(e.kind, e.factors): e.note for e in found.effects.effects if e.outcome == "final" and e.value is None}
    who: dict[tuple[str, str], list[str]] = {}
    for effect in (*found.reported.effects, *found.reported.differences):
        if (
            effect.kind in kinds
            and effect.outcome == "final"
            and effect.note != known.get((effect.kind, effect.factors))
        ):
            for note in filter(None, effect.note.split("; ")):
                who.setdefault((effect.kind, note), []).append(effect.factors[0])
    return tuple(
        f"{effect_text.KIND_TITLES[kind]}, {effect_text.listed(list(dict.fromkeys(names)))}: {note}."
        for (kind, note), names in who.items()
    )
