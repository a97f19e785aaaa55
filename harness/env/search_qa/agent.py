"""An agent without mistakes: what can be reached here."""

from __future__ import annotations

from collections.abc import Iterator

from harness.env.environment import Conversation
from harness.env.search_qa.inbox import Question
from harness.seams import Outcome

Call = tuple[str, dict[str, str]]


def answered(search: Conversation, question: Question) -> Outcome:
    """What it gets."""
    for name, arguments in calls(question):
        search.call_tool("", name, arguments)
    return search.outcome(stopped=True)


def calls(question: Question) -> Iterator[Call]:
    """What it calls, in order."""
    for query, email_id in zip(question.searches, question.sources, strict=True):
        yield "search_inbox", {"query": query}
        yield "read_email", {"email_id": email_id}
    yield "return_answer", {"answer": question.answer, "source": question.sources[-1]}
