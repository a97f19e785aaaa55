"""Recorded replies, fed to their environment once more: what it says then is what the rollouts should hold.

Whoever has an environment supplies it as a `World`, three members of it; every `harness.env.Environment` is one
(docs/bring_your_own.md). The same task answered in the same way must give the same conversation.
"""

import inspect
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.errors import ConfigError
from harness.probe.material import CUT, Message, Replayed, Rollout, text_of
from harness.seams import Outcome


class Played(Protocol):
    """One task being played. A member that has to be waited for may be `async`."""

    @property
    def done(self) -> bool:
        """Whether a tool has ended the conversation."""
        ...

    def opening(self) -> Any:
        """The user's first message."""
        ...

    def call_tool(self, call_id: str, name: str, arguments: Any) -> Any:
        """The tool's answer."""
        ...

    def reply(self, text: str) -> Any:
        """The user's next message; None: the user stops."""
        ...

    def outcome(self, stopped: bool) -> Outcome:
        """stopped: whether the user or a tool ended it."""
        ...


class World(Protocol):
    """system_prompt: "" for none; `tools` may be left out where rollouts do not say which were sent"""

    @property
    def system_prompt(self) -> str: ...

    def start(self, task_id: str, seed: int) -> Played:
        """Raises KeyError for an id that does not exist."""
        ...


@dataclass
class Replay:
    """world: whose rollouts they are. Rollouts that were played alike are replayed once."""

    world: World
    _kept: dict[str, Replayed | str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Raises ConfigError for what is no environment."""
        lacking = [name for name in ("system_prompt", "start") if not hasattr(self.world, name)]
        if lacking or isinstance(self.world, type):
            what = f"has no {lacking[0]}" if lacking else "is a class, and one that is made of it is needed"
            raise ConfigError(
                f"{self.world!r:.60} {what}: an environment has system_prompt and start(task_id, seed) (docs/probe.md)."
            )

    @property
    def follows(self) -> bool:
        """Whether its users are scripts. What a model says, or what luck decides, is not said again."""
        return getattr(self.world, "user", None) is None

    def all(self, rollouts: Iterable[Rollout], calls: int | None = None) -> list[Replayed | str | None]:
        """Each rollout, replayed; what the environment raised instead; None: no task, or nothing was said.

        calls: of a reply that are executed at most; None: all
        """
        keys = [(rollout, _key(rollout, calls)) for rollout in rollouts]
        if new := {key: rollout for rollout, key in keys if key and key not in self._kept}:
            import asyncio  # a third of a light import, for those who replay
            from concurrent.futures import ThreadPoolExecutor

            with ThreadPoolExecutor(1) as apart:  # a trainer may have a loop of its own in this thread
                self._kept |= apart.submit(asyncio.run, self._played(new, calls)).result()
        return [self._kept[key] if key else None for _, key in keys]

    async def _played(self, rollouts: Mapping[str, Rollout], calls: int | None) -> dict[str, Replayed | str]:
        return {key: await self._guarded(rollout, calls) for key, rollout in rollouts.items()}

    async def _guarded(self, rollout: Rollout, calls: int | None) -> Replayed | str:
        try:
            return await self._play(rollout, calls)
        except Exception as error:  # whatever somebody's environment raises: a finding, and no crash of a trainer
            return f"{type(error).__name__}: {error}"[:200]

    async def _play(self, rollout: Rollout, most: int | None) -> Replayed:
        talk = await _now(self.world.start(rollout.task or "", 0))
        opening = [{"role": "system", "content": self.world.system_prompt}] if self.world.system_prompt else []
        opening.append({"role": "user", "content": await _now(talk.opening())})
        answers: list[tuple[Message, ...]] = []
        ended = None
        for number, at in enumerate(rollout.said):
            if is_left(rollout, number):
                break
            found = await self._answer(talk, rollout.messages[at], most)
            answers.append(found or ())
            if found is None or talk.done:
                ended = number
                break
        outcome = await _now(talk.outcome(ended is not None)) if self.follows else None
        if not isinstance(outcome, Outcome | None):
            raise TypeError(f"outcome() gives {type(outcome).__name__}, and not harness.probe.Outcome")
        return Replayed(tuple(opening), tuple(answers), ended, outcome)

    async def _answer(self, talk: Played, message: Message, most: int | None) -> tuple[Message, ...] | None:
        """None: the user stops."""
        if calls := message.get("tool_calls"):
            out = []
            for call in calls[:most]:
                function = call.get("function") or call
                answer = await _now(talk.call_tool(str(call.get("id")), function["name"], arguments_of(function)))
                out.append(
                    {"role": "tool", "tool_call_id": call.get("id"), "name": function["name"], "content": answer}
                )
            return tuple(out)
        if not self.follows:
            return ()
        said = await _now(talk.reply(text_of(message)))
        return None if said is None else ({"role": "user", "content": said},)


def is_left(rollout: Rollout, number: int) -> bool:
    """Whether the loop did nothing upon a last reply: one that was cut off, or calls where the rollout was."""
    if number < len(rollout.said) - 1 or rollout.said[number] < len(rollout.messages) - 1:
        return False
    if rollout.end is not None and not CUT.search(rollout.end):
        return False  # the environment was told, and ended it
    cut = number < len(rollout.turns) and rollout.turns[number].finish_reason == "length"
    return cut or (rollout.cut and bool(rollout.messages[rollout.said[number]].get("tool_calls")))


def arguments_of(function: Mapping[str, Any]) -> Any:
    """A call's arguments as an environment takes them: none for an empty text, text that is no object as it is."""
    text = function.get("arguments")
    if not isinstance(text, str):
        return text or {}
    try:
        found = json.loads(text) if text.strip() else None
    except (ValueError, RecursionError):
        return {"arguments": text}
    return {} if found is None else found if isinstance(found, dict) else {"arguments": text}


async def _now(made: Any) -> Any:
    return await made if inspect.isawaitable(made) else made


def _key(rollout: Rollout, calls: int | None) -> str:
    """Of all that a replay depends on; "" where there is nothing to replay."""
    if rollout.task is None or not rollout.said or rollout.error:
        return ""
    replies = [
        [text_of(m), m.get("tool_calls"), is_left(rollout, n)]
        for n, m in enumerate(rollout.messages[at] for at in rollout.said)
    ]
    return json.dumps([rollout.task, calls, replies], default=str)
