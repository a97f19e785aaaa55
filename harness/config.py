"""Typed configuration. Composed by Hydra, validated here, at the door; behind it nobody sees a DictConfig.

`SweepConfig` is what all runs of a sweep share, and its runs; `RunConfig` is what sets one apart. sections.py says what
each part takes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness.blocks import NONE, Block, refuse_differences
from harness.errors import ConfigError, closest
from harness.factors import CONTROL, NOTE, Factor, Factors, Run
from harness.levels import arm_of, compared_names, declared, held, others, refuse_foreign_to, seams_of, with_luck
from harness.seams import Seams
from harness.sections import (
    BackendConfig,
    EnvConfig,
    GeneratedEnvConfig,
    OwnEnvConfig,
    PolicyConfig,
    ReuseConfig,
    RolloutConfig,
    StatsConfig,
    Tau1EnvConfig,
    TopLevel,
    TrackingConfig,
    TrainConfig,
    UserConfig,
    ValidationConfig,
)
from harness.strict import Section, shown


@dataclass(frozen=True)
class RunConfig:
    """What sets one run of a sweep apart, and the sections that its loop reads.

    fix: the levels' resolved options
    shared: the sections as plain data, for the records; those of the sweep where it has no blocks
    """

    run: Run
    seams: Seams
    fix: Mapping[str, Any]
    train: TrainConfig
    rollout: RolloutConfig
    validation: ValidationConfig
    policy: PolicyConfig
    block: Block
    shared: Mapping[str, Any]


@dataclass(frozen=True)
class SweepConfig:
    """Everything that the runs of a sweep share, and its runs.

    baseline: which loop `off` means
    name: of its folder in `results`; None: one that follows from the configuration
    blocks: in the order given; NONE alone where there are none. What they differ in is here as in main_block.
    main_block: the one with the options' default values, else the first
    shared: the sections as plain data, for the records
    resume: MIXED goes on with a sweep that was begun with another source
    """

    runs: tuple[RunConfig, ...]
    factors: Factors
    baseline: str
    env: EnvConfig | GeneratedEnvConfig | Tau1EnvConfig | OwnEnvConfig
    user: UserConfig
    rollout: RolloutConfig
    train: TrainConfig
    validation: ValidationConfig
    policy: PolicyConfig
    backend: BackendConfig
    reuse: ReuseConfig
    tracking: TrackingConfig
    stats: StatsConfig
    results: Path
    name: str | None
    plan_only: bool | Literal["json"]
    shared: Mapping[str, Any]
    blocks: tuple[Block, ...] = (Block(),)
    main_block: str = NONE
    resume: str = "same"

    @property
    def held(self) -> dict[str, str]:
        """Levels of the fixes that the sweep does not compare and that are not on."""
        return held(self.runs[0].seams, self.factors)

    @property
    def others(self) -> dict[str, str]:
        """Levels of all fixes that the sweep does not compare."""
        return others(self.runs[0].seams, self.factors)

    @property
    def controls(self) -> tuple[Factor, ...]:
        """The negative controls that the runs know, with a level of each in each run."""
        return tuple(s.factor for s in self.runs[0].seams.all() if s.factor.role == CONTROL)

    def resolved(self, config: RunConfig) -> dict[str, Any]:
        """Everything that one run depends on, as plain data. Where results go changes no number."""
        block = {BLOCK: config.block.as_dict} if config.block.options else {}
        return {"fix": config.fix, **config.shared, "seed": config.run.seed, **block}

    @property
    def with_luck(self) -> "SweepConfig":
        """The sweep where the environment's user has luck of its own."""
        return replace(self, factors=with_luck(self.factors, self.runs[0].seams))

    def of(self, runs: Sequence[RunConfig]) -> "SweepConfig":
        """The sweep of some of the runs, with what the first one's block has."""
        first = runs[0]
        return replace(
            self,
            runs=tuple(runs),
            train=first.train,
            rollout=first.rollout,
            policy=first.policy,
            shared=first.shared,
            main_block=first.block.name,
        )


STORED = "harness.config.EnvConfig"  # in what is recorded of a sweep
# The sections of our own domains, by `env._target_`.
OurEnvConfig = EnvConfig | GeneratedEnvConfig | Tau1EnvConfig
ENVIRONMENTS: dict[object, type[OurEnvConfig]] = {
    "harness.sections.EnvConfig": EnvConfig,
    STORED: EnvConfig,
    "harness.sections.GeneratedEnvConfig": GeneratedEnvConfig,
    "harness.sections.Tau1EnvConfig": Tau1EnvConfig,
}
OF_DOMAIN: dict[object, type[OurEnvConfig]] = {  # where it is not EnvConfig
    "retail_generated": GeneratedEnvConfig,
    "tau1_retail": Tau1EnvConfig,
    "tau1_airline": Tau1EnvConfig,
}
# The sections that are always the same class. `env` names its own in `_target_`, and so does each level of a fix.
SECTIONS: dict[str, type[Section]] = {
    section.option: section
    for section in (
        UserConfig,
        RolloutConfig,
        TrainConfig,
        ValidationConfig,
        PolicyConfig,
        BackendConfig,
        ReuseConfig,
        TrackingConfig,
        StatsConfig,
    )
}
# Sections that an older sweep's configuration lacks, and what it meant.
NEWER = {"user": {"kind": "scripted"}, "stats": {"margin": 0.05}}
BLOCK, BLOCK_DEFAULTS = "block", "block_defaults"  # options of a run's block; what these are without a block
OF_A_RUN = ("fix", "seed", BLOCK)  # what the runs of a block differ in
WHEREABOUTS = ("sweep", "results", "plan_only")
RESUME, MIXED = "resume", "mixed"
HANDOVER = "handover_ends"  # what `env.transfer_ends` follows in our environments
WISHES = ("placebo", "controls")  # that the command line turns into factors and levels; a recorded sweep has none
TOP_LEVEL = ("seed", "baseline", *WHEREABOUTS)  # what stands beside the sections
# where results go, what of the fixes it compares, and what only other options follow
NO_NUMBER = (*WHEREABOUTS, RESUME, HANDOVER, "factors", *WISHES, BLOCK_DEFAULTS)


def typed(*configs: DictConfig) -> SweepConfig:
    """The typed config of a sweep, of one composed config for each of its runs.

    Raises ConfigError, naming the option, for anything that is out of range, unknown, missing or contradictory.
    """
    data = [_plain(cfg) for cfg in configs]
    blocks = [Block.of(each.get(BLOCK) or {}) for each in data]
    firsts = _of_blocks(data, blocks)
    sections_of = {block: _sections(_known(first)) for block, first in firsts.items()}
    shared_of = {block: _shared(first, sections_of[block]) for block, first in firsts.items()}
    top = TopLevel(**{name: data[0][name] for name in (*TOP_LEVEL, RESUME, HANDOVER, *WISHES) if name in data[0]})
    runs = []
    names = compared_names(configs[0])
    for cfg, each, block in zip(configs, data, blocks, strict=True):
        check_seed(each["seed"])
        seams = seams_of(cfg)
        refuse_foreign_to(top.baseline, seams)
        run = Run(arm_of(seams, names), each["seed"], block.name)
        own = {name: sections_of[block.name][name] for name in ("train", "rollout", "validation", "policy")}
        runs.append(RunConfig(run, seams, each["fix"], **own, block=block, shared=shared_of[block.name]))
    distinct = tuple({block.name: block for block in blocks}.values())
    main = next((b.name for b in distinct if b.as_dict == data[0].get(BLOCK_DEFAULTS)), distinct[0].name)
    factors = declared(configs[0], names)
    return SweepConfig(
        tuple(runs),
        with_luck(factors, runs[0].seams) if sections_of[main]["user"].has_luck else factors,
        top.baseline,
        **sections_of[main],
        results=Path(top.results),
        name=top.sweep,
        plan_only=top.plan_only,
        shared=shared_of[main],
        blocks=distinct,
        main_block=main,
        resume=top.resume,
    )


def _of_blocks(data: Sequence[dict[str, Any]], blocks: Sequence[Block]) -> dict[str, dict[str, Any]]:
    """The configuration of each block, by its name: that of its first run. Raises ConfigError for runs that differ in
    more than they may."""
    firsts: dict[str, tuple[Block, dict[str, Any]]] = {}
    common = [{key: value for key, value in each.items() if key not in OF_A_RUN} for each in data]
    for each, its, block in zip(data, common, blocks, strict=True):
        known, first = firsts.setdefault(block.name, (block, each))
        if known != block:
            raise ConfigError(f"Two blocks have the name {block.name}: {known.as_dict} and {block.as_dict}.")
        if changed := [key for key in its if its[key] != first[key]]:
            raise ConfigError(
                "The runs of a sweep may differ in their fixes, their seeds and the options of their blocks, and these "
                f"differ in {', '.join(changed)}. Give every other option one value, and start one sweep per value."
            )
        if block != blocks[0]:
            refuse_differences(common[0], its)
    return {name: first for name, (_, first) in firsts.items()}


def _sections(data: Mapping[str, Any]) -> dict[str, Any]:
    follows = {"transfer_ends": data.get(HANDOVER, False)}
    found = {name: _section(name, data[name], follows) for name in ("env", *SECTIONS)}
    return found | {"backend": _where(found["policy"], found["backend"])}


def _where(policy: PolicyConfig, backend: BackendConfig) -> BackendConfig:
    """The backend on the device that the policy is made for. Raises ConfigError for a policy for CPUs on a GPU."""
    if not policy.for_cpus or backend.kind != "shared":
        return backend
    if backend.device == "cuda":
        raise ConfigError(
            f"policy={policy.name} is made for CPUs: it computes in float32, and vLLM's adapters on a GPU in 16 bits "
            "alone. Leave backend.device out, or choose a policy of 16 bits (docs/gpu.md)."
        )
    if backend.placement == "split":
        raise ConfigError(
            f"policy={policy.name} runs on the CPU, and backend.placement=split needs GPUs. Leave it out."
        )
    return replace(backend, device="cpu")


def option_names(cfg: DictConfig) -> list[str]:
    """The options that a composed configuration has or could have, dotted, as on the command line."""
    names = _dotted(cfg, "")
    env = ENVIRONMENTS.get(cfg.get("env", {}).get("_target_"), EnvConfig)
    sections: dict[str, type[Section]] = {"env": env, **SECTIONS}
    for name, section in sections.items():
        names += [f"{name}.{field.name}" for field in fields(section) if f"{name}.{field.name}" not in names]
    return names


def _dotted(cfg: DictConfig, before: str) -> list[str]:
    names: list[str] = []
    for key in (str(key) for key in cfg if key != "hydra"):
        node = cfg._get_node(key)
        names += _dotted(node, f"{before}{key}.") if isinstance(node, DictConfig) else [before + key]
    return names


def check_seed(seed: object) -> None:
    """Raises ConfigError for what is no seed."""
    TopLevel(seed=seed, baseline=NOTE, sweep=None, results=".", plan_only=True)  # type: ignore[arg-type]


def _plain(cfg: DictConfig) -> dict[str, Any]:
    try:
        data = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'The configuration'}: {str(error).splitlines()[0]}") from error
    assert isinstance(data, dict)
    return NEWER | {str(key): value for key, value in data.items()}


def _known(data: dict[str, Any]) -> dict[str, Any]:
    """The data; ConfigError for a key of the top level that is missing or that nothing reads."""
    needed = ["fix", "env", *SECTIONS, "seed", "baseline", *WHEREABOUTS, "factors"]
    names = [*needed, RESUME, HANDOVER, *WISHES, BLOCK, BLOCK_DEFAULTS]
    for name in needed:
        if name not in data:
            raise ConfigError(f"The configuration has no {name}; a run needs one.")
    for name in data:
        if name not in names:
            raise ConfigError(f"No option is called {name!r}.{closest(name, names)} Options: {', '.join(needed)}.")
    return data


def _section(name: str, options: Any, follows: Mapping[str, Any]) -> Any:
    """follows: options of our environments that are not said there, with what they follow"""
    if not isinstance(options, dict):
        raise ConfigError(f"{name} is {shown(options)}; expected the options of a group: `{name}=…` chooses one.")
    if name == "env":
        return _environment(options, follows)
    section = SECTIONS[name]
    given = dict(options)
    target = given.pop("_target_", None)  # configurations name it that were made when there was one to choose
    if target not in (None, f"harness.config.{section.__name__}"):
        raise ConfigError(f"{name}._target_ is {target}; this section has always the same class. Leave it out.")
    return section(**given)


def is_ours(target: object) -> bool:
    """Whether `env._target_` is a section of our own domains."""
    return target in ENVIRONMENTS


def _environment(options: dict[str, Any], follows: Mapping[str, Any]) -> OurEnvConfig | OwnEnvConfig:
    """The typed section `env`. Over a group of ours another `_target_` takes none of that group's options."""
    given = {str(name): value for name, value in options.items() if name != "_target_"}
    target = options.get("_target_")
    if is_ours(target):
        return ENVIRONMENTS[target](**given)
    if not target:
        raise ConfigError("Which environment? Give env._target_=package.module.function, or choose env=mock.")
    if "domain" not in given:
        return OwnEnvConfig(str(target), given)
    group = OF_DOMAIN.get(given["domain"], EnvConfig)
    ours = {f.name: follows.get(f.name, f.default) for f in fields(group)}
    for name in given.keys() & ours.keys() - {"domain"}:
        if given[name] != ours[name]:
            raise ConfigError(
                f"env.{name} is {given[name]}, an option of domain {given['domain']}, and env._target_ is {target}. "
                f"Choose an empty group first: env=own env._target_={target} +env.{name}={given[name]}."
            )
    return OwnEnvConfig(str(target), {name: value for name, value in given.items() if name not in ours})


def _shared(data: Mapping[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
    """The sections as plain data, as they count: a policy's paths are absolute, an environment has no option that it
    does not take."""
    shared = {key: value for key, value in data.items() if key not in (*NO_NUMBER, *OF_A_RUN)}
    shared["policy"] = sections["policy"].plain()
    shared["user"] = sections["user"].identity()
    env = sections["env"]
    # what is stored under the older name goes on under the same digest
    older = {"_target_": STORED} if isinstance(env, EnvConfig) else {}
    shared["env"] = env.source if isinstance(env, OwnEnvConfig) else {**data["env"], **older}
    return shared
