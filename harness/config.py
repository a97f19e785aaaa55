"""Typed configuration. Composed by Hydra, validated here, at the door; behind it nobody sees a DictConfig."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from harness.designs import closest
from harness.errors import ConfigError, HarnessError
from harness.factors import ON, Arm, Factors, Run
from harness.fixes import registry
from harness.machine.gpu import gpus
from harness.policy.source import PolicySource
from harness.seams import OPEN, Seams, Strategy


def _positive(owner: str, **values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ConfigError(f"{owner}.{name} is {value}; expected a number above 0.")


@dataclass(frozen=True)
class EnvConfig:
    """domain: mock, retail, airline; tasks, task_seed: of the mock domain's generator; task_ids: these tasks alone."""

    domain: str
    tasks: int = 75
    task_seed: int = 0
    task_ids: Sequence[str] | None = None

    def __post_init__(self) -> None:
        _positive("env", tasks=self.tasks)
        if isinstance(self.task_ids, str | int | float):
            raise ConfigError(f"env.task_ids is {self.task_ids}; expected a list: env.task_ids=[{self.task_ids}].")

    @property
    def source(self) -> dict[str, Any]:
        """What `harness.env.load_environment` is given; plain data, so that another process can be given it."""
        only = None if self.task_ids is None else tuple(map(str, self.task_ids))
        call = {"name": self.domain, "tasks": self.tasks, "seed": self.task_seed, "only": only}
        return {"_target_": "harness.env.load_domain", **call}


@dataclass(frozen=True)
class OwnEnvConfig:
    """An environment of one's own: `target`, a dotted path, is called with `arguments`, in every process that plays."""

    target: str
    arguments: dict[str, Any]

    @property
    def source(self) -> dict[str, Any]:
        """See `EnvConfig.source`."""
        return {"_target_": self.target, **self.arguments}


@dataclass(frozen=True)
class RolloutConfig:
    """max_tokens per reply; max_turns: policy replies per episode.

    temperature: of training rollouts where fix/exploration is on
    players: processes that play episodes beside the trainer's; None: by the device (see `processes`)
    """

    max_tokens: int
    max_turns: int
    temperature: float = 1.0
    players: int | None = None

    def __post_init__(self) -> None:
        _positive("rollout", max_tokens=self.max_tokens, max_turns=self.max_turns)
        if not isinstance(self.temperature, int | float) or not 0.0 < self.temperature <= 2.0:
            raise ConfigError(
                f"rollout.temperature is {self.temperature}; expected a number in (0, 2]. For greedy rollouts use "
                "fix/exploration=off."
            )
        if self.players is not None and self.players < 0:
            raise ConfigError(f"rollout.players is {self.players}; expected 0 (in the trainer's process) or more.")

    def processes(self, on_gpu: bool) -> int:
        """Player processes: on a CPU none, the sampler is slower than one; on a GPU half the cores, at most 8."""
        if self.players is not None:
            return self.players
        return min(8, (os.cpu_count() or 2) // 2) if on_gpu else 0


@dataclass(frozen=True)
class TrainConfig:
    """The RL loop. A step trains on groups_per_step × rollouts_per_group episodes.

    train_tasks, val_tasks: the sizes that upstream's split asks for (30 and 85)
    packed_sequence_length: tokens of a packed row; groups_per_gradient_step: groups of one optimiser step
    """

    steps: int
    groups_per_step: int
    rollouts_per_group: int
    train_tasks: int
    val_tasks: int
    learning_rate: float
    packed_sequence_length: int
    groups_per_gradient_step: int

    def __post_init__(self) -> None:
        if self.train_tasks == 0:
            raise ConfigError("train.train_tasks is 0, so the training set is empty; expected at least 1 task.")
        if self.steps < 0:
            raise ConfigError(f"train.steps is {self.steps}; expected 0 or more.")
        _positive(
            "train",
            groups_per_step=self.groups_per_step,
            train_tasks=self.train_tasks,
            val_tasks=self.val_tasks,
            learning_rate=self.learning_rate,
            packed_sequence_length=self.packed_sequence_length,
            groups_per_gradient_step=self.groups_per_gradient_step,
        )
        if self.rollouts_per_group < 2:
            raise ConfigError(
                f"train.rollouts_per_group is {self.rollouts_per_group}; a group needs at least 2 rollouts, "
                "since advantages are relative to the group."
            )


@dataclass(frozen=True)
class ValidationConfig:
    """Reference validation: every how many steps, at which temperature (0: greedy), on how many tasks of which split.

    split: test, the held-out tasks; or train, those that the runs train on
    """

    every: int
    temperature: float
    max_tasks: int | None = None
    split: str = "test"

    def __post_init__(self) -> None:
        _positive("validation", every=self.every)
        if self.split not in ("test", "train"):
            raise ConfigError(f"validation.split is {self.split!r}; expected test (held-out tasks) or train.")
        if self.temperature < 0:
            raise ConfigError(f"validation.temperature is {self.temperature}; expected 0 (greedy) or more.")
        if self.max_tasks is not None:
            _positive("validation", max_tasks=self.max_tasks)


@dataclass(frozen=True)
class PolicyConfig(PolicySource):
    """What is trained (see `PolicySource`), and the rank and alpha of its LoRA adapters."""

    lora_rank: int = 8
    lora_alpha: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive("policy", lora_rank=self.lora_rank, lora_alpha=self.lora_alpha)


BACKENDS = ("shared", "art_local")


@dataclass(frozen=True)
class BackendConfig:
    """kind: shared (one engine for all runs) or art_local (stock ART, an engine per run).

    device: cpu, cuda, or auto: cuda where there is a GPU
    gpu_split: shares of a GPU's memory for the sampler and the trainer
    max_loras: adapter slots of the server; in_flight: requests at once; None: 8 and 48 on a CPU, 16 and 256 on a GPU
    threads: of PyTorch in the trainer; port: on 127.0.0.1, None for a free one
    engines_per_gpu: that share a GPU and its memory; engines: at once, None: as many as that gives
    """

    kind: str
    device: str = "auto"
    gpu_split: tuple[float, float] = (0.5, 0.4)
    max_loras: int | None = None
    in_flight: int | None = None
    threads: int = 1
    engines_per_gpu: int = 1
    engines: int | None = None
    port: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in BACKENDS:
            raise ConfigError(f"backend.kind is {self.kind!r}; expected one of {', '.join(BACKENDS)}.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"backend.device is {self.device!r}; expected auto, cpu or cuda.")
        if self.max_loras is not None and self.max_loras < 2:
            raise ConfigError(f"backend.max_loras is {self.max_loras}; expected at least 2 (one slot stays empty).")
        if len(self.gpu_split) != 2 or min(self.gpu_split) <= 0 or sum(self.gpu_split) > 0.95:
            raise ConfigError(
                f"backend.gpu_split is {list(self.gpu_split)}; expected the sampler's and the trainer's share of a "
                "GPU's memory, together at most 0.95."
            )
        if self.kind == "art_local" and self.engines_per_gpu > 1:
            raise ConfigError("backend=art_local takes a whole GPU for each run: leave backend.engines_per_gpu at 1.")
        counts = {"in_flight": self.in_flight, "engines": self.engines}
        whole = {"threads": self.threads, "engines_per_gpu": self.engines_per_gpu}
        _positive("backend", **whole, **{name: n for name, n in counts.items() if n is not None})

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


@dataclass(frozen=True)
class ReuseConfig:
    """enabled: find and share stored results; audit: share of hits that is computed again and compared."""

    enabled: bool
    audit: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.audit <= 1.0:
            raise ConfigError(f"reuse.audit is {self.audit}; expected a share between 0 and 1.")


@dataclass(frozen=True)
class TrackingConfig:
    """mode: auto (online with WANDB_API_KEY, else offline), offline, online, off."""

    mode: str
    project: str

    def __post_init__(self) -> None:
        if self.mode not in ("auto", "offline", "online", "off"):
            raise ConfigError(f"tracking.mode is {self.mode!r}; expected auto, offline, online or off.")


@dataclass(frozen=True)
class RunConfig:
    """Everything that one run depends on. resolved: the same as plain data, for the records."""

    run: Run
    seams: Seams
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
    resolved: dict[str, Any]

    @property
    def held(self) -> dict[str, str]:
        """Levels of the fixes that the sweep does not compare and that are not on."""
        levels = {s.factor.name: s.level for s in self.seams.all()}
        return {name: level for name, level in levels.items() if name not in self.factors.names and level != ON}

    def shared(self) -> dict[str, Any]:
        """What all runs of a sweep must have in common: all but the levels and the seed."""
        return {k: v for k, v in self.resolved.items() if k not in ("fix", "seed")}


PARTS = ("env", "rollout", "train", "validation", "policy", "backend", "reuse", "tracking")


def _instantiated(cfg: DictConfig) -> Any:
    try:
        return instantiate(cfg)
    except InstantiationException as error:
        if isinstance(error.__cause__, HarnessError):
            raise error.__cause__ from None
        raise ConfigError(f"The configuration cannot be used: {error}") from error


def factor_names(cfg: DictConfig) -> tuple[str, ...]:
    """The factors that `factors` names: `note` for the fixes of the investigation note, or a list of fixes."""
    asked = OmegaConf.to_container(cfg.factors) if OmegaConf.is_config(cfg.factors) else cfg.factors
    if asked == "note":
        return registry.note().names
    names = [str(name) for name in asked] if isinstance(asked, list) else []
    known = [str(name) for name in cfg.fix]
    wrong = next((name for name in names if name not in known), None)
    if wrong is not None:
        raise ConfigError(
            f"factors names {wrong!r}, which is no fix.{closest(wrong, known)} Fixes: {', '.join(known)}."
        )
    if not names or len(set(names)) < len(names):
        raise ConfigError(f"factors is {asked!r}; expected note, or a list of fixes: factors=[{known[0]},{known[1]}].")
    return tuple(names)


def declared(cfg: DictConfig, names: Sequence[str]) -> Factors:
    """The factors of these names as their classes declare them. Raises ConfigError for a class that does not."""
    return Factors(tuple(_class(cfg, name).factor for name in names))


def _class(cfg: DictConfig, name: str) -> type[Strategy]:
    """The class behind a fix's chosen level."""
    target = str(cfg.fix[name].get("_target_"))
    try:
        found = get_class(target)
    except Exception as error:  # whatever an import of somebody's package raises
        raise ConfigError(f"fix/{name}: {target} cannot be imported: {error}") from error
    what = getattr(getattr(found, "factor", None), "name", None)
    if what != name:
        raise ConfigError(
            f"fix/{name}: {target} must declare `factor = Factor(name={name!r}, …)` (harness.seams.Factor); "
            f"it declares {what!r}."
        )
    if missing := [a for a in ("level", "needs", "check") if not hasattr(found, a)]:
        raise ConfigError(f"fix/{name}: {target} lacks {', '.join(missing)}; harness.seams.Strategy says what it is.")
    return found


def _seams(cfg: DictConfig) -> Seams:
    """The strategies of a run. Raises ConfigError for a foreign one at no open seam."""
    strategies = {str(name): _instantiated(cfg.fix[name]) for name in cfg.fix if _class(cfg, str(name))}
    owned = registry.note().names
    further = {name: s for name, s in sorted(strategies.items()) if name not in owned}
    for name, strategy in further.items():
        seam = getattr(strategy, "seam", None)
        if seam not in OPEN or not callable(getattr(strategy, str(seam), None)):
            raise ConfigError(
                f"fix/{name}: {type(strategy).__name__}.seam is {seam!r}; expected one of {', '.join(OPEN)}, and a "
                f"method of that name (harness.seams). Another way to act at the seam of {', '.join(owned)} is "
                "a further level of that fix."
            )
    return Seams(**{name: strategies[name] for name in owned}, further=tuple(further.values()))


def _arm(seams: Seams, names: Sequence[str]) -> Arm:
    levels = {s.factor.name: s.level for s in seams.all()}
    return Arm.of({name: levels[name] for name in names})


def factors_of_one(cfg: DictConfig) -> tuple[str, ...]:
    """Of a single run: those that `factors` names, and every other fix that is not on."""
    named = factor_names(cfg)
    return (*named, *(str(n) for n in cfg.fix if n not in named and _class(cfg, str(n)).level != ON))


OURS = "harness.config.EnvConfig"


def _environment(section: DictConfig) -> EnvConfig | OwnEnvConfig:
    """The typed section `env`. Over a group of ours another `_target_` takes none of that group's options."""
    if section.get("_target_") == OURS:
        return _instantiated(section)  # type: ignore[no-any-return]
    section_values = OmegaConf.to_container(section, resolve=True)
    assert isinstance(section_values, dict)
    given = {str(name): value for name, value in section_values.items()}
    target = given.pop("_target_", None)
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


def typed(cfg: DictConfig) -> RunConfig:
    """The typed config of one run. Raises ConfigError, naming the option, for anything out of range."""
    resolved = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(resolved, dict)
    parts: dict[str, Any] = {
        name: _environment(cfg[name]) if name == "env" else _instantiated(cfg[name]) for name in PARTS
    }
    resolved["policy"] = {"_target_": resolved["policy"]["_target_"], **parts["policy"].plain()}
    if isinstance(parts["env"], OwnEnvConfig):
        resolved["env"] = parts["env"].source
    seams, names = _seams(cfg), factor_names(cfg)
    seed = resolved["seed"]
    if not isinstance(seed, int) or seed < 0:
        raise ConfigError(f"seed is {seed!r}; expected a whole number, 0 or more.")
    return RunConfig(
        run=Run(_arm(seams, names), seed),
        seams=seams,
        factors=declared(cfg, names),
        **parts,
        results=Path(resolved["results"]),
        # Where the results go, and how the display looks, changes no number.
        resolved={str(k): v for k, v in resolved.items() if k not in ("results", "sweep", "plan_only", "factors")},
    )
