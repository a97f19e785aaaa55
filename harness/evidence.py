"""What one step measured: the evidence for the manipulation checks and the line for steps.jsonl."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import art
import numpy as np

from harness.answering import distinct_outputs
from harness.backend import Trained, TrainedContext
from harness.backend.context import ContextKind, Contexts
from harness.episode import Episode
from harness.records.schema import TRAINING, VALIDATION, StepRecord
from harness.rollout import PROVIDER, SourcedEpisode
from harness.seams import Evidence, Learned, Names, Rendering, Scores, Submitted, TaskSplit

ROUNDING = 1e-9  # of a mean reward


@dataclass(frozen=True)
class RolloutTable:
    """A step's rollouts: tasks (one group each, in order), episodes by (task, rollout number), ART's groups."""

    step: int
    tasks: list[str]
    rollouts_per_group: int
    asked: Mapping[tuple[str, int], SourcedEpisode]
    groups: list[art.TrajectoryGroup]


def gather_evidence(
    sampled: RolloutTable,
    metrics: Mapping[str, float],
    trained: Trained,
    contexts: Contexts,
    *,
    trained_contexts: Sequence[TrainedContext] | None,
    rendering: Rendering,
    names_carried: str,
    names: Names,
    after: str,
    submitted: Sequence[art.TrajectoryGroup],
    own_seed: Callable[[str, int], int],
    weights: Callable[[str], str],
    temperature: float,
    row_length: int,
    options: Mapping[str, Any],
    split: TaskSplit,
    validated: tuple[str | None, ...] | None,
    exact: bool,
    scores: Scores | None,
) -> tuple[Evidence, StepRecord]:
    """The evidence, and the record of the step that this update produced (sampled.step + 1).

    trained_contexts: what the update trained on, None where the backend cannot say; rendering: how it was rendered
    after: the model's name once it is trained; submitted: the groups that the trainer got
    own_seed: what the loop by itself would sample a rollout with, by its task and number
    """
    trajectories = {
        (str(t.metadata["task"]), str(t.metadata["episode"])): t for g in sampled.groups for t in g.trajectories
    }
    present = {
        place: (asked, trajectories[place[0], asked.key])
        for place, asked in sampled.asked.items()
        if (place[0], asked.key) in trajectories
    }
    shape = (len(sampled.tasks), sampled.rollouts_per_group)
    rewards, raw = np.full(shape, np.nan), np.full(shape, np.nan)
    for row, task in enumerate(sampled.tasks):
        for number in range(sampled.rollouts_per_group):
            if (task, number) in present:
                asked, trajectory = present[task, number]
                rewards[row, number] = trajectory.reward
                raw[row, number] = asked.episode.outcome.reward

    def fits(asked: SourcedEpisode, trajectory: art.Trajectory) -> bool:
        return contexts.length(asked, trajectory.tools, rendering) <= row_length  # type: ignore[arg-type]

    current = weights(names.current)
    judged = contexts.judge(trained_contexts or (), [asked for asked, _ in present.values()])
    tokens = int(metrics.get("data/step_trainer_tokens", 0))
    gradient_steps = int(metrics.get("data/step_num_gradient_steps", 0))
    evidence = Evidence(
        step=sampled.step,
        rewards_G_R=rewards,
        raw_G_R=raw,
        asked_current=names_carried == PROVIDER + names.current,
        policy_moved=current != weights(names.pinned),
        answered_by_current_N=[
            all(turn.answered_by == current for turn in asked.episode.turns)
            for asked, _ in present.values()
            if asked.episode.turns
        ],
        distinct_G=[
            distinct_outputs([spoken(asked.episode) for place, (asked, _) in present.items() if place[0] == task])
            for task in sampled.tasks
        ],
        # an empty trajectory has no choice that could carry them
        logprobs_N=[_has_logprobs(asked.episode, t) for asked, t in present.values() if _choices(t)],
        temperature=temperature,
        trainable_tokens=tokens,
        gradient_steps=gradient_steps,
        split=split,
        exact=exact,
        left_out=0 if trained_contexts is None else _left_out(submitted, trained_contexts, present, fits, options),
        options=options,
        metrics=metrics,
        outcomes_N=[asked.episode.outcome for asked, _ in present.values()],
        trained_rewards_N=[t.reward for _, t in present.values()],
        empty_N=[not t.messages_and_choices for _, t in present.values()],
        validated=validated,
        scores=scores,
        temperatures_N=[_temperature(asked.episode, temperature) for asked, _ in present.values()],
        openings_M=None if trained_contexts is None else [found.opening for found in judged],
        contexts_M=[found.rest for found in judged],
        context_equal_M=[found.served for found in judged],
        tasks=sampled.tasks,
        submitted=_submitted(submitted, sampled.groups),
        own_stream_N=[_is(asked.seed, own_seed(*place)) for place, (asked, _) in present.items()],
        moved=_moved(current, weights(after)),
        learned_M=None if trained_contexts is None else _learned(trained_contexts, judged, present),
    )
    line = _line(sampled, evidence, metrics, trained, len(present))
    line["rendered_apart"] = sum(found.apart for found in judged)
    fitted = {found.key for found in judged}
    line["longer_than_row"] = sum(
        not fits(asked, t) for asked, t in present.values() if asked.key not in fitted and _choices(t)
    )
    return evidence, line


def evidence_without_rollouts(
    step: int, temperature: float, split: TaskSplit, validated: tuple[str | None, ...], exact: bool
) -> Evidence:
    """The evidence of a loop that its own validation has ended before the rollouts of a step."""
    nothing = np.empty((0, 0))
    return Evidence(
        step=step,
        rewards_G_R=nothing,
        raw_G_R=nothing,
        asked_current=False,
        policy_moved=False,
        answered_by_current_N=(),
        distinct_G=(),
        logprobs_N=(),
        temperature=temperature,
        trainable_tokens=0,
        gradient_steps=0,
        split=split,
        exact=exact,
        validated=validated,
        validation_raised=True,
        openings_M=(),
    )


def _submitted(groups: Sequence[art.TrajectoryGroup], gathered: Sequence[art.TrajectoryGroup]) -> list[Submitted]:
    """The groups with at least one rollout of the step."""
    earned = {place: t.reward for group in gathered for t in group.trajectories if (place := _place(t))}
    found = []
    for group in groups:
        rewards = {place: t.reward for t in group.trajectories if (place := _place(t)) in earned}
        if rewards:
            task = next(iter(rewards))[0]
            by_number = {number: reward for (_, number), reward in rewards.items()}
            found.append(Submitted(task, by_number, {number: earned[task, number] for number in by_number}))
    return found


def _place(trajectory: art.Trajectory) -> tuple[str, int] | None:
    """Task and rollout number; None for a trajectory that somebody has made without them."""
    task, number = (trajectory.metadata.get(name) for name in ("task", "rollout"))
    return None if task is None or number is None else (str(task), int(number))


def _is(asked: int | None, own: int) -> bool | None:
    return None if asked is None else asked == own


def _moved(before: str, after: str) -> bool | None:
    return None if any(name.startswith("unknown:") for name in (before, after)) else before != after


def _learned(
    trained: Sequence[TrainedContext],
    judged: Sequence[ContextKind],
    present: Mapping[tuple[str, int], tuple[SourcedEpisode, art.Trajectory]],
) -> list[Learned]:
    earned = {asked.key: (task, trajectory.reward) for (task, _), (asked, trajectory) in present.items()}
    pairs = zip(trained, judged, strict=True)
    return [Learned(*earned[found.key], c.computed, c.advantage) for c, found in pairs if found.key in earned]


def _left_out(
    submitted: Sequence[art.TrajectoryGroup],
    trained: Sequence[TrainedContext],
    present: Mapping[tuple[str, int], tuple[SourcedEpisode, art.Trajectory]],
    fits: Callable[[SourcedEpisode, art.Trajectory], bool],
    options: Mapping[str, Any],
) -> int:
    """See `Evidence.left_out`. By the sampled ids, since two rollouts may have sampled the same. What somebody has
    changed of a rollout, or of how ART weighs advantages, is not judged."""
    if options.get("advantage_balance"):
        return 0
    counts = Counter(context.sampled for context in trained)
    due: dict[tuple[int, ...], list[tuple[SourcedEpisode, art.Trajectory]]] = defaultdict(list)
    for group in submitted:
        for own in group.trajectories:
            asked, made = present.get(_place(own) or ("", -1), (None, None))
            if asked is None or made is None or own.messages_and_choices != made.messages_and_choices:
                continue
            if _has_advantage(own, group) and _choices(own) and _has_logprobs(asked.episode, own):
                due[tuple(chain(*asked.episode.sampled_ids))].append((asked, own))
    # What was trained has fitted, and need not be asked for its length.
    untrained = [(ids, each) for ids, each in due.items() if len(each) > counts[ids]]
    return sum(max(sum(fits(*one) for one in each) - counts[ids], 0) for ids, each in untrained)


def _has_advantage(trajectory: art.Trajectory, group: art.TrajectoryGroup) -> bool:
    """Whether its reward is not the mean of its group's, by more than the mean is rounded."""
    rewards = [each.reward for each in group.trajectories]
    return abs(trajectory.reward - sum(rewards) / len(rewards)) > ROUNDING


def transcript(sampled: RolloutTable) -> list[dict[str, Any]]:
    """One row per rollout for trajectories.parquet. reward: that its trajectory carries."""
    rewards = {
        (str(t.metadata["task"]), str(t.metadata["episode"])): t.reward for g in sampled.groups for t in g.trajectories
    }
    return [
        _row(sampled.step, task, number, asked, rewards.get((task, asked.key), math.nan))
        for (task, number), asked in sorted(sampled.asked.items())
    ]


def validation_transcript(step: int, played: Mapping[str, SourcedEpisode]) -> list[dict[str, Any]]:
    """The same of the episodes of the reference validation, by task. step: updates made before it"""
    rows = [_row(step, task, 0, asked, asked.episode.outcome.reward) for task, asked in sorted(played.items())]
    return [row | {"kind": VALIDATION} for row in rows]


def _row(step: int, task: str, number: int, asked: SourcedEpisode, reward: float) -> dict[str, Any]:
    """messages: as JSON text"""
    episode = asked.episode
    said = [
        {"role": "assistant", "content": episode.turns[m].content, "tool_calls": list(episode.turns[m].tool_calls)}
        if isinstance(m, int)
        else m
        for m in episode.messages
    ]
    return {
        "step": step,
        "task": task,
        "rollout": number,
        "episode": asked.key,
        "reward": reward,
        "raw_reward": episode.outcome.reward,
        "end": episode.end,
        "shared_with": asked.shared_with,
        "messages": json.dumps(said),
        "kind": TRAINING,
    }


def spoken(episode: Episode) -> list[tuple[int, ...] | str]:
    """What was said in order: the policy's turns as token ids, all else as text."""
    return [
        episode.turns[m].output_ids if isinstance(m, int) else json.dumps(m, sort_keys=True) for m in episode.messages
    ]


def _temperature(episode: Episode, configured: float) -> float:
    carried = [turn.temperature for turn in episode.turns]
    away = (math.inf if math.isnan(one) else abs(one - configured) for one in carried)
    return max(zip(away, carried, strict=True), key=lambda pair: pair[0], default=(0.0, configured))[1]


def _choices(trajectory: art.Trajectory) -> list[Any]:
    return [m for m in trajectory.messages_and_choices if not isinstance(m, dict)]


def _has_logprobs(episode: Episode, trajectory: art.Trajectory) -> bool:
    """Whether each choice has a finite log-prob for each token that was sampled."""
    for choice, turn in zip(_choices(trajectory), episode.turns, strict=True):
        kept = choice.logprobs.content if choice.logprobs else None
        if not kept or len(kept) != len(turn.output_ids) or not all(math.isfinite(t.logprob) for t in kept):
            return False
    return True


def _line(
    sampled: RolloutTable, evidence: Evidence, metrics: Mapping[str, float], trained: Trained, present: int
) -> StepRecord:
    rewards = evidence.rewards_G_R
    shared = sum(not a.computed for a in sampled.asked.values())
    return {
        "step": sampled.step + 1,
        "reward": float(np.nanmean(rewards)) if present else math.nan,
        "raw_reward": float(np.nanmean(evidence.raw_G_R)) if present else math.nan,
        "groups": len(sampled.tasks),
        "groups_with_spread": int(sum(np.ptp(r[~np.isnan(r)]) > 0 for r in rewards if not np.isnan(r).all())),
        "rollouts": rewards.size,
        "missing": rewards.size - present,
        "trainable_tokens": evidence.trainable_tokens,
        "gradient_steps": evidence.gradient_steps,
        "advanced_without_training": evidence.gradient_steps == 0,
        # Of the first gradient step: later ones compare the sampler with a policy that has moved on.
        "probs_corr": metrics.get("first/probs_corr", math.nan),
        "logprob_gap": metrics.get("first/logprob_gap", math.nan),
        "loss": metrics.get("loss/train", math.nan),
        "entropy": metrics.get("loss/entropy", math.nan),
        "grad_norm": metrics.get("loss/grad_norm", math.nan),
        "episodes": {
            "asked": rewards.size,
            "computed": len(sampled.asked) - shared,
            "shared": shared,
        },
        # How the update was computed; absent where it was found.
        "trainer": {name.removeprefix("train/"): value for name, value in metrics.items() if name.startswith("train/")},
        "update": trained.update,
        "update_shared_with": trained.shared_with,
    }
