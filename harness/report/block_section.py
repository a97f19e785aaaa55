"""The section "By block": each effect in every block of a sweep, and whether it is another one in the main block."""

from collections.abc import Sequence

from harness.records.load import SweepRecords
from harness.report import effect_text, formats
from harness.report.sections import Grid, Section
from harness.stats.blocks import ALIKE, KINDS, LARGER, SMALLER, BlockEffect, Blocks, Difference
from harness.stats.reward_range import DIFFERENCE
from harness.stats.verdicts import MIXED, NOT_ANSWERED, NOT_SHOWN, UNDECIDED

VERDICTS = {
    LARGER: "larger there",
    SMALLER: "smaller there",
    ALIKE: "alike",
    UNDECIDED: "undecided",
    MIXED: "mixed with aliases",
    NOT_SHOWN: "not shown",
    NOT_ANSWERED: "not answered",
}
OF_DIFFERENCES = 2 * DIFFERENCE[0], 2 * DIFFERENCE[1]
MEANS = (
    "Each cell: the effect on the final reference reward in that block alone, with its 95 % interval and verdict. "
    "p-values behind the verdicts are Holm-corrected over the fixes of one block, not over the blocks.",
    "Differences: the effect in the block minus the effect in {main}, paired by seed and task. Brackets: 95 % interval "
    "of that difference alone. p: Holm-corrected over all fixes and blocks of the table.",
    "An effect that is decided in one block and undecided in another need not differ between them: the table of "
    "differences says which do.",
)


def block_section(sweep: SweepRecords, found: Blocks) -> Section | None:
    """None for a sweep of one block."""
    if not found.main:
        return None
    names = {summary.block: formats.block(sweep, summary.block) for summary in found.summaries}
    kinds = [kind for kind in KINDS if found.effects_of(kind)]
    grids = [("The blocks", _summaries(found, names))]
    for kind in kinds:
        title = effect_text.KIND_TITLES[kind]
        grids.append(
            (f"{title}, in each block: {effect_text.KIND_MEANS[kind]}", _effects(found.effects_of(kind), names))
        )
        if differences := found.differences_of(kind):
            grids.append((f"{title}, differences from {names[found.main]}", _differences(differences, names)))
    return Section(
        "By block",
        (_sentence(found, names),),
        grids=tuple(grids),
        notes=tuple(line.format(main=names[found.main]) for line in MEANS) if kinds else (),
    )


def _sentence(found: Blocks, names: dict[str, str]) -> str:
    """Which effects are other ones elsewhere, of the kind that a reader should believe first."""
    kind = next((kind for kind in KINDS if found.differences_of(kind)), None)
    if kind is None:
        return "No effect is answered in the main block and in another one, so nothing can be compared."
    told = [d for d in found.differences_of(kind) if d.verdict in (LARGER, SMALLER)]
    if not told:
        return (
            f"No {effect_text.KIND_BY[kind]} is shown to be another one in another block than at {names[found.main]}. "
            "That is no proof that they are alike."
        )
    parts = [f"{d.factors[0]} at {names[d.block]} ({_estimate(d)})" for d in told]
    return (
        f"The {effect_text.KIND_BY[kind]} on the final reference reward is another one than at {names[found.main]} for "
        f"{effect_text.listed(parts)}: so much larger or smaller it is there (95 % interval)."
    )


def _summaries(found: Blocks, names: dict[str, str]) -> Grid:
    rows = [
        (
            names[s.block] + " (main)" * (s.block == found.main),
            f"{s.counted} of {s.runs}",
            formats.reward(s.first),
            formats.reward(s.last),
        )
        for s in found.summaries
    ]
    return Grid(("block", "runs that count", "all on: first", "last"), tuple(rows))


def _effects(effects: Sequence[BlockEffect], names: dict[str, str]) -> Grid:
    cells = {(e.factors, e.block): e for e in effects}
    factors = dict.fromkeys(e.factors for e in effects)
    rows = [(" × ".join(f), *(_effect(cells.get((f, block))) for block in names)) for f in factors]
    return Grid(("fix", *names.values()), tuple(rows))


def _effect(effect: BlockEffect | None) -> str:
    if effect is None or effect.value is None:
        return formats.NONE
    shown = formats.signed(effect.value)
    if not effect.identical:
        shown += f" {effect_text.interval(effect.low, effect.high, effect.seeds, DIFFERENCE)}"
    return f"{shown}, {effect_text.VERDICTS[effect.verdict]}"


def _differences(differences: Sequence[Difference], names: dict[str, str]) -> Grid:
    rows = [
        (
            " × ".join(d.factors),
            names[d.block],
            VERDICTS[d.verdict] + ", one seed" * (d.seeds == 1),
            _estimate(d),
            effect_text.p_value(d.p_holm),
        )
        for d in differences
    ]
    return Grid(("fix", "block", "the effect is", "by", "p"), tuple(rows))


def _estimate(difference: Difference) -> str:
    if difference.value is None:
        return formats.NONE
    value = formats.signed(difference.value)
    if difference.identical:
        return value
    return f"{value} {effect_text.interval(difference.low, difference.high, difference.seeds, OF_DIFFERENCES)}"
