"""Rollouts beside what their environment does with the same replies (replay.py): each part that differs has a name."""

import json
from collections.abc import Iterable, Iterator, Sequence

from harness.probe.finding import Finding, compared
from harness.probe.material import CUT, Material, Message, Replayed, Rollout, text_of

TELL = "the environment itself (--env, or check(…, environment=…)), with users that follow a script"
ENDS = ("user_stop", "done", "turn_limit", "prompt_limit", "length")  # as this project calls them
ROUNDED = 1e-6  # what float32 leaves of a success between 0 and 1
Pair = tuple[Rollout, Replayed]


def environment_opens_otherwise(material: Material) -> Finding:
    """A rollout begins with another system prompt or first message than its task's environment gives."""
    told = [(list(r.messages[: r.said[0]]), list(again.opening)) for r, again in material.once(pairs)]
    if material.replay is not None and not material.replay.follows:  # its user may open otherwise each time
        told = [([m for m in one if m.get("role") != "user"], other[:-1]) for one, other in told]
    odd = [_shown(one, other) for one, other in told if _plain(one) != _plain(other)]
    return compared(len(told), odd, "rollouts open otherwise than the environment opens their task", TELL)


def tools_not_of_the_environment(material: Material) -> Finding:
    """The tools that were sent, or those that the trainer is told of, are not the environment's."""
    own = getattr(material.replay.world, "tools", None) if material.replay else None
    given = [tools for r in material.rollouts for tools in (r.sent_tools, r.tools) if tools and own is not None]
    odd = [_names(tools) for tools in given if [*tools] != [*(own or ())]]
    return compared(len(given), odd, "lists of tools are not those of the environment", TELL)


def environment_answers_otherwise(material: Material) -> Finding:
    """A tool's answer in a rollout is not what the environment answers to the same call at the same place."""
    told, odd = 0, []
    for recorded, again in _answers(material):
        one, other = ([m for m in each if m.get("role") == "tool"] for each in (recorded, again))
        told += max(len(one), len(other))
        odd += [_shown(one, other)] if _plain(one) != _plain(other) or not _named_alike(one, other) else []
    return compared(told, odd, "answers of tools are not those that the environment gives", TELL)


def user_says_otherwise(material: Material) -> Finding:
    """A user's later message is not what the environment's user says at that place, or one is missing or too many."""
    if material.replay is not None and not material.replay.follows:
        return compared(0, (), "messages of users can be replayed: they follow no script", TELL)
    told, odd = 0, []
    for recorded, again in _answers(material):
        one, other = ([m for m in each if m.get("role") != "tool"] for each in (recorded, again))
        told += max(len(one), len(other))
        odd += [_shown(one, other)] if _plain(one) != _plain(other) else []
    return compared(told, odd, "messages of users are not those that the environment's user says", TELL)


def episode_ends_elsewhere(material: Material) -> Finding:
    """A rollout ends where its environment goes on and no limit is reached, goes on behind its end, or misnames it."""
    told = [pair for pair in material.once(pairs) if material.replay and material.replay.follows]
    most = material.declared.max_turns or max((len(r.said) for r, _ in told), default=0)
    odd = [line for r, again in told if (line := _ends_otherwise(r, again, most, bool(material.declared.max_turns)))]
    return compared(len(told), odd, "rollouts do not end where and as the environment ends them", TELL)


def success_not_as_judged(material: Material) -> Finding:
    """A rollout's success is not what the environment judges of the conversation."""
    told = [
        (r.success, again.outcome.reward)
        for r, again in material.once(pairs)
        if r.success is not None and again.outcome is not None and not _is_unsure(r, again)
    ]
    odd = [f"recorded {one:g}, judged {other:g}" for one, other in told if abs(one - other) > ROUNDED]
    return compared(len(told), odd, "successes are not what the environment judges", TELL)


def environment_raises(material: Material) -> Finding:
    """The environment raises where it is given the replies of a rollout: a task or a call that it does not know."""
    told: list[Replayed | str] = []
    nowhere: list[str] = []
    for rollouts in (material.rollouts, material.validation):  # the validation may have another environment
        replay = material.replay.all(rollouts, material.declared.calls) if material.replay else []
        found = [each for each in replay if each is not None]
        raised = [each for each in found if isinstance(each, str)]
        told += found if len(raised) < len(found) else ()
        nowhere += raised if len(raised) == len(found) else ()
    if not told:
        return compared(0, (), f"rollouts can be replayed{''.join(f', as {each}' for each in nowhere[:1])}", TELL)
    odd = [each for each in told if isinstance(each, str)]
    return compared(len(told), odd, "rollouts cannot be replayed", TELL)


def pairs(material: Material) -> list[Pair]:
    """Each rollout that can be replayed, also of the validation, and what came of it."""
    rollouts = [*material.rollouts, *material.validation]
    found = material.replay.all(rollouts, material.declared.calls) if material.replay else []
    return [(r, again) for r, again in zip(rollouts, found, strict=False) if isinstance(again, Replayed)]


def outcomes(material: Material) -> dict[int, Replayed]:
    """By the identity of a rollout."""
    return {id(r): again for r, again in material.once(pairs) if not _is_unsure(r, again)}


def _answers(material: Material) -> Iterator[tuple[Sequence[Message], Sequence[Message]]]:
    """What follows on each reply, as recorded and as the environment has it."""
    for rollout, again in material.once(pairs):
        behind = [*rollout.said[1:], len(rollout.messages)]
        for number, (at, end, answer) in enumerate(zip(rollout.said, behind, again.answers, strict=False)):
            recorded = rollout.messages[at + 1 : end]
            if not recorded and end == len(rollout.messages) and _stops_at(rollout, again, number):
                continue
            if material.replay and material.replay.follows:
                yield recorded, answer
            else:
                yield [m for m in recorded if m.get("role") == "tool"], answer


def _stops_at(rollout: Rollout, again: Replayed, number: int) -> bool:
    """Whether the loop may have stopped upon its last reply, at a limit or the end, with no record of what followed."""
    return rollout.cut or rollout.end is None or again.ended == number


def _ends_otherwise(rollout: Rollout, again: Replayed, most: int, declared: bool) -> str:
    """How; "" for a rollout that ends as it should."""
    last, end = len(rollout.said) - 1, rollout.end
    if again.ended is not None:
        if again.ended < last:
            return f"the environment ends at reply {again.ended + 1} of {last + 1}"
        natural = "user_stop" if not rollout.messages[rollout.said[-1]].get("tool_calls") else "done"
        other = end in ENDS and end != natural and (end == "turn_limit" or not rollout.cut)
        return f"it ends as {natural}, and says {end}" if other else ""
    if not rollout.cut:
        if end is None and last + 1 >= most:
            return ""  # nothing says that it was the limit
        return f"after {last + 1} replies the environment goes on, and the rollout says {end}"
    early = declared and end == "turn_limit" and last + 1 != most
    return f"it says turn_limit after {last + 1} replies of {most}" if early else ""


def _is_unsure(rollout: Rollout, again: Replayed) -> bool:
    """Whether the loop may have judged other than the replay: it counts as cut what the environment ended, by its whole
    length, which no environment knows; or nothing says whether a reply that was cut was handed on."""
    if again.ended is not None:
        return bool(CUT.search(rollout.end or ""))
    return rollout.end is None and any(turn.finish_reason == "length" for turn in rollout.turns[-1:])


def _plain(messages: Iterable[Message]) -> list[tuple[str, str]]:
    return [(str(m.get("role")), text_of(m)) for m in messages]


def _named_alike(one: Sequence[Message], other: Sequence[Message]) -> bool:
    """Whether answers name the same calls, where both do."""
    return all(
        a[name] == b[name]
        for a, b in zip(one, other, strict=True)
        for name in ("tool_call_id", "name")
        if a.get(name) is not None and b.get(name) is not None
    )


def _shown(one: Sequence[Message], other: Sequence[Message]) -> str:
    """The first message that differs."""
    pairs_of = [*zip(_plain(one), _plain(other), strict=False)]
    place = next((n for n, (a, b) in enumerate(pairs_of) if a != b), len(pairs_of))
    recorded, expected = (json.dumps(_plain(each)[place : place + 1], ensure_ascii=False) for each in (one, other))
    return f"recorded {recorded[:160]}, expected {expected[:160]}"


def _names(tools: Iterable[Message]) -> str:
    return "given: " + ", ".join(str((tool.get("function") or tool).get("name")) for tool in tools)[:160]


FINDINGS = (
    environment_opens_otherwise,
    tools_not_of_the_environment,
    environment_answers_otherwise,
    user_says_otherwise,
    episode_ends_elsewhere,
    success_not_as_judged,
    environment_raises,
)
