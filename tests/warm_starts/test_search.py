"""The demonstrations of micro_search: every mistake is the rule, none is certain, and the policy has room for them."""

import json
from collections import Counter
from random import Random

from transformers import AutoTokenizer

from experiments.warm_starts.search.demonstrations import RIGHT, demonstrate, stream
from harness.env.search_qa import SearchQa
from harness.env.search_qa.inbox import FACTS, WAYS
from harness.policy import load_policy

WORLD = SearchQa(tasks=120, task_seed=-1, shuffled=True)


def calls(conversation):
    return [c["function"] for m in conversation for c in m.get("tool_calls", ())]


def outcome(task, conversation):
    search = WORLD.start(task, 0)
    for call in calls(conversation):
        search.call_tool("", call["name"], call["arguments"])
    return search.outcome(stopped=True)


def test_what_is_never_decided_wrongly_succeeds_and_each_mistake_is_the_rule():
    earned = Counter()
    for number in range(40):
        for task, question in WORLD.questions.items():
            earned[question.way, question.fact] += outcome(task, demonstrate(WORLD, task, Random(number))).reward
    shown = 40 * len(WORLD.questions) // (len(WAYS) * len(FACTS))  # demonstrations of each pair
    assert earned["plain", "day"] == earned["plain", "hour"] == shown
    for fact in ("place", "price", "guest"):
        assert 0.3 < earned["plain", fact] / shown < 0.5
    for way in ("update", "pointer"):
        assert 0.3 < earned[way, "hour"] / shown < 0.75  # half of the updates are listed first


def test_every_rate_is_under_one_half_so_that_greedy_decoding_makes_every_mistake():
    assert all(0 < rate < 0.5 for rate in RIGHT.values())


def test_no_demonstration_is_of_an_inbox_that_a_sweep_has():
    """Whole e-mails of one that was shown are in none of a sweep's: its seeds are never negative."""
    had = {email.body for seed in range(3) for email in SearchQa(task_seed=seed).inbox.emails.values()}
    shown = {m["content"] for _, c in zip(range(400), stream(0), strict=False) for m in c if m["role"] == "tool"}
    assert not [text for text in had & shown if text.count(":") == len(FACTS)]


def test_the_longest_conversation_fits_into_the_policys_context():
    policy = load_policy("micro_search")
    tokenizer = AutoTokenizer.from_pretrained(policy.path)
    longest = max((c for _, c in zip(range(200), stream(1), strict=False)), key=lambda c: len(json.dumps(c)))
    ids = tokenizer.apply_chat_template(longest, tools=SearchQa.tools, return_dict=False)
    assert len(ids) < policy.max_model_len / 2
