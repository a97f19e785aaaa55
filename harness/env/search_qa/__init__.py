"""env=search_qa: questions whose answers stand in an inbox, to be searched for, read and answered with the source.

A small positive control, after Art-E, the loop that climbs where tau-bench's stays flat (docs/investigation_note.md):
tools are calls to a search engine, and each step on the way to the answer is credited.

    inbox.py        e-mails and questions, generated from a seed; SQLite's FTS5 searches them
    environment.py  SearchQa, an Environment as anybody's, and its Conversation

Nothing of tau2 is used here.
"""

from harness.env.search_qa.environment import SearchQa

__all__ = ["SearchQa"]
