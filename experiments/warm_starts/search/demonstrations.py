"""An agent that searches and answers, and often decides wrongly, always in the same way.

As micro's, its rates become the policy's probabilities, and every one is under one half: greedy decoding makes every
mistake, sampling shows the right decision often enough to be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

from harness.env.search_qa import SearchQa
from harness.env.search_qa.inbox import Question

# How often the agent decides rightly, where it may decide wrongly.
RIGHT = {
    "place": 0.42,  # else it answers with the day
    "price": 0.42,
    "guest": 0.42,
    "update": 0.42,  # else it reads the first result, whatever it is
    "pointer": 0.44,  # else it answers with what the e-mail says of another appointment
}
INBOXES = 8  # questions of one inbox before the next is drawn

Message = dict[str, Any]


def demonstrate(world: SearchQa, task_id: str, random: Random) -> list[Message]:
    """The conversation as chat messages; the tools' answers are the environment's own."""
    question, search = world.questions[task_id], world.start(task_id, random.randrange(2**31))
    messages: list[Message] = [{"role": "system", "content": world.system_prompt}]
    messages.append({"role": "user", "content": question.text})

    def call(name: str, **arguments: str) -> str:
        function = {"name": name, "arguments": arguments}
        messages.append(
            {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]}
        )
        answer = search.call_tool("", name, arguments)
        messages.append({"role": "tool", "content": answer})
        return answer

    source, said = _read(call, question, question.searches[0], random)
    if question.way == "pointer" and random.random() < RIGHT["pointer"]:
        source, said = _read(call, question, question.searches[1], random)
    call("return_answer", answer=_answer(question, said, random), source=source)
    return messages


def _read(call: Any, question: Question, query: str, random: Random) -> tuple[str, str]:
    """Searches and reads: the id of the e-mail, and what it says."""
    results = dict(line.split(": ") for line in call("search_inbox", query=query).splitlines())
    first, *_ = results
    update = next((i for i, subject in results.items() if subject.endswith("update")), first)
    source = update if random.random() < RIGHT["update"] else first
    return source, call("read_email", email_id=source)


def _answer(question: Question, said: str, random: Random) -> str:
    """The value that the question is about, or the day; the last word where the e-mail states neither."""
    values = dict(part.split(": ") for part in said.rstrip(".").split(", ") if ": " in part)
    label = "city" if question.fact == "place" else question.fact
    wanted = label if random.random() < RIGHT.get(question.fact, 1.0) else "day"
    return values.get(wanted) or values.get(label) or next(iter(values.values()), said.rstrip(".").split()[-1])


def stream(seed: int) -> Iterator[list[Message]]:
    """Endless fresh demonstrations from inboxes that no sweep has: their seeds are negative."""
    random = Random(f"demonstrations/{seed}")
    while True:
        world = SearchQa(tasks=75, task_seed=-1 - random.randrange(2**31), shuffled=True)
        for task_id in random.sample(list(world.questions), INBOXES):
            yield demonstrate(world, task_id, random)
