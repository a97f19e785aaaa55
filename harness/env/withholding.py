"""The withholding user: a persona that paraphrases, tells a fact when it is asked, refuses what it did not come for.

Its luck is drawn from the conversation's seed: how things are said, what is held back, how a text that asks nothing is
taken. The same task, seed and texts of the assistant give the same conversation in every process. No model is asked.

    the assistant                       the user
    asks for what is held back          tells it; if the question names no topic, the next fact
    asks for a yes                      tells what is still held back; else yes, or no to what the scenario excludes
    asks for what the user knows not    says so
    reports, asks nothing               mentions what is held back, or only waits; then the next request; then stops

An answer that brings the assistant nothing new costs patience, a mention of what it did not ask for, too. A user whose
patience is used up stops. Whoever asks before acting gets everything: a user is no harder than the scripted one.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from tau2.data_model.tasks import StructuredUserInstructions, Task

from harness.env.user import OFFER, first_person

CONFIRMED = ("Yes, please go ahead.", "Yes, please.", "Sure, go ahead.", "Yes, that is right.")
REFUSED = ("No, that is not what I want.", "No, please do not.", "No. Only what I asked for.")
WAITING = ("I am still waiting.", "That is not all that I asked for.")
GO_ON = ("Please go on.", "Please go ahead.")
NOTHING_NEW = ("That is all that I can tell you.", "I have nothing to add.")
CONFIRMATIONS = 4  # that cost no patience
MENTIONS = 0.5  # how often a text that asks nothing makes the user mention what it holds back

_FOR_A_FACT = re.compile(
    r"\b(what|which|who|whom|where|why|provide|share|tell me|give me|let me know|may i have|need your|have your)\b",
    re.I,
)
_FOR_A_YES = re.compile(
    r"\b(shall i|should i|would you like|do you want|can i|may i|proceed|go ahead|confirm|do you agree|yes or no"
    r"|yes/no|is (that|this|it) (ok|okay|correct|right|fine))\b",
    re.I,
)
_OPEN = re.compile(r"\b(what|which|who|whom|where|when|how|why)\b", re.I)
_PLEA = re.compile(r"\bplease (provide|share|tell|give|confirm|let me know)\b|\bi need your\b", re.I)
_TRANSFERRED = re.compile(r"\b(being|been|will be|am|are) transferr(ed|ing)\b", re.I)
_IDS = re.compile(r"#w\d{7}\b|\btask_\d+\b")
_VERBS = ("cancel", "return", "exchange", "transfer", "delete")


@dataclass(frozen=True)
class Fact:
    """told: ways to say it; topics: words of a question that ask for it"""

    told: tuple[str, ...]
    topics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """Something that the user says unasked.

    full: ways to say it; held: ways to hold a part of it back, each what is said instead (empty: nothing) and the fact
    """

    full: tuple[str, ...]
    held: tuple[tuple[str, Fact], ...] = ()


@dataclass(frozen=True)
class Scenario:
    """What a withholding user knows and wants.

    turns: what it says, turn by turn; joined: makes one message of a turn's lines
    unknown: what it says that it does not know, when asked
    wanted: lower-case text that names all that it came for: ids, actions
    confirms: whether it stops only at a text that follows a tool call
    """

    turns: tuple[tuple[Line, ...], ...]
    joined: Callable[[Sequence[str], Random], str]
    wanted: str
    unknown: tuple[Fact, ...] = ()
    confirms: bool = True

    @property
    def content(self) -> str:
        """All but `joined`, as text."""
        plain = {name: value for name, value in vars(self).items() if name != "joined"}
        return json.dumps(plain, default=vars)


class WithholdingUser:
    """One conversation's user. first: its opening

    patience: answers that bring nothing new, before it stops; reserve: how often it holds back what it can
    """

    def __init__(self, scenario: Scenario, seed: int, patience: int, reserve: float) -> None:
        self.scenario, self.patience, self.reserve = scenario, patience, reserve
        self._random = Random(f"withholding/{seed}")
        self._turns = deque(scenario.turns)
        self._held: list[Fact] = []
        self._told: list[Fact] = []
        self._unknown = list(scenario.unknown)
        self._confirmations = CONFIRMATIONS
        self.first = self._turn()

    def closing(self, after_tool: bool) -> bool:
        """Whether it may stop at the assistant's next text."""
        done = not self._held and not self._turns and (after_tool or not self.scenario.confirms)
        return done or self.patience == 0

    def answer(self, text: str, after_tool: bool) -> str | None:
        """What it says to a text of the assistant; None: it stops."""
        if OFFER.search(text) and not self._is_left and after_tool:
            return None
        asked = "?" in text or _PLEA.search(text) is not None
        return self._asked(text) if asked else self._reported(text, after_tool)

    @property
    def _is_left(self) -> bool:
        return bool(self._held or self._turns)

    def _asked(self, text: str) -> str | None:
        words = set(re.findall(r"[a-z]+", text.lower()))
        about = [fact for fact in self._held if words & {*fact.topics}]
        if about and _FOR_A_FACT.search(text):
            return self._tell(about)
        if self._held:
            return self._tell(self._held if _for_a_yes(text) else self._held[:1])
        if unknown := [fact for fact in self._unknown if words & {*fact.topics}]:
            self._unknown.remove(unknown[0])
            return self._one(unknown[0].told)
        if OFFER.search(text) and self._turns:
            return self._turn()
        if _FOR_A_FACT.search(text) and (known := [fact for fact in self._told if words & {*fact.topics}]):
            return self._useless(self._one(known[0].told))
        if not _for_a_yes(text) or OFFER.search(text):
            return self._useless(self._one(NOTHING_NEW))
        if self._excludes(text.lower()):
            return self._useless(self._one(REFUSED))
        self._confirmations -= 1
        yes = self._one(CONFIRMED)
        return yes if self._confirmations >= 0 else self._useless(yes)

    def _reported(self, text: str, after_tool: bool) -> str | None:
        if _TRANSFERRED.search(text):
            return None
        if self._held:
            mentions = self._random.random() < MENTIONS
            return self._useless(self._tell(self._held[:1]) if mentions else self._one(WAITING))
        if self._turns:
            return self._turn()
        if after_tool or not self.scenario.confirms:
            return None
        return self._useless(self._one(GO_ON))

    def _turn(self) -> str:
        said = []
        for line in self._turns.popleft():
            if line.held and self._random.random() < self.reserve:
                instead, fact = self._random.choice(line.held)
                self._held.append(fact)
                said += [instead] if instead else []
            else:
                said.append(self._one(line.full))
                self._told += [fact for _, fact in line.held]
        return self.scenario.joined(said, self._random)

    def _tell(self, facts: Sequence[Fact]) -> str:
        told = list(facts)
        self._held = [fact for fact in self._held if fact not in told]
        self._told += told
        return "\n".join(self._one(fact.told) for fact in told)

    def _useless(self, said: str) -> str | None:
        self.patience -= 1
        return said if self.patience >= 0 else None

    def _excludes(self, text: str) -> bool:
        """Whether the scenario wants none of the ids, or none of the actions, that the text names."""
        for named, wanted in (
            (_IDS.findall(text), _IDS.findall(self.scenario.wanted)),
            ([verb for verb in _VERBS if verb in text], [verb for verb in _VERBS if verb in self.scenario.wanted]),
        ):
            if named and not set(named) & set(wanted) and (wanted or named[0] in _VERBS):
                return True
        return False

    def _one(self, wordings: Sequence[str]) -> str:
        return self._random.choice(wordings)


def _for_a_yes(text: str) -> bool:
    """Whether its last question wants a yes or a no."""
    question = re.split(r"[.!?\n]", text[: text.rindex("?")])[-1] if "?" in text else text
    return _FOR_A_YES.search(question) is not None and _OPEN.search(question) is None


_TOPICS = (
    ("name", "email", "mail", "zip", "zipcode", "identity", "verify", "id", "account", "who"),
    ("payment", "pay", "refund", "card", "gift", "paypal", "method", "charged"),
    ("order", "reservation", "booking", "number"),
    ("address", "street", "city"),
    ("reason", "why"),
)
_HINTS = (None, r"paypal|card|gift|payment|refund|pay\b", r"#W\d|reservation|order", r"address|suite", r"because|since")
_WISHES = (r"\bI (want|wish|would like) to\b", ("I want to", "I would like to", "I need to", "I'd like to"))
_GREETINGS = ("", "Hi. ", "Hello! ", "Good day. ")
# What a gold action is called where people talk of it otherwise.
_CALLED = {"modify_pending_order_items": "exchange", "transfer_to_human_agents": "transfer"}


def of_task(task: Task) -> Scenario:
    """The user of one of tau2's tasks: it opens with the first sentence of its reason, and may hold back every other
    one, who it is, and how it wants to be served."""
    told = task.user_scenario.instructions
    if not isinstance(told, StructuredUserInstructions):
        sentences = [*_sentences(str(told))]
        return _of_sentences(task, sentences[:1], sentences[1:], None, None)
    reason = [*_sentences(told.reason_for_call)]
    rest = [*reason[1:], *_sentences(told.task_instructions)]
    return _of_sentences(task, reason[:1], rest, told.known_info, told.unknown_info)


def _of_sentences(
    task: Task, opening: Sequence[str], rest: Sequence[str], known: str | None, unknown: str | None
) -> Scenario:
    lines = [Line(_wordings(sentence)) for sentence in opening]
    if known and known.strip():
        lines.append(_may_hold(Fact(_wordings(" ".join(known.split())), _TOPICS[0])))
    lines += [_may_hold(Fact(_wordings(sentence), _topics(sentence))) for sentence in rest]
    unknowns = (Fact((first_person(unknown.strip()),), _TOPICS[0]),) if unknown and unknown.strip() else ()
    return Scenario((tuple(lines),), _greeted, _wanted(task), unknowns)


def _may_hold(fact: Fact) -> Line:
    return Line(fact.told, (("", fact),))


def _sentences(text: str | None) -> Iterator[str]:
    for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])|\n\s*\n", text or ""):
        if sentence.strip(" .\n"):
            yield " ".join(sentence.split())


def _wordings(sentence: str) -> tuple[str, ...]:
    """The sentence in the first person, once for each way to say what one wants."""
    said, (pattern, wishes) = first_person(sentence), _WISHES
    return tuple(dict.fromkeys(re.sub(pattern, wish, said) for wish in wishes))


def _topics(sentence: str) -> tuple[str, ...]:
    found = [t for t, hint in zip(_TOPICS, _HINTS, strict=True) if hint and re.search(hint, sentence, re.I)]
    return tuple(word for topics in found for word in topics)


def _wanted(task: Task) -> str:
    actions = (task.evaluation_criteria.actions or []) if task.evaluation_criteria else []
    called = [f"{action.name} {_CALLED.get(action.name, '')} {action.arguments}" for action in actions]
    return " ".join([str(task.user_scenario.instructions), *called]).lower()


def _greeted(said: Sequence[str], random: Random) -> str:
    return random.choice(_GREETINGS) + "\n".join(said)
