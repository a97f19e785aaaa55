"""E-mails about appointments, and questions about them. Everything is drawn from a seed.

An appointment is a subject of two words ("pump survey") and five facts. Its e-mail states them; an update states one
anew; a pointer says only that they are those of another appointment. Each first word of a subject is shared by several
appointments, so that a search by it alone finds e-mails that are about something else, the oldest first.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

FACTS = ("day", "hour", "place", "price", "guest")
WAYS = ("plain", "update", "pointer")  # how the e-mails lead to the answer

THINGS = """
    pump boat roof lamp desk truck bridge garden kitchen server printer camera engine window cable poster budget floor
    wall laptop badge menu phone fence
""".split()  # noqa: SIM905  words read better as words
EVENTS = "survey audit repair visit test demo review sale trial talk".split()  # noqa: SIM905
VALUES = {
    "day": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),  # noqa: SIM905
    "hour": [str(hour) for hour in range(7, 20)],
    "place": "Riga Oslo Bern Lima Kyiv Rome Cairo Quito Paris Delhi Tokyo Dakar".split(),  # noqa: SIM905
    "price": [str(price) for price in range(21, 99)],
    "guest": "Ada Ben Cleo Dan Eva Finn Gus Hana Ivo Jana Kai Lena Max Nora Otto Pia".split(),  # noqa: SIM905
}
QUESTIONS = {
    "day": "On which day is the {subject}?",
    "hour": "At what hour is the {subject}?",
    "place": "In which city is the {subject}?",
    "price": "What is the price of the {subject}?",
    "guest": "Who comes to the {subject}?",
}
SENTENCES = {
    "day": "day: {}",
    "hour": "hour: {}",
    "place": "city: {}",
    "price": "price: {}",
    "guest": "guest: {}",
}
SHOWN = 3  # results of a search


@dataclass(frozen=True)
class Email:
    email_id: str
    subject: str
    body: str


@dataclass(frozen=True)
class Question:
    """sources: ids of the e-mails that lead to the answer, in the order in which they are read; the last one holds it.

    searches: for each source the query that finds it
    """

    text: str
    fact: str
    way: str
    answer: str
    sources: tuple[str, ...]
    searches: tuple[str, ...]


class Inbox:
    """Searched by all words of a query at once; any number of conversations share it."""

    def __init__(self, emails: Sequence[Email]) -> None:
        self.emails = {email.email_id: email for email in emails}
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute("CREATE VIRTUAL TABLE emails USING fts5(email_id UNINDEXED, subject, body)")
        rows = [(email.email_id, email.subject, email.body) for email in emails]
        self._database.executemany("INSERT INTO emails VALUES (?, ?, ?)", rows)

    def search(self, query: str) -> list[Email]:
        """The oldest SHOWN e-mails whose subject holds every word of the query."""
        words = " AND ".join(f'"{word}"' for word in re.findall(r"\w+", query))
        if not words:
            return []
        found = self._database.execute(
            "SELECT email_id FROM emails WHERE emails MATCH ? ORDER BY rowid LIMIT ?", (f"subject: ({words})", SHOWN)
        )
        return [self.emails[email_id] for (email_id,) in found]


def draw(random: Random, questions: int) -> tuple[Inbox, list[Question]]:
    """An inbox, and so many questions about it. They walk through WAYS and FACTS, so that any fifteen have each pair
    once. Raises ValueError for more questions than there are appointments."""
    subjects = [f"{thing} {event}" for thing in THINGS for event in EVENTS]
    random.shuffle(subjects)
    if questions > (most := len(subjects) // 2):
        raise ValueError(f"{questions} questions; there are appointments for {most}")
    spare = iter(subjects[questions:])
    ids = iter(random.sample(range(100, 1000), 2 * questions))
    emails: list[Email] = []
    asked: list[Question] = []
    for number, subject in enumerate(subjects[:questions]):
        way, fact = WAYS[number % len(WAYS)], FACTS[number // len(WAYS) % len(FACTS)]
        facts = {name: random.choice(values) for name, values in VALUES.items()}
        read = [Email(str(next(ids)), subject, _stated(facts))]
        searches = [subject]
        if way == "update":
            facts |= {fact: random.choice([value for value in VALUES[fact] if value != facts[fact]])}
            first, then = sorted((read[0].email_id, str(next(ids))))  # it arrives after what it updates
            emails.append(replace(read[0], email_id=first))
            read = [Email(then, f"{subject} update", _stated({fact: facts[fact]}))]
        elif way == "pointer":
            searches.append(next(spare))
            read.insert(0, Email(str(next(ids)), subject, f"All is as for the {searches[1]}."))
            read[1] = replace(read[1], subject=searches[1])
        emails += read
        sources = tuple(email.email_id for email in read)
        text = QUESTIONS[fact].format(subject=subject)
        asked.append(Question(text, fact, way, facts[fact], sources, tuple(searches)))
    return Inbox(sorted(emails, key=lambda email: email.email_id)), asked


def _stated(facts: dict[str, str]) -> str:
    return ", ".join(SENTENCES[name].format(value) for name, value in facts.items()) + "."
