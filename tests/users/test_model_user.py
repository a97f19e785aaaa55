"""A conversation with a user who is a model: what it hears, when it stops, what it costs, what its failure is."""

import asyncio
import json
from functools import partial

import pytest

from harness.env import Role, load_domain, load_environment
from harness.episode import Episode
from harness.episode_player import EpisodePlayer, Job, Sampling
from harness.errors import EpisodeError, UserError
from harness.factors import derive_seed
from harness.player_pool import PlayerPool
from harness.sections import UserConfig
from harness.users import asking, attached, load_played
from harness.users.asking import Spent
from harness.users.model_user import ModelUser
from tests.fake_server import completion, refusal, serving, settled

ROLE = Role("You want to return a lamp.", ("###STOP###", "###TRANSFER###"))
IDENTITY = {"kind": "llm", "model": "hosted_vllm/q"}
SOURCE = {"_target_": "harness.env.load_domain", "name": "mock"}


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(asking, "PAUSE", 0.0)
    monkeypatch.setattr("harness.completion.PAUSE", 0.0)


class Model:
    def __init__(self, *texts):
        self.texts, self.asked = list(texts), []

    async def reply(self, messages, seed, role, opens, pay):
        self.asked.append(([m["role"] for m in messages], messages[-1]["content"], seed, opens))
        pay(Spent(1, 0, 10, 5, 100))
        return self.texts.pop(0)


def test_the_model_hears_the_assistant_as_its_user_and_a_seed_for_each_message():
    model = Model("A lamp.", "Yes.")
    user = ModelUser(ROLE, 5, model)
    assert asyncio.run(user.opening()) == "A lamp." and asyncio.run(user.reply("Shall I?")) == "Yes."
    assert model.asked == [
        (["system", "user"], ROLE.greeting, derive_seed(5, "message", 1), True),
        (["system", "user", "assistant", "user"], "Shall I?", derive_seed(5, "message", 2), False),
    ]
    assert user.spent == vars(Spent(2, 0, 20, 10, 200))


@pytest.mark.parametrize("last", ["###STOP###", "Thanks! ###STOP###", "###TRANSFER### bye"])
def test_a_stop_word_ends_the_conversation_whatever_else_is_said(last):
    assert asyncio.run(ModelUser(ROLE, 5, Model(last)).reply("Done.")) is None


def test_a_user_who_never_says_a_stop_word_goes_on():
    assert asyncio.run(ModelUser(ROLE, 5, Model("STOP")).reply("Done.")) == "STOP"


# With the policy on one server and the user on another.


def user_config(url):
    return UserConfig(kind="llm", model="hosted_vllm/q", api_base=url)


def job(url, task="mock_000", turns=6):
    return Job(url, "key", "hosted_vllm/p@1", task, Sampling(1.0, 32, turns), 5, True, IDENTITY)


async def play(policy, user, folder, turns=6):
    domain = attached(load_environment(SOURCE, IDENTITY), user_config(user), folder)
    return await EpisodePlayer(domain, 4).play(job(policy, turns=turns))


def played(folder, policy, user, turns=6):
    """The episode and what the user's server was asked."""
    with serving(*policy) as (policy_url, _), serving(*user) as (user_url, asked):
        return settled(play(policy_url, user_url, folder, turns)), asked


CLOSE = completion(None, calls=[("update_task_status", '{"task_id": "task_97", "status": "completed"}')])


def test_an_episode_with_a_model_is_judged_by_its_end_and_says_what_the_user_cost(tmp_path):
    user = [completion("Please close task_97."), completion("###STOP###")]
    episode, asked = played(tmp_path, [CLOSE, completion("All done.")], user)
    assert (episode.end, episode.outcome.reward, episode.user) == ("user_stop", 1.0, IDENTITY)
    assert [m if isinstance(m, int) else m["role"] for m in episode.messages] == ["system", "user", 0, "tool", 1]
    assert asked[1]["messages"][-1] == {"role": "user", "content": "All done."}, "it sees no tool"
    assert episode.spent == vars(Spent(2, 0, 6, 4, 0, 2))
    assert Episode.from_bytes(episode.to_bytes()) == episode
    again, asked = played(tmp_path, [CLOSE, completion("All done.")], user)
    assert again.outcome == episode.outcome and len(asked) == 2, "another endpoint is another user"


def test_a_validation_is_repeated_without_asking_the_user_again(tmp_path):
    policy, user = [CLOSE, completion("All done.")] * 2, [completion("Please close task_97."), completion("###STOP###")]
    with serving(*policy) as (policy_url, _), serving(*user) as (user_url, asked):
        first, second = (settled(play(policy_url, user_url, tmp_path)) for _ in range(2))
    assert len(asked) == 2 and second.spent == vars(Spent(found=2))
    assert first.messages == second.messages


def test_an_empty_text_is_answered_without_asking_the_model(tmp_path):
    episode, asked = played(tmp_path, [completion("")], [completion("Please close task_97.")], turns=3)
    assert (episode.end, len(asked)) == ("turn_limit", 1)
    assert episode.outcome.reward == 0.0


def test_a_user_who_never_stops_meets_the_limit_of_turns(tmp_path):
    episode, asked = played(tmp_path, [completion("Done.")], [completion("And then?")], turns=4)
    assert (episode.end, episode.outcome.reward, len(asked)) == ("turn_limit", 0.0, 5)


def test_a_user_who_fails_leaves_no_reward_and_says_what_it_cost(tmp_path):
    user = [completion("Please close task_97."), refusal(500)]
    with pytest.raises(UserError, match="requests for the user model failed") as failed:
        played(tmp_path, [completion("All done.")], user)
    assert isinstance(failed.value, EpisodeError) and failed.value.spent["calls"] == 1


def test_a_policy_that_fails_says_what_the_user_had_cost(tmp_path):
    with pytest.raises(EpisodeError) as failed:
        played(tmp_path, [refusal(500)], [completion("Please close task_97.")])
    assert failed.value.spent["calls"] == 1


def test_player_processes_ask_the_model_and_share_what_it_said(tmp_path):
    user = [completion("Please close task_97."), completion("###STOP###")]

    async def both(policy_url, user_url):
        config = user_config(user_url)
        load = partial(load_played, SOURCE, config, tmp_path / "store", True, 2)
        digest = load_environment(SOURCE, config.identity()).digest
        pool = PlayerPool(1, load, digest, 4, tmp_path / "players.log")
        try:
            there = await pool.play(job(policy_url))
        finally:
            await pool.close()
        here = attached(load_environment(SOURCE, config.identity()), config, tmp_path / "store")
        return there, await EpisodePlayer(here, 4).play(job(policy_url))

    with serving(*[CLOSE, completion("All done.")] * 2) as (policy_url, _), serving(*user) as (user_url, asked):
        there, here = settled(both(policy_url, user_url))
    assert len(asked) == 2 and here.spent["found"] == 2 and there.spent["calls"] == 2
    assert there.messages == here.messages


def test_the_failure_of_a_user_reaches_the_asker_of_a_player_process_with_its_cost(tmp_path):
    async def one(policy_url, user_url):
        config = user_config(user_url)
        load = partial(load_played, SOURCE, config, tmp_path / "store", True, 2)
        digest = load_environment(SOURCE, config.identity()).digest
        pool = PlayerPool(1, load, digest, 4, tmp_path / "players.log")
        try:
            await pool.play(job(policy_url))
        finally:
            await pool.close()

    with (
        serving(completion("All done.")) as (policy_url, _),
        serving(completion("")) as (user_url, _),
        pytest.raises(UserError, match="has no text") as failed,
    ):
        settled(one(policy_url, user_url))
    assert failed.value.spent["calls"] == 2


@pytest.mark.parametrize("name", ["mock", "retail", "airline"])
def test_a_domain_that_a_model_plays_is_another_domain_with_the_same_tasks(name):
    scripted = load_domain(name)
    asked = load_environment({"_target_": "harness.env.load_domain", "name": name}, IDENTITY)
    assert asked.digest != scripted.digest and asked.train_ids == scripted.train_ids
    task = scripted.train_ids[0]
    assert asked.task_digest(task) != scripted.task_digest(task)
    told = scripted.world(task).task.user_scenario.instructions
    assert getattr(told, "known_info", None) or str(told) in asked.role(task).system


def test_an_episode_without_a_model_is_stored_as_before():
    from tests.test_rollout import PLAYED

    assert "spent" not in json.loads(PLAYED.to_bytes())
