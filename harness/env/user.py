"""Scripted users: deterministic, without an LLM.

A script is an opening and what the user says after each of the assistant's texts; when it is used up, the user stops.
A user who confirms has said everything at the start: questions are answered with yes, and a text that follows a tool
call and asks nothing is the last word, as is an offer of further help. An empty text is no answer: the user says so and
goes on waiting.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tau2.data_model.tasks import StructuredUserInstructions, Task

CONFIRMATION = "Yes, please go ahead."
UNHEARD = "I did not get an answer."  # to an empty text
CONFIRMATIONS = 4  # turns after which the user stops in any case; tau2's scenarios need one or two confirmations
OFFER = re.compile(r"\b(anything|something) else\b|\b(further|other) (help|assistance|questions)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Script:
    opening: str
    replies: tuple[str, ...] = ()
    confirms: bool = False  # whether the user may stop before the replies are used up

    def satisfied(self, text: str, after_tool: bool) -> bool:
        """Whether the user stops at this text. after_tool: whether the assistant used a tool right before it."""
        if not self.confirms or not after_tool:
            return False
        return "?" not in text or OFFER.search(text) is not None


class ScriptedUser:
    """A conversation's user who follows a script. first: the opening"""

    def __init__(self, script: Script) -> None:
        self.script, self.first = script, script.opening
        self._replies = deque(script.replies)

    def closing(self, after_tool: bool) -> bool:
        """Whether it may stop at the assistant's next text."""
        return not self._replies or (self.script.confirms and after_tool)

    def answer(self, text: str, after_tool: bool) -> str | None:
        """The next reply; None: it stops."""
        if self.script.satisfied(text, after_tool) or not self._replies:
            return None
        return self._replies.popleft()


def by_lines(task: Task) -> Script:
    """One user turn per line of the task's instructions (the mock domain's tasks are written that way)."""
    opening, *replies = str(task.user_scenario.instructions).split("\n")
    return Script(opening, tuple(replies))


def confirming(task: Task) -> Script:
    """Everything that the scenario says, at once and in the first person; then yes to what is asked."""
    told = task.user_scenario.instructions
    if isinstance(told, StructuredUserInstructions):
        parts = [told.reason_for_call, told.known_info, told.task_instructions]
    else:
        parts = [told]
    opening = "\n".join(first_person(part.strip()) for part in parts if part and part.strip())
    return Script(opening, (CONFIRMATION,) * CONFIRMATIONS, confirms=True)


_PERSONS = (
    (r"\byou are\b", "I am"),
    (r"\byou're\b", "I'm"),
    (r"\bare you\b", "am I"),
    (r"\byou were\b", "I was"),
    (r"\byourself\b", "myself"),
    (r"\byours\b", "mine"),
    (r"\byour\b", "my"),
    (r"\b(to|for|with|asks?|tells?|gives?|offers?|lets?|helps?|transfers?|informs?) you\b", r"\1 me"),
    (r"\byou\b", "I"),
)


def first_person(text: str) -> str:
    """'You want to return your order.' -> 'I want to return my order.' By rules: readable, not always grammatical."""

    def kept_case(replacement: str) -> Callable[[re.Match[str]], str]:
        def swap(match: re.Match[str]) -> str:
            new = match.expand(replacement)
            return new[0].upper() + new[1:] if match.group(0)[0].isupper() else new

        return swap

    for pattern, replacement in _PERSONS:
        text = re.sub(pattern, kept_case(replacement), text, flags=re.IGNORECASE)
    return text
