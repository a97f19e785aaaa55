"""The RL loop of ART's tau-bench training, one run of it. Read this first.

As upstream's `dev/tau-bench/run_rl.py`: shuffle the training tasks, roll out a group of episodes per task,
train on the groups, validate every N steps. Where a fix acts, the loop asks a seam (seams.py); it never
knows which level it got.
"""

import time
from collections.abc import Callable
from functools import partial

import art
from art.backend import AnyTrainableModel

from harness.backend import Backend
from harness.backend.context import Contexts
from harness.batches import iterate
from harness.config import RunConfig
from harness.evidence import RolloutTable, evidence_without_rollouts, gather_evidence, transcript, validation_transcript
from harness.factors import derive_seed
from harness.records.run_records import RunRecords
from harness.rollout import PROVIDER, Rollouts, Sampling, SourcedEpisode, gather_groups, trajectory
from harness.scoring import served_scores
from harness.seams import Check, Evidence, Names, Rendering, Seams
from harness.validation import ReferenceProtocol, validate

STREAM = "train"  # of the sampling seeds of training rollouts
Report = Callable[[int, float | None], None]


async def run_loop(
    config: RunConfig,
    model: AnyTrainableModel,
    backend: Backend,
    rollouts: Rollouts,
    contexts: Contexts,
    protocol: ReferenceProtocol,
    records: RunRecords,
    report: Report,
) -> list[Check]:
    """Trains one run and writes its records; every manipulation check that was made. The run ends early where the arm's
    own validation raises.

    report: called with (step, reference validation reward) after each validation, with (step, None) otherwise
    """
    run, seams, train = config.run, config.seams, config.train
    domain = rollouts.domain
    split = seams.split.split((*domain.train_ids, *domain.test_ids), train.train_tasks, train.val_tasks)
    sizes = config.rollout
    sampling = Sampling(seams.exploration.temperature, sizes.max_tokens, sizes.max_turns, sizes.max_prompt_tokens)
    rendering = seams.context(Rendering())  # the backend had it when the run was admitted
    stream = seams.stream(STREAM)
    batches = iterate(split.train, train.groups_per_step, run.seed)
    checks: list[Check] = []
    validated: tuple[str | None, ...] | None = None
    transcripts: list[dict[str, object]] = []
    before: str | None = None

    for step in range(train.steps + 1):
        # The pinned name is the one that ART gave at registration; the current one changes with every step.
        current = model.get_inference_name()
        names = Names(pinned=model.inference_model_name or "", current=current, before=before or current)
        before = current

        if step % config.validation.every == 0 or step == train.steps:
            ends = step in (0, train.steps)
            validation = await validate(
                run, names, rollouts, protocol, seams, split, ends, protocol.asks_also(step, ends)
            )
            validated, measured = validation.asked, validation.record(step)
            records.add("validation", measured)
            report(step, measured["reference"]["mean"])
            if validation.raised:  # the loop has ended; that is what its checks can tell
                without = evidence_without_rollouts(step, sampling.temperature, split, validated, rollouts.exact)
                checks += judged(seams, without, step, records)
                break
        else:
            report(step, None)
        if step == train.steps:
            transcripts += validation_transcript(step, validation.played)
            break

        # Roll out: groups of episodes under the arm's own endpoint and temperature.
        started = time.perf_counter()
        sampled: dict[tuple[str, int], SourcedEpisode] = {}

        async def rollout(
            task: str,
            number: int,
            step: int = step,
            names: Names = names,
            sampled: dict[tuple[str, int], SourcedEpisode] = sampled,
        ) -> art.Trajectory:
            model_name = seams.endpoint.model_name(names)
            seed = derive_seed(run.seed, stream, step, task, number)
            asked = await rollouts.episode(run.name, model_name, task, sampling, seed, seams.logprobs.required)
            made = trajectory(asked, number, seams, domain.tools)
            sampled[task, number] = asked
            return made

        tasks = next(batches)
        groups = await gather_groups(tasks, train.rollouts_per_group, rollout)
        rollout_table = RolloutTable(step, tasks, train.rollouts_per_group, sampled, groups)
        rolled_out = time.perf_counter()

        # Which weights answered? Asked of the trainer while it still has them.
        carried = seams.endpoint.model_name(names)
        scores = await served_scores(rollout_table, carried.removeprefix(PROVIDER), names, backend, rollouts.exact)
        scored = time.perf_counter()

        # Train: ART tokenises, packs, computes advantages, and advances the step, trained or not.
        options = seams.update(
            {
                "learning_rate": train.learning_rate,
                "packed_sequence_length": train.packed_sequence_length,
                "loss_fn": train.loss,
                "epsilon": train.epsilon,
                "epsilon_high": train.epsilon_high,
            }
        )
        submitted = seams.batch(groups)
        result = await backend.train(model, submitted, **options)
        trained = backend.trained(model)
        trained_at = time.perf_counter()
        seconds = {"rollout": rolled_out - started, "score": scored - rolled_out, "train": trained_at - scored}

        # Record: what happened, and the proof that each switch took effect.
        transcripts += transcript(rollout_table)
        evidence, line = gather_evidence(
            rollout_table,
            result.metrics,
            trained,
            contexts,
            trained_contexts=backend.trained_contexts(model),
            rendering=rendering,
            names_carried=carried,
            names=names,
            after=model.get_inference_name(),
            submitted=submitted,
            own_seed=partial(derive_seed, run.seed, STREAM, step),
            weights=rollouts.weights,
            temperature=sampling.temperature,
            row_length=backend.row_length(options["packed_sequence_length"]),
            options=options,
            split=split,
            validated=validated,
            exact=rollouts.exact,
            scores=scores,
        )
        records.add("steps", {**line, "seconds": seconds})
        checks += judged(seams, evidence, step + 1, records)
    records.write_trajectories(transcripts)
    return checks


def judged(seams: Seams, evidence: Evidence, step: int, records: RunRecords) -> list[Check]:
    """What every switch has to say of a step, written to the records."""
    checks = [strategy.check(evidence) for strategy in seams.all()]
    for check in checks:
        records.add("checks", {"step": step, **check.record})
    return checks
