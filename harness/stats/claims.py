"""The note's claims, registered before the sweeps ran (experiments/claims/*.yaml), held against the records.

A claim has parts; each part expects a symptom, and one rule decides all of them:

    every     a measurement at each step or validation of each run: confirmed if at least 95 % of them are as
              expected, refuted if fewer than half are
    interval  a measure over seeds (and held-out tasks): confirmed if its whole 95 % interval is as expected,
              refuted if the whole interval is not. That nothing changes (an interval with two ends) is confirmed only
              where every episode is the same, or from five seeds on, and where each seed shows the switches that are
              compared

A ratio has a floor under both numbers (measures.py). Where both lie below it there is none: a part of which every seed
is like that is not tested, and one of which some are is inconclusive.

Anything between is inconclusive. A claim is confirmed if all its parts are, refuted if one of them is; a part that
repeats a manipulation check (`check`) does not confirm it alone. It is not tested where an arm that it needs is not in
the sweep, or has no run that counts; nor where a part asks what is learned, in a sweep whose policy gets worse even
with all fixes on; nor where it needs the reference validation, in a sweep that is validated on its training tasks.

Runs, steps, outcomes, intervals, their floors, what looks cost and what missing episodes could have been are those of
effects. The intervals are not corrected for the number of parts or claims. What a fraction of the factorial mixes with
other effects ranks nothing. A rule that was changed after it was registered says when, why, and what it was
(`changed`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.errors import ConfigError
from harness.factors import differ_in
from harness.records.load import RecordedRun, SweepRecords
from harness.stats.contrasts import Contrast
from harness.stats.decline import fails
from harness.stats.effects import ranking_draws
from harness.stats.intervals import settled
from harness.stats.looks import Judged, judge, level_now
from harness.stats.measured import Measured, measure
from harness.stats.measures import FLOORS, MEASURES, OF_ENDED_RUNS, OF_TASKS, READINGS, REFERENCE
from harness.stats.outcomes import Outcomes, outcomes_of, step_weights
from harness.stats.ranking import kendall, spearman
from harness.stats.reward_range import cut, reach
from harness.stats.shown import shown
from harness.stats.verdicts import FAILS, NO_LEVEL, SEEDS_FOR_NONE, in_groups, missed
from harness.stats.worst_case import notes as bound_notes

CONFIRMED, REFUTED, INCONCLUSIVE, NOT_TESTED = "confirmed", "refuted", "inconclusive", "not tested here"
MOST, HALF = 0.95, 0.5
BOUNDS = ("at_least", "at_most", "above")
RULED = ("ranking", *REFERENCE)
LEARNED = (*RULED, "reported_rise", "grad_norm")
Array = np.ndarray
Readings = dict[int, tuple[float, float]]  # by seed: the measure and its grid


@dataclass(frozen=True)
class Change:
    """What a rule was before it was changed, when (YYYY-MM-DD) and why."""

    date: str
    was: str
    why: str


@dataclass(frozen=True)
class Part:
    """One expected symptom.

    minus, times: the measure is that of `arm` − times × that of `minus`; over: it is their ratio
    every, interval: bounds, of at_least, at_most, above
    check: it repeats a manipulation check, so a run that counts cannot but show it
    """

    says: str
    metric: str
    arm: str = ""
    minus: str = ""
    over: str = ""
    times: float = 1.0
    every: dict[str, float] | None = None
    interval: dict[str, float] | None = None
    order: tuple[str, ...] = ()  # of a ranking: the claimed order of the factors
    check: bool = False
    changed: Change | None = None


@dataclass(frozen=True)
class Claim:
    """would_confirm: what a sweep would have to show; note: what a reader should know beside the verdict.

    where: options of the environment that it is about; of a sweep with others nothing is said
    """

    id: str
    title: str
    statement: str
    source: str
    design: str
    prediction: str
    would_confirm: str = ""
    note: str = ""
    where: dict[str, Any] = field(default_factory=dict)
    parts: tuple[Part, ...] = field(default_factory=tuple)

    def is_about(self, sweep: SweepRecords) -> bool:
        env = (sweep.manifest.get("config") or {}).get("env") or {}
        return all(env.get(name) == value for name, value in self.where.items())

    @property
    def remarks(self) -> tuple[str, ...]:
        """What stands beside the verdict: what would confirm it, the note, and which rules are not as registered."""
        changed = [(f"{n}", p.changed.date) for n, p in enumerate(self.parts, start=1) if p.changed]
        where = f"part{'s' * (len(changed) > 1)} {', '.join(n for n, _ in changed)}"
        return (
            *((f"Would confirm it: {self.would_confirm}",) if self.would_confirm else ()),
            *((f"Note: {self.note}",) if self.note else ()),
            *((f"Rule changed after registration: {where} ({max(d for _, d in changed)}).",) if changed else ()),
        )

    @property
    def changes(self) -> tuple[str, ...]:
        """For each rule that was changed: what it was, and why it is another one."""
        changed = [(p.says, p.changed) for p in self.parts if p.changed]
        return tuple(f"{c.date}, {says!r}. Registered: {c.was} Why changed: {c.why}" for says, c in changed)


@dataclass(frozen=True)
class Finding:
    """What the records say of one part. seeds: with runs that count behind it, 0 where it is not tested."""

    verdict: str
    evidence: str
    seeds: int = 0


@dataclass(frozen=True)
class Verdict:
    claim: Claim
    verdict: str
    findings: tuple[Finding, ...]

    @property
    def evidence(self) -> str:
        return " ".join(f.evidence for f in self.findings)

    @property
    def seeds(self) -> int:
        """The fewest seeds that a tested part rests on; 0 where none is tested."""
        return min((f.seeds for f in self.findings if f.seeds), default=0)

    @property
    def label(self) -> str:
        """The verdict, and beside it that another seed may differ where there is one only."""
        return self.verdict + (", one seed" if self.seeds == 1 and self.verdict != NOT_TESTED else "")

    @property
    def parts(self) -> str:
        """`1 refuted, 2 confirmed` where the parts disagree, else nothing."""
        kinds = [f.verdict for f in self.findings]
        if len(set(kinds)) < 2:
            return ""
        return ", ".join(f"{kinds.count(k)} {k}" for k in sorted(set(kinds), key=lambda k: (k != self.verdict, k)))


def load_claims(folder: Path) -> tuple[Claim, ...]:
    """All claims of a folder, by id. Raises ConfigError for a file that is no claim."""
    paths = sorted(folder.glob("*.yaml"))
    if not paths:
        raise ConfigError(f"{folder} holds no claims (*.yaml). Registered ones are in experiments/claims.")
    return tuple(sorted((_claim(path) for path in paths), key=lambda c: c.id))


def verdicts(sweep: SweepRecords, claims: Sequence[Claim]) -> tuple[Verdict, ...]:
    sweep = sweep.main
    outcomes = outcomes_of(sweep)
    out = []
    for claim in (claim for claim in claims if claim.is_about(sweep)):
        findings = tuple(_finding(sweep, outcomes, part) for part in claim.parts)
        out.append(Verdict(claim, _together(claim.parts, [f.verdict for f in findings]), findings))
    return tuple(out)


def _together(parts: Sequence[Part], found: Sequence[str]) -> str:
    for verdict in (NOT_TESTED, REFUTED):
        if verdict in found:
            return verdict
    own = [not part.check for part in parts]
    return CONFIRMED if any(own) and all(verdict == CONFIRMED for verdict in found) else INCONCLUSIVE


def _finding(sweep: SweepRecords, outcomes: Outcomes, part: Part) -> Finding:
    for arm in filter(None, (part.arm, part.minus, part.over)):
        if not _runs(sweep, outcomes, arm, part.metric):
            why = next((outcomes.why_absent(a) for a in outcomes.arms if a.name == arm), f"{arm} is not in this sweep")
            return Finding(NOT_TESTED, f"{part.says}: not tested, {why}.")
    if part.metric in LEARNED and fails(outcomes):
        return Finding(NOT_TESTED, f"{part.says}: not tested, {FAILS}.")
    if part.metric in RULED and sweep.split == "train":
        return Finding(NOT_TESTED, f"{part.says}: not tested, this sweep is validated on its training tasks.")
    if part.metric == "ranking":
        return _ranking(outcomes, part)
    return _every(sweep, outcomes, part) if part.every else _interval(sweep, outcomes, part)


def _runs(sweep: SweepRecords, outcomes: Outcomes, arm: str, metric: str = "") -> list[RecordedRun]:
    """Those that effects count; for what a run ends with, all that ended."""
    if metric in OF_ENDED_RUNS:
        return [r for r in sweep.runs_of(arm) if r.valid and r.state in ("completed", "failed")]
    left_out = {x.run for x in outcomes.left_out}
    return [r for r in sweep.runs_of(arm) if r.name not in left_out]


def _every(sweep: SweepRecords, outcomes: Outcomes, part: Part) -> Finding:
    assert part.every is not None
    runs = _runs(sweep, outcomes, part.arm, part.metric)
    values = np.array([x for run in runs for x in READINGS[part.metric](run, outcomes.steps)])
    if not values.size:
        return Finding(NOT_TESTED, f"{part.says}: the records hold no measurement of {part.metric}.")
    share = float(np.mean(_as_expected(values, part.every)))
    verdict = CONFIRMED if share >= MOST else REFUTED if share < HALF else INCONCLUSIVE
    span = f"{values.min():.3g}" + (f" to {values.max():.3g}" if np.ptp(values) else "")
    return Finding(
        verdict,
        f"{part.says}: {part.metric} of {part.arm} is {span}; {share:.0%} of {values.size} measurements in "
        f"{_runs_text(len(runs))} {_words(part.every)} ({verdict}{', repeats the manipulation check' * part.check}).",
        len({run.seed for run in runs}),
    )


def _interval(sweep: SweepRecords, outcomes: Outcomes, part: Part) -> Finding:
    assert part.interval is not None
    what, found = _what(part), _spread(sweep, outcomes, part)
    if isinstance(found, str):
        return Finding(NOT_TESTED, f"{part.says}: not tested, {what}: {found}.")
    judged, measured = found
    identical = measured is not None and measured.identical
    spread, (low, high) = judged.spread, judged.ends()
    if low is None or high is None:
        text = f"{_number(spread.mean, part)} at {_why_no_interval(spread.seeds)}"
        return Finding(INCONCLUSIVE, f"{part.says}: {what} is {text} ({INCONCLUSIVE}).", spread.seeds)
    verdict, doubt = _judge(low, high, _logs(part)), ""
    if verdict == CONFIRMED and len(part.interval) == 2:
        tasks = spread.tasks if spread.tasks > 1 and not identical else None
        doubt = f"; {missed(spread.seeds, tasks, spread.groups)}"
        if not identical and spread.seeds < SEEDS_FOR_NONE:
            verdict, doubt = INCONCLUSIVE, f"; fewer than {SEEDS_FOR_NONE} seeds do not show that nothing changes"
        if hidden := _hidden(outcomes, part):
            verdict, doubt = INCONCLUSIVE, f"; {hidden}, so that nothing changes is not shown"
    none = _no_ratio(part, *(_by_seed(sweep, outcomes, part, a) for a in (part.arm, part.over))) if part.over else set()
    if none:
        verdict = INCONCLUSIVE
    if measured:
        if (lost := measured.lost) and _judge(lost.low, lost.high, _logs(part)) != verdict:
            verdict = INCONCLUSIVE
        doubt += "".join(f"; {note}" for note in bound_notes(measured.missing, measured.lost))
    over = _seeds_text(spread.seeds, outcomes)
    over += f" × {spread.tasks} tasks{in_groups(spread.groups)}" if spread.tasks > 1 else ""
    if none:
        over = f"{spread.seeds} seeds; in {len(none)} more both lie below {FLOORS[part.metric]:g} and have no ratio"
    ends = _ends(low, high, part, measured, outcomes)
    return Finding(
        verdict,
        f"{part.says}: {what} is {_number(spread.mean, part)} [{ends}] over {over}"
        f"{doubt}, expected {_words(part.interval)} ({verdict}).",
        spread.seeds,
    )


def _why_no_interval(seeds: int) -> str:
    if seeds == 1:
        return "one seed, which gives no interval"
    return f"{seeds} seeds, which give no interval: {NO_LEVEL}"


def _hidden(outcomes: Outcomes, part: Part) -> str:
    """Which switches that tell the two arms of a part apart were not shown in each seed that both have; or nothing."""
    names = [part.arm, part.minus or part.over]
    arms = [place for place, arm in enumerate(outcomes.arms) if arm.name in names]
    if len(arms) < 2:
        return ""
    seeds = [n for n in range(len(outcomes.seeds)) if outcomes.counted_A_N[arms, n].all()]
    return shown(outcomes, differ_in(*(outcomes.arms[a] for a in arms)), arms, seeds).text


def _what(part: Part) -> str:
    """What an interval is of, in words."""
    if part.over:
        floor = f" (each at least {FLOORS[part.metric]:g})"
        return f"the ratio of {part.metric} of {part.arm} to that of {part.over}{floor}"
    minus = f" minus {'' if part.times == 1 else f'{part.times:g} × '}that of {part.minus}" if part.minus else ""
    return f"{part.metric} of {part.arm}{minus}"


def _spread(sweep: SweepRecords, outcomes: Outcomes, part: Part) -> tuple[Judged, Measured | None] | str:
    """The measure of the arm, less (or over) that of the other arm under the same seed, and the contrast that it is on
    the reference reward; or why there is none."""
    if part.metric in REFERENCE:
        weights = np.zeros(len(outcomes.arms))
        for name, weight in ((part.arm, 1.0), (part.minus, -part.times)):
            weights += [weight * (name == arm.name) for arm in outcomes.arms]
        found = measure(outcomes, Contrast("claim", (), weights), REFERENCE[part.metric])
        return found if isinstance(found, str) else (found.judged(outcomes), found)
    own = _by_seed(sweep, outcomes, part, part.arm)
    if other := part.minus or part.over:
        compared = _by_seed(sweep, outcomes, part, other)
        none = _no_ratio(part, own, compared)
        if none and none == own.keys() & compared.keys():
            return f"in every seed both lie below {FLOORS[part.metric]:g}, so there is no ratio"
        own = {
            seed: (value - part.times * compared[seed][0], max(grid, part.times * compared[seed][1]))
            for seed, (value, grid) in own.items()
            if seed in compared and seed not in none
        }
    if not own:
        return "the records hold no measurement of it"
    values, grids = zip(*own.values(), strict=True)
    return judge(np.array(values)[:, None], tuple(own), max(grids), outcomes.looks), None


def _no_ratio(part: Part, own: Readings, compared: Readings) -> set[int]:
    """Seeds in which both numbers of a ratio lie below its floor: next to nothing over next to nothing is no 1."""
    if not part.over:
        return set()
    floor = float(np.log(FLOORS[part.metric]))
    return {seed for seed in own.keys() & compared.keys() if max(own[seed][0], compared[seed][0]) <= floor}


def _by_seed(sweep: SweepRecords, outcomes: Outcomes, part: Part, arm: str) -> Readings:
    """The measure (of a ratio its logarithm, not below its floor) and its grid, of each seed that has it."""
    read = MEASURES[part.metric]
    found = {run.seed: read(run, outcomes.steps) for run in _runs(sweep, outcomes, arm)}
    known = {seed: reading for seed, reading in found.items() if reading is not None}
    if part.over:
        return {seed: (float(np.log(max(value, FLOORS[part.metric]))), 0.0) for seed, (value, _) in known.items()}
    at_once = outcomes.in_a_group() if part.metric in OF_TASKS else 1.0
    return {seed: (value, at_once * grid) for seed, (value, grid) in known.items()}


def _ranking(outcomes: Outcomes, part: Part) -> Finding:
    assert part.interval is not None
    for kind in ("main", "leave_one_out"):
        found = ranking_draws(outcomes, kind, "area")
        if found is not None and set(found.factors) == set(part.order):
            break
    else:
        why = "this sweep does not answer the effects of these fixes one by one, over the same seeds"
        return Finding(NOT_TESTED, f"{part.says}: {why}.")
    order = [found.factors.index(f) for f in part.order]
    level = level_now(outcomes.looks)
    tau_draws = kendall(order, found.draws_F_B)
    low, high = np.quantile(tau_draws, (level / 2, 1 - level / 2)) if level else (-1.0, 1.0)
    unknown = "" if level else f" ({NO_LEVEL})"
    here = np.array(found.estimates)[:, None]
    verdict = _judge(float(low), float(high), part.interval)
    best_first = np.argsort(-here[:, 0], kind="stable")
    found_order = " > ".join(f"{found.factors[i]} {settled(found.estimates[i]):+.3f}" for i in best_first)
    return Finding(
        verdict,
        f"{part.says}: by {kind.replace('_', '-')} effect on the area under the curve {found_order}; "
        f"Kendall's tau-b with the note's order {kendall(order, here)[0]:.2f} [{low:.2f}, {high:.2f}]{unknown}, "
        f"Spearman {spearman(order, here)[0]:.2f}, over {_seeds_text(found.seeds, outcomes)}, expected "
        f"{_words(part.interval)} ({verdict}).",
        found.seeds,
    )


def _seeds_text(shared: int, outcomes: Outcomes) -> str:
    """`5 seeds`, or `4 of 5 seeds, those that all its arms share`."""
    of = len(outcomes.seeds)
    if shared < of:
        return f"{shared} of {of} seeds, those that all its arms share"
    return f"{of} seed{'s' if of > 1 else ''}"


def _judge(low: float, high: float, expected: dict[str, float]) -> str:
    least, most = _bounds(expected)
    above = expected.get("above", -np.inf)
    if low >= least and high <= most and low > above:
        return CONFIRMED
    return REFUTED if high < least or low > most or high <= above else INCONCLUSIVE


def _as_expected(values: Array, expected: dict[str, float]) -> Array:
    least, most = _bounds(expected)
    return (values >= least - 1e-9) & (values <= most + 1e-9) & (values > expected.get("above", -np.inf))


def _bounds(expected: dict[str, float]) -> tuple[float, float]:
    return expected.get("at_least", -np.inf), expected.get("at_most", np.inf)


def _logs(part: Part) -> dict[str, float]:
    """The bounds on the scale of the measure: a ratio is a difference of logarithms."""
    assert part.interval is not None
    return {k: float(np.log(v)) if part.over else v for k, v in part.interval.items()}


def _ends(low: float, high: float, part: Part, measured: Measured | None, outcomes: Outcomes) -> str:
    """The ends of an interval; of what is measured on rewards between 0 and 1, cut where these end."""
    within = (low, high)
    if measured:
        within = reach(measured.contrast.weights_A, step_weights(REFERENCE[part.metric], outcomes.steps))
    low, high, before, after = cut(low, high, within)
    return f"{before}{_number(low, part)}, {_number(high, part)}{after}"


def _number(value: float, part: Part) -> str:
    return f"{np.exp(value):.2f}" if part.over else f"{settled(value):.3f}"


def _words(expected: dict[str, float]) -> str:
    if len(expected) == 2:
        return f"between {expected['at_least']:g} and {expected['at_most']:g}"
    return " and ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in expected.items())


def _runs_text(count: int) -> str:
    return f"{count} run{'s' if count > 1 else ''}"


def _claim(path: Path) -> Claim:
    try:
        content = yaml.safe_load(path.read_text())
        parts = tuple(_part(part) for part in content.pop("parts"))
        return Claim(parts=parts, **content)
    except (TypeError, KeyError, AttributeError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            f"{path} is no claim: {error}. Expected id, title, statement, source, design, prediction, and parts "
            "with says, metric, arm and one of `every` or `interval`."
        ) from error


def _part(content: dict[str, Any]) -> Part:
    changed = content.get("changed")
    order = tuple(content.get("order", ()))
    part = Part(**(content | {"order": order, "changed": Change(**changed) if changed else None}))
    if (part.every is None) == (part.interval is None):
        raise ValueError(f"the part {part.says!r} needs one of `every` and `interval`")
    known = READINGS if part.every else {"ranking", *MEASURES, *REFERENCE}
    if part.metric not in (known if not part.over else FLOORS):
        raise ValueError(f"{part.metric!r} is none of {', '.join(sorted(known if not part.over else FLOORS))}")
    for bound in part.every or part.interval or {}:
        if bound not in BOUNDS:
            raise ValueError(f"{bound!r} is neither at_least nor at_most nor above")
    return part
