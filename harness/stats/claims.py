"""The note's claims, registered before the sweeps ran (experiments/claims/*.yaml), held against the records.

A claim has parts; each part expects a symptom, and one rule decides all of them:

    every     a measurement at each step or validation of each run: confirmed if at least 95 % of them are as
              expected, refuted if fewer than half are
    interval  a measure over seeds (and held-out tasks): confirmed if its whole 95 % interval is as expected,
              refuted if the whole interval is not

Anything between is inconclusive. A claim is confirmed if all its parts are, refuted if one of them is; it is not
tested where an arm that it needs is not in the sweep, or has INVALID runs only; nor where a part asks what is
learned, in a sweep whose policy gets worse even with all fixes on; nor where it needs the reference validation, in a
sweep that is validated on its training tasks. The rules were registered as they stand, part by part: the intervals are
not corrected for the number of parts or claims. What a fraction of the factorial mixes with other effects ranks
nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.errors import ConfigError
from harness.records.load import RecordedRun, SweepRecords
from harness.stats.effects import FAILS, fails, ranking_draws
from harness.stats.intervals import crossed_spread, settled
from harness.stats.measures import MEASURES, RATIOS, READINGS
from harness.stats.outcomes import Outcomes, outcomes_of
from harness.stats.ranking import kendall, spearman

CONFIRMED, REFUTED, INCONCLUSIVE, NOT_TESTED = "confirmed", "refuted", "inconclusive", "not tested here"
MOST, HALF = 0.95, 0.5
RULED = ("ranking", "reference_rise", "reference_area", "reference_final", "reference_trend")
LEARNED = (*RULED, "grad_norm")
Array = np.ndarray


@dataclass(frozen=True)
class Part:
    """One expected symptom. `minus`, `times`: the measure is that of `arm` − times × that of `minus`."""

    says: str
    metric: str
    arm: str = ""
    minus: str = ""
    times: float = 1.0
    every: dict[str, float] | None = None
    interval: dict[str, float] | None = None
    order: tuple[str, ...] = ()  # of a ranking: the claimed order of the factors


@dataclass(frozen=True)
class Claim:
    id: str
    title: str
    statement: str
    source: str
    design: str
    prediction: str
    parts: tuple[Part, ...] = field(default_factory=tuple)


@dataclass(frozen=True)
class Finding:
    """What the records say of one part. seeds: with valid runs behind it, 0 where it is not tested."""

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
    outcomes = outcomes_of(sweep)
    out = []
    for claim in claims:
        findings = tuple(_finding(sweep, outcomes, part) for part in claim.parts)
        out.append(Verdict(claim, _together([f.verdict for f in findings]), findings))
    return tuple(out)


def _together(parts: Sequence[str]) -> str:
    for verdict in (NOT_TESTED, REFUTED):
        if verdict in parts:
            return verdict
    return CONFIRMED if all(p == CONFIRMED for p in parts) else INCONCLUSIVE


def _finding(sweep: SweepRecords, outcomes: Outcomes, part: Part) -> Finding:
    for arm in filter(None, (part.arm, part.minus)):
        if not _runs(sweep, arm):
            return Finding(NOT_TESTED, f"{part.says}: not tested, {_why_no_runs(sweep, arm)}.")
    if part.metric in LEARNED and fails(outcomes):
        return Finding(NOT_TESTED, f"{part.says}: not tested, {FAILS}.")
    if part.metric in RULED and sweep.split == "train":
        return Finding(NOT_TESTED, f"{part.says}: not tested, this sweep is validated on its training tasks.")
    if part.metric == "ranking":
        return _ranking(outcomes, part)
    return _every(sweep, part) if part.every else _interval(sweep, outcomes, part)


def _runs(sweep: SweepRecords, arm: str) -> list[RecordedRun]:
    return [r for r in sweep.runs_of(arm) if r.valid and r.state == "completed"]


def _why_no_runs(sweep: SweepRecords, arm: str) -> str:
    invalid = [r for r in sweep.runs_of(arm) if not r.valid]
    if invalid:
        return f"{arm} is INVALID ({'; '.join(text for _, text in invalid[0].invalid)})"
    return f"{arm} has no completed run" if sweep.runs_of(arm) else f"{arm} is not in this sweep"


def _every(sweep: SweepRecords, part: Part) -> Finding:
    assert part.every is not None
    runs = _runs(sweep, part.arm)
    values = np.array([x for run in runs for x in READINGS[part.metric](run)])
    if not values.size:
        return Finding(NOT_TESTED, f"{part.says}: the records hold no measurement of {part.metric}.")
    share = float(np.mean(_as_expected(values, part.every)))
    verdict = CONFIRMED if share >= MOST else REFUTED if share < HALF else INCONCLUSIVE
    span = f"{values.min():.3g}" + (f" to {values.max():.3g}" if np.ptp(values) else "")
    return Finding(
        verdict,
        f"{part.says}: {part.metric} of {part.arm} is {span}; {share:.0%} of {values.size} measurements in "
        f"{_runs_text(len(runs))} {_words(part.every)} ({verdict}).",
        len({run.seed for run in runs}),
    )


def _interval(sweep: SweepRecords, outcomes: Outcomes, part: Part) -> Finding:
    assert part.interval is not None
    values = _paired(sweep, outcomes, part)
    what = f"{part.metric} of {part.arm}" + (
        f" minus {'' if part.times == 1 else f'{part.times:g} × '}that of {part.minus}" if part.minus else ""
    )
    if values is None:
        return Finding(NOT_TESTED, f"{part.says}: the records hold no measurement of {what}.")
    if values.size == 1:
        text = f"{_number(float(values[0, 0]), part)} at one seed, which gives no interval"
        return Finding(INCONCLUSIVE, f"{part.says}: {what} is {text} ({INCONCLUSIVE}).", 1)
    spread = crossed_spread(values)
    half = spread.half_width()
    low, high = spread.mean - half, spread.mean + half
    verdict = _judge(low, high, part.interval)
    over = f"{spread.seeds} seed{'s' if spread.seeds > 1 else ''}" + (
        f" × {spread.tasks} tasks" if spread.tasks > 1 else ""
    )
    ratio = "ratio " if _is_ratio(part) else ""
    return Finding(
        verdict,
        f"{part.says}: {what} is {ratio}{_number(spread.mean, part)} "
        f"[{_number(low, part)}, {_number(high, part)}] over {over}, expected {_words(part.interval, part)} "
        f"({verdict}).",
        spread.seeds,
    )


def _paired(sweep: SweepRecords, outcomes: Outcomes, part: Part) -> Array | None:
    """(N, T) or (N, 1): the measure of the arm, less that of the other arm under the same seed and task."""
    measure = MEASURES[part.metric]
    own = {r.seed: measure(r, outcomes.tasks) for r in _runs(sweep, part.arm)}
    if part.minus:
        other = {r.seed: measure(r, outcomes.tasks) for r in _runs(sweep, part.minus)}
        own = {
            seed: value - part.times * subtracted
            for seed, value in own.items()
            if value is not None and (subtracted := other.get(seed)) is not None
        }
    rows = [value for value in own.values() if value is not None]
    if not rows:
        return None
    table = np.array(rows)
    table = table[:, ~np.isnan(table).any(axis=0)]
    return table if table.size else None


def _ranking(outcomes: Outcomes, part: Part) -> Finding:
    assert part.interval is not None
    for kind in ("main", "leave_one_out"):
        found = ranking_draws(outcomes, kind, "area")
        if found is not None and set(found.factors) == set(part.order):
            break
    else:
        return Finding(NOT_TESTED, f"{part.says}: this sweep does not answer the effects of these fixes one by one.")
    order = [found.factors.index(f) for f in part.order]
    low, high = np.quantile(kendall(order, found.draws_F_B), (0.025, 0.975))
    here = np.array(found.estimates)[:, None]
    verdict = _judge(float(low), float(high), part.interval)
    best_first = np.argsort(-here[:, 0], kind="stable")
    found_order = " > ".join(f"{found.factors[i]} {settled(found.estimates[i]):+.3f}" for i in best_first)
    return Finding(
        verdict,
        f"{part.says}: by {kind.replace('_', '-')} effect on the area under the curve {found_order}; "
        f"Kendall's tau-b with the note's order {kendall(order, here)[0]:.2f} [{low:.2f}, {high:.2f}], "
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
    if low >= least and high <= most:
        return CONFIRMED
    return REFUTED if high < least or low > most else INCONCLUSIVE


def _as_expected(values: Array, expected: dict[str, float]) -> Array:
    least, most = _bounds(expected)
    return (values >= least - 1e-9) & (values <= most + 1e-9)


def _bounds(expected: dict[str, float]) -> tuple[float, float]:
    return expected.get("at_least", -np.inf), expected.get("at_most", np.inf)


def _is_ratio(part: Part) -> bool:
    return part.metric in RATIOS and bool(part.minus)


def _number(value: float, part: Part) -> str:
    return f"{np.exp(value):.2f}" if _is_ratio(part) else f"{settled(value):.3f}"


def _words(expected: dict[str, float], part: Part | None = None) -> str:
    shown = {k: np.exp(v) if part and _is_ratio(part) else v for k, v in expected.items()}
    if len(shown) == 2:
        return f"between {shown['at_least']:g} and {shown['at_most']:g}"
    return " and ".join(f"{k.replace('_', ' ')} {v:.3g}" for k, v in shown.items())


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
    part = Part(**(content | {"order": tuple(content.get("order", ()))}))
    if (part.every is None) == (part.interval is None):
        raise ValueError(f"the part {part.says!r} needs one of `every` and `interval`")
    known = READINGS if part.every else MEASURES if part.metric != "ranking" else {"ranking"}
    if part.metric not in known:
        raise ValueError(f"{part.metric!r} is none of {', '.join(known)}")
    for bound in part.every or part.interval or {}:
        if bound not in ("at_least", "at_most"):
            raise ValueError(f"{bound!r} is neither at_least nor at_most")
    return part
