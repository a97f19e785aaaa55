"""Sweeps side by side: their arms, their effects, and where their verdicts differ: `harness report A B`.

Nothing is pooled and nothing tested here: `harness combine` does that, where no seed is in both. Of sweeps with blocks
it is the main block. A verdict that is decided in one sweep and undecided in another is no difference.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from harness.records.load import SweepRecords
from harness.report import effect_text, formats
from harness.report.arm_rows import ArmRow, arm_rows
from harness.stats.combine import differences
from harness.stats.effects import Effect, analyse
from harness.stats.verdicts import DEPENDS, LOWERS, NO_EFFECT, RAISES

DECIDED = (RAISES, LOWERS, NO_EFFECT, DEPENDS)
NOTE = (
    "Each sweep is judged by itself. Decided in one and undecided in another is no difference. Sweeps of one policy "
    "that share seeds share their luck; `harness combine` puts together those that do not."
)


@dataclass(frozen=True)
class ComparedArm:
    """last, gap: a place for each sweep; None where it lacks the arm"""

    arm: str
    last: tuple[float | None, ...]
    gap: tuple[float | None, ...]
    invalid: tuple[int, ...]
    present: tuple[bool, ...]


@dataclass(frozen=True)
class ComparedEffect:
    """On the final reward. effects: one a sweep, None where it has none of this kind and fix"""

    kind: str
    factors: tuple[str, ...]
    effects: tuple[Effect | None, ...]

    @property
    def verdicts(self) -> tuple[str | None, ...]:
        return tuple(effect.verdict if effect else None for effect in self.effects)

    @property
    def differ(self) -> bool:
        """Whether two sweeps have decided it, otherwise."""
        return len({verdict for verdict in self.verdicts if verdict in DECIDED}) > 1


@dataclass(frozen=True)
class Comparison:
    """differences: of the configurations, (key, its value in each sweep)"""

    sweeps: tuple[str, ...]
    seeds: tuple[tuple[int, ...], ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    arms: tuple[ComparedArm, ...]
    effects: tuple[ComparedEffect, ...]

    @property
    def shared_arms(self) -> tuple[ComparedArm, ...]:
        """Those that more than one sweep has."""
        return tuple(row for row in self.arms if sum(row.present) > 1)


def compare(sweeps: Sequence[SweepRecords]) -> Comparison:
    rows = [{row.arm: row for row in arm_rows(sweep.main)} for sweep in sweeps]
    found = [analyse(sweep) for sweep in sweeps]
    of = [{(e.kind, e.factors): e for kind in effect_text.SINGLE_KINDS for e in each.of(kind)} for each in found]
    answered = {key for effects in of for key, effect in effects.items() if effect.value is not None}
    keys = [key for key in dict.fromkeys(key for effects in of for key in effects) if key in answered]
    return Comparison(
        sweeps=tuple(sweep.name for sweep in sweeps),
        seeds=tuple(each.seeds for each in found),
        differences=differences(sweeps),
        arms=tuple(_arm(arm, [own.get(arm) for own in rows]) for arm in dict.fromkeys(a for own in rows for a in own)),
        effects=tuple(ComparedEffect(kind, f, tuple(effects.get((kind, f)) for effects in of)) for kind, f in keys),
    )


def _arm(arm: str, rows: Sequence[ArmRow | None]) -> ComparedArm:
    return ComparedArm(
        arm,
        tuple(row.last if row else None for row in rows),
        tuple(row.gap if row else None for row in rows),
        tuple(row.invalid_runs if row else 0 for row in rows),
        tuple(row is not None for row in rows),
    )


def as_data(found: Comparison) -> dict[str, Any]:
    """Ready for JSON."""
    effects = [asdict(effect) | {"differ": effect.differ} for effect in found.effects]
    return asdict(found) | {"effects": effects}


def parts(found: Comparison) -> Iterator[RenderableType]:
    letters = [chr(ord("A") + n) for n in range(len(found.sweeps))]
    for letter, name, seeds in zip(letters, found.sweeps, found.seeds, strict=True):
        yield Text(f"{letter}: {name}, seeds {formats.seeds(seeds) or formats.NONE}", style="bold")
    for key, values in found.differences:
        yield Text(f"   {key}: {' / '.join(values)}", style="dim")
    yield Text("\nLast validation reward, and in brackets reported − validation", style="bold")
    yield _arm_table(found, letters)
    if alone := len(found.arms) - len(found.shared_arms):
        yield Text(f"{alone} further arm{'s are' if alone > 1 else ' is'} in one sweep alone.", style="dim")
    for kind in effect_text.SINGLE_KINDS:
        if effects := [effect for effect in found.effects if effect.kind == kind]:
            yield Text(f"\n{effect_text.KIND_TITLES[kind]}: {effect_text.KIND_MEANS[kind]}, final reward", style="bold")
            yield _effect_table(effects, letters)
    yield Text("\nWhere verdicts differ", style="bold")
    lines = list(_differing(found, letters))
    yield from map(Text, lines or ["Nowhere: no effect is decided otherwise in another of these sweeps."])
    if some := [line for effect in found.effects if (line := _decided_in_some(effect, letters))]:
        yield Text(f"Decided in some of them and undecided in others: {'; '.join(some)}.")
    yield Text(NOTE, style="dim")


def _table(heads: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    for head in heads:
        table.add_column(head, overflow="fold")
    return table


def _arm_table(found: Comparison, letters: Sequence[str]) -> Table:
    """The arms that several sweeps have."""
    table = _table(["arm", *letters])
    for row in found.shared_arms:
        cells = (
            formats.NONE if last is None else f"{formats.reward(last)} ({formats.signed(gap)})" + " INVALID" * bool(bad)
            for last, gap, bad in zip(row.last, row.gap, row.invalid, strict=True)
        )
        table.add_row(*map(Text, (row.arm, *cells)))
    return table


def _effect_table(effects: Sequence[ComparedEffect], letters: Sequence[str]) -> Table:
    table = _table(["fix", *letters])
    for row in effects:
        cells = (f"{effect_text.estimate(e)} {effect_text.verdict(e)}" if e else formats.NONE for e in row.effects)
        table.add_row(*map(Text, (" × ".join(row.factors), *cells)), style="bold" if row.differ else "")
    return table


def _differing(found: Comparison, letters: Sequence[str]) -> Iterator[str]:
    for row in found.effects:
        if row.differ:
            said = ", ".join(
                f"{letter} {effect_text.verdict(effect)}"
                for letter, effect in zip(letters, row.effects, strict=True)
                if effect and effect.verdict in DECIDED
            )
            yield f"{' × '.join(row.factors)} ({effect_text.KIND_BY[row.kind]}): {said}"


def _decided_in_some(effect: ComparedEffect, letters: Sequence[str]) -> str:
    """`exploration (leave-one-out effect: A and B)`; empty where it is decided in all that answer it, or in none."""
    answered = {letter: e for letter, e in zip(letters, effect.effects, strict=True) if e and e.value is not None}
    decided = [letter for letter, e in answered.items() if e.verdict in DECIDED]
    if not 0 < len(decided) < len(answered):
        return ""
    return f"{' × '.join(effect.factors)} ({effect_text.KIND_BY[effect.kind]}: {effect_text.listed(decided)})"
