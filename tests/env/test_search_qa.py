"""The inbox to be searched: what its questions ask for, what its tools answer, and how an answer is judged."""

import asyncio
import os
import subprocess
import sys
from collections import Counter

import pytest

from harness.env import bounds, load_environment
from harness.env.search_qa import SearchQa
from harness.env.search_qa.inbox import FACTS, WAYS
from harness.errors import ConfigError

WORLD = SearchQa()
PLAIN, UPDATE, POINTER = "000.plain.day", "001.update.day", "002.pointer.day"


def play(task, *skipped, world=WORLD, **changes):
    """The outcome of the solution without these calls, its answer or source changed."""
    search = world.start(task, 0)
    for number, call in enumerate(world.solution(task)):
        if number not in skipped:
            search.call_tool("", call.name, call.arguments | (changes if call.name == "return_answer" else {}))
    return search.outcome(stopped=True)


def test_the_environment_is_one_as_anybody_brings():
    made = load_environment({"_target_": "harness.env.search_qa.SearchQa", "tasks": 10})
    assert (len(made.train_ids), len(made.test_ids)) == (4, 6)


def test_every_question_can_be_answered_by_searching_and_reading():
    for seed in range(3):
        world = SearchQa(tasks=120, task_seed=seed, shuffled=seed > 0)
        assert bounds(world, list(world.questions)) == (0.0, 1.0)


def test_any_fifteen_questions_hold_each_pair_of_way_and_fact_once():
    groups = [WORLD.task_groups[task] for task in WORLD.questions]
    assert Counter(groups[15:30]) == Counter(f"{way}.{fact}" for way in WAYS for fact in FACTS)


@pytest.mark.parametrize("task", [PLAIN, UPDATE, POINTER])
def test_a_right_answer_from_the_wrong_email_is_no_success(task):
    assert play(task).reward == 1.0
    cited = play(task, source="100")
    assert (cited.reward, cited.facts_met, cited.facts_total) == (0.0, 1, 2)
    said = play(task, answer="perhaps")
    assert (said.reward, said.facts_met) == (0.0, 1)


def test_the_email_that_only_points_to_the_answer_is_no_source():
    pointing = WORLD.questions[POINTER].sources[0]
    assert (play(POINTER, source=pointing).reward, play(POINTER, source=pointing).facts_met) == (0.0, 1)


def test_an_answer_is_compared_without_case_and_blanks():
    question = WORLD.questions[PLAIN]
    assert play(PLAIN, answer=f" {question.answer.upper()} ").reward == 1.0


def test_each_email_that_leads_to_the_answer_counts_once_it_is_read():
    assert (play(POINTER).actions_matched, play(POINTER).actions_total) == (2, 2)
    assert play(POINTER, 1).actions_matched == 1  # it did not read the e-mail that points on
    assert play(PLAIN, 1).actions_matched == 0
    assert WORLD.start(PLAIN, 0).outcome(stopped=True).actions_matched == 0


def test_an_update_replaces_what_was_said_before():
    question = WORLD.questions[UPDATE]
    first, update = WORLD.inbox.search(question.searches[0])
    assert update.subject == f"{first.subject} update" and update.email_id > first.email_id
    assert question.sources == (update.email_id,)
    assert question.answer in update.body and question.answer not in first.body


def test_a_search_finds_by_all_words_of_a_subject_the_oldest_three():
    thing = WORLD.questions[PLAIN].searches[0].split()[0]
    found = WORLD.inbox.search(thing)
    assert len(found) == 3 and all(thing in email.subject.split() for email in found)
    assert [email.email_id for email in found] == sorted(email.email_id for email in found)
    assert WORLD.inbox.search("day") == []  # bodies are not searched


ODD = ["", " ", '"', '"a" OR "b"', "*", "NEAR(a b)", "a\x00b", "\ud800", "subject: x", "')--", "word " * 2000]


@pytest.mark.parametrize("text", ODD)
def test_odd_texts_are_answered(text):
    search = WORLD.start(PLAIN, 0)
    assert search.call_tool("", "search_inbox", {"query": text}) == "No e-mail found."
    assert search.call_tool("", "read_email", {"email_id": text}).startswith("Error: no e-mail has the id")
    search.call_tool("", "return_answer", {"answer": text, "source": text})
    assert search.outcome(stopped=True).reward == 0.0


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("reply", {}), ("search_inbox", {}), ("search_inbox", {"query": 3}), ("read_email", None), ("read_email", "7")],
)
def test_a_wrong_call_is_answered_with_what_is_right(name, arguments):
    search = WORLD.start(PLAIN, 0)
    assert search.call_tool("", name, arguments).startswith("Error: ")
    assert not search.done


def test_the_answer_ends_the_conversation_and_a_text_without_one_earns_nothing():
    search = WORLD.start(PLAIN, 0)
    assert not search.done and asyncio.run(search.reply("It is Monday.")) is None
    assert search.outcome(stopped=True).reward == 0.0
    for call in WORLD.solution(PLAIN):
        assert not search.done
        search.call_tool("", call.name, call.arguments)
    assert search.done
    assert asyncio.run(WORLD.start(PLAIN, 0).reply(" ")) == "I did not get an answer."


def test_what_did_not_end_well_counts_nothing():
    search = WORLD.start(PLAIN, 0)
    for call in WORLD.solution(PLAIN):
        search.call_tool("", call.name, call.arguments)
    cut = search.outcome(stopped=False)
    assert (cut.reward, cut.actions_matched, cut.facts_met) == (0.0, 0, 0)


def test_only_a_shuffled_environment_is_stochastic_and_its_luck_comes_from_the_seed():
    query = {"query": WORLD.questions[UPDATE].searches[0]}

    def listed(world, seed):
        return world.start(UPDATE, seed).call_tool("", "search_inbox", query)

    shuffled = SearchQa(shuffled=True)
    assert len({listed(WORLD, seed) for seed in range(20)}) == 1
    assert len({listed(shuffled, seed) for seed in range(20)}) == 2
    assert [listed(shuffled, seed) for seed in range(20)] == [listed(shuffled, seed) for seed in range(20)]
    assert shuffled.digest != WORLD.digest


def test_every_process_makes_the_same_inbox():
    code = "from harness.env.search_qa import SearchQa as S; w = S(); print(w.inbox.emails, w.questions)"
    made = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert made[0] == made[1] != b""


@pytest.mark.parametrize(("tasks", "said"), [(1, "expected at least 2"), (121, "there are appointments for 120")])
def test_what_cannot_be_drawn_is_refused(tasks, said):
    with pytest.raises(ConfigError, match=said):
        SearchQa(tasks=tasks)


def test_its_options_arrive(sweep_config):
    config = sweep_config("env=search_qa", "env.tasks=20", "env.shuffled=true", "policy=micro_search")
    made = load_environment(config.env.source)
    assert (len(made.questions), made.shuffled) == (20, True)
