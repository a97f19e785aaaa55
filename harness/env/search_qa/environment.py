"""The environment and its conversation: search, read, answer with the source.

The judge compares texts: the answer is right if it is the e-mails' value, whatever its case, with the id of the e-mail
that holds it. On the way each e-mail that leads there counts once it is read, so that with fix/reward=on a failed
episode earns for what it found.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from random import Random
from typing import Any

from harness.env.environment import Call
from harness.env.search_qa.inbox import Email, Inbox, Question, draw
from harness.errors import ConfigError
from harness.seams import Outcome

PROMPT = (
    "You answer questions about an inbox. Search it by the words of a subject, read what you find, and return the "
    "answer with the id of the e-mail that says so. An update replaces what was said before."
)
VERSION = 1  # raise it when texts, tools, generator or judge change
TRAIN_SHARE = 0.4


def _tool(name: str, description: str, **texts: str) -> dict[str, Any]:
    properties = {field: {"type": "string", "description": text} for field, text in texts.items()}
    parameters = {"type": "object", "properties": properties, "required": list(texts)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


TOOLS = [
    _tool("search_inbox", "Finds e-mails.", query="words of the subject"),
    _tool("read_email", "Shows an e-mail.", email_id="of a search result"),
    _tool("return_answer", "Ends the conversation.", answer="the value alone", source="id of the e-mail"),
]


class SearchQa:
    """`Environment`. tasks: questions, of which TRAIN_SHARE are trained on; task_seed: of inbox and questions

    shuffled: a search lists its results in an order drawn from the conversation's seed, else the lowest id first. Then
        the environment is stochastic, as the note says of Art-E's
    Raises ConfigError for more tasks than can be drawn, and for fewer than two.
    """

    name = "search_qa"
    system_prompt = PROMPT
    tools = TOOLS

    def __init__(self, tasks: int = 75, task_seed: int = 0, shuffled: bool = False) -> None:
        if tasks < 2:
            raise ConfigError(f"env.tasks is {tasks}; expected at least 2, to train on and to validate on.")
        try:
            self.inbox, asked = draw(Random(f"search_qa/{task_seed}"), tasks)
        except ValueError as error:
            raise ConfigError(f"env.tasks asks for {error}. Lower it.") from None
        self.questions = {f"{n:03d}.{q.way}.{q.fact}": q for n, q in enumerate(asked)}
        ids, trained = list(self.questions), max(1, round(TRAIN_SHARE * tasks))
        self.train_ids, self.test_ids = ids[:trained], ids[trained:]
        self.shuffled = shuffled
        self.digest = f"search_qa/{VERSION}/{tasks}/{task_seed}/{'shuffled' if shuffled else 'in order'}"

    @property
    def task_groups(self) -> Mapping[str, str]:
        """A policy mostly answers all questions of one fact and way, or none."""
        return {task_id: f"{question.way}.{question.fact}" for task_id, question in self.questions.items()}

    def task_digest(self, task_id: str) -> str:
        return task_id  # `digest` covers the rest

    def start(self, task_id: str, seed: int) -> Search:
        return Search(self.inbox, self.questions[task_id], Random(seed) if self.shuffled else None)

    def solution(self, task_id: str) -> Iterator[Call]:
        """See `harness.env.environment.Solved`."""
        question = self.questions[task_id]
        for query, email_id in zip(question.searches, question.sources, strict=True):
            yield Call("search_inbox", {"query": query})
            yield Call("read_email", {"email_id": email_id})
        yield Call("return_answer", {"answer": question.answer, "source": question.sources[-1]})


class Search:
    """`Conversation`. order: shuffles the results of a search; None: they stay in order"""

    closing = True  # the user has nothing to add to a text

    def __init__(self, inbox: Inbox, question: Question, order: Random | None) -> None:
        self._inbox, self._question, self._order = inbox, question, order
        self._read: set[str] = set()
        self._returned: tuple[str, str] | None = None  # answer and source

    @property
    def done(self) -> bool:
        return self._returned is not None

    async def opening(self) -> str:
        return self._question.text

    def call_tool(self, call_id: str, name: str, arguments: Any) -> str:
        tool = next((tool["function"] for tool in TOOLS if tool["function"]["name"] == name), None)
        if tool is None:
            return f"Error: no tool is called {name}."
        wanted = tool["parameters"]["required"]
        given = [arguments.get(field) if isinstance(arguments, dict) else None for field in wanted]
        if not all(isinstance(value, str) for value in given):
            return f"Error: {name} takes the texts {' and '.join(wanted)}."
        return str(getattr(self, f"_{name}")(*given))

    def _search_inbox(self, query: str) -> str:
        found = self._inbox.search(query)
        if self._order:
            self._order.shuffle(found)
        return "\n".join(map(_line, found)) or "No e-mail found."

    def _read_email(self, email_id: str) -> str:
        email = self._inbox.emails.get(email_id.strip())
        if email is None:
            return f"Error: no e-mail has the id {email_id}."
        self._read.add(email.email_id)
        return email.body

    def _return_answer(self, answer: str, source: str) -> str:
        self._returned = answer, source
        return "Thank you."

    async def reply(self, text: str) -> str | None:
        return None if text.strip() else "I did not get an answer."

    def outcome(self, stopped: bool) -> Outcome:
        question = self._question
        answer, source = self._returned if stopped and self._returned else ("", "")
        read = sum(email_id in self._read for email_id in question.sources) if stopped else 0
        right = answer.strip().casefold() == question.answer.casefold()
        cited = source.strip() == question.sources[-1]
        return Outcome(
            reward=float(right and cited),
            actions_matched=read,
            actions_total=len(question.sources),
            facts_met=right + cited,
            facts_total=2,
            db_match=None,
        )


def _line(email: Email) -> str:
    return f"{email.email_id}: {email.subject}"
