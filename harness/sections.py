"""The sections of the configuration, typed and strict: what may be asked of each part.

An option is called SECTION.FIELD on the command line, and has its values in the files of conf/SECTION.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass as plain_dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from harness.errors import ConfigError
from harness.machine.gpu import gpus
from harness.machine.memory import APART, TOGETHER
from harness.policy.source import BUNDLED, PolicySource
from harness.strict import STRICT, Count, Positive, Section, Share, Whole

# What is allowed, in the words of a refusal.
SAMPLED = "a number in (0, 2]. For greedy rollouts use fix/exploration=off"
SAMPLES = "a number in (0, 2]; samples of a greedy policy are all the same"
GROUP = "a whole number, at least 2 rollouts, since advantages are relative to the group"
TRAINING_TASKS = "a whole number above 0, since without tasks the training set is empty"
TWO_SHARES = "the sampler's and the trainer's share of a GPU's memory, together at most 0.95"
SHARES_APART = "the sampler's and the trainer's share of the memory of their own GPUs, each at most 0.95"
LOOKS = "a list of one to four numbers of seeds, rising from at least 2, such as [4,6,8,10]"
REQUESTS = "a list of kinds of requests, such as [swap,cancel]"
MODEL = "a model by litellm's name, such as gpt-4o or hosted_vllm/NAME"
# By kind of user, the options that it takes, and those that it needs.
OF_USERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "scripted": ((), ()),
    "withholding": (("patience", "reserve"), ("patience", "reserve")),
    "llm": (
        ("model", "api_base", "temperature", "max_tokens", "key_variable", "concurrency", "timeout"),
        ("model",),
    ),
}
REQUESTS_ON_GPU = 256  # at once, where nothing else is asked for
NOT_WHO = ("key_variable", "concurrency", "timeout")  # how a model is reached, not what it says
REWARD = "a difference of rewards, above 0 and below 1"
NEEDS_GPU = "backend.batch_invariant=true needs an NVIDIA GPU (H100 or newer): vLLM has no such kernels for CPUs."
WITHOUT_IT = "Leave it out; `harness certificate` measures how far answers in company differ on this machine."
FOLDER_NAME = (
    "one plain folder name (at most 100 characters, the first a letter, a digit or _, no / and no \\; "
    'in a file, "2024" and "true" are quoted)'
)


@dataclass(frozen=True, config=STRICT)
class EnvConfig(Section):
    """domain: see `harness.env.DOMAINS`; tasks, task_seed: of the mock domain's generator; task_ids: these tasks alone.

    transfer_ends: whether a handover to a human agent ends the conversation: tau-bench v1's rule; tau2's is false
    """

    option: ClassVar[str] = "env"

    domain: str
    tasks: Count = 75
    task_seed: Whole = 0
    task_ids: Annotated[Sequence[str | int], Field(min_length=1, description="a list of at least one id")] | None = None
    transfer_ends: bool = False

    @property
    def source(self) -> dict[str, Any]:
        """What `harness.env.load_environment` is given; plain data, so that another process can be given it."""
        only = None if self.task_ids is None else tuple(map(str, self.task_ids))
        call = {"name": self.domain, "tasks": self.tasks, "seed": self.task_seed, "only": only}
        return {"_target_": "harness.env.load_domain", **call, "transfer_ends": self.transfer_ends}


@dataclass(frozen=True, config=STRICT)
class GeneratedEnvConfig(Section):
    """Generated retail tasks. tasks, validation_tasks: to train on, and in each generated validation set.

    requests: of a task; kinds: of requests, None: all; unseen_kinds: of which no task is trained on
    customers: the half of the held-out customers who are validated on; transfer_ends: see `EnvConfig`
    """

    option: ClassVar[str] = "env"

    domain: Literal["retail_generated"]
    tasks: Count = 30
    validation_tasks: Count = 60
    task_seed: Whole = 0
    requests: Annotated[int, Field(ge=1, le=3, description="1, 2 or 3 requests of a task")] = 1
    kinds: Annotated[Sequence[str], Field(min_length=1, description=REQUESTS)] | None = None
    unseen_kinds: Annotated[Sequence[str], Field(description=REQUESTS)] = ()
    customers: Literal["verdict", "tuning"] = "verdict"
    transfer_ends: bool = False

    @property
    def source(self) -> dict[str, Any]:
        """See `EnvConfig.source`."""
        options = {name: value for name, value in vars(self).items() if name != "domain"}
        lists = {name: value and tuple(value) for name, value in options.items() if name.endswith("kinds")}
        return {"_target_": "harness.env.retail_tasks.environment.load", **options, **lists}


@dataclass(frozen=True, config=STRICT)
class Tau1EnvConfig(Section):
    """tau-bench v1. path: of a checkout of sierra-research/tau-bench

    split: one split, whose first `train_tasks` tasks are trained on and whose others are held out, as in upstream's
    loop; or official: retail's train and test splits, with its dev split as a further validation set
    """

    option: ClassVar[str] = "env"

    domain: Literal["tau1_retail", "tau1_airline"]
    path: str | None = None
    split: Literal["test", "train", "dev", "official"] = "test"
    train_tasks: Count = 30

    @property
    def source(self) -> dict[str, Any]:
        """See `EnvConfig.source`."""
        path = self.path and str(Path(_folder(self.path)).absolute())
        call = {"name": self.domain.removeprefix("tau1_"), "path": path}
        return {"_target_": "harness.env.tau1.load", **call, "split": self.split, "train_tasks": self.train_tasks}


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
class UserConfig(Section):
    """Who talks to the policy. kind: scripted, the user that the environment brings, who asks no model and has no luck;
    withholding, a persona with luck of its own, who tells what it knows when it is asked; llm, a model.

    Of a withholding user. patience: answers that bring the policy nothing new, before it stops; reserve: how often it
    holds back what it can
    Of a model. model: litellm's name; api_base: of an endpoint that speaks OpenAI's protocol, None: the provider's own;
    temperature, max_tokens: per message, None: the provider's default; key_variable: the environment variable that
    holds the key, None: the provider's usual one; concurrency: requests at once, of an engine; timeout: of an answer,
    in seconds
    """

    option: ClassVar[str] = "user"

    kind: Literal["scripted", "withholding", "llm"] = "scripted"
    patience: Whole | None = None
    reserve: Share | None = None
    model: Annotated[str, Field(min_length=1, description=MODEL)] | None = None
    api_base: str | None = None
    temperature: Annotated[float, Field(ge=0, le=2, description="a number in [0, 2]")] | None = None
    max_tokens: Count | None = None
    key_variable: str | None = None
    concurrency: Count | None = None
    timeout: Positive | None = None

    def __post_init__(self) -> None:
        takes, needs = OF_USERS[self.kind]
        given = [name for name, value in vars(self).items() if value is not None and name != "kind"]
        if foreign := [name for name in given if name not in takes]:
            owner = next(kind for kind, (its, _) in OF_USERS.items() if foreign[0] in its)
            raise ConfigError(f"user.{foreign[0]} is given, an option of user={owner}, and the user is {self.kind}.")
        if missing := [name for name in needs if name not in given]:
            example = ": user.model=gpt-4o, or openai/NAME with user.api_base" if missing == ["model"] else ""
            raise ConfigError(f"user.{missing[0]} is missing, and user={self.kind} needs it{example}.")
        if self.api_base is not None and not re.fullmatch(r"https?://[^\s@?#]+", self.api_base):
            # it may hold a password: it is not shown
            raise ConfigError(
                "user.api_base is no plain address; expected http://HOST:PORT/v1, without a password or a query. A key "
                "comes from the environment (user.key_variable)."
            )
        if self.key_variable is not None and not re.fullmatch(r"[A-Za-z_]\w{0,63}", self.key_variable):
            raise ConfigError(
                "user.key_variable is no name of an environment variable; expected one such as OPENAI_API_KEY. The key "
                "itself stands in no option, since options are recorded."
            )

    @property
    def has_luck(self) -> bool:
        """Whether two conversations may differ although the policy says the same."""
        return self.kind != "scripted"

    @property
    def at_once(self) -> int:
        return self.concurrency or 16

    @property
    def seconds(self) -> float:
        return self.timeout or 60.0

    def identity(self) -> dict[str, Any]:
        """Who the user is and how it is asked: what an episode depends on and records. Only what is given."""
        return {name: value for name, value in vars(self).items() if value is not None and name not in NOT_WHO}


@dataclass(frozen=True, config=STRICT)
class RolloutConfig(Section):
    """max_tokens per reply; max_turns: policy replies per episode.

    max_prompt_tokens: an episode ends after a reply to a longer prompt, as upstream's does
    temperature: of training rollouts where fix/exploration is on
    players: processes that play episodes beside the trainer's; None: by the device (see `processes`)
    """

    option: ClassVar[str] = "rollout"

    max_tokens: Count
    max_turns: Count
    max_prompt_tokens: Count = 20_000
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
    loss: ART's, cispo (the default of 0.5.18) or ppo (the loss of ART of mid-2025, under which the loop was launched)
    epsilon, epsilon_high: clipping of the probability ratio, below and above 1; None: ART's own for the loss (0.5.18:
        ppo 0.2 and 0.2, cispo 1.0 and 4.0)
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
    loss: Literal["cispo", "ppo"] = "cispo"
    epsilon: Positive | None = None
    epsilon_high: Positive | None = None


@dataclass(frozen=True, config=STRICT)
class ValidationConfig(Section):
    """Reference validation: every how many steps, at which temperature (0: greedy), on how many tasks of which split.

    split: test, the held-out tasks; or train, those that the runs train on
    samples: further episodes of each task at the first and the last validation, for pass^k; 0: none
    sample_temperature: of these; the same for every arm
    also: further validation sets of the environment, by name, asked as the reference is and part of no effect
    also_every: every how many steps; None: at the first and the last validation
    """

    option: ClassVar[str] = "validation"

    every: Count
    temperature: Annotated[float, Field(ge=0, description="a number, 0 (greedy) or more")]
    max_tasks: Count | None = None
    split: Literal["test", "train"] = "test"
    samples: Whole = 0
    sample_temperature: Annotated[float, Field(gt=0, le=2, description=SAMPLES)] = 1.0
    also: Annotated[Sequence[str], Field(description="a list of names of validation sets")] = ()
    also_every: Count | None = None

    def __post_init__(self) -> None:
        if self.also_every and self.also_every % self.every:
            raise ConfigError(
                f"validation.also_every is {self.also_every}; expected a multiple of validation.every={self.every}."
            )


@dataclass(frozen=True, config=STRICT)
class PolicyConfig(PolicySource, Section):
    """What is trained (see `PolicySource`), and the rank and alpha of its LoRA adapters."""

    option: ClassVar[str] = "policy"

    lora_rank: Count = 8
    lora_alpha: Count = 16

    @property
    def for_cpus(self) -> bool:
        """Whether it is made for CPUs: it computes in float32."""
        return not self.is_own and self.name in BUNDLED


@dataclass(frozen=True, config=STRICT)
class BackendConfig(Section):
    """kind: shared (one engine for all runs) or art_local (stock ART, an engine per run).

    device: cpu, cuda, or auto: cuda where there is a GPU and the policy is not made for CPUs, as micro is
    placement: together, sampler and trainer on one GPU; or split, each with GPUs of its own
    sampler_gpus: of a split engine, over which vLLM divides each layer (tensor parallel)
    gpu_split: shares of a GPU's memory for the sampler and the trainer; None: 0.5 and 0.4, or 0.9 each where split
    max_loras: adapter slots of the server; in_flight: requests at once; None: 8 and 48 on a CPU, 16 and 256 on a GPU
    threads: of PyTorch in the trainer; port: on 127.0.0.1, None for a free one
    engines_per_gpu: that share a GPU and its memory; engines: at once, None: as many as that gives
    batch_invariant: vLLM's kernels whose results do not depend on what else is in the batch; on a GPU alone
    """

    option: ClassVar[str] = "backend"

    kind: Literal["shared", "art_local"]
    device: Literal["auto", "cpu", "cuda"] = "auto"
    placement: Literal["together", "split"] = "together"
    sampler_gpus: Count = 1
    gpu_split: Annotated[tuple[float, float], Field(strict=False, description=TWO_SHARES)] | None = None
    max_loras: Annotated[int, Field(ge=2, description="at least 2, a whole number (one slot stays empty)")] | None = (
        None
    )
    in_flight: Count | None = None
    threads: Count = 1
    engines_per_gpu: Count = 1
    engines: Count | None = None
    port: Annotated[int, Field(ge=1, le=65535, description="a port, 1 to 65535")] | None = None
    batch_invariant: bool = False

    def __post_init__(self) -> None:
        if self.batch_invariant and self.kind == "art_local":
            raise ConfigError("backend.batch_invariant is for backend=shared: stock ART starts a server of its own.")
        if self.batch_invariant and self.device == "cpu":
            raise ConfigError(f"{NEEDS_GPU} backend.device is cpu. {WITHOUT_IT}")
        shares, most = self.shares, max if self.placement == "split" else sum
        if min(shares) <= 0 or most(shares) > 0.95:
            expected = SHARES_APART if self.placement == "split" else TWO_SHARES
            raise ConfigError(f"backend.gpu_split is {list(shares)}; expected {expected}.")
        self._check_placement()
        if self.kind == "art_local" and self.engines_per_gpu > 1:
            raise ConfigError("backend=art_local takes a whole GPU for each run: leave backend.engines_per_gpu at 1.")
        if self.kind == "art_local" and self.device == "cpu":
            raise ConfigError("backend=art_local needs a GPU, and backend.device is cpu. On a CPU use backend=shared.")
        if self.port is not None and (self.engines or 1) > 1:
            raise ConfigError(
                f"backend.port is given for {self.engines} engines, and each needs its own. Leave it out."
            )

    def _check_placement(self) -> None:
        if self.placement == "together":
            if self.sampler_gpus > 1:
                raise ConfigError(
                    f"backend.sampler_gpus is {self.sampler_gpus}, and sampler and trainer are on one GPU. Add "
                    "backend.placement=split."
                )
            return
        if self.kind == "art_local":
            raise ConfigError(
                "backend.placement=split is for backend=shared: stock ART divides two GPUs between training and "
                "inference by itself. Leave it out."
            )
        if self.device == "cpu":
            raise ConfigError("backend.placement=split needs GPUs, and backend.device is cpu. Leave it out.")
        if self.engines_per_gpu > 1:
            raise ConfigError(
                f"backend.placement=split gives an engine {self.gpus_per_engine} whole GPUs, and "
                f"backend.engines_per_gpu is {self.engines_per_gpu}. Leave one of them out."
            )

    @property
    def gpus_per_engine(self) -> int:
        """Whole GPUs that an engine takes; 1 also where several share one."""
        return self.sampler_gpus + 1 if self.placement == "split" else 1

    @property
    def shares(self) -> tuple[float, float]:
        """Shares of a GPU's memory for the sampler and the trainer, of all engines on it."""
        return self.gpu_split or (APART if self.placement == "split" else TOGETHER)

    @property
    def on_gpu(self) -> bool:
        """Whether the engine runs on a GPU. Raises ConfigError when one is asked for and none is there."""
        if self.device == "cuda" and not gpus():
            raise ConfigError("backend.device is cuda, and no NVIDIA GPU is visible here. Use device=auto or cpu.")
        return self.device != "cpu" and bool(gpus())

    def check_place(self) -> None:
        """Raises ConfigError where sampler and trainer are to be on GPUs of their own, and too few are visible."""
        if self.placement == "split" and len(gpus()) < self.gpus_per_engine:
            raise ConfigError(
                f"backend.placement=split needs {self.gpus_per_engine} GPUs (sampler {self.sampler_gpus}, trainer 1), "
                f"and {len(gpus())} {'is' if len(gpus()) == 1 else 'are'} visible here."
            )

    @property
    def places(self) -> tuple[tuple[str, ...], str | None]:
        """The sampler's GPUs and the trainer's, as CUDA_VISIBLE_DEVICES names them; (), None: all that are visible."""
        if self.placement == "together":
            return (), None
        self.check_place()
        names = [str(gpu.index) for gpu in gpus()[: self.gpus_per_engine]]
        return tuple(names[: self.sampler_gpus]), names[-1]

    def check_kernels(self) -> None:
        """Raises ConfigError where the engine would run on a CPU and its kernels are asked to be batch-invariant."""
        if self.batch_invariant and not self.on_gpu:
            raise ConfigError(f"{NEEDS_GPU} No GPU is visible here. {WITHOUT_IT}")

    @property
    def memory(self) -> tuple[float, float]:
        """Shares of a GPU's memory for one engine's sampler and trainer."""
        sampler, trainer = self.shares
        return sampler / self.engines_per_gpu, trainer / self.engines_per_gpu

    @property
    def slots(self) -> int:
        """Adapters that the server holds at once."""
        return self.max_loras or (16 if self.on_gpu else 8)

    @property
    def requests(self) -> int:
        """Requests that the server gets at once, over all runs."""
        return self.in_flight or (REQUESTS_ON_GPU if self.on_gpu else 48)


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
    """mode: auto (online with a key, else offline), offline, online, off."""

    option: ClassVar[str] = "tracking"

    mode: Literal["auto", "offline", "online", "off"]
    project: str


@dataclass(frozen=True, config=STRICT)
class StatsConfig(Section):
    """What is part of the plan, chosen before the data.

    margin: what counts as next to nothing, in validation reward
    threshold: validation reward; how many steps it takes to reach it; None: halfway between all_on's first and best
    looks: planned, or open: more seeds as long as one likes, which costs more (stats/looks.py)
    looks_planned: after how many seeds the sweep is looked at; None: once, after the seeds that are asked for first
    """

    option: ClassVar[str] = "stats"

    margin: Annotated[float, Field(gt=0, lt=1, description=REWARD)]
    threshold: Annotated[float, Field(gt=0, le=1, description="a reward above 0, at most 1")] | None = None
    looks: Literal["planned", "open"] = "planned"
    looks_planned: Annotated[Sequence[int], Field(min_length=1, max_length=4, description=LOOKS)] | None = None

    def __post_init__(self) -> None:
        ahead = list(self.looks_planned or ())
        if ahead != sorted(set(ahead)) or any(seeds < 2 for seeds in ahead):
            raise ConfigError(f"stats.looks_planned is {ahead}; expected {LOOKS}.")
        if ahead and self.looks == "open":
            raise ConfigError("stats.looks_planned names when to look, and stats.looks=open plans no end. Drop one.")


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
class TopLevel(Section):
    """What stands beside the sections on the command line, the fixes left out.

    baseline: which loop `off` means (see `factors.BASELINES`)
    resume: same, or mixed: a sweep that was begun with another source (files, versions) goes on with this one
    handover_ends: what `env.transfer_ends` follows where nobody says otherwise
    placebo: compare a placebo beside the fixes; controls: negative controls beside the design
    """

    seed: Whole
    baseline: Literal["note", "as_launched"]
    sweep: Annotated[str, AfterValidator(_folder_name), Field(description=FOLDER_NAME)] | None
    results: Annotated[str, Field(min_length=1, description="a folder"), AfterValidator(_folder)]
    plan_only: bool | Literal["json"]
    resume: Literal["same", "mixed"] = "same"
    handover_ends: bool = False
    placebo: bool = False
    controls: bool = False
