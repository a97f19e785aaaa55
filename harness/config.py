"""Typed configuration. Composed by Hydra, validated here, at the door; behind it nobody sees a DictConfig.

The sections, `SweepConfig` (what all runs of a sweep share, and its runs) and `RunConfig` (what sets one apart).
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass as plain_dataclass
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from harness.errors import ConfigError, closest
from harness.factors import Factors, Run
from harness.levels import arm_of, declared, factor_names, held, seams_of
from harness.machine.gpu import gpus
from harness.policy.source import PolicySource
from harness.seams import Seams
from harness.strict import STRICT, Count, Positive, Section, Share, Whole, shown

# What is allowed, in the words of a refusal.
SAMPLED = "a number in (0, 2]. For greedy rollouts use fix/exploration=off"
GROUP = "a whole number, at least 2 rollouts, since advantages are relative to the group"
TRAINING_TASKS = "a whole number above 0, since without tasks the training set is empty"
TWO_SHARES = "the sampler's and the trainer's share of a GPU's memory, together at most 0.95"
FOLDER_NAME = (
    "one plain folder name (at most 100 characters, the first a letter, a digit or _, no / and no \\; "
    'in a file, "2024" and "true" are quoted)'
)


@dataclass(frozen=True, config=STRICT)
class EnvConfig(Section):
    """domain: mock, retail, airline; tasks, task_seed: of the mock domain's generator; task_ids: these tasks alone."""

    option: ClassVar[str] = "env"

    domain: str
    tasks: Count = 75
    task_seed: Whole = 0
    task_ids: Annotated[Sequence[str | int], Field(min_length=1, description="a list of at least one id")] | None = None

    @property
    def source(self) -> dict[str, Any]:
        """What `harness.env.load_environment` is given; plain data, so that another process can be given it."""
        only = None if self.task_ids is None else tuple(map(str, self.task_ids))
        call = {"name": self.domain, "tasks": self.tasks, "seed": self.task_seed, "only": only}
        return {"_target_": "harness.env.load_domain", **call}


@plain_dataclass(frozen=True)
class OwnEnvConfig:
    """An environment of one's own: `target`, a dotted path, is called with `arguments`, in every process that plays."""

    target: str
    arguments: dict[str, Any]

    @property
    def source(self) -> dict[str, Any]:
        """See `EnvConfig.source`."""
        return {"_target_": self.target, **self.arguments}


@dataclass(frozen=True, config=STRICT)
class RolloutConfig(Section):
    """max_tokens per reply; max_turns: policy replies per episode.

    temperature: of training rollouts where fix/exploration is on
    players: processes that play episodes beside the trainer's; None: by the device (see `processes`)
    """

    option: ClassVar[str] = "rollout"

    max_tokens: Count
    max_turns: Count
    temperature: Annotated[float, Field(gt=0, le=2, description=SAMPLED)] = 1.0
    players: Annotated[int, Field(ge=0, description="0 (in the trainer's process) or a whole number above")] | None = (
        None
    )

    def processes(self, on_gpu: bool) -> int:
        """Player processes: on a CPU none, the sampler is slower than one; on a GPU half the cores, at most 8."""
        if self.players is not None:
            return self.players
        return min(8, (os.cpu_count() or 2) // 2) if on_gpu else 0


@dataclass(frozen=True, config=STRICT)
class TrainConfig(Section):
    """The RL loop. A step trains on groups_per_step × rollouts_per_group episodes.

    train_tasks, val_tasks: the sizes that upstream's split asks for (30 and 85)
    packed_sequence_length: tokens of a packed row; groups_per_gradient_step: groups of one optimiser step
    """

    option: ClassVar[str] = "train"

    steps: Whole
    groups_per_step: Count
    rollouts_per_group: Annotated[int, Field(ge=2, description=GROUP)]
    train_tasks: Annotated[int, Field(gt=0, description=TRAINING_TASKS)]
    val_tasks: Count
    learning_rate: Positive
    packed_sequence_length: Count
    groups_per_gradient_step: Count


@dataclass(frozen=True, config=STRICT)
class ValidationConfig(Section):
    """Reference validation: every how many steps, at which temperature (0: greedy), on how many tasks of which split.

    split: test, the held-out tasks; or train, those that the runs train on
    """

    option: ClassVar[str] = "validation"

    every: Count
    temperature: Annotated[float, Field(ge=0, description="a number, 0 (greedy) or more")]
    max_tasks: Count | None = None
    split: Literal["test", "train"] = "test"


@dataclass(frozen=True, config=STRICT)
class PolicyConfig(PolicySource, Section):
    """What is trained (see `PolicySource`), and the rank and alpha of its LoRA adapters."""

    option: ClassVar[str] = "policy"

    lora_rank: Count = 8
    lora_alpha: Count = 16


@dataclass(frozen=True, config=STRICT)
class BackendConfig(Section):
    """kind: shared (one engine for all runs) or art_local (stock ART, an engine per run).

    device: cpu, cuda, or auto: cuda where there is a GPU
    gpu_split: shares of a GPU's memory for the sampler and the trainer
    max_loras: adapter slots of the server; in_flight: requests at once; None: 8 and 48 on a CPU, 16 and 256 on a GPU
    threads: of PyTorch in the trainer; port: on 127.0.0.1, None for a free one
    engines_per_gpu: that share a GPU and its memory; engines: at once, None: as many as that gives
    """

    option: ClassVar[str] = "backend"

    kind: Literal["shared", "art_local"]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    gpu_split: Annotated[tuple[float, float], Field(strict=False, description=TWO_SHARES)] = (0.5, 0.4)
    max_loras: Annotated[int, Field(ge=2, description="at least 2, a whole number (one slot stays empty)")] | None = (
        None
    )
    in_flight: Count | None = None
    threads: Count = 1
    engines_per_gpu: Count = 1
    engines: Count | None = None
    port: Annotated[int, Field(ge=1, le=65535, description="a port, 1 to 65535")] | None = None

    def __post_init__(self) -> None:
        if min(self.gpu_split) <= 0 or sum(self.gpu_split) > 0.95:
            raise ConfigError(f"backend.gpu_split is {list(self.gpu_split)}; expected {TWO_SHARES}.")
        if self.kind == "art_local" and self.engines_per_gpu > 1:
            raise ConfigError("backend=art_local takes a whole GPU for each run: leave backend.engines_per_gpu at 1.")
        if self.kind == "art_local" and self.device == "cpu":
            raise ConfigError("backend=art_local needs a GPU, and backend.device is cpu. On a CPU use backend=shared.")
        if self.port is not None and (self.engines or 1) > 1:
            raise ConfigError(
                f"backend.port is given for {self.engines} engines, and each needs its own. Leave it out."
            )

    @property
    def on_gpu(self) -> bool:
        """Whether the engine runs on a GPU. Raises ConfigError when one is asked for and none is there."""
        if self.device == "cuda" and not gpus():
            raise ConfigError("backend.device is cuda, and no NVIDIA GPU is visible here. Use device=auto or cpu.")
        return self.device != "cpu" and bool(gpus())

    @property
    def memory(self) -> tuple[float, float]:
        """Shares of a GPU's memory for one engine's sampler and trainer."""
        sampler, trainer = self.gpu_split
        return sampler / self.engines_per_gpu, trainer / self.engines_per_gpu

    @property
    def slots(self) -> int:
        """Adapters that the server holds at once."""
        return self.max_loras or (16 if self.on_gpu else 8)

    @property
    def requests(self) -> int:
        """Requests that the server gets at once, over all runs."""
        return self.in_flight or (256 if self.on_gpu else 48)


@dataclass(frozen=True, config=STRICT)
class ReuseConfig(Section):
    """enabled: find and share stored results; audit: share of hits that is computed again and compared."""

    option: ClassVar[str] = "reuse"

    enabled: bool
    audit: Share = 0.0

    def __post_init__(self) -> None:
        if self.audit and not self.enabled:
            raise ConfigError(f"reuse.audit is {self.audit}, and reuse=off finds nothing to compare. Drop one of them.")


@dataclass(frozen=True, config=STRICT)
class TrackingConfig(Section):
    """mode: auto (online with WANDB_API_KEY, else offline), offline, online, off."""

    option: ClassVar[str] = "tracking"

    mode: Literal["auto", "offline", "online", "off"]
    project: str


def _folder(name: str) -> str:
    try:
        return str(Path(name).expanduser())
    except RuntimeError as error:  # ~nobody
        raise ValueError from error


def _folder_name(name: str) -> str:
    if not (name[:1].isalnum() or name[:1] == "_") or set(name) & set("/\\") or not name.isprintable():
        raise ValueError
    if len(name) > 100 or len(name.encode()) > 200 or name != name.strip():
        raise ValueError
    return name


@dataclass(frozen=True, config=STRICT)
class Whereabouts(Section):
    """What stands beside the sections on the command line, the fixes left out."""

    seed: Whole
    sweep: Annotated[str, AfterValidator(_folder_name), Field(description=FOLDER_NAME)] | None
    results: Annotated[str, Field(min_length=1, description="a folder"), AfterValidator(_folder)]
    plan_only: bool


@plain_dataclass(frozen=True)
class RunConfig:
    """What sets one run of a sweep apart, and the sections that its loop reads.

    fix: the levels' resolved options
    """

    run: Run
    seams: Seams
    fix: Mapping[str, Any]
    train: TrainConfig
    rollout: RolloutConfig
    validation: ValidationConfig


@plain_dataclass(frozen=True)
class SweepConfig:
    """Everything that the runs of a sweep share, and its runs.

    name: of its folder in `results`; None: one that follows from the configuration
    shared: the sections as plain data, for the records
    """

    runs: tuple[RunConfig, ...]
    factors: Factors
    env: EnvConfig | OwnEnvConfig
    rollout: RolloutConfig
    train: TrainConfig
    validation: ValidationConfig
    policy: PolicyConfig
    backend: BackendConfig
    reuse: ReuseConfig
    tracking: TrackingConfig
    results: Path
    name: str | None
    plan_only: bool
    shared: Mapping[str, Any]

    @property
    def held(self) -> dict[str, str]:
        """Levels of the fixes that the sweep does not compare and that are not on."""
        return held(self.runs[0].seams, self.factors)

    def resolved(self, config: RunConfig) -> dict[str, Any]:
        """Everything that one run depends on, as plain data. Where results go changes no number."""
        return {"fix": config.fix, **self.shared, "seed": config.run.seed}


OURS = "harness.config.EnvConfig"
# The sections that are always the same class. `env` names its own in `_target_`, and so does each level of a fix.
SECTIONS: dict[str, type[Section]] = {
    section.option: section
    for section in (
        RolloutConfig,
        TrainConfig,
        ValidationConfig,
        PolicyConfig,
        BackendConfig,
        ReuseConfig,
        TrackingConfig,
    )
}
OF_A_RUN = ("fix", "seed")  # what the runs of a sweep differ in
WHEREABOUTS = ("sweep", "results", "plan_only")
NO_NUMBER = (*WHEREABOUTS, "factors")  # where results go, and what of the fixes a sweep compares


def typed(*configs: DictConfig) -> SweepConfig:
    """The typed config of a sweep, of one composed config for each of its runs.

    Raises ConfigError, naming the option, for anything that is out of range, unknown, missing or contradictory.
    """
    data = [_plain(cfg) for cfg in configs]
    common = [{key: value for key, value in each.items() if key not in OF_A_RUN} for each in data]
    for other in common[1:]:
        if changed := [key for key in other if other[key] != common[0][key]]:
            raise ConfigError(
                f"The runs of a sweep may differ in their fixes and seeds only, and these differ in "
                f"{', '.join(changed)}. Give every other option one value, and start one sweep per value."
            )
    first = _known(data[0])
    sections = {name: _section(name, first[name]) for name in ("env", *SECTIONS)}
    runs = []
    names = factor_names(configs[0])
    for cfg, each in zip(configs, data, strict=True):
        place = Whereabouts(**{name: each[name] for name in ("seed", *WHEREABOUTS)})
        seams = seams_of(cfg)
        run = Run(arm_of(seams, names), place.seed)
        runs.append(RunConfig(run, seams, each["fix"], *(sections[n] for n in ("train", "rollout", "validation"))))
    return SweepConfig(
        tuple(runs),
        declared(configs[0], names),
        **sections,
        results=Path(place.results),
        name=place.sweep,
        plan_only=place.plan_only,
        shared=_shared(common[0], sections),
    )


def option_names(cfg: DictConfig) -> list[str]:
    """The options that a composed configuration has or could have, dotted, as on the command line."""
    names = _dotted(cfg, "")
    sections: dict[str, type[Section]] = {"env": EnvConfig, **SECTIONS}
    for name, section in sections.items():
        names += [f"{name}.{field.name}" for field in fields(section) if f"{name}.{field.name}" not in names]
    return names


def _dotted(cfg: DictConfig, before: str) -> list[str]:
    names = []
    for key in cfg:
        node = None if key == "hydra" else cfg._get_node(key)
        names += _dotted(node, f"{before}{key!s}.") if isinstance(node, DictConfig) else [f"{before}{key!s}"]
    return [name for name in names if name != "hydra"]


def check_seed(seed: object) -> None:
    """Raises ConfigError for what is no seed."""
    Whereabouts(seed=seed, sweep=None, results=".", plan_only=True)  # type: ignore[arg-type]


def _plain(cfg: DictConfig) -> dict[str, Any]:
    try:
        data = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key or 'The configuration'}: {str(error).splitlines()[0]}") from error
    assert isinstance(data, dict)
    return {str(key): value for key, value in data.items()}


def _known(data: dict[str, Any]) -> dict[str, Any]:
    """The data; ConfigError for a key of the top level that is missing or that nothing reads."""
    names = ["fix", "env", *SECTIONS, "seed", *NO_NUMBER]
    for name in names:
        if name not in data:
            raise ConfigError(f"The configuration has no {name}; a run needs one.")
    for name in data:
        if name not in names:
            raise ConfigError(f"No option is called {name!r}.{closest(name, names)} Options: {', '.join(names)}.")
    return data


def _section(name: str, options: Any) -> Any:
    if not isinstance(options, dict):
        raise ConfigError(f"{name} is {shown(options)}; expected the options of a group: `{name}=…` chooses one.")
    if name == "env":
        return _environment(options)
    section = SECTIONS[name]
    given = dict(options)
    target = given.pop("_target_", None)  # configurations name it that were made when there was one to choose
    if target not in (None, f"{section.__module__}.{section.__name__}"):
        raise ConfigError(f"{name}._target_ is {target}; this section has always the same class. Leave it out.")
    return section(**given)


def _environment(options: dict[str, Any]) -> EnvConfig | OwnEnvConfig:
    """The typed section `env`. Over a group of ours another `_target_` takes none of that group's options."""
    given = {str(name): value for name, value in options.items() if name != "_target_"}
    target = options.get("_target_")
    if target == OURS:
        return EnvConfig(**given)
    if not target:
        raise ConfigError("Which environment? Give env._target_=package.module.function, or choose env=mock.")
    if "domain" not in given:
        return OwnEnvConfig(str(target), given)
    ours = {f.name: f.default for f in fields(EnvConfig)}
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
    shared = {key: value for key, value in data.items() if key not in NO_NUMBER}
    shared["policy"] = sections["policy"].plain()
    if isinstance(sections["env"], OwnEnvConfig):
        shared["env"] = sections["env"].source
    return shared
