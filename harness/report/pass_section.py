"""The section on pass^k, of sweeps whose validation was asked for samples."""

from collections.abc import Sequence

from harness.report import effect_text
from harness.report.sections import Grid, Section
from harness.stats.pass_k import KINDS_SAMPLED, ArmPass, PassEffect, PassK
from harness.stats.reward_range import ARM
from harness.stats.sweep_statistics import SweepStatistics

COLUMNS = 8  # values of k in the table; all of them are in effects.json
NOTES = (
    "Mean: reward of the samples. pass^k: probability that k samples of a task all succeed, C(c, k) / C(n, k) averaged "
    "over the tasks (tau-bench, Yao et al. 2024). All arms have the same sampling seeds. Brackets: 95 % interval.",
    "The verdict and all other sections rest on the single episode of each task that every validation plays.",
)


def pass_section(found: SweepStatistics) -> Section | None:
    passed = found.passed
    if not passed.arms:
        return None
    kinds = [k for k in KINDS_SAMPLED if any(e.effect.kind == k and e.effect.value is not None for e in passed.effects)]
    effects = ((f"{effect_text.KIND_TITLES[k]}: {effect_text.KIND_MEANS[k]}", _effects(passed, k)) for k in kinds)
    return Section(
        "Several attempts at a task: pass^k",
        (
            f"Up to {passed.samples} further episodes of each reference task at the first and the last validation, at "
            f"temperature {passed.temperature:g} in every arm.",
        ),
        grids=(("At the last validation", _arms(passed)), *effects),
        notes=NOTES,
    )


def _name(k: int) -> str:
    return f"pass^{k}" if k else "mean"


def _shown(samples: int) -> list[int]:
    every = list(range(samples + 1))
    return every if len(every) <= COLUMNS else [0, *(k for k in (1, 2, 4, 8, 16, 32) if k < samples), samples]


def _arms(passed: PassK) -> Grid:
    shown = _shown(passed.samples)
    of = {(a.arm, a.k): a for a in passed.arms}
    rows = []
    for arm in dict.fromkeys(a.arm for a in passed.arms):
        found = [of.get((arm, k)) for k in shown]
        cells = (f"{effect_text.plain(a.value)} {_interval(a)}" if a else "–" for a in found)
        start = of.get((arm, 1))
        rows.append((arm, effect_text.plain(start.first) if start else "–", *cells))
    return Grid(("arm", "pass^1 at step 0", *map(_name, shown)), tuple(rows), "effects")


def _interval(arm: ArmPass) -> str:
    return effect_text.interval(arm.low, arm.high, arm.seeds, ARM)


def _effects(passed: PassK, kind: str) -> Grid:
    ks = list(dict.fromkeys(e.k for e in passed.effects))
    of_kind = {k: [e for e in passed.effects if e.k == k and e.effect.kind == kind] for k in ks}
    rows = tuple(_row([of_kind[k][place] for k in ks]) for place in range(len(of_kind[ks[0]])))
    return Grid(("fix", *(head for k in ks for head in (_name(k), "p"))), rows, "effects")


def _row(found: Sequence[PassEffect]) -> tuple[str, ...]:
    cells = ((effect_text.final(e.effect), effect_text.p_value(e.effect.p_holm)) for e in found)
    return (effect_text.name(found[0].effect), *(cell for pair in cells for cell in pair))
