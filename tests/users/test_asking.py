"""One reply of a user model, over a real connection: what is asked, what is asked again, what a failure is called."""

import asyncio
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import reduce

import litellm
import pytest

from harness.env import Role
from harness.errors import ConfigError, EngineError, EpisodeError, UserError
from harness.sections import UserConfig
from harness.users import asking
from harness.users.asking import ATTEMPTS, Spent, UserModel, without_secrets
from harness.users.prices import Price, dollars, price_of
from harness.users.provider import key_of, provider_of
from tests.fake_server import completion, refusal, serving, settled

ROLE = Role("You want to return a lamp.", ("###STOP###",))
MESSAGES = [{"role": "system", "content": ROLE.system}, {"role": "user", "content": ROLE.greeting}]
TOOL_CALL = completion(None, calls=[("get_order_details", "{}")])


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(asking, "PAUSE", 0.0)
    for name in ("OPENAI_API_KEY", "HOSTED_VLLM_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def model(url, folder, at_once=None, **options):
    given = {"kind": "llm", "model": "hosted_vllm/q", "api_base": url, "temperature": 0.5, "max_tokens": 64} | options
    return UserModel.of(UserConfig(**given), folder, at_once=at_once)


@dataclass(frozen=True)
class Said:
    text: str
    spent: Spent


async def said_by(user, messages=MESSAGES, seed=7, opens=False):
    paid = []
    text = await user.reply(messages, seed, ROLE, opens, paid.append)
    return Said(text, reduce(Spent.and_, paid, Spent()))


def ask(folder, *answers, opens=False, seed=7, **options):
    """What the model said, and the requests that the server got."""

    with serving(*answers) as (url, asked):
        try:
            return settled(said_by(model(url, folder, **options), seed=seed, opens=opens)), asked
        except Exception as error:
            error.asked = len(asked)
            raise


def test_a_request_carries_the_messages_the_seed_and_how_to_sample(tmp_path):
    said, (request,) = ask(tmp_path, completion("I want to return a lamp."))
    assert said == Said("I want to return a lamp.", Spent(1, 0, 3, 2, 0, 1))
    assert request == {"model": "q", "messages": MESSAGES, "temperature": 0.5, "max_tokens": 64, "seed": 7}


def test_what_is_not_given_is_not_sent(tmp_path):
    _, (request,) = ask(tmp_path, completion(), temperature=None, max_tokens=None)
    assert request.keys() == {"model", "messages", "seed"}


PASSING = [
    [refusal(429)],
    [refusal(500), refusal(503)],
    [None],  # the connection is dropped
    [b"<html>nonsense</html>"],
    [{"choices": []}],
    [{}],
    [completion("")],
    [completion("  \n")],
    [completion(None)],
    [TOOL_CALL],
]


@pytest.mark.parametrize("faults", PASSING, ids=str)
def test_what_may_pass_is_asked_again(faults, tmp_path):
    said, asked = ask(tmp_path, *faults, completion("A lamp."))
    assert (said.text, len(asked)) == ("A lamp.", len(faults) + 1)


def test_an_answer_that_cannot_be_used_is_asked_for_with_another_seed_and_paid_for(tmp_path):
    said, asked = ask(tmp_path, completion(""), completion("A lamp."))
    assert asked[0]["seed"] == 7 != asked[1]["seed"]
    assert said.spent.calls == 2 and said.spent.prompt_tokens == 6


LASTING = [
    (refusal(429), ATTEMPTS, "429|RateLimit"),
    (refusal(500), ATTEMPTS, "500|InternalServer"),
    (None, ATTEMPTS, "requests for the user model failed"),
    (b"nonsense", ATTEMPTS, "requests for the user model failed"),
    (completion(""), 2, r"the answer has no text \(finish_reason stop\)"),
    (TOOL_CALL, 2, "the answer calls a tool, and the user has none"),
    (refusal(400, "too long"), 1, r"refused a request \(400\).*too long"),
]


@pytest.mark.parametrize(("answer", "times", "said"), LASTING, ids=str)
def test_what_does_not_pass_is_missing_data_and_no_reward(answer, times, said, tmp_path):
    with pytest.raises(UserError, match=said) as failed:
        ask(tmp_path, answer)
    assert failed.value.asked == times
    assert isinstance(failed.value, EpisodeError)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_refuses_key_or_model_stops_the_runs(status, tmp_path):
    with pytest.raises(EngineError, match=rf"hosted_vllm/q at http.*refused a request \({status}\)") as refused:
        ask(tmp_path, refusal(status))
    assert refused.value.asked == 1


def test_an_endpoint_that_is_slow_is_given_up_and_asked_again(tmp_path):
    def slow(request):
        time.sleep(1.0)
        return completion("Too late.")

    said, asked = ask(tmp_path, slow, completion("In time."), timeout=0.3)
    assert (said.text, len(asked)) == ("In time.", 2)


def test_pauses_double_and_an_endpoint_may_name_a_longer_one(tmp_path, monkeypatch):
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)

    monkeypatch.setattr(asking, "PAUSE", 1.0)
    monkeypatch.setattr(asking, "sleep", sleep)  # asyncio's own would be everybody's, litellm's loops among them
    with pytest.raises(UserError):
        ask(tmp_path, refusal(500))
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0]
    pauses.clear()
    ask(tmp_path, (*refusal(429), ("retry-after", "7")), completion("A lamp."))
    assert pauses == [7.0]


def test_no_client_asks_again_by_itself(tmp_path):
    """OpenAI's own does so twice, unless it is told not to."""
    with pytest.raises(UserError) as failed:
        ask(tmp_path, refusal(500), model="openai/q")
    assert failed.value.asked == ATTEMPTS


def test_an_opening_that_ends_the_conversation_is_asked_for_again(tmp_path):
    ended = completion("###STOP###")
    assert len(ask(tmp_path / "a", ended, completion("A lamp."), opens=True)[1]) == 2
    assert ask(tmp_path / "b", ended)[0].text == "###STOP###"


def test_a_reply_is_asked_for_once_and_found_by_every_process(tmp_path):
    async def once(url):
        return await said_by(model(url, tmp_path))  # a store of its own, as in another process

    with serving(completion("A lamp."), completion("Another.")) as (url, asked):
        said = [settled(once(url)) for _ in range(2)]
        assert said == [Said("A lamp.", Spent(1, 0, 3, 2, 0, 1)), Said("A lamp.", Spent(found=1))]
        assert len(asked) == 1
    with serving(completion("Another.")) as (url, _):
        assert settled(once(url)).text == "Another."  # another endpoint's own


OTHERS = [
    {"seed": 8},
    {"temperature": 0.6},
    {"max_tokens": 65},
    {"model": "hosted_vllm/other"},
]


@pytest.mark.parametrize("other", OTHERS, ids=str)
def test_all_that_a_reply_depends_on_is_part_of_its_key(other, tmp_path):
    async def both(url):
        said = []
        for options in ({}, other, {}):
            seed, rest = options.get("seed", 7), {k: v for k, v in options.items() if k != "seed"}
            said.append(await said_by(model(url, tmp_path, **rest), seed=seed))
        longer = [*MESSAGES, {"role": "assistant", "content": "Hi."}, {"role": "user", "content": "Yes?"}]
        return [*said, await said_by(model(url, tmp_path), longer)]

    with serving(completion("1"), completion("2"), completion("3")) as (url, asked):
        assert [said.text for said in settled(both(url))] == ["1", "2", "1", "3"]
        assert len(asked) == 3


def test_how_the_model_is_reached_is_no_part_of_who_it_is():
    options = {"kind": "llm", "model": "m"}
    reached = UserConfig(**options, key_variable="KEY", concurrency=3, timeout=5.0)
    assert reached.identity() == UserConfig(**options).identity() == options


def test_no_more_requests_are_under_way_than_are_allowed(tmp_path):
    under_way, most = 0, 0

    def answer(request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        time.sleep(0.05)
        under_way -= 1
        return completion("A lamp.")

    async def many(url):
        user = model(url, tmp_path, at_once=2)
        await asyncio.gather(*(said_by(user, seed=seed) for seed in range(8)))

    with serving(answer) as (url, asked):
        settled(many(url))
    assert (most, len(asked)) == (2, 8)


def test_tokens_are_priced_by_litellms_map(tmp_path):
    assert price_of("gpt-4o") == price_of("openai/gpt-4o") == Price(2500, 10_000, price_of("gpt-4o").source)
    assert price_of("hosted_vllm/mine") is None
    said, _ = ask(tmp_path, completion("A lamp."), model="openai/gpt-4o")
    assert said.spent == Spent(1, 0, 3, 2, 3 * 2500 + 2 * 10_000, 0)
    assert [dollars(nano) for nano in (20_000, 21_891_000_000, 1_203_400_000_000)] == ["$2e-05", "$21.89", "$1,203"]


@pytest.mark.parametrize("known", ["input_cost_per_token", "output_cost_per_token"])
def test_a_price_of_which_the_map_has_one_half_is_not_known(known, monkeypatch):
    monkeypatch.setitem(litellm.model_cost, "half", {known: 1e-6})
    assert price_of("half") is None


def test_the_key_comes_from_the_environment_and_stands_in_no_message_and_no_file(tmp_path, monkeypatch):
    monkeypatch.setenv("USER_KEY", "secret-0123456789")
    echo = refusal(401, "Incorrect API key provided: secret-0123456789.")
    with pytest.raises(EngineError) as refused:
        ask(tmp_path, echo, key_variable="USER_KEY")
    assert "secret" not in str(refused.value) and "…" in str(refused.value)
    ask(tmp_path, completion("A lamp."), key_variable="USER_KEY")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"secret-01" in path.read_bytes()]
    assert without_secrets("a secret-0123456789 b") == "a … b"


def test_a_key_that_is_not_there_is_said_before_anything_is_asked(monkeypatch):
    with pytest.raises(ConfigError, match=r"user.key_variable is NO_SUCH_KEY, and the environment has no such"):
        key_of(UserConfig(kind="llm", model="m", key_variable="NO_SUCH_KEY"))
    with pytest.raises(ConfigError, match="user.model=gpt-4o needs OPENAI_API_KEY in the environment"):
        key_of(UserConfig(kind="llm", model="gpt-4o"))
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert key_of(UserConfig(kind="llm", model="gpt-4o")) is None


def test_a_model_of_no_provider_is_refused():
    assert provider_of("gpt-4o") == "openai"
    with pytest.raises(ConfigError, match="user.model is 'gtp', and litellm knows no provider.*PROVIDER/MODEL"):
        provider_of("gtp")


def test_a_provider_without_seeds_is_sent_none(tmp_path, monkeypatch):
    monkeypatch.setattr("litellm.get_supported_openai_params", lambda *_: ["temperature"])
    _, (request,) = ask(tmp_path, completion("A lamp."))
    assert "seed" not in request


def test_parameters_that_an_endpoint_does_not_know_are_not_dropped_in_silence():
    code = (
        "import sys, litellm; from harness.env import load_domain; from harness.users import asking, model_user; "
        "load_domain('retail').role('0'); "
        "print(litellm.drop_params, 'tau2.utils.llm_utils' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_the_role_is_what_tau2_tells_its_own_simulator():
    code = (
        "import json; from harness.env import load_domain; d = load_domain('retail'); "
        "from tau2.user.user_simulator import UserSimulator; from tau2.user.base import STOP, TRANSFER, OUT_OF_SCOPE; "
        "tasks = [d.world(i).task for i in d.task_ids[:5]]; "
        "said = [UserSimulator(instructions=str(t.user_scenario)).system_prompt for t in tasks]; "
        "roles = [d.role(t.id) for t in tasks]; "
        "print(json.dumps([said == [r.system for r in roles], list(roles[0].stops) == [STOP, TRANSFER, OUT_OF_SCOPE]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [True, True]
