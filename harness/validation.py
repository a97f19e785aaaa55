"""Reference validation, and beside it what the arm would have reported by its own rules.

Reference validation is the same in every run: the benchmark's held-out tasks (with validation.split=train those that
are trained on), fixed decoding and seeds, the raw benchmark reward, the adapter of the current step by its explicit
name. Infrastructure failures are missing data there. `reported` asks the arm's own seams, and keeps upstream's
"exception = 0.0"; where an id past the end raises, nothing is reported and the loop ends.

With `validation.samples` the first and the last validation play each reference task so many times more, at one
temperature for all arms and with a seed for each sample: what pass^k is estimated from. The single episode above stays
what every curve and effect is made of.
"""

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from harness.errors import EngineError, EpisodeError
from harness.factors import Run, derive_seed
from harness.records.schema import Record, ValidationRecord
from harness.rollout import PROVIDER, Rollouts, Sampling, SourcedEpisode
from harness.seams import Names, Seams, TaskSplit


@dataclass(frozen=True)
class Validation:
    """Mean reward by task; None = missing. reported holds one value per id of the arm's own split, in order.

    asked: the ids that the arm's own validation asked; raised: it asked one past the end and raised
    sampled: rewards of further reference episodes by task, in the order of their seeds; sampled_at: their temperature
    episodes: how many of all were computed for it, and how many were found
    also: of further validation sets, by name, the reward by task
    played: the episode behind each reward of the reference
    """

    reference: dict[str, float | None]
    reported: tuple[tuple[str | None, float], ...]
    seconds: float
    asked: tuple[str | None, ...] = ()
    raised: bool = False
    sampled: dict[str, tuple[float | None, ...]] = field(default_factory=dict)
    sampled_at: float | None = None
    episodes: dict[str, int] = field(default_factory=dict)
    also: dict[str, dict[str, float | None]] = field(default_factory=dict)
    played: dict[str, SourcedEpisode] = field(default_factory=dict)

    def record(self, step: int) -> Record:
        present = [r for r in self.reference.values() if r is not None]
        return ValidationRecord(
            step=step,
            reference=float(np.mean(present)) if present else math.nan,
            by_task=self.reference,
            missing=len(self.reference) - len(present),
            reported=float(np.mean([r for _, r in self.reported])) if self.reported else math.nan,
            reported_n=len(self.reported),
            nonexistent=sum(t is None for t, _ in self.reported),
            reported_by_task={t: r for t, r in self.reported if t is not None},
            seconds=self.seconds,
            sampled=self.sampled,
            sampled_at=self.sampled_at,
            episodes=self.episodes,
            also=self.also,
        ).line()


@dataclass(frozen=True)
class ReferenceProtocol:
    """The reference protocol: task ids and decoding.

    samples: further episodes of each task where they are asked for, at sample_temperature
    also: task ids of further validation sets, by name; also_every: steps, None: at the first and last validation
    """

    task_ids: tuple[str, ...]
    sampling: Sampling
    samples: int = 0
    sample_temperature: float = 1.0
    also: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    also_every: int | None = None

    def asks_also(self, step: int, ends: bool) -> bool:
        """Whether the further sets are asked. ends: whether this is the first or the last validation"""
        return ends or (self.also_every is not None and step % self.also_every == 0)


async def validate(
    run: Run,
    names: Names,
    rollouts: Rollouts,
    protocol: ReferenceProtocol,
    seams: Seams,
    split: TaskSplit,
    sampled: bool = False,
    also: bool = False,
) -> Validation:
    """Both measurements of the current policy. Sampling seeds do not depend on the step or the arm, so an
    unchanged policy gives an unchanged result; those of the reference do not depend on the run's seed either.

    sampled: whether the protocol's further episodes are played, too; also: whether its further sets are asked, too

    Raises EngineError when not one reference episode could be played, or not one got a reply because the first prompt
    fills the context: that is a fault, not missing data."""
    started = time.perf_counter()
    own = replace(protocol.sampling, temperature=seams.exploration.temperature)
    hot = replace(protocol.sampling, temperature=protocol.sample_temperature)
    further = protocol.samples if sampled else 0

    missing: list[EpisodeError] = []
    unanswered: list[str] = []  # reference tasks whose first prompt fills the context
    computed: list[bool] = []  # of each episode
    references: dict[str, SourcedEpisode] = {}

    async def played(task: str, sampling: Sampling, seed: int, model: str = PROVIDER + names.current) -> SourcedEpisode:
        asked = await rollouts.episode(run.name, model, task, sampling, seed, False)
        computed.append(asked.computed)
        return asked

    async def reference(task: str) -> float | None:
        try:
            asked = await played(task, protocol.sampling, derive_seed(0, "validation", task))
        except EpisodeError as error:
            missing.append(error)
            return None
        references[task] = asked
        if not asked.episode.turns:
            unanswered.append(task)
        return asked.episode.outcome.reward

    async def reward(task: str, sampling: Sampling, seed: int) -> float | None:
        try:
            return (await played(task, sampling, seed)).episode.outcome.reward
        except EpisodeError:
            return None

    async def sample(task: str, number: int) -> float | None:
        return await reward(task, hot, derive_seed(0, "validation", task, "sample", number))

    async def beside(task: str) -> float | None:
        return await reward(task, protocol.sampling, derive_seed(0, "validation", task))

    async def set_of(ids: tuple[str, ...]) -> dict[str, float | None]:
        return dict(zip(ids, await asyncio.gather(*map(beside, ids)), strict=True))

    async def samples_of(task: str) -> tuple[float | None, ...]:
        return tuple(await asyncio.gather(*(sample(task, number) for number in range(further))))

    async def reported(task: str | None) -> tuple[str | None, float]:
        """The task that was played, and its reward."""
        if task is None:
            return None, 0.0  # faithful to upstream: an id past the end raises, and an exception scores 0.0
        # The reference's decoding means the reference's luck; any other draws its own, anew for each seed of the run.
        seed = (
            derive_seed(0, "validation", task) if own == protocol.sampling else derive_seed(run.seed, "reported", task)
        )
        try:
            asked = await played(task, own, seed, seams.endpoint.model_name(names))
        except EpisodeError:
            return task, 0.0  # faithful to upstream: a rollout that raises has reward 0.0
        return asked.episode.task_id, seams.reward.training_reward(asked.episode.outcome)

    async def own_validation() -> list[tuple[str | None, float]] | None:
        if seams.split.raises and None in split.validation:
            # faithful to upstream: `get_env` stands outside `try`, so the gather raises and what it gathered is lost
            return None
        return await asyncio.gather(*(reported(t) for t in split.validation))

    sets = protocol.also if also else {}
    rewards, reports, samples, further_sets = await asyncio.gather(
        asyncio.gather(*(reference(t) for t in protocol.task_ids)),
        own_validation(),
        asyncio.gather(*(samples_of(t) for t in protocol.task_ids)),
        asyncio.gather(*map(set_of, sets.values())),
    )
    if missing and len(missing) == len(protocol.task_ids):
        raise EngineError(f"Not one of {len(missing)} validation tasks could be played. {missing[-1]}")
    if unanswered and len(unanswered) + len(missing) == len(protocol.task_ids):
        raise EngineError(
            f"The first prompt of each of {len(unanswered)} validation tasks fills the context of {names.current}. Use "
            "a policy with a longer one (policy.max_model_len), or an environment with shorter texts and fewer tools."
        )
    return Validation(
        dict(zip(protocol.task_ids, rewards, strict=True)),
        tuple(reports or ()),
        time.perf_counter() - started,
        split.validation if reports is None else tuple(task for task, _ in reports),
        reports is None,
        dict(zip(protocol.task_ids, samples, strict=True)) if further else {},
        protocol.sample_temperature if further else None,
        {"computed": sum(computed), "shared": len(computed) - sum(computed)},
        dict(zip(sets, further_sets, strict=True)),
        references,
    )
