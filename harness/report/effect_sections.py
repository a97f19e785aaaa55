"""The sections of a report that come from the statistics. What a design cannot fill is left out, with a line why."""

from collections.abc import Iterator, Mapping

import numpy as np

from harness.factors import Factors
from harness.report import effect_text, formats
from harness.report.sections import Grid, Section
from harness.report.step_sections import STABLE, stability_cells, steps_section
from harness.stats.claims import CONFIRMED, INCONCLUSIVE, NOT_TESTED, REFUTED
from harness.stats.effects import Effect, Effects, Ranking
from harness.stats.outcomes import OUTCOMES, step_weights
from harness.stats.pairing import Pairing
from harness.stats.profiles import ArmSummary, Triple
from harness.stats.reward_range import ARM, CUT, Range, is_cut, reach, reach_of
from harness.stats.sweep_statistics import SweepStatistics
from harness.stats.unseen_failures import UnseenFailures, unseen_failures
from harness.stats.verdicts import UNDECIDED

OUTCOME_MEANS = (
    "final: reward at the last validation. area: time-averaged reward. slope: reward per training step. "
    "Brackets: 95 % interval of that effect alone. p: Holm-corrected over the fixes of one column."
)

NONE_MEANS = (
    "No effect: every episode is the same, or at least five seeds and the interval of all effects together within "
    "± {margin:g} reward (stats.margin; for main effects an eighth of it) at every validation from the middle of the "
    "curve on, with all_on settled by the end."
)


def effect_sections(effects: Effects, factors: Factors) -> Iterator[Section]:
    """Effects, interactions, Shapley shares, ranking and profiles, as far as the sweep answers them.

    factors: as the sweep keeps them
    """
    if section := effects_section(effects, factors):
        yield section
    for make in (steps_section, interactions_section, shapley_section, ranking_section, profiles_section):
        if section := make(effects):
            yield section
    if left_out := left_out_lines(effects):
        yield Section("What this sweep cannot answer", notes=left_out)


def effects_section(effects: Effects, factors: Factors) -> Section | None:
    kinds = effect_text.answered_kinds(effects)
    if not kinds:
        return None
    today = {factor.name: factor.today for factor in factors if factor.today}
    return Section(
        "Effects of the fixes",
        figure="forest",
        grids=tuple(
            (f"{effect_text.KIND_TITLES[k]}: {effect_text.KIND_MEANS[k]}", _effects_grid(effects, k, today))
            for k in kinds
        ),
        notes=(
            OUTCOME_MEANS,
            NONE_MEANS.format(margin=effects.margin),
            *(effect_text.unseen(u) for k in kinds if (u := _unseen(effects, k))),
            *((effect_text.still_possible(today),) if today else ()),
            *(note for k in kinds for note in _effect_notes(effects, k)),
        ),
    )


def _unseen(effects: Effects, kind: str) -> UnseenFailures | None:
    """By the final reward, over the seeds of the effects that are estimated."""
    seeds = [e.seeds for e in effect_text.answered(effects, kind) if not e.identical]
    return unseen_failures(kind, "final", max(seeds)) if seeds else None


def _effects_grid(effects: Effects, kind: str, today: Mapping[str, str]) -> Grid:
    """today: `Factor.today` of the factors that say it; no column if none does"""
    outcomes = [o for o in OUTCOMES if effects.of(kind, o)]
    rows = []
    for place, effect in enumerate(effects.of(kind)):
        cells = [effect_text.name(effect), effect_text.verdict(effect)]
        for outcome in outcomes:
            same = effects.of(kind, outcome)[place]
            within = reach_of(kind, outcome, effects.steps)
            cells += [effect_text.estimate(same, within), effect_text.p_value(same.p_holm)]
        if today:
            cells.append(effect_text.yes_or_no(today, effect))
        rows.append(tuple(cells))
    heads = ("fix", "verdict", *(h for o in outcomes for h in (o, "p")))
    return Grid((*heads, effect_text.TODAY) if today else heads, tuple(rows), "effects")


def _effect_notes(effects: Effects, kind: str) -> tuple[str, ...]:
    """What the estimates rest on, one line per note, with the fixes that share it."""
    who: dict[str, list[str]] = {}
    for effect in effect_text.answered(effects, kind):
        for note in filter(None, effect.note.split("; ")):
            who.setdefault(note, []).append(effect.factors[0])
    return tuple(
        f"{effect_text.KIND_TITLES[kind]}, {effect_text.listed(fixes)}: {note}." for note, fixes in who.items()
    )


def profiles_section(effects: Effects) -> Section | None:
    """Every arm for itself: its profile, means and interquartile mean, sigmoid fits where curves are long enough."""
    if len(effects.steps) < 2 or not any(s.profile for s in effects.summaries):
        return None
    return Section(
        "Performance profiles",
        ("How an arm's rewards are spread: which share of its seeds and tasks reached a time-averaged reward of at "
         "least τ. A line above another one is better at every height.",),
        figure="profiles",
        notes=(STABLE.format(margin=effects.margin),) if effects.stability else (),
        folded=_arm_grids(effects),
    )  # fmt: skip


def _arm_grids(effects: Effects) -> tuple[tuple[str, Grid], ...]:
    out = []
    shown = [s for s in effects.summaries if s.iqm]
    if shown:
        stable = stability_cells(effects)
        rows = [
            (s.arm, str(s.seeds), *(_triple(t, s.seeds, w) for t, w in _triples(s, effects)), stable.get(s.arm, ""))
            for s in shown
        ]
        columns = ("arm", "seeds", *OUTCOMES, "IQM of area", "stability")
        out.append(("Every arm with its intervals and interquartile mean (IQM)", Grid(columns, tuple(rows))))
    if effects.sigmoids:
        fits = [
            (s.arm, *(f"{x:.3f}" for x in (s.low, s.low + s.span)), f"{s.middle:.1f}", f"{s.width:.1f}",
             f"{s.residual:.3f}")
            for s in effects.sigmoids
        ]  # fmt: skip
        heads = ("arm", "from", "to", "middle (step)", "width (steps)", "residual")
        out.append(("Sigmoid fits of the curves", Grid(heads, tuple(fits))))
    return tuple(out)


def _triples(summary: ArmSummary, effects: Effects) -> tuple[tuple[Triple | None, Range], ...]:
    """The means of an arm, each with what it can be."""
    of_outcomes = ((summary.mean.get(o), reach((1.0,), step_weights(o, effects.steps))) for o in OUTCOMES)
    return (*of_outcomes, (summary.iqm, ARM))


def _triple(values: Triple | None, seeds: int, within: Range) -> str:
    if values is None:
        return formats.NONE
    return f"{effect_text.plain(values[0])} {effect_text.interval(*values[1:], seeds, within)}"


def interactions_section(effects: Effects) -> Section | None:
    found = {e.factors: e for e in effect_text.answered(effects, "interaction")}
    if not found:
        return None
    largest = max((abs(e.value or 0.0) for e in found.values()), default=0.0) or 1.0
    names = tuple(dict.fromkeys(f for e in effects.of("interaction") for f in e.factors))
    rows, shades = [], []
    for i, row in enumerate(names[1:], start=1):
        cells: list[str] = [row]
        colours: list[float | None] = [None]
        for column in names[:-1]:
            effect = found.get((column, row))
            below = column in names[:i]
            cells.append(_starred(effect) if effect else formats.NONE if below else "")
            colours.append((effect.value or 0.0) / largest if effect else None)
        rows.append(tuple(cells))
        shades.append(tuple(colours))
    heads = ("", *names[:-1])
    sums = "Each cell is a sum of interactions that this fraction cannot take apart; the table of all pairs names them."
    mixed = (sums,) if any(e.aliases for e in found.values()) else ()
    table = [
        (effect_text.name(e), effect_text.verdict(e), effect_text.final(e), effect_text.p_value(e.p_holm), e.note)
        for e in sorted(found.values(), key=lambda e: -abs(e.value or 0.0))
    ]
    return Section(
        "Interactions",
        ("How much more reward a fix adds where another one is on: above zero they need each other, below zero they do "
         "each other's work.",),
        grids=(("Two-way interactions on the final reward", Grid(heads, tuple(rows), "heat", tuple(shades))),),
        notes=("* p < 0.05 after Holm's correction over the pairs. Blue raises, orange lowers.", *mixed),
        folded=(("All pairs with their intervals", Grid(("pair", "verdict", "final", "p", "note"), tuple(table))),),
    )  # fmt: skip


def _starred(effect: Effect) -> str:
    decided = effect.verdict != UNDECIDED and effect.p_holm is not None and effect.p_holm < 0.05
    return formats.signed(effect.value) + "*" * decided


def shapley_section(effects: Effects) -> Section | None:
    found = effect_text.answered(effects, "shapley")
    if not found:
        return None
    total = sum(e.value or 0.0 for e in found)
    ordered = sorted(found, key=lambda e: -(e.value or 0.0))
    known = abs(total) > effects.margin  # shares of next to nothing say nothing
    percents = [f"{round(100 * (e.value or 0.0) / total)} %" if known else formats.NONE for e in ordered]
    shares = [share.replace("-", "−") for share in percents]
    rows = tuple(
        (e.factors[0], effect_text.final(e), share, effect_text.p_value(e.p_holm))
        for e, share in zip(ordered, shares, strict=True)
    )
    return Section(
        "Shapley attribution",
        (f"The whole difference between all fixes and none ({formats.signed(total)} final reward), shared out fairly: "
         "a fix's share is what it adds, averaged over all orders of switching them on.",),
        figure="shapley",
        grids=(("", Grid(("fix", "share", "of the whole", "p"), rows)),),
    )  # fmt: skip


def ranking_section(effects: Effects) -> Section | None:
    kinds = [k for k in (*effect_text.SINGLE_KINDS, "shapley") if (r := effects.ranking(k)) and _tells(r)]
    if not kinds:
        return None
    first, *others = kinds
    one_seed = " One seed: over tasks alone, another seed may rank them otherwise." if len(effects.seeds) == 1 else ""
    shared, of = effects.ranking(first), len(effects.seeds)
    if shared and shared.seeds < of:
        one_seed = f" Over the {shared.seeds} of {of} seeds in which all arms of these fixes count."
    return Section(
        "Ranking",
        (f"Probability in % that a fix has each rank, by {effect_text.KIND_BY[first]} on the final reward; "
         f"fixes with the same effect share their ranks.{one_seed}",),
        grids=(("", _ranks_grid(effects.ranking(first))),),
        notes=(f"Unadjusted for {len(effects.looks.seeds)} looks.",) if effects.looks.extended else (),
        folded=tuple((f"By {effect_text.KIND_BY[k]}", _ranks_grid(effects.ranking(k))) for k in others),
    )  # fmt: skip


def _tells(ranking: Ranking) -> bool:
    """Whether it is more than one tie of all."""
    return bool(np.ptp(np.array(ranking.expected)) > 1e-6)


def _ranks_grid(ranking: Ranking | None) -> Grid:
    assert ranking is not None
    heads = ("", *(f"{n + 1}." for n in range(len(ranking.factors))), "mean")
    rows = tuple(
        (factor, *(effect_text.percent(p) for p in row), f"{expected:.1f}")
        for factor, row, expected in zip(ranking.factors, ranking.probability, ranking.expected, strict=True)
    )
    shades = tuple((None, *row, None) for row in ranking.probability)
    return Grid(heads, rows, "heat", shades)


def left_out_lines(effects: Effects) -> tuple[str, ...]:
    """One line for each kind of effect, of the fixes or pairs for which it is not answered, and why."""
    lines = []
    names = {k: effect_text.KIND_TITLES[k] for k in (*effect_text.SINGLE_KINDS, "interaction", "shapley")}
    for kind, title in names.items():
        absent = [e for e in effects.of(kind) if e.value is None]
        reasons: dict[str, list[str]] = {}
        for effect in absent:
            reasons.setdefault(effect.note, []).append(" × ".join(effect.factors))
        whole = len(absent) == len(effects.of(kind))
        if whole and len(reasons) > 2:
            lines.append(f"{title}: {next(iter(reasons))}, and so on for the other fixes.")
            continue
        for why, who in reasons.items():
            lines.append(f"{title}{'' if whole and len(reasons) == 1 else f' of {effect_text.listed(who)}'}: {why}.")
    if any(e.aliases for e in effects.of("main")):
        lines.append("Ranking: this fraction of the factorial estimates sums of effects, not those of single fixes.")
    if not effects.sigmoids and len(effects.steps) < 5:
        lines.append(f"Sigmoid fits of the curves: {len(effects.steps)} validations a run; a fit needs 5.")
    return tuple(lines)


def gaps_grid(effects: Effects) -> Grid:
    rows = tuple(
        (
            g.arm,
            formats.signed(g.reference_rise),
            formats.signed(g.reported_rise),
            formats.signed(g.gap),
            formats.NONE if g.low is None and g.seeds == 1 else effect_text.interval(g.low, g.high, g.seeds),
            f"{g.nonexistent:g}",
        )
        for g in effects.gaps
    )
    return Grid(("arm", "reference rise", "reported rise", "gap at the end", "over seeds", "absent ids"), rows)


MARKS = {CONFIRMED: "✓", REFUTED: "✗", INCONCLUSIVE: "?", NOT_TESTED: "–"}


def claims_line(answer: SweepStatistics) -> str:
    """`3 confirmed, 2 refuted, …` of the registered claims, and what the intervals behind it are."""
    counts = [(v, sum(x.verdict == v for x in answer.verdicts)) for v in MARKS]
    tested = [x for x in answer.verdicts if x.verdict != NOT_TESTED]
    one_seed = ", all at one seed" if tested and all(x.seeds == 1 for x in tested) else ""
    arrows = f". {CUT.rstrip('.')}" if any(is_cut(x.evidence) for x in answer.verdicts) else ""
    return (
        ", ".join(f"{n} {v}" for v, n in counts if n) + f"{one_seed}, baseline {answer.effects.baseline}. "
        f"Each part has a 95 % interval of its own, not corrected for the number of parts and claims{arrows}"
    )


def pairing_section(effects: Effects) -> Section | None:
    found = [p for p in effects.pairing if p.outcome == "final"]
    if not found:
        return None
    ratios = [p.ratio for p in found if p.ratio is not None]
    same = [p.factor for p in found if p.ratio is None]
    sentences = []
    if ratios:
        middle = float(np.median(ratios))
        sentences.append(
            f"All arms met the same tasks, the same order and the same sampling seeds. That made the leave-one-out "
            f"differences {middle:.1f} times less variable (median of the variances over {len(ratios)} fixes) than if "
            "each arm had met seeds and tasks of its own: the same precision would have taken "
            f"{middle:.1f} times as many of both."
        )
    if same:
        sentences.append(
            f"For {effect_text.listed(same)} the pair ended the same for every seed and task: nothing varies."
        )
    area = {p.factor: p for p in effects.pairing if p.outcome == "area"}
    rows = tuple(
        (p.factor, *_ratios(p), _ratios(area[p.factor])[2] if p.factor in area else formats.NONE) for p in found
    )
    heads = ("fix", "error, paired", "error, unpaired", "variance ratio, final", "variance ratio, area")
    return Section("What pairing bought", tuple(sentences), folded=(("Fix by fix", Grid(heads, rows)),))


def _ratios(pairing: Pairing) -> tuple[str, str, str]:
    ratio = "no difference" if pairing.ratio is None else f"{pairing.ratio:.1f}"
    return f"{pairing.paired**0.5:.3f}", f"{pairing.unpaired**0.5:.3f}", ratio
