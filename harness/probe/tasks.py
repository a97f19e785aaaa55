"""Which tasks are trained on and validated on: do they exist, and are they the same ones?"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

from harness.probe.finding import Finding, absent, cannot_tell, present
from harness.probe.material import Material, Rollout

SURELY = 1e-3  # equal batches that chance makes less often are no chance
TELL_IDS = "the ids that validation asks (validation_tasks) and those that exist (known_tasks)"
TELL_STEPS = "the ids that each validation asks: a list for each step, or validation rollouts with their step"
TELL_BOTH = "the task ids of training and of validation (train_tasks, validation_tasks, or rollouts of both splits)"


def tasks_that_do_not_exist(material: Material) -> Finding:
    """Task ids are asked that do not exist, which a loop may score 0 without a word."""
    asked, known = [*_trained(material), *_validated(material)], material.known_tasks
    beyond = [task for task in asked if task is None or (known is not None and task not in known)]
    if not asked or (known is None and not beyond):
        return cannot_tell(f"{len(set(asked))} task ids, and nothing says which exist", TELL_IDS, ids=len(asked))
    text = f"{len(beyond)} of {len(asked)} task ids do not exist"
    reading = {"ids": len(asked), "missing": len(beyond)}
    return present(text, **reading) if beyond else absent(text, **reading)


def validation_on_training_tasks(material: Material) -> Finding:
    """Tasks of the validation are trained on."""
    trained = {*_trained(material), *_tasks(material.rollouts)}  # whatever the lists say
    train, asked = trained - {None}, {*_validated(material), *_tasks(material.validation)} - {None}
    if not train or not asked:
        return cannot_tell("not both training and validation have task ids", TELL_BOTH)
    shared = train & asked
    text = f"{len(shared)} of {len(asked)} validation tasks are trained on"
    reading = {"train": len(train), "validation": len(asked), "shared": len(shared)}
    return present(text, _some(shared), **reading) if shared else absent(text, **reading)


def validation_changes(material: Material) -> Finding:
    """What validation asks is not the same at each step, so that its curve shows other tasks and not another policy."""
    of_steps = [tuple(sorted(map(str, tasks))) for tasks in material.validations]
    if not of_steps:
        asked: dict[int, list[str]] = defaultdict(list)
        for rollout in material.validation:
            if rollout.step is not None and rollout.task is not None:
                asked[rollout.step].append(rollout.task)
        of_steps = [tuple(sorted(asked[step])) for step in sorted(asked)]
    if len(of_steps) < 2:
        return cannot_tell("not two validations say what they asked", TELL_STEPS)
    other = sum(tasks != of_steps[0] for tasks in of_steps[1:])
    text = f"{other} of {len(of_steps) - 1} later validations ask other tasks than the first one"
    reading = {"validations": len(of_steps), "other": other}
    return present(text, **reading) if other else absent(text, **reading)


def tasks_not_to_train_on(material: Material) -> Finding:
    """Tasks are trained on that are not among those that are there to train on."""
    listed, trained = set(material.train_tasks or ()), set(_tasks(material.rollouts))
    beyond = trained - listed
    if not listed or not trained or beyond == trained:  # two ways to name them
        return cannot_tell(f"{len(listed)} tasks are listed, {len(trained)} trained on", TELL_BOTH)
    text = f"{len(beyond)} of {len(trained)} tasks that are trained on are not listed"
    reading = {"trained": len(trained), "beyond": len(beyond)}
    return present(text, _some(beyond), **reading) if beyond else absent(text, **reading)


def tasks_duplicated(material: Material) -> Finding:
    """A task is in a step's batch or in the validation more often than the others, and weighs more."""
    batches = Counter((group[0].step, group[0].task) for group in material.groups if group[0].task is not None)
    listed = Counter(task for task in material.validation_tasks or () if task is not None)
    if not batches and not listed:
        return cannot_tell("no group has a task id", "the task id of each group")
    twice = {task for (step, task), count in batches.items() if count > 1 and step is not None}
    twice |= {task for task, count in listed.items() if count > min(listed.values())}
    groups, ids = sum(batches.values()), len(listed)
    text = f"{len(twice)} tasks are there more often than others, in {groups} groups and {ids} validation ids"
    reading = {"groups": groups, "ids": ids, "again": len(twice)}
    if not twice and any(count > 1 for count in batches.values()):
        return cannot_tell("some groups have the same task, and no step", "the step of each group", **reading)
    return present(text, _some(twice), **reading) if twice else absent(text, **reading)


def tasks_repeat_each_step(material: Material) -> Finding:
    """Each step has the tasks of the step before, though there are others: the order begins again each time."""
    steps: dict[int, set[str]] = {}
    for rollout in material.rollouts:
        if rollout.step is not None and rollout.task is not None:
            steps.setdefault(rollout.step, set()).add(rollout.task)
    batches = [steps[step] for step in sorted(steps)]
    if len(batches) < 2:
        return cannot_tell("not two steps have task ids", "the task ids of several steps")
    same = sum(one == other for one, other in pairwise(batches))
    pool = {task for task in material.train_tasks or () if task is not None}.union(*batches)
    text = f"{same} of {len(batches) - 1} steps have the tasks of the step before, of {len(pool)} that are known"
    reading = {"steps": len(batches), "same": same, "tasks": len(pool)}
    if same < len(batches) - 1:
        return absent(text, **reading)
    if len(pool) == len(batches[0]):
        return cannot_tell(f"{text}: there may be no others", "the ids that there are to train on", **reading)
    by_chance = same * -math.log(math.comb(len(pool), len(batches[0])))
    if by_chance < math.log(SURELY):
        return present(text, **reading)
    return cannot_tell(f"{text}, which chance may do", "more steps", **reading)


def _some(tasks: Iterable[str | None]) -> str:
    return f"as {', '.join(sorted(map(str, tasks))[:5])}"


def _trained(material: Material) -> list[str | None]:
    if material.train_tasks is not None:
        return list(material.train_tasks)
    return _tasks(material.rollouts)


def _validated(material: Material) -> list[str | None]:
    if material.validation_tasks is not None:
        return list(material.validation_tasks)
    return _tasks(material.validation)


def _tasks(rollouts: Iterable[Rollout]) -> list[str | None]:
    return list(dict.fromkeys(r.task for r in rollouts if r.task is not None))


FINDINGS = (
    tasks_that_do_not_exist,
    validation_on_training_tasks,
    validation_changes,
    tasks_not_to_train_on,
    tasks_duplicated,
    tasks_repeat_each_step,
)
