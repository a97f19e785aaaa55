"""What a sweep will cost, before anything runs: runs, distinct steps, time, and the effects that it can find.

Which steps are distinct follows from what the factors declare: at a level without updates the weights stay those of
step 0; a factor that changes only what is reported changes neither training episodes nor updates; at a level of the
first policy the episodes are the base policy's. Arms under one seed that are in the same state share the step.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.blocks import NONE
from harness.designs import alias_table, is_orthogonal, named_design, resolution
from harness.factors import BASELINES, EPISODES, NOTE, Arm, Factors, Run
from harness.machine.memory import CardSeconds
from harness.records.layout import SweepFiles
from harness.records.load import SCRIPTED, load_sweep, user_of
from harness.report import effect_text, formats
from harness.report.cost_text import duration
from harness.stats.contrasts import KINDS
from harness.stats.decline import fails
from harness.stats.outcomes import outcomes_of
from harness.stats.power import Variance, power_lines, smallest_effect, variance_of
from harness.sweep.user_cost import PlannedUser, cost_lines

# Wall seconds per computed episode, updates and start included, with policy=micro on env=mock. Source: the full
# factorial of one seed on 2 cores of an AMD EPYC: 3,402 episodes and 64 updates computed in 148 s.
MICRO_SECONDS = 0.05
MICRO_SOURCE = "policy=micro on two cores of an AMD EPYC; no earlier sweep of this policy and domain is in {results}"


Weights = tuple[str, tuple[object, ...] | None]  # the policy that they started from, and the chain of updates


@dataclass(frozen=True)
class PlannedWork:
    """What a sweep is asked to do.

    episodes: training episodes per step of a run; split: of the reference tasks
    reference: ids of the reference tasks; reported: by run, the ids of the arm's own split that exist
    groups: of the reference tasks, where they are variants of one another
    also: tasks of each further validation set, by name; also_every: steps, None: at the first and the last validation
    bounds, also_bounds: mean rewards on them of an agent that does nothing and of one without mistakes, where known
    greedy: runs whose own validation decodes as the reference does; ended: those whose own validation raises at step 0
    baseline: which loop `off` means
    engines: that work at once; None where the launcher learns it when it starts
    main_block: its name; episodes_of, policies: of each block, by name; episodes and policy are the main one's
    sampled_apart: whether the blocks differ in how episodes are sampled and rewarded
    samples: further episodes of each reference task at the first and the last validation
    user: who it is, as `UserConfig.identity` says it; model_user: where it is a model
    card: what an episode and an update take at a card's own rates, of a policy that is made for GPUs
    """

    runs: tuple[Run, ...]
    factors: Factors
    steps: int
    validate_every: int
    episodes: int
    reference: tuple[str, ...]
    reported: Mapping[Run, tuple[str, ...]]
    greedy: frozenset[Run]
    policy: str
    domain: str
    reuse: bool
    results: Path
    backend: str = "shared"
    split: str = "test"
    engines: int | None = None
    design: str | None = None
    baseline: str = NOTE
    ended: frozenset[Run] = frozenset()
    main_block: str = NONE
    episodes_of: Mapping[str, int] = field(default_factory=dict)
    policies: Mapping[str, str] = field(default_factory=dict)
    sampled_apart: bool = False
    groups: int | None = None
    bounds: tuple[float, float] | None = None
    also: Mapping[str, int] = field(default_factory=dict)
    also_every: int | None = None
    also_bounds: Mapping[str, tuple[float, float] | None] = field(default_factory=dict)
    user: Mapping[str, object] = field(default_factory=lambda: dict(SCRIPTED))
    model_user: PlannedUser | None = None
    card: CardSeconds | None = None

    @property
    def blocks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.block for run in self.runs))

    samples: int = 0

    @property
    def tasks(self) -> int:
        return len(self.reference)

    @property
    def arms(self) -> tuple[Arm, ...]:
        """Those that effects are made of; the others are negative controls."""
        return tuple(dict.fromkeys(run.arm for run in self.runs if self.factors.compares(run.arm)))

    @property
    def controls(self) -> tuple[Arm, ...]:
        return tuple(dict.fromkeys(run.arm for run in self.runs if not self.factors.compares(run.arm)))

    @property
    def validations(self) -> int:
        """Step 0, every so many steps, and the last one."""
        return 1 + -(-self.steps // self.validate_every)

    @property
    def also_asked(self) -> int:
        """How often a run asks the further sets: at step 0, every so many steps, and at the last."""
        return min(2, self.validations) if self.also_every is None else 1 + -(-self.steps // self.also_every)

    def training(self, run: Run) -> int:
        """Training episodes of a run."""
        return self.steps * self.episodes_of.get(run.block, self.episodes)

    def base(self, run: Run) -> str:
        """The policy that a run starts from."""
        return self.policies.get(run.block, self.policy)


@dataclass(frozen=True)
class StepCounts:
    """Steps asked for, and those among them that have to be computed."""

    updates: int
    distinct_updates: int
    episodes: int
    distinct_episodes: int


@dataclass(frozen=True)
class Pace:
    """Wall seconds per computed episode, all else included, and where that is known from

    engines: that worked at once; None where that was not recorded
    """

    seconds: float
    source: str
    engines: int | None


def count_steps(plan: PlannedWork) -> StepCounts:
    chains = {_chain(plan, run) for run in plan.runs} - {None}
    going = [run for run in plan.runs if run not in plan.ended]
    validation = sum(plan.tasks + len(plan.reported[run]) for run in going)
    asked = sum(map(plan.training, going)) + plan.validations * validation + len(plan.ended) * plan.tasks
    samples, ends = plan.samples * plan.tasks, min(2, plan.validations)
    asked += samples * (ends * len(going) + len(plan.ended))
    also = sum(plan.also.values())
    asked += also * (plan.also_asked * len(going) + len(plan.ended))
    updates = plan.steps * sum(_chain(plan, run) is not None for run in plan.runs)
    if not plan.reuse:
        return StepCounts(updates, updates, asked, asked)
    sampled = {(run.seed, _asked(plan, run), _sampling(plan, run), plan.training(run)) for run in going}
    validated: set[tuple[int | None, Weights, str]] = {
        (None, _weights(plan, run), task) for run in plan.runs for task in plan.reference
    }
    validated |= {(_luck(plan, run), _asked(plan, run), task) for run in plan.runs for task in plan.reported[run]}
    start = {(luck, base, task) for luck, (base, _), task in validated}  # at step 0 every chain has the base's weights
    later = sum(chain is not None for _, (_, chain), _ in validated)
    distinct = sum(size for *_, size in sampled) + len(start) + (plan.validations - 1) * later
    weights = {_weights(plan, run) for run in plan.runs}
    bases, trained = {base for base, _ in weights}, {w for w in weights if w[1] is not None}
    distinct += samples * (len(bases) + (ends - 1) * len(trained))
    distinct += also * (len(bases) + (plan.also_asked - 1) * len(trained))
    return StepCounts(updates, len(chains) * plan.steps, asked, min(distinct, asked))


def _luck(plan: PlannedWork, run: Run) -> int | None:
    """Whose sampling seeds a run's reported validation has: its own, or the reference's (None) if it decodes alike."""
    return None if run in plan.greedy else run.seed


def _chain(plan: PlannedWork, run: Run) -> tuple[object, ...] | None:
    """What the updates of a run depend on; None where there are none."""
    if run in plan.ended or plan.factors.no_update(run.arm):
        return None
    control = tuple(level for level in run.arm.levels if level[0] not in plan.factors.names)
    return (run.seed, run.block, *(run.arm.level(name) for name in plan.factors.training), *control)


def _weights(plan: PlannedWork, run: Run) -> Weights:
    return plan.base(run), _chain(plan, run)


def _asked(plan: PlannedWork, run: Run) -> Weights:
    """The weights that answer the rollouts of a run."""
    return plan.base(run), None if plan.factors.first_policy(run.arm) else _chain(plan, run)


def _sampling(plan: PlannedWork, run: Run) -> tuple[str, ...]:
    """What decides training rollouts beside the weights that answer."""
    factors = [f for f in plan.factors if EPISODES in f.changes and not f.first_policy]
    return (run.block if plan.sampled_apart else NONE, *(run.arm.level(factor.name) for factor in factors))


def plan_lines(plan: PlannedWork) -> list[str]:
    """What `plan_only=true` prints."""
    earlier = earlier_sweeps(plan)
    todo, rate = count_steps(plan), pace(plan, earlier)
    seeds = len({run.seed for run in plan.runs})
    beside = f" and {_count(len(plan.controls), 'negative control')}" if plan.controls else ""
    name = named_design(plan.factors, plan.arms) or plan.design or "of its own"
    blocks = f" × {_count(len(plan.blocks), 'block')}" if any(plan.blocks) else ""
    lines = [
        f"design {name}: {_count(len(plan.arms), 'arm')}{blocks}{beside} × {_count(seeds, 'seed')} = "
        f"{_count(len(plan.runs), 'run')} of {plan.steps} steps, {plan.validations} validations each on "
        f"{effect_text.reference_tasks(plan.tasks, plan.split, plan.groups)}",
        *([f"on these {formats.bounds(*plan.bounds)}"] if plan.bounds else []),
        *_also_lines(plan),
        f"baseline {plan.baseline}: off is {BASELINES[plan.baseline]}",
        *([f"user {formats.user(plan.user)}"] if plan.user != SCRIPTED else []),
        *([f"blocks: {', '.join(plan.blocks)}; the report speaks of {plan.main_block} first"] if blocks else []),
        *(f"  {run.name}" for run in plan.runs),
        f"updates:  {todo.updates:,} asked for, about {todo.distinct_updates:,} distinct",
        f"episodes: {todo.episodes:,} asked for, about {todo.distinct_episodes:,} distinct",
        *(cost_lines(plan.model_user, todo.distinct_episodes, earlier) if plan.model_user else ()),
        _time_line(todo, rate, plan),
        *power_lines(plan.factors, plan.arms, seeds, plan.tasks, _variance(earlier), plan.groups),
    ]
    return [*lines, *alias_lines(plan.arms)]


def plan_data(plan: PlannedWork) -> dict[str, object]:
    """What `plan_only=json` prints (docs/records.md): the numbers of `plan_lines`."""
    earlier = earlier_sweeps(plan)
    todo, rate = count_steps(plan), pace(plan, earlier)
    seeds = {run.seed for run in plan.runs}
    alone = rate if rate and len(set(plan.policies.values())) < 2 else None
    least = (
        smallest_effect(plan.factors, plan.arms, kind, len(seeds), plan.groups or plan.tasks, _variance(earlier))
        for kind in KINDS
    )
    return {
        "design": named_design(plan.factors, plan.arms) or plan.design,
        "baseline": plan.baseline,
        "policy": plan.policy,
        "environment": plan.domain,
        "steps": plan.steps,
        "validations": plan.validations,
        "reference_tasks": plan.tasks,
        "runs": [
            {"run": run.name, "arm": run.arm.name, "levels": run.arm.as_dict, "seed": run.seed, "block": run.block}
            for run in plan.runs
        ],
        "updates": {"asked": todo.updates, "distinct": todo.distinct_updates},
        "episodes": {"asked": todo.episodes, "distinct": todo.distinct_episodes},
        "seconds": todo.distinct_episodes * alone.seconds if alone else None,
        "seconds_from": alone.source if alone else None,
        "smallest_effects": [
            {"kind": found.kind, "reward": found.paired, "low": found.low, "high": found.high}
            for found in least
            if found
        ],
    }


def _also_lines(plan: PlannedWork) -> Iterator[str]:
    for name, tasks in plan.also.items():
        known = plan.also_bounds.get(name)
        between = f"; {formats.bounds(*known)}" if known else ""
        yield f"beside it {_count(plan.also_asked, 'time')} on the {tasks} tasks of {name}{between}"


def alias_lines(arms: Sequence[Arm]) -> list[str]:
    """What a fraction of the factorial mixes with what; nothing for other designs."""
    word = resolution(arms) if is_orthogonal(arms) else None
    if word is None:
        return []
    table = [f"  {line}" for line in alias_table(arms)]
    return [f"resolution {word}; aliases: what is estimated as the left is the sum of the left and the right", *table]


def _time_line(todo: StepCounts, rate: Pace | None, plan: PlannedWork) -> str:
    if len(set(plan.policies.values())) > 1:
        return "time: not known; the blocks have several policies, and each has a pace of its own"
    if rate is None:
        known = (
            f"time: not known; no earlier sweep of policy={plan.policy} on env={plan.domain} is in {plan.results} "
            "(`+ablation=smoke` makes one)"
        )
        return f"{known}; {_card_words(todo, plan.card, len(plan.arms))}" if plan.card else known
    engines = f" with {rate.engines} engine{'s' * (rate.engines != 1)}" if rate.engines else ""
    pace = f"{rate.seconds:.3f} s per distinct episode{engines}, all included: {rate.source}"
    same = todo.distinct_episodes * rate.seconds
    if plan.engines is None:
        return f"time: about {duration(same)} ({pace}; how many engines this plan gets is known when it starts)"
    if rate.engines is None and plan.engines > 1:
        unknown = f"this plan has {plan.engines} engines, what that one had is not known"
        return f"time: about {duration(same)} ({pace}; {unknown})"
    if rate.engines in (None, plan.engines):
        return f"time: about {duration(same)} ({pace})"
    least, most = sorted((same, same * rate.engines / plan.engines))
    return (
        f"time: {duration(least)} to {duration(most)} ({pace}; this plan has {plan.engines}: their number divides the "
        "time as far as they share no cores and no GPU)"
    )


def _card_words(todo: StepCounts, card: CardSeconds, arms: int) -> str:
    played, trained = todo.distinct_episodes * card.episode, todo.distinct_updates * card.update
    each = f", {duration((played + trained) / arms)} an arm" if arms > 1 else ""
    return (
        f"at the own rates of a GPU ({card.card}) at least {duration(played)} of decoding and {duration(trained)} of "
        f"scoring and training{each}"
    )


def earlier_sweeps(plan: PlannedWork) -> list[Path]:
    """Folders of finished sweeps with the same policy, domain, user, backend and reference tasks, newest first."""
    found = []
    for folder in plan.results.glob("*"):
        files = SweepFiles(folder)
        manifest = files.manifest()
        config = manifest.get("config") or {}
        same = [(config.get(part) or {}).get(key) for part, key in (("policy", "name"), ("env", "domain"))]
        same += [manifest.get("backend", "shared"), (config.get("validation") or {}).get("split", "test")]
        same += [user_of(manifest)]
        if same == [plan.policy, plan.domain, plan.backend, plan.split, plan.user] and _seconds(files.reuse()):
            found.append((str(manifest.get("created", "")), folder))
    return [folder for _, folder in sorted(found, reverse=True)]


def pace(plan: PlannedWork, earlier: Sequence[Path]) -> Pace | None:
    """From the largest earlier sweep, where the start weighs least; else the stated constant for the micro policy, else
    nothing."""
    if earlier:
        computed, folder = max((_computed(SweepFiles(e).reuse()), e) for e in earlier)
        reuse = SweepFiles(folder).reuse()
        if computed and (seconds := _seconds(reuse)):
            return Pace(seconds, f"measured in {folder}{_machine(folder)}", reuse.get("engines"))
    if (plan.policy, plan.domain, plan.backend) == ("micro", "mock", "shared"):
        return Pace(MICRO_SECONDS, MICRO_SOURCE.format(results=plan.results), engines=1)
    return None


def _machine(folder: Path) -> str:
    """' on …', what a sweep was computed on; nothing where its manifest does not say."""
    machine = SweepFiles(folder).manifest().get("machine") or {}
    if not isinstance(machine, dict):
        return ""
    cards = [f"{count} × {name}" for name, count in Counter(machine.get("gpus") or []).items()]
    return f" on {', '.join(cards)}" if cards else f" on {machine['cores']} cores" if "cores" in machine else ""


def _seconds(reuse: dict[str, object]) -> float | None:
    """Wall seconds per computed episode of a finished sweep."""
    seconds, episodes = reuse.get("seconds"), reuse.get("episodes")
    if not isinstance(seconds, dict) or not isinstance(episodes, dict) or not episodes.get("computed"):
        return None
    return float(seconds.get("wall", 0.0)) / float(episodes["computed"]) or None


def _computed(reuse: dict[str, object]) -> float:
    episodes = reuse.get("episodes")
    return float(episodes.get("computed", 0)) if isinstance(episodes, dict) else 0.0


def _variance(earlier: Sequence[Path]) -> Variance | None:
    """Of the earlier sweep with the most seeds that has arms to compare."""

    def seeds(folder: Path) -> int:
        return len({planned.seed for planned in SweepFiles(folder).plan().values()})

    for folder in sorted(earlier, key=seeds, reverse=True):
        outcomes = outcomes_of(load_sweep(folder).main)
        if fails(outcomes):  # where the policy breaks, its rewards vary in another way
            continue
        found = variance_of(outcomes) if outcomes.steps else None
        if found:
            return replace(found, source=str(folder))
    return None


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"
