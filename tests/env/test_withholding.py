"""The withholding user: fair to who asks, hard on who does not, the same for the same seed, another for another."""

import json
import subprocess
import sys
from functools import cache

import pytest

from harness.env import DOMAINS, load_domain
from harness.env.domain import Domain
from harness.env.mock import variants
from harness.env.retail_tasks.agent import MORE, faultless, idle, played, thorough
from harness.env.retail_tasks.environment import load as load_generated
from harness.env.user import first_person
from harness.env.withholding import CONFIRMED, NOTHING_NEW, REFUSED, WAITING, Fact, Line, Scenario, WithholdingUser

SEEDS = range(3)
DOMAINS_WITH_USERS = [name for name in DOMAINS if name != "telecom_solo"]  # where a ticket stands in its place
PATIENCE, RESERVE = 3, 0.4  # of conf/user/withholding.yaml


@cache
def domain(name: str, reserve: float = RESERVE) -> Domain:
    return load_domain(name).withholding(PATIENCE, reserve)


@cache
def generated() -> Domain:
    return load_generated(tasks=20, validation_tasks=20).withholding(PATIENCE, RESERVE)


def asks_then_acts(of: Domain, task_id: str, seed: int):
    """An agent that knows the gold actions, and takes none before the user has nothing left to tell."""
    talk, criteria = of.start(task_id, seed), of.world(task_id).task.evaluation_criteria
    while talk.messages[-1].content not in NOTHING_NEW:
        assert talk.answer(MORE) is not None, "the user stops before it has told everything"
    heard = [m.content for m in talk.messages if m.role == "user"]
    for i, action in enumerate(criteria.actions or []):
        talk.call_tool(f"call_{i}", action.name, action.arguments)
    answer = talk.answer("Done: " + "; ".join(criteria.communicate_info or []))
    while answer is not None:  # without a tool the user goes on for a while
        answer = talk.answer("That is done.")
    return talk.outcome(stopped=True).reward, " ".join(heard)


def asks_and_acts_turn_by_turn(task_id: str, seed: int, reserve: float = RESERVE) -> float:
    """The same for env=mock, whose users say the next request once the last is done."""
    talk, variant = domain("mock", reserve).start(task_id, seed), variants(75, 0)[int(task_id[-3:])]
    gold, answer, asked = iter(domain("mock").world(task_id).task.evaluation_criteria.actions), talk.first, 0
    for turn in variant.turns:
        heard = answer
        for request in turn:
            while not all(name in heard for name in (request.title, request.user_id) if request.verb == "create") or (
                request.verb != "create" and request.task_id not in heard
            ):
                heard += talk.answer("Which task do you mean, what is its title, and for whom?")
                asked += 1
        for _ in turn:
            action = next(gold)
            talk.call_tool("call", action.name, action.arguments)
        answer = talk.answer("All done. " + " ".join(request.fact for request in turn if request.report))
    assert asked <= len(variant.requests)
    return talk.outcome(stopped=answer is None).reward


@pytest.mark.parametrize("name", ["retail", "airline"])
def test_who_asks_before_acting_succeeds_at_every_task(name):
    failed = [t for t in domain(name).task_ids for s in SEEDS if asks_then_acts(domain(name), t, s)[0] < 1.0]
    assert failed == []


@pytest.mark.parametrize("reserve", [0.0, RESERVE, 1.0])
def test_who_asks_succeeds_at_every_task_of_mock(reserve):
    failed = [t for t in domain("mock").task_ids for s in SEEDS if asks_and_acts_turn_by_turn(t, s, reserve) < 1.0]
    assert failed == []


def test_the_agent_without_mistakes_earns_on_generated_tasks_what_it_earns_with_a_scripted_user():
    made, failed, turns = generated(), [], 0
    for task_id in (*made.train_ids, *made.test_ids):
        for seed in SEEDS:
            task, talk = made.task(task_id), made.start(task_id, seed)
            done = played(task, thorough(task, task.goals, talk), talk)
            turns = max(turns, sum(message["role"] == "assistant" for message in done.messages))
            failed += [task_id] if done.outcome.reward < 1.0 else []
            assert played(task, faultless(task, task.goals)).outcome.reward == 1.0
    assert (failed, turns <= 20) == ([], True)  # rollout=retail allows 20
    assert made.bounds(made.test_ids) == (0.0, 1.0)


@pytest.mark.parametrize("reserve", [RESERVE, 1.0])
def test_whoever_asks_hears_every_sentence_of_the_scenario(reserve):
    of = domain("retail", reserve)
    for task_id in of.task_ids[::7]:
        _, heard = asks_then_acts(of, task_id, 1)
        told = of.world(task_id).task.user_scenario.instructions
        for part in (told.reason_for_call, told.known_info, told.task_instructions):
            for word in first_person(part).replace("want", "").replace("wish", "").split():
                assert word in heard or not word.isalnum() or word in ("would", "like"), (task_id, word)


def test_who_asks_nothing_is_not_told_what_is_held_back_at_once():
    told = []
    for seed in range(40):
        talk = domain("mock", 1.0).start("mock_000", seed)
        assert "task_97" not in talk.first
        told.append("task_97" in str(talk.answer("All done.")))
    assert 0 < sum(told) < 40  # as luck has it


def test_the_idle_agent_earns_on_generated_tasks_nothing():
    made = generated()
    for task_id in made.train_ids:
        task, talk = made.task(task_id), made.start(task_id, 0)
        assert played(task, idle(), talk).outcome.reward == 0.0


def conversation(of: Domain, task_id: str, seed: int) -> list[str | None]:
    talk = of.start(task_id, seed)
    texts = ("Who are you?", "All done.", "Shall I go ahead?", "Which order?", "What else?", "Done.")
    return [talk.first, *(talk.answer(text) for text in texts)]


@pytest.mark.parametrize("name", DOMAINS_WITH_USERS)
def test_another_seed_is_another_luck_and_the_same_seed_the_same_conversation(name):
    of = domain(name)
    for task_id in of.train_ids[:8]:
        assert conversation(of, task_id, 5) == conversation(of, task_id, 5)
        assert len({str(conversation(of, task_id, seed)) for seed in range(12)}) > 3


def test_the_same_seed_is_the_same_conversation_in_every_process():
    code = (
        "import json; from tests.env.test_withholding import *; "
        "print(json.dumps([domain('retail').digest, "
        "*(conversation(domain(n), domain(n).train_ids[3], 7) for n in DOMAINS_WITH_USERS)]))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": salt, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    here = [domain("retail").digest, *(conversation(domain(n), domain(n).train_ids[3], 7) for n in DOMAINS_WITH_USERS)]
    assert [json.loads(out) for out in seen] == [here]


def test_openings_of_a_group_differ_and_some_are_equal():
    """The second is what the check of exploration needs: outputs at equal prompts."""
    tasks = enumerate(domain("mock").train_ids)
    groups = [[domain("mock").start(task, 6 * i + n).first for n in range(6)] for i, task in tasks]
    assert sum(len(set(group)) > 1 for group in groups) > 25
    assert sum(len(set(group)) < 6 for group in groups) > 8


def test_a_domain_with_another_user_is_another_domain_and_the_scripted_one_stays_as_it_was():
    scripted, withholding = load_domain("mock"), load_domain("mock").withholding(3, 0.4)
    assert scripted.digest == load_domain("mock").digest != withholding.digest
    assert scripted.task_digest("mock_000") != withholding.task_digest("mock_000")
    one, other = (scripted.start("mock_003", seed).first for seed in (0, 1))
    assert one == other
    part = withholding.part(["mock_000", "mock_040"])
    assert [part.start("mock_000", s).first for s in SEEDS] == [withholding.start("mock_000", s).first for s in SEEDS]


NAME = Fact(("I am Ann.",), ("name",))
CARD = Fact(("Use my card.",), ("payment",))
MAIL = Fact(("I do not remember my email.",), ("email",))
LINES = (Line(("Cancel #W1234567.",)), Line(("I am Ann.",), (("", NAME),)), Line(("Use my card.",), (("", CARD),)))


def user(*, reserve=1.0, patience=3, turns=(LINES,), confirms=True):
    scenario = Scenario(turns, lambda said, _: " ".join(said), "cancel order #w1234567", (MAIL,), confirms)
    return WithholdingUser(scenario, 0, patience, reserve)


def says(text: str, after_tool: bool = False, **options) -> str | None:
    return user(**options).answer(text, after_tool)


TOLD = "Cancel #W1234567."
ANSWERS = [
    ("What is your name?", {"I am Ann."}),
    ("Which payment method, and what is your name?", {"I am Ann.\nUse my card."}),
    ("Please provide your payment method.", {"Use my card."}),
    ("Can you tell me more?", {"I am Ann."}),
    ("Shall I cancel #W1234567?", {"I am Ann.\nUse my card."}),
    ("You are being transferred to a human agent.", {None}),
]


@pytest.mark.parametrize(("text", "answers"), ANSWERS)
def test_what_is_held_back_is_told_when_it_is_asked_for(text, answers):
    assert user().first == TOLD
    assert says(text) in answers


KNOWN = [
    ("Shall I cancel order #W1234567 (yes/no)?", set(CONFIRMED)),
    ("Shall I cancel order #W7654321?", set(REFUSED)),
    ("Would you like to exchange it instead?", set(REFUSED)),
    ("What is your email?", {"I do not remember my email."}),
    ("What is your name?", {"I am Ann."}),
    ("How is the weather?", set(NOTHING_NEW)),
    ("Is there anything else?", set(NOTHING_NEW)),
]


@pytest.mark.parametrize(("text", "answers"), KNOWN)
def test_a_user_who_holds_nothing_back_says_yes_to_what_it_came_for_and_no_to_the_rest(text, answers):
    assert says(text, reserve=0.0) in answers


@pytest.mark.parametrize("text", ["Order #W1234567 is cancelled.", "It is cancelled. Is there anything else?"])
def test_it_stops_at_a_report_after_a_tool_once_everything_is_told(text):
    assert says(text, after_tool=True, reserve=0.0) is None
    assert says(text, after_tool=True, reserve=1.0) in {"I am Ann.", *WAITING}
    assert says(text, after_tool=False, reserve=0.0) is not None


def test_the_next_request_follows_the_report_of_the_last():
    of = user(reserve=0.0, turns=((LINES[0],), (Line(("And reopen it.",)),)), confirms=False)
    assert [of.answer("Done.", False), of.answer("Done.", False)] == ["And reopen it.", None]


@pytest.mark.parametrize("patience", [0, 2])
def test_useless_texts_use_up_its_patience(patience):
    of = user(reserve=0.0, patience=patience)
    answers = [of.answer("How is the weather?", False) for _ in range(patience + 1)]
    assert None not in answers[:-1] and answers[-1] is None


@pytest.mark.parametrize("text", ["Shall I cancel it?", "How is the weather?", "Shall I exchange it?", "Done."])
def test_no_text_keeps_it_for_ever(text):
    of = user()
    assert None in [of.answer(text, False) for _ in range(15)]


@pytest.mark.parametrize("seed", range(10))
def test_closing_is_said_before_every_stop(seed):
    """Where it is false, the next text does not end the conversation well."""
    talk = domain("mock").start("mock_003", seed)
    for text in ("Which task?", "All done.", "Shall I?", "All done.", "Done.", "Done.", "Done.", "Done."):
        closing, answer = talk.closing, talk.answer(text)
        assert closing or answer is not None
        if answer is None:
            break
