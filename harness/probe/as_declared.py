"""Rollouts, batches and rewards beside what the loop is declared to do (declared.py)."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from harness.probe.finding import Finding, compared
from harness.probe.material import ENDED, Material, Rollout
from harness.probe.replayed import outcomes
from harness.probe.sampling import ends_in, stop_strings
from harness.seams import Outcome

# Where a formula earns both alike, a success is all that it asks of one
SUCCESSES = (Outcome(1.0, 0, 0, 0, 0, None), Outcome(1.0, 1, 2, 1, 2, True))
TELL = "what the loop is declared to do (--declared, or check(…, declared=…)): {}"


def sampling_not_as_declared(material: Material) -> Finding:
    """A reply was asked for at another temperature than declared, is longer than allowed or cut before its limit."""
    declared, told, odd = material.declared, 0, []
    full = _full(material)
    for turn in material.turns:
        if declared.temperature is not None and turn.temperature is not None:
            told += 1
            if turn.temperature != declared.temperature:
                odd.append(f"temperature {turn.temperature:g}, declared {declared.temperature:g}")
        if declared.max_tokens is not None and turn.output_ids:
            told, length = told + 1, len(turn.output_ids)
            cut_early = turn.finish_reason == "length" and length < declared.max_tokens and id(turn) not in full
            if length > declared.max_tokens or cut_early:
                odd.append(f"{length} tokens, finished as {turn.finish_reason}, declared {declared.max_tokens} at most")
    return compared(told, odd, "replies are not sampled as declared", TELL.format("temperature, max_tokens"))


def replies_end_otherwise(material: Material) -> Finding:
    """A reply that ended by itself has no end token, has one before its end, or one that was cut off has one."""
    told = [(t.output_ids, t.finish_reason) for t in material.turns if t.output_ids and t.finish_reason]
    told = told if material.eos and any(ids[-1] in material.eos for ids, _ in told) else []
    told = [(ids, reason) for ids, reason in told if not ends_in(ids, material.once(stop_strings))]
    odd = [
        f"finished as {reason}, end tokens at {[n for n, i in enumerate(ids) if i in material.eos]} of {len(ids)}"
        for ids, reason in told
        if material.eos & {*ids[:-1]} or (ids[-1] in material.eos) != (reason in ENDED)
    ]
    return compared(len(told), odd, "replies do not end as their finish reason says", "the token that ends a reply")


def turns_over_the_limit(material: Material) -> Finding:
    """A rollout has more replies than declared."""
    most = material.declared.max_turns
    told = [r for r in material.rollouts if r.said and most is not None]
    odd = [f"{len(r.said)} replies, {most} at most" for r in told if len(r.said) > (most or 0)]
    return compared(len(told), odd, "rollouts have more replies than declared", TELL.format("max_turns"))


def names_not_as_declared(material: Material) -> Finding:
    """A reply came from another name than the one that is declared to answer at its step."""
    name = material.declared.model
    told = [(r, t.model) for r in material.rollouts for t in r.turns if name and t.model and r.step is not None]
    odd = [f"step {r.step}: {said}" for r, said in told if said != str(name).format(step=r.step)]
    return compared(len(told), odd, "replies came from another name than declared", TELL.format("model"))


def rewards_not_as_declared(material: Material) -> Finding:
    """A rollout's reward is not the one that the declared formula gives for its outcome, or its success."""
    earned = material.declared.earned
    again = material.once(outcomes)
    alike = earned is not None and len({*map(earned, SUCCESSES)}) == 1
    told, odd = 0, []
    for rollout in material.rollouts if earned else ():
        outcome = again[id(rollout)].outcome if id(rollout) in again else None
        if outcome is None and rollout.success == 1.0 and not rollout.cut and alike:
            outcome = SUCCESSES[0]
        if outcome is None and material.declared.reward == "success" and rollout.success is not None:
            outcome = Outcome(rollout.success, 0, 0, 0, 0, None)
        if outcome is not None and rollout.reward is not None and earned is not None and not rollout.error:
            told, wanted = told + 1, earned(replace(outcome, end=rollout.end or outcome.end))
            odd += [f"recorded {rollout.reward:g}, earned {wanted:g}"] if abs(rollout.reward - wanted) > 1e-6 else []
    tell = f"{TELL.format('reward')}; and the environment, where failures have partial credit"
    return compared(told, odd, "rewards are not what the declared formula gives", tell)


def batches_not_as_declared(material: Material) -> Finding:
    """A step has other tasks, more or fewer groups than declared, or a group of another task than it should be."""
    declared, told, odd = material.declared, 0, []
    for step, groups in material.once(by_step).items():
        asked = [group[0].task for group in groups]
        if declared.groups_per_step is not None:
            told += 1
            odd += [f"step {step} has {len(groups)} groups"] if len(groups) != declared.groups_per_step else []
        if declared.batches is not None and step in declared.batches:
            told += 1
            wanted: list[str | None] = [*declared.batches[step]]
            lost, new = Counter(wanted) - Counter(asked), Counter(asked) - Counter(wanted)
            odd += [f"step {step} has {_some(new)} and not {_some(lost)}"] if lost or new else []
    text = "batches have other tasks or groups than declared"
    return compared(told, odd, text, TELL.format("groups_per_step, or batches: the tasks of each step"))


def task_lists_not_as_declared(material: Material) -> Finding:
    """The tasks that a step trains or validates on are not the declared list."""
    declared, told, odd = material.declared, 0, []
    lists = (
        ("trains on", declared.train_tasks, material.trainings or _one(material.train_tasks)),
        ("validates on", declared.validation_tasks, material.validations or _one(material.validation_tasks)),
    )
    for what, wanted, found in lists:
        for number, each in enumerate(found if wanted is not None else ()):
            told, should = told + 1, Counter[str | None](wanted)
            lost, new = should - Counter(each), Counter(each) - should
            odd += [f"list {number + 1} {what} {_some(new)} and not {_some(lost)}"] if lost or new else []
    asked = {r.task for r in material.rollouts if r.task}
    if declared.train_tasks is not None and asked:
        told, foreign = told + 1, [task for task in asked if task not in declared.train_tasks]
        odd += [f"rollouts are of {_some(Counter[str | None](foreign))}"] if foreign else []
    text = "lists of tasks are not as declared"
    return compared(told, odd, text, TELL.format("train_tasks, validation_tasks"))


def steps_out_of_order(material: Material) -> Finding:
    """Steps are missing between others, or a training call has the number of another."""
    rollouts = sorted({r.step for r in material.rollouts if r.step is not None})
    updates = _of_steps([u.step for u in material.updates if u.step is not None], len(rollouts))
    declared = Counter({1: 1} if material.declared.batches else ())
    # rollouts may be kept, or a trainer ask, at every n-th step; but each of these is trained
    kept = _usual(declared + _strides(rollouts))
    trained = min(kept, _usual(declared + _strides(updates)))
    pairs = [(*pair, usual) for steps, usual in ((rollouts, kept), (updates, trained)) for pair in pairwise(steps)]
    odd = [f"{other} follows upon {one}" for one, other, usual in pairs if other - one != usual]
    return compared(len(pairs), odd, "steps do not follow upon one another", "two steps at least, with their numbers")


def _strides(steps: list[int]) -> Counter[int]:
    return Counter(other - one for one, other in pairwise(steps))


def _usual(strides: Counter[int]) -> int:
    return max(strides, key=lambda each: strides[each], default=1)


def _of_steps(updates: list[int], steps: int) -> list[int]:
    """The numbers of training calls, once each where every step has as many calls."""
    counts = Counter(updates)
    return list(counts) if len(counts) >= steps and len({*counts.values()}) == 1 else updates


def by_step(material: Material) -> dict[int, list[tuple[Rollout, ...]]]:
    out: dict[int, list[tuple[Rollout, ...]]] = defaultdict(list)
    for group in material.groups:
        if group[0].step is not None:
            out[group[0].step].append(group)
    return out


def _full(material: Material) -> set[int]:
    """The identities of turns that reach the longest context, or the longest episode behind its first prompt: no token
    had room any more."""
    ends = [
        (id(turn), end := len(turn.prompt_ids) + len(turn.output_ids), end - len(rollout.turns[0].prompt_ids or ()))
        for rollout in material.rollouts
        for turn in rollout.turns
        if turn.prompt_ids is not None and turn.output_ids is not None
    ]
    context, episode = (max((each[n] for each in ends), default=0) for n in (1, 2))
    return {turn for turn, end, behind in ends if end == context or behind == episode}


def _one(tasks: tuple[str | None, ...] | None) -> Iterator[tuple[str | None, ...]] | tuple[()]:
    return () if tasks is None else iter([tasks])


def _some(tasks: Counter[str | None]) -> str:
    found = [f"{task}" for task in tasks.elements()]
    return ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "") or "none else"


FINDINGS = (
    sampling_not_as_declared,
    replies_end_otherwise,
    turns_over_the_limit,
    names_not_as_declared,
    rewards_not_as_declared,
    batches_not_as_declared,
    task_lists_not_as_declared,
    steps_out_of_order,
)
