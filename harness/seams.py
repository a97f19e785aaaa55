"""The seams at which a fix acts: Protocols, and the data that they exchange.

The loop calls a seam and holds no `if fix`. Each strategy also says, from what was measured in a step, whether it took
effect (`check`): that is the manipulation check. Six seams have an owner, a fix of the note: another way to act there
is a further level of that fix. At an open seam (OPEN) any number of further fixes act, one after another.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np

from harness.factors import BATCH, EPISODES, REPORTED, Factor

__all__ = [
    "BATCH",
    "EPISODES",
    "OPEN",
    "REPORTED",
    "Batch",
    "Check",
    "Context",
    "Endpoint",
    "Evidence",
    "Exploration",
    "Factor",
    "Learned",
    "Logprobs",
    "Names",
    "Outcome",
    "Rendering",
    "Reward",
    "Scores",
    "Seams",
    "Split",
    "Strategy",
    "Stream",
    "Submitted",
    "TaskSplit",
    "Tools",
    "Update",
]


@dataclass(frozen=True)
class Names:
    """The model names under which a run's policy can be asked.

    pinned: the name that ART gave when the model was registered (`<name>@0`)
    current: ART's inference name of the step that was trained last (`<name>@<step>`)
    before: that of the step before; at step 0 the current one
    """

    pinned: str
    current: str
    before: str = ""

    def rival(self, asked: str) -> str:
        """The name whose weights are most easily taken for those of the name that is asked."""
        return self.before if asked == self.current else self.current


@dataclass(frozen=True)
class Outcome:
    """What the official evaluator says of one finished episode.

    reward: the raw benchmark reward, 0.0 or 1.0
    facts_met, facts_total: what was to be said; without a user (telecom_solo) what was to hold at the end
    db_match: None where the task has no database check
    end: `user_stop`; `done` (a tool ended the conversation); `turn_limit`; `prompt_limit` (the prompt passed
        rollout.max_prompt_tokens); `length` (the model's context is full or a reply was cut)
    raised: what upstream's loop would have raised first in this episode: a call whose arguments are no JSON object.
        Here the call is answered by an error text and the episode goes on; None: nothing
    shaped: the reward that an ART project's own rollout gave; None: the environment gives none but `reward`
    Of an episode that ended otherwise than by `user_stop` or `done` nothing counts as met. An environment sets neither
    `end` nor `raised`: who plays the episode does.
    """

    reward: float
    actions_matched: int
    actions_total: int
    facts_met: int
    facts_total: int
    db_match: bool | None
    end: str = "user_stop"
    raised: str | None = None
    shaped: float | None = None


@dataclass(frozen=True)
class Rendering:
    """How the trainer renders a trajectory. The server's prompts are the same whatever it is.

    tool_order: key order of the tools, "served" (the server's) or "stock" (ART 0.5.18's default)
    calls: how often a call before the last turn is shown, "once" (as served) or "twice" (as stock ART 0.5.18)
    advantages: that a rollout is trained with, its "own" or those of the step "shuffled" among its trained rollouts
    """

    tool_order: Literal["served", "stock"] = "served"
    calls: Literal["once", "twice"] = "once"
    advantages: Literal["own", "shuffled"] = "own"


@dataclass(frozen=True)
class TaskSplit:
    """Task ids to train on and to validate on, in order; None stands for an index past the end."""

    train: tuple[str, ...]
    validation: tuple[str | None, ...]


@dataclass(frozen=True)
class Scores:
    """How well weights explain what was served: log-probs of the trainer against those that came with the replies, on
    the prompt and output ids of a few rollouts as they were served. In nats; means over sampled tokens.

    Which weights explain a token better is asked in relation to how far both are off: in nats a few tokens decide
    alone, those that the policy was least sure of.

    gap: |served - scored| under the weights that are said to have answered
    rival_gap: the same under the rival's weights (`Names.rival`); NaN where nobody has them
    apart: |difference| of the two scores
    preference: (|served - rival| - |served - answering|) / (their sum), from -1 (only the rival explains it) to 1; the
        mean over the tokens on which the two weights differ by at least their mean difference
    error: the standard error of that mean, between replies; NaN with one
    replies: that have such tokens
    """

    gap: float
    rival_gap: float
    apart: float
    preference: float
    error: float
    tokens: int
    replies: int


@dataclass(frozen=True)
class Submitted:
    """A group as it was handed to the trainer, after the seam `batch`.

    rewards: by rollout number; earned: what the same rollouts carried when they were gathered
    """

    task: str
    rewards: Mapping[int, float]
    earned: Mapping[int, float]


@dataclass(frozen=True)
class Learned:
    """The advantage of a trained rollout.

    task: of its episode; earned: the reward that it carried when it was gathered
    computed: by ART, of the rewards that it was handed; given: in the tensors that were trained on
    """

    task: str
    earned: float
    computed: float
    given: float


@dataclass(frozen=True)
class Evidence:
    """What one step measured, before any verdict. G groups of R rollouts; N = rollouts that are present.

    rewards_G_R: training rewards, NaN = missing; raw_G_R: the benchmark's own reward
    asked_current: the requests carried the name of the current step's adapter
    policy_moved: the current weights differ from those behind the pinned name
    answered_by_current_N: the weights of the current step answered every request of the rollout
    distinct_G: in each group, 1 + the sum of (distinct outputs - 1) over the prompts that several rollouts had, outputs
        by token ids: the distinct rollouts, if user and world always answer alike. 0 if no two prompts were equal
    logprobs_N: every kept choice carries log-probs, finite ones, one per sampled token; without the rollouts whose
        trajectory is empty
    left_out: rollouts that the trainer got with log-probs, an advantage and room in a row, and that it did not train; 0
        where the backend does not say what was trained
    temperature: as it was configured for the training rollouts
    options: what the trainer was called with, its metrics what it answered
    scores: None where the trainer could not be asked
    temperatures_N: what the rollout's requests carried; where they differ, the one farthest from what was configured;
        NaN where one carried none
    exact: greedy decoding repeats itself; in 16 bits the batch decides the last digit, and with it a near tie
    outcomes_N: what the evaluator said; trained_rewards_N, empty_N: the reward that the trajectories of these carry,
        and whether they hold no message, in the same order
    validated: the ids that the arm's own validation asked last; None: it has asked none yet
    validation_raised: that validation ended the loop
    tasks: of the groups as they were gathered; submitted: the groups that the trainer got, in their order
    own_stream_N: the sampling seed of the rollout is of the stream that the loop draws from by itself; None: not known
    moved: the update changed the weights; None: not known

    Of the M rollouts that the trainer really trained, read from what ART packed (see `harness.backend.context`):
    openings_M: as what the context begins, up to the first turn's output: "served", "stock_order" (the tools in stock
        ART's key order), "no_tools", "rendered" (with the tools, as ART renders it in the server's key order, where
        ART renders more than the tools otherwise than the server). Where two of them are the same token ids, both;
        where it is none, nothing. None: the backend does not say what was trained
    contexts_M: the same of what follows: "served", "twice" (calls shown twice), "once" (once, and otherwise than they
        were served: a call that the policy spells oddly is served again in canonical spelling); None without a call
        before the last turn
    context_equal_M: the whole context is what was served and sampled
    learned_M: advantages; without rollouts that are none of the step's. None: the backend does not say what was trained
    """

    step: int
    rewards_G_R: np.ndarray
    raw_G_R: np.ndarray
    asked_current: bool
    policy_moved: bool
    answered_by_current_N: Sequence[bool]
    distinct_G: Sequence[int]
    logprobs_N: Sequence[bool]
    temperature: float
    trainable_tokens: int
    gradient_steps: int
    split: TaskSplit
    exact: bool = True
    left_out: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    outcomes_N: Sequence[Outcome] = ()
    trained_rewards_N: Sequence[float] = ()
    empty_N: Sequence[bool] = ()
    validated: tuple[str | None, ...] | None = None
    validation_raised: bool = False
    scores: Scores | None = None
    temperatures_N: Sequence[float] = ()
    openings_M: Sequence[frozenset[str]] | None = None
    contexts_M: Sequence[frozenset[str] | None] = ()
    context_equal_M: Sequence[bool] = ()
    tasks: Sequence[str] = ()
    submitted: Sequence[Submitted] = ()
    own_stream_N: Sequence[bool | None] = ()
    moved: bool | None = None
    learned_M: Sequence[Learned] | None = None


@dataclass(frozen=True)
class Check:
    """One factor's manipulation check at one step.

    took_effect: None where this step cannot tell (e.g. nothing was sampled); the text then begins with `not shown: `
    refuted: this step alone makes the run INVALID, also where a level needs `ever`
    """

    factor: str
    level: str
    reading: dict[str, float]
    took_effect: bool | None
    text: str
    refuted: bool = False

    @property
    def record(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "refuted"}


class Strategy(Protocol):
    """What every level of every factor has. `needs`: over a run, `always` or `ever` must a check hold?"""

    factor: ClassVar[Factor]
    level: ClassVar[str]
    needs: ClassVar[str]

    def check(self, evidence: Evidence) -> Check: ...


class Endpoint(Strategy, Protocol):
    def model_name(self, names: Names) -> str:
        """The model name that a policy request carries, litellm's provider prefix included."""
        ...


class Tools(Strategy, Protocol):
    def attach(self, sent: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """`Trajectory.tools`, given the schemas that were sent to the policy."""
        ...


class Exploration(Strategy, Protocol):
    temperature: float


class Reward(Strategy, Protocol):
    def training_reward(self, outcome: Outcome) -> float:
        """In [-1, 1]; 1 only for raw success. Where a project shapes its rewards, any finite number."""
        ...

    def trains_on(self, outcome: Outcome) -> bool:
        """Whether the messages of the episode go into its trajectory; else that is empty, and only its reward counts,
        in the mean and the spread of its group."""
        ...


class Logprobs(Strategy, Protocol):
    required: bool  # whether a reply without log-probs is asked for again

    def keep(self, choice: Any) -> Any:
        """The `Choice` that goes into the trajectory. Raises EpisodeError if it must not be used."""
        ...


class Split(Strategy, Protocol):
    raises: bool  # whether an id past the end raises in the arm's own validation, which ends the loop; else it scores 0

    def split(self, task_ids: Sequence[str], train_size: int, val_size: int) -> TaskSplit: ...


class Batch(Strategy, Protocol):
    """Open seam `batch`: what is trained on."""

    seam: ClassVar[str]  # "batch"

    def batch(self, groups: list[Any]) -> list[Any]:
        """The `art.TrajectoryGroup`s of a step that go to the trainer, given those that were gathered."""
        ...


class Update(Strategy, Protocol):
    """Open seam `update`: how the trainer is called."""

    seam: ClassVar[str]  # "update"

    def update(self, options: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments of ART's `LocalBackend.train` (learning_rate, loss_fn, epsilon, …), given those so far."""
        ...


class Context(Strategy, Protocol):
    """Open seam `context`: how the trainer renders what it trains on. Asked once, when the run is admitted."""

    seam: ClassVar[str]  # "context"

    def context(self, rendering: Rendering) -> Rendering:
        """The rendering, given the one so far."""
        ...


class Stream(Strategy, Protocol):
    """Open seam `stream`: where the sampling seeds of the training rollouts come from. Asked once, at the start."""

    seam: ClassVar[str]  # "stream"

    def stream(self, name: str) -> str:
        """The name of the stream, given the one so far; a seed is `derive_seed(run's seed, name, step, task, …)`."""
        ...


OPEN = {"batch": Batch, "update": Update, "context": Context, "stream": Stream}


def open_seams(strategy: object) -> tuple[str, ...]:
    """Where a strategy says that it acts: `seam`, a name or several."""
    seam = getattr(strategy, "seam", ())
    return seam if isinstance(seam, tuple) else (seam,)


@dataclass(frozen=True)
class Seams:
    """further: strategies at open seams, in the order in which they act."""

    endpoint: Endpoint
    tools: Tools
    exploration: Exploration
    reward: Reward
    logprobs: Logprobs
    split: Split
    further: tuple[Strategy, ...] = ()

    def all(self) -> tuple[Strategy, ...]:
        return (*(v for name, v in vars(self).items() if name != "further"), *self.further)

    def batch(self, groups: list[Any]) -> list[Any]:
        for strategy in self._at("batch"):
            groups = strategy.batch(groups)
        return groups

    def update(self, options: dict[str, Any]) -> dict[str, Any]:
        for strategy in self._at("update"):
            options = strategy.update(options)
        return options

    def context(self, rendering: Rendering) -> Rendering:
        for strategy in self._at("context"):
            rendering = strategy.context(rendering)
        return rendering

    def stream(self, name: str) -> str:
        for strategy in self._at("stream"):
            name = strategy.stream(name)
        return name

    def _at(self, seam: str) -> list[Any]:
        return [strategy for strategy in self.further if seam in open_seams(strategy)]
