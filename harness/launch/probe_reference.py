"""What this project's loop is declared to do by its options: for a probe of its rollouts."""

from itertools import islice

from harness.batches import iterate
from harness.config import RunConfig
from harness.env import Environment
from harness.factors import ON
from harness.probe import Declared


def declared_by(config: RunConfig, environment: Environment, parser: str | None = None) -> Declared:
    """Of one run, as `harness.loop` and ART 0.5.18 do it. parser: of the policy's tool calls"""
    train, sizes, seams = config.train, config.rollout, config.seams
    split = seams.split.split((*environment.train_ids, *environment.test_ids), train.train_tasks, train.val_tasks)
    batches = islice(iterate(split.train, train.groups_per_step, config.run.seed), train.steps)
    return Declared(
        group_size=train.rollouts_per_group,
        groups_per_step=train.groups_per_step,
        epochs=1,
        temperature=seams.exploration.temperature,
        max_tokens=sizes.max_tokens,
        max_turns=sizes.max_turns,
        model=f"{config.run.model}@{{step}}" if seams.endpoint.level == ON else None,
        parser=parser,
        calls=1,  # faithful to upstream: the other calls of a reply are dropped
        reward=seams.reward.training_reward,
        advantages="art",
        trained="sampled",
        batches=dict(enumerate(batches)),
        train_tasks=split.train,
        validation_tasks=tuple(task for task in split.validation if task is not None),
        learning_rate=train.learning_rate,
        groups_per_gradient_step=train.groups_per_gradient_step,
    )
