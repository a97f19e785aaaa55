"""Several sweeps in one table, never the same seeds twice.

Sweeps that differ in nothing but their seeds are one *setting*: their seeds × tasks are put together, and the interval
is that of one sweep with all these seeds. Different settings (another policy, other tasks, another rate) are combined
by meta_analysis.py: fixed effects speak of these settings alone, random effects of others like them. A setting in which
no arm moves, or in which the policy gets worse even with all fixes on, could not have shown a difference; it stands in
the table and not in the means.

Estimates, intervals and p-values of a sweep are those of its own report: p-values and intervals pay for further looks
at it (looks.py) and hold whatever missing episodes would have been (worst_case.py), and each setting's p-values are
Holm-corrected over its fixes of a kind. A setting of several sweeps pays for the looks at each of them. The means over
settings weigh a setting by the width of that interval.

Everything random comes from (seed, purpose, step, task, rollout). So two sweeps of one policy on one environment that
share a seed share its luck, whatever else differs; together they are not two pieces of evidence, and are refused. So is
the same training under two names (copies.py).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import NormalDist
from typing import Any
from zlib import crc32

import numpy as np

from harness.errors import ConfigError
from harness.records.load import SweepRecords
from harness.records.looks import Looks
from harness.stats.contrasts import ASSUMES, KINDS
from harness.stats.copies import refuse_copies
from harness.stats.decline import fails
from harness.stats.effects import gate_checks, moves
from harness.stats.intervals import LEVEL, by_group, holm
from harness.stats.looks import Judged, LookedAt, judge, looked_at, over_fillings, pooled
from harness.stats.measured import Measured, contrasts_of, measure
from harness.stats.meta_analysis import MetaAnalysis, meta_analysis
from harness.stats.outcomes import OUTCOMES, Outcomes, outcomes_of, step_weights
from harness.stats.verdicts import FAILS, STILL

Array = np.ndarray
NORMAL = NormalDist().inv_cdf(0.5 + LEVEL / 2)


@dataclass(frozen=True)
class Setting:
    """Sweeps that differ in nothing but their seeds. problem: why a difference could not have shown; or nothing."""

    label: str
    sweeps: tuple[str, ...]
    seeds: tuple[int, ...]
    problem: str
    looks: LookedAt  # at all its sweeps together


@dataclass(frozen=True)
class Estimate:
    """Of one setting, over all looks. low, high: 95 %, over tasks alone where there is one seed, None where there is no
    interval; p_holm: over the fixes of the same kind and outcome; seeds: in which all its arms count."""

    setting: str
    value: float
    low: float | None
    high: float | None
    p: float
    seeds: int
    tasks: int
    p_holm: float = 1.0

    @property
    def wide(self) -> float:
        """The larger distance of the value to an end of its interval; 0 where there is none."""
        return 0.0 if self.low is None or self.high is None else max(self.high - self.value, self.value - self.low)


@dataclass(frozen=True)
class CombinedEffect:
    """One effect over the settings that answer it.

    meta: over those in which a difference could have shown; None where these are fewer than two
    fixed_p_holm, random_p_holm: over the fixes of the same kind and outcome
    fixed_known: whether each of these has at least two seeds; without, its error knows of no other seed
    """

    kind: str
    outcome: str
    factors: tuple[str, ...]
    estimates: tuple[Estimate, ...]
    meta: MetaAnalysis | None
    fixed_known: bool
    fixed_p_holm: float | None = None
    random_p_holm: float | None = None


@dataclass(frozen=True)
class Combined:
    baseline: str
    settings: tuple[Setting, ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]  # (key, its value in each setting)
    effects: tuple[CombinedEffect, ...]


@dataclass(frozen=True)
class _Member:
    sweep: SweepRecords
    outcomes: Outcomes
    config: Mapping[str, str]  # what shapes its results, but the seeds
    luck: tuple[str, ...]  # sweeps that agree in it meet the same luck under the same seed

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.outcomes.seeds


def combine(sweeps: Sequence[SweepRecords]) -> Combined:
    """Raises ConfigError for sweeps that cannot be combined, with what they share or where they differ."""
    if len(sweeps) < 2:
        raise ConfigError("Combining needs at least two sweeps: `harness combine results/A results/B`.")
    members = [_member(sweep) for sweep in sweeps]
    _refuse(members)
    refuse_copies([member.sweep for member in members])
    groups: dict[tuple[tuple[str, str], ...], list[_Member]] = {}
    for member in members:
        groups.setdefault(tuple(member.config.items()), []).append(member)
    settings = _named(groups.values())
    return Combined(
        sweeps[0].baseline, settings, _differences([g[0].config for g in groups.values()]),
        tuple(_effects(list(groups.values()), settings)),
    )  # fmt: skip


def _member(sweep: SweepRecords) -> _Member:
    sweep = sweep.main  # of a sweep with blocks
    config = _config(sweep)
    luck = tuple(config.get(key, "") for key in ("policy.name", "content.policy", "env.domain", "training tasks"))
    return _Member(sweep, outcomes_of(sweep), config, luck)


def differences(sweeps: Sequence[SweepRecords]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(key, its value in each sweep) where the configurations of the main blocks differ, but for seeds."""
    return _differences([_config(sweep.main) for sweep in sweeps])


def _config(sweep: SweepRecords) -> dict[str, str]:
    m = sweep.manifest
    config = dict(_flat(m.get("config") or {}))
    config = {k: v for k, v in config.items() if not k.startswith(NOT_OF_RESULTS)}
    config |= {f"content.{k}": str(v) for k, v in (m.get("content") or {}).items() if k in ("policy", "domain")}
    config |= {"validation.split": sweep.split, "train.steps": str(sweep.total_steps)}
    config |= {"reference tasks": _listed(m.get("reference_ids")), "training tasks": _listed(m.get("train_ids"))}
    config["factors"] = _listed(sweep.factors)
    return dict(sorted(config.items()))


# How fast a sweep runs, and what only judges it.
NOT_OF_RESULTS = ("rollout.players", "stats.")


def _flat(value: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Nested keys with dots; nothing that is None, which older sweeps did not record."""
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{above}{key}.")
        elif key != "_target_" and inner is not None:
            yield f"{above}{key}", str(inner)


def _listed(ids: Any) -> str:
    return ",".join(map(str, ids or ()))


def _refuse(members: Sequence[_Member]) -> None:
    first = members[0].sweep
    for other in (m.sweep for m in members[1:]):
        if other.baseline != first.baseline:
            raise ConfigError(
                f"{first.name} has baseline {first.baseline}, {other.name} {other.baseline}: `off` is not the same "
                "loop there. Combine sweeps of one baseline."
            )
        if other.split != first.split:
            of = {"train": "training tasks", "test": "held-out tasks"}
            raise ConfigError(
                f"{first.name} is validated on {of[first.split]}, {other.name} on {of[other.split]}: these rewards are "
                "not the same quantity. Combine sweeps with one validation.split."
            )
    for one, two in combinations(members, 2):
        shared = sorted(set(one.seeds) & set(two.seeds))
        if one.luck == two.luck and shared:
            apart = [k for k in one.config if one.config[k] != two.config.get(k) and len(one.config[k]) < 40]
            differ = f" They differ in {', '.join(apart)}: compare them, do not add them up." if apart else ""
            free = [n for n in range(max(*one.seeds, *two.seeds) + 2) if n not in (*one.seeds, *two.seeds)]
            raise ConfigError(
                f"{one.sweep.name} and {two.sweep.name} share seed{'s' * (len(shared) > 1)} "
                f"{', '.join(map(str, shared))} of policy {one.config.get('policy.name', 'unknown')} on "
                f"{one.config.get('env.domain', 'an unknown environment')}: the same first adapter, tasks and sampling "
                f"seeds, so they are not two pieces of evidence.{differ} Combine sweeps of different seeds, the next "
                f"free one is seed={free[0]}."
            )


def _named(groups: Collection[Sequence[_Member]]) -> tuple[Setting, ...]:
    """Settings by the names of their sweeps; by folder where two sweeps have one name."""
    names = [m.sweep.name for group in groups for m in group]
    folders = len(set(names)) < len(names)
    return tuple(_setting(g, [str(m.sweep.folder) if folders else m.sweep.name for m in g]) for g in groups)


def _setting(group: Sequence[_Member], names: Sequence[str]) -> Setting:
    seeds = tuple(sorted(seed for m in group for seed in m.seeds))
    failed, moved = (any(is_so(m.outcomes) for m in group) for is_so in (fails, moves))
    problem = FAILS if failed else "" if moved else STILL
    return Setting(" + ".join(names), tuple(names), seeds, problem, looked_at(_looks(group), len(seeds)))


def _looks(group: Sequence[_Member]) -> Looks:
    return pooled([(m.outcomes.looks, m.seeds) for m in group])


def _differences(configs: Sequence[Mapping[str, str]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Where the settings differ; long values as what they are a list of."""
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = ((key, tuple(_short(config.get(key, "–")) for config in configs)) for key in keys)
    return tuple((key, values) for key, values in rows if len(set(values)) > 1)


def _short(value: str) -> str:
    return value if len(value) < 40 else f"{value.count(',') + 1} ids (crc {crc32(value.encode()):08x})"


def _effects(groups: Sequence[Sequence[_Member]], settings: Sequence[Setting]) -> Iterator[CombinedEffect]:
    for outcome in OUTCOMES:
        tables = [_tables(group, outcome) for group in groups]
        known = dict.fromkeys(key for table in tables for key in table)
        for kind in KINDS:
            family = [
                _combined(outcome, key, [(s, t[key]) for s, t in zip(settings, tables, strict=True) if key in t])
                for key in known
                if key[0] == kind
            ]
            yield from _corrected(_within_settings(family))


@dataclass(frozen=True)
class _Table:
    """Values of a contrast per (seed, task) of one setting; tasks and their groups by name; jump: of one value by one
    episode; fillings: as those of Measured."""

    values_N_T: Array
    seeds: tuple[int, ...]
    tasks: tuple[str, ...]
    jump: float
    groups: tuple[str, ...]
    looks: Looks
    fillings: tuple["_Table", ...] = ()

    def judged(self) -> Judged:
        """Over all looks at the setting, and however the missing episodes came out."""
        at_random = judge(self.values_N_T, self.seeds, self.jump, self.looks, self.groups)
        return over_fillings(at_random, [filled.judged() for filled in self.fillings])


Key = tuple[str, tuple[str, ...]]


def _tables(group: Sequence[_Member], outcome: str) -> dict[Key, _Table]:
    """By kind and factors; what a fraction of the factorial mixes with other effects is left out, and so is what rests
    on an assumption that the sweep's own controls refute."""
    parts: dict[Key, list[_Table]] = {}
    looks = _looks(group)
    for member in group:
        outcomes = member.outcomes
        if not outcomes.steps or (len(outcomes.steps) < 2 and outcome != "final"):
            continue
        by_step = float(np.abs(step_weights(outcome, outcomes.steps)).max())
        refuted = any(check.holds is False for check in gate_checks(outcomes, outcome))
        for contrast in contrasts_of(outcomes, outcome):
            if refuted and contrast.note == ASSUMES:
                continue
            found = measure(outcomes, contrast, outcome)
            if isinstance(found, Measured) and not contrast.aliases:
                jump = float(np.abs(contrast.weights_A).max()) * by_step
                table = _table(outcomes, found, jump, looks)
                parts.setdefault((contrast.kind, contrast.factors), []).append(table)
    return {key: _stacked(tables) for key, tables in parts.items()}


def _table(outcomes: Outcomes, found: Measured, jump: float, looks: Looks) -> _Table:
    seeds, tasks = tuple(outcomes.seeds[n] for n in found.seeds), tuple(outcomes.tasks[t] for t in found.tasks)
    filled = tuple(_table(outcomes, f, jump, looks) for f in found.fillings)
    return _Table(found.values_N_T, seeds, tasks, jump, outcomes.groups_of(tasks), looks, filled)


def _stacked(tables: Sequence[_Table]) -> _Table:
    tasks = [t for t in tables[0].tasks if all(t in other.tasks for other in tables[1:])]
    rows = [table.values_N_T[:, [table.tasks.index(t) for t in tasks]] for table in tables]
    groups = tuple(tables[0].groups[tables[0].tasks.index(t)] for t in tasks)
    seeds = tuple(seed for table in tables for seed in table.seeds)
    jump, looks = max(t.jump for t in tables), tables[0].looks
    ends = zip(*(table.fillings or (table, table) for table in tables), strict=True)
    filled = tuple(_stacked(each) for each in ends) if any(table.fillings for table in tables) else ()
    return _Table(np.concatenate(rows), seeds, tuple(tasks), jump, groups, looks, filled)


def _combined(outcome: str, key: Key, found: Sequence[tuple[Setting, _Table]]) -> CombinedEffect:
    estimates = []
    counted: list[tuple[Estimate, _Table]] = []
    for setting, table in found:
        if not table.values_N_T.size:
            continue
        judged = table.judged()
        spread = judged.spread
        what = (setting.label, spread.mean, *judged.ends(), judged.p_value)
        estimates.append(Estimate(*what, spread.seeds, spread.tasks))
        if not setting.problem and estimates[-1].wide > 0:
            counted.append((estimates[-1], table))
    meta = None
    if len(counted) > 1:
        own = np.diag([(e.wide / NORMAL) ** 2 for e, _ in counted])
        meta = meta_analysis(np.array([e.value for e, _ in counted]), own + _shared_luck([t for _, t in counted]))
    known = all(e.seeds > 1 for e, _ in counted)
    return CombinedEffect(key[0], outcome, key[1], tuple(estimates), meta, known)


def _shared_luck(tables: Sequence[_Table]) -> Array:
    """(K, K) covariances of the settings' means by the tasks, or the groups of variants, that they share; 0 on the
    diagonal, and never negative."""
    out = np.zeros((len(tables), len(tables)))
    means = [_means_by_group(table) for table in tables]
    for i, j in combinations(range(len(tables)), 2):
        common = [name for name in means[i] if name in means[j]]
        if len(common) > 1:
            one, two = ([means[k][name] for name in common] for k in (i, j))
            share = len(common) / (len(means[i]) * len(means[j]))
            out[i, j] = out[j, i] = max(float(np.cov(one, two)[0, 1]), 0.0) * share
    return out


def _means_by_group(table: _Table) -> dict[str, float]:
    """Over seeds, by the name of the group; of a task that is none's variant by its own."""
    means = by_group(table.values_N_T, table.groups).mean(axis=0).tolist()
    return dict(zip(dict.fromkeys(table.groups), means, strict=True))


def _within_settings(family: Sequence[CombinedEffect]) -> list[CombinedEffect]:
    """With p-values that are corrected over the effects of each setting."""
    adjusted: dict[tuple[str, int], float] = {}
    for setting in dict.fromkeys(e.setting for effect in family for e in effect.estimates):
        found = [(n, e.p) for n, effect in enumerate(family) for e in effect.estimates if e.setting == setting]
        for (n, _), p in zip(found, holm(np.array([p for _, p in found])), strict=True):
            adjusted[setting, n] = float(p)
    return [
        replace(e, estimates=tuple(replace(own, p_holm=adjusted[own.setting, n]) for own in e.estimates))
        for n, e in enumerate(family)
    ]


def _corrected(family: Sequence[CombinedEffect]) -> Iterator[CombinedEffect]:
    metas = [e.meta for e in family]
    fixed, random = (
        holm(np.array([np.nan if m is None else getattr(m, name).p for m in metas])) for name in ("fixed", "random")
    )
    for effect, fixed_p, random_p in zip(family, fixed, random, strict=True):
        if effect.meta is None:
            yield effect
        else:
            known = {"fixed_p_holm": float(fixed_p)} if effect.fixed_known else {}
            yield CombinedEffect(**(vars(effect) | known | {"random_p_holm": float(random_p)}))
