"""A planned sweep: its folder, its runs, and the parts that all of them share."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from harness.config import RunConfig, SweepConfig
from harness.env import Environment, bounds, declared_user, load_environment, task_groups, validation_sets
from harness.episode import EPISODE_VERSION
from harness.errors import ConfigError, closest
from harness.machine.gpu import gpus
from harness.machine.memory import CardSeconds, card_seconds, read_shape
from harness.policy import Policy, doubles_calls, load_policy, ready, template_warnings
from harness.records.layout import SweepFiles
from harness.seams import Rendering, TaskSplit
from harness.sections import REQUESTS_ON_GPU, PolicyConfig
from harness.sweep.certified import known
from harness.sweep.estimate import PlannedWork
from harness.sweep.manifest import check_plan, refuse_another, refuse_full_disk, sweep_name, write_plan
from harness.sweep.partition import partition
from harness.sweep.source import Source, source_now, without_weight
from harness.sweep.user_cost import PlannedUser


@dataclass(frozen=True)
class Sweep:
    """A planned sweep: its folder, its runs, and the parts that all of them share.

    policy: the main block's; policies: of each block, by its name
    also: task ids of the further validation sets that are asked, by name
    source: what its numbers come from now, and how the manifest calls it; None: nothing is computed, or not looked at
    """

    name: str
    folder: Path
    config: SweepConfig
    domain: Environment
    policy: Policy
    reference_ids: tuple[str, ...]
    policies: Mapping[str, Policy]
    warnings: tuple[str, ...] = ()
    train_ids: tuple[str, ...] = ()
    source: Source | None = None
    source_name: str | None = None
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def user(self) -> dict[str, Any]:
        """Who talks to the policy: whom the environment declares, else whom the configuration names."""
        return declared_user(self.domain) or self.config.user.identity()

    def parts(self, runs: Sequence[RunConfig]) -> list[tuple["Sweep", list[RunConfig]]]:
        """What one engine can train: the runs of one policy and one size of the optimiser's batches, as a sweep."""
        found: dict[tuple[object, ...], list[RunConfig]] = {}
        for each in runs:
            found.setdefault((each.policy, each.train.groups_per_gradient_step), []).append(each)
        if list(found) == [(self.config.policy, self.config.train.groups_per_gradient_step)]:
            return [(self, list(runs))]
        return [
            (replace(self, config=self.config.of(part), policy=self.policies[part[0].block.name]), part)
            for part in found.values()
        ]


def work_of(sweep: Sweep, engines: int | None, design: str | None = None) -> PlannedWork:
    """What the sweep asks for, to be estimated before anything runs."""
    config = sweep.config
    runs, factors = tuple(c.run for c in config.runs), config.factors
    splits = _splits(config, sweep.domain)
    raises = frozenset(c.run for c in config.runs if c.seams.split.raises)
    greedy = config.validation.temperature
    return PlannedWork(
        runs=runs,
        factors=factors,
        baseline=config.baseline,
        design=design,
        greedy=frozenset(c.run for c in config.runs if c.seams.exploration.temperature == greedy),
        steps=config.train.steps,
        validate_every=config.validation.every,
        episodes=config.train.groups_per_step * config.train.rollouts_per_group,
        episodes_of={c.block.name: c.train.groups_per_step * c.train.rollouts_per_group for c in config.runs},
        main_block=config.main_block,
        sampled_apart=_varies(config, "rollout", "fix"),
        policies={name: policy.name for name, policy in sweep.policies.items()},
        reference=sweep.reference_ids,
        groups=_groups(sweep),
        bounds=bounds(sweep.domain, sweep.reference_ids),
        also={name: len(ids) for name, ids in sweep.also.items()},
        also_every=config.validation.also_every,
        also_bounds={name: bounds(sweep.domain, ids) for name, ids in sweep.also.items()},
        reported={
            c.run: tuple(t for t in splits[c.seams.split.level].validation if t is not None and c.run not in raises)
            for c in config.runs
        },
        ended=raises,
        user=sweep.user,
        model_user=_model_user(sweep),
        card=_card(sweep),
        split=config.validation.split,
        samples=config.validation.samples,
        policy=sweep.policy.name,
        domain=sweep.domain.name,
        backend=config.backend.kind,
        reuse=config.reuse.enabled,
        results=config.results,
        engines=engines and min(engines, len(partition(runs, engines, factors))),
    )


def _card(sweep: Sweep) -> CardSeconds | None:
    """None for a policy that computes in float32, which is made for CPUs, and for one of an unknown shape."""
    config = sweep.config
    if sweep.policy.dtype == "float32":
        return None
    try:
        shape = read_shape(sweep.policy.path)
    except KeyError:
        return None
    train, together = config.train, config.backend.in_flight or REQUESTS_ON_GPU
    here = [gpu.name for gpu in gpus()]
    return card_seconds(shape, sweep.domain.name, train.groups_per_step, train.rollouts_per_group, together, here)


def _model_user(sweep: Sweep) -> PlannedUser | None:
    """None where the user is no model of ours."""
    user, domain = sweep.config.user, sweep.domain
    if user.kind != "llm" or user.model is None:
        return None
    ids = (*sweep.train_ids, *sweep.reference_ids)
    roles = [len(domain.role(task_id).system) for task_id in ids]  # type: ignore[attr-defined]
    expected = getattr(domain, "expected_messages", None)
    return PlannedUser(
        user.model,
        sum(roles) / len(roles),
        expected(ids) if expected else None,
        sweep.config.rollout.max_turns,
    )


def _groups(sweep: Sweep) -> int | None:
    """How many groups of variants the reference tasks are; None where each stands for itself."""
    of = task_groups(sweep.domain)
    groups = {of.get(task, task) for task in sweep.reference_ids}
    return len(groups) if len(groups) < len(sweep.reference_ids) else None


def _varies(config: SweepConfig, *sections: str) -> bool:
    """Whether the blocks differ in options of these sections."""
    return any(option.partition(".")[0] in sections for option, _ in config.blocks[0].options)


def fit_lines(sweep: Sweep) -> list[str]:
    """What each policy takes on this machine's GPU; nothing on a CPU, where the small policy always fits."""
    return [line for part, _ in sweep.parts(sweep.config.runs) for line in _fit_lines(part)]


def _fit_lines(sweep: Sweep) -> list[str]:
    from harness.machine import memory

    config = sweep.config
    known = sweep.policy.name in memory.SHAPES and sweep.domain.name in memory.LOADS
    if not config.backend.on_gpu or not known:
        return []
    card, train = gpus()[0], config.train
    lines = memory.estimate_lines(
        sweep.policy.name,
        card.name,
        card.memory,
        domain=sweep.domain.name,
        rank=config.policy.lora_rank,
        row=train.packed_sequence_length,
        groups=train.groups_per_step,
        rollouts=train.rollouts_per_group,
        slots=config.backend.slots,
        in_flight=config.backend.requests,
        split=config.backend.memory,
        sampler_gpus=config.backend.sampler_gpus,
    )
    count = config.backend.gpus_per_engine
    where = f"on one {card.name}" if count == 1 else f"on {count} {card.name}, the trainer on the last"
    return [f"{where} ({card.memory:.0f} GiB):", *(f"  {line}" for line in lines)]


def preview(config: SweepConfig) -> Sweep:
    """The sweep, loaded and checked; writes nothing. Raises ConfigError."""
    sweep = _load(config)
    if not config.plan_only:
        refuse_full_disk(sweep.folder)
    refuse_another(sweep.folder, config, _content(sweep), sweep.source)
    return sweep


def planned(sweep: Sweep, design: str | None = None) -> Sweep:
    """Fetches what its policies lack and writes the plan. Raises ConfigError."""
    sweep = _ready(sweep)
    ids, content = (sweep.train_ids, sweep.reference_ids), _content(sweep)
    groups, between = task_groups(sweep.domain), bounds(sweep.domain, sweep.reference_ids)
    found = known(sweep.config, sweep.policy, sweep.domain.name)
    certificate = found.record() if found else None
    name = write_plan(
        sweep.folder, sweep.name, sweep.config, *ids, content, design, sweep.source, groups, between, certificate
    )
    return replace(sweep, source_name=name)


def prepare(config: SweepConfig, design: str | None = None) -> Sweep:
    """Loads the domain and the policy and writes the plan. Raises ConfigError."""
    return planned(preview(config), design)


def join(config: SweepConfig, source_name: str | None = None) -> Sweep:
    """A sweep that another process has planned. Raises ConfigError where this machine has other code or content.

    source_name: how the manifest calls the source of the start that asks
    """
    sweep = _load(config)
    check_plan(sweep.folder, config, _content(sweep), sweep.source, source_name)
    return replace(_ready(sweep), source_name=source_name)


def _ready(sweep: Sweep) -> Sweep:
    """With all files of its policies."""
    policies = {name: ready(policy) for name, policy in sweep.policies.items()}
    return replace(sweep, policy=policies[sweep.config.main_block], policies=policies)


def _load(config: SweepConfig) -> Sweep:
    if len({c.run.name for c in config.runs}) < len(config.runs):
        raise ConfigError("The same run is asked for twice; each arm needs each seed once.")
    domain = load_environment(config.env.source, config.user.identity())
    if config.user.kind == "llm":
        from harness.users.provider import check  # litellm loads with it

        check(config.user, key=not config.plan_only)
    config = config.with_luck if declared_user(domain) else config
    if not domain.test_ids:
        raise ConfigError(
            f"Domain {domain.name} has no held-out task with {len(domain.train_ids)} tasks in all; "
            "the validation of the arms needs some. Raise env.tasks."
        )
    train_ids = next(iter(_splits(config, domain).values())).train
    reference = (train_ids if config.validation.split == "train" else domain.test_ids)[: config.validation.max_tasks]
    loaded = {each.policy: load_policy(each.policy) for each in config.runs}
    for policy in loaded.values():
        _computes(policy, config)
        _fits(domain, policy, config)
    _can_double(domain, loaded, config)
    name, source = sweep_name(config), source_now(config)
    warnings = dict.fromkeys(text for policy in loaded.values() for text in template_warnings(policy, domain.tools))
    return Sweep(
        name,
        config.results / name,
        config,
        domain,
        loaded[config.policy],
        tuple(reference),
        {each.block.name: loaded[each.policy] for each in config.runs},
        (*warnings, *_without_weight(config.results / name, source)),
        train_ids,
        source,
        also=_also(domain, config.validation.also),
    )


def _also(domain: Environment, names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The further validation sets of these names. Raises ConfigError for one that the environment does not have."""
    known = validation_sets(domain)
    for name in names:
        if name not in known:
            sets = f"it has {', '.join(known)}" if known else "it has none"
            raise ConfigError(
                f"validation.also names {name!r}, and env={domain.name} has no such validation set: {sets}."
                f"{closest(name, known)}"
            )
    return {name: known[name] for name in dict.fromkeys(names)}


def _without_weight(folder: Path, source: Source) -> list[str]:
    return [f"{line}; no number depends on it" for line in without_weight(SweepFiles(folder).manifest(), source)]


def _content(sweep: Sweep) -> dict[str, str]:
    """What a configuration does not say and its results depend on."""
    apart = _varies(sweep.config, "policy")
    policies = {f"policy of {name}": policy.digest for name, policy in sweep.policies.items()}
    policies = policies if apart else {"policy": sweep.policy.digest}
    declared = declared_user(sweep.domain)
    user = {} if declared is None else {"user": json.dumps(declared, sort_keys=True)}
    return {**policies, "domain": sweep.domain.digest, "episodes": str(EPISODE_VERSION), **user}


def _splits(config: SweepConfig, domain: Environment) -> dict[str, TaskSplit]:
    """By level of fix/split; all train on the same tasks. Raises ConfigError if held-out ones are among them, or if
    a level cannot act on these tasks."""
    train = config.train
    seams = {c.seams.split.level: c.seams.split for c in config.runs}
    # as upstream's index ranges meet them: the training tasks first, then the held-out ones
    task_ids = (*domain.train_ids, *domain.test_ids)
    splits = {level: seam.split(task_ids, train.train_tasks, train.val_tasks) for level, seam in seams.items()}
    for split in splits.values():
        if shared := set(split.train) & set(domain.test_ids):
            raise ConfigError(
                f"train.train_tasks={train.train_tasks} reaches into the held-out tasks of domain {domain.name} "
                f"({len(shared)} of {len(domain.test_ids)}); it has {len(domain.train_ids)} training tasks. Lower it."
            )
    return splits


def _fits(domain: Environment, policy: Policy, config: SweepConfig) -> None:
    """Raises ConfigError if the domain's policy text and tools leave no room in the model's context."""
    from tokenizers import Tokenizer

    text = domain.system_prompt + json.dumps(domain.tools)
    tokens = len(Tokenizer.from_file(str(policy.path / "tokenizer.json")).encode(text).ids)
    if tokens + config.rollout.max_tokens > policy.max_model_len:
        raise ConfigError(
            f"env={domain.name} opens with about {tokens} tokens (policy text and tools), and policy={policy.name} "
            f"has room for {policy.max_model_len}. Choose a policy with a longer context, or env=mock."
        )


def _computes(policy: Policy, config: SweepConfig) -> None:
    """Raises ConfigError for a policy that the server cannot serve with adapters (lora_shrink_op.py of vLLM 0.20)."""
    if policy.dtype == "float32" and config.backend.kind == "shared" and config.backend.on_gpu:
        raise ConfigError(
            f"policy={policy.name} computes in float32, and vLLM's adapters on a GPU in 16 bits alone. Give "
            "policy.dtype=bfloat16, or backend.device=cpu."
        )


def _can_double(domain: Environment, loaded: Mapping[PolicyConfig, Policy], config: SweepConfig) -> None:
    """Raises ConfigError where calls are to be shown twice and the template never shows a turn's text and calls."""
    twice = {c.policy: c.run.name for c in reversed(config.runs) if c.seams.context(Rendering()).calls == "twice"}
    if alone := [each for each in twice if not doubles_calls(loaded[each], domain.tools)]:
        run, policy = twice[alone[0]], loaded[alone[0]].name
        raise ConfigError(
            f"{run} has fix/toolcalls=off, calls that are shown twice, and the chat template of "
            f"policy={policy} shows no call of env={domain.name} beside a turn's text: stock ART would show it "
            "once as well. Leave the factor out."
        )


def is_completed(folder: Path, run: str) -> bool:
    return SweepFiles(folder).is_completed(run)
