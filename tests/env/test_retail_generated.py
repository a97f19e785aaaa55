"""The generated retail domain: who is never trained on, what decides a task, and what rewards lie between."""

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest

from harness.env import bounds, load_environment, validation_sets
from harness.env.agents import DONE
from harness.env.retail_tasks.agent import faultless, played
from harness.env.retail_tasks.environment import OFFICIAL, UNSEEN, kinds_of, load
from harness.env.retail_tasks.requests import KINDS
from harness.env.retail_tasks.worlds import HALVES, Population
from harness.env.tau2_tasks import load as official
from harness.errors import ConfigError
from harness.sweep import plan
from harness.sweep.estimate import plan_lines
from tests.fakes import episode
from tests.test_loop import Loop


@cache
def retail():
    return official("retail")


@cache
def population(half=None):
    return Population(retail(), half)


@cache
def generated(**options):
    return load(tasks=40, **options)


def test_the_three_populations_share_no_customer():
    training, verdict, tuning = (set(population(half).user_ids) for half in (None, *HALVES))
    assert not training & verdict and not training & tuning and not verdict & tuning
    assert verdict | tuning == set(population().held_out)
    assert abs(len(verdict) - len(tuning)) <= 1 and len(training) > 300


def test_each_set_of_tasks_is_drawn_from_its_own_customers(monkeypatch):
    drawn: dict[int, set[str]] = {}
    world = Population.world

    def watched(population, user_id, random):
        drawn.setdefault(len(population.user_ids), set()).add(user_id)
        return world(population, user_id, random)

    monkeypatch.setattr(Population, "world", watched)
    for half in HALVES:
        drawn.clear()
        load(tasks=10, validation_tasks=10, customers=half)
        theirs = {len(population(each).user_ids): population(each).user_ids for each in (None, half)}
        assert len(drawn) == 2 and all(users <= set(theirs[size]) for size, users in drawn.items())


def test_an_agent_without_mistakes_solves_all_held_out_tasks_and_an_idle_one_none():
    assert len(generated().test_ids) == 60
    assert bounds(generated(), generated().test_ids) == (0.0, 1.0)


@pytest.mark.parametrize("requests", [2, 3])
def test_harder_tasks_have_more_requests_and_can_be_solved(requests):
    made = load(tasks=3, validation_tasks=6, requests=requests)
    assert bounds(made, made.test_ids)[1] == 1.0
    assert all(len(made.task(task).goals) == requests for task in (*made.train_ids, *made.test_ids))


def test_kinds_that_are_never_trained_on_make_a_set_of_their_own():
    made = load(tasks=40, validation_tasks=20, unseen_kinds=["swap", "give_back"])
    seen = {*kinds_of(made.train_ids), *kinds_of(made.test_ids)}
    assert not seen & {"swap", "give_back"} and len(seen) > 4
    assert set(kinds_of(made.validation_sets[UNSEEN])) == {"swap", "give_back"}
    assert bounds(made, made.validation_sets[UNSEEN]) == (0.0, 1.0)
    assert UNSEEN not in generated().validation_sets
    assert set(kinds_of(load(tasks=5, validation_tasks=5, kinds=["cancel"]).train_ids)) == {"cancel"}


def test_tau2s_own_held_out_tasks_are_a_set_with_tau2s_prompt_and_tools():
    made = generated()
    assert validation_sets(made)[OFFICIAL] == retail().test_ids
    assert (made.system_prompt, made.tools) == (retail().system_prompt, retail().tools)
    assert bounds(made, retail().test_ids) == (0.05, 1.0)  # two of the 40 ask for nothing that can be done


def test_a_longer_list_starts_with_the_shorter_one_and_a_seed_draws_other_tasks():
    short, other = load(tasks=5, validation_tasks=5), load(tasks=5, validation_tasks=5, task_seed=1)
    digests = {task: generated().task_digest(task) for task in generated().task_ids}
    assert all(digests[task] == short.task_digest(task) for task in (*short.train_ids, *short.test_ids))
    assert not {other.task_digest(task) for task in (*other.train_ids, *other.test_ids)} & set(digests.values())


def test_the_database_of_a_task_is_part_of_its_content():
    made = load(tasks=2, validation_tasks=2)
    task = made.train_ids[0]
    before = made.task_digest(task)
    order = next(iter(made.world(task).database.orders.values()))
    order.status = "cancelled" if order.status != "cancelled" else "pending"
    assert made.task_digest(task) != before


def test_every_process_makes_the_same_tasks():
    code = (
        "from harness.env.retail_tasks.environment import load;"
        "print(load(tasks=6, validation_tasks=6, requests=2, unseen_kinds=['paid', 'price']).digest)"
    )
    made = [
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, stdout=subprocess.PIPE, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert made[0] == made[1] != b""


REFUSED = [
    ({"kinds": ["swop"]}, r"env.kinds names 'swop'. Did you mean 'swap'\? Kinds: swap, give_back"),
    ({"unseen_kinds": ["returns"]}, "env.unseen_kinds names 'returns'"),
    ({"unseen_kinds": list(KINDS)}, "No kind of request is left"),
    ({"kinds": ["swap"], "unseen_kinds": ["swap"]}, "swap is in env.kinds and in env.unseen_kinds"),
    ({"customers": "all"}, "expected one of verdict, tuning"),
    ({"kinds": ["move_user"], "requests": 2, "tasks": 1}, "env.requests=2 asks for too much"),
]


@pytest.mark.parametrize(("options", "said"), REFUSED)
def test_what_cannot_be_generated_is_refused(options, said):
    with pytest.raises(ConfigError, match=said):
        load(**options)


def test_its_options_arrive(sweep_config):
    options = ("env.requests=2", "env.unseen_kinds=[track]", "env.customers=tuning", "env.validation_tasks=4")
    config = sweep_config("env=retail_generated", "train.train_tasks=3", *options)
    made = load_environment(config.env.source)
    assert (len(made.train_ids), len(made.test_ids), made.name) == (3, 4, "retail_generated")
    assert made.test_ids[0].startswith("tuning_000") and set(made.validation_sets) == {UNSEEN, OFFICIAL}
    assert config.shared["env"]["_target_"] == "harness.sections.GeneratedEnvConfig"


def test_further_validation_sets_are_those_of_the_environment(sweep_config, monkeypatch):
    monkeypatch.setattr(plan, "_fits", lambda *_: None)  # micro has no room for retail's prompt
    options = ["env=retail_generated", "train.train_tasks=3", "env.validation_tasks=2", "fix/toolcalls=on"]
    sweep = plan.preview(sweep_config(*options, "+validation.also=[retail]", "+validation.also_every=4"))
    assert sweep.also == {"retail": retail().test_ids} and len(sweep.reference_ids) == 2
    lines = plan_lines(plan.work_of(sweep, 1))
    assert any("times on the 40 tasks of retail; an agent that does nothing earns 0.050" in line for line in lines)
    with pytest.raises(
        ConfigError, match="'retial', and env=retail_generated has no such.*it has retail. Did you mean 'retail'"
    ):
        plan.preview(sweep_config(*options, "+validation.also=[retial]"))
    with pytest.raises(ConfigError, match="expected a multiple of validation.every=2"):
        sweep_config("+validation.also_every=3")


@pytest.mark.parametrize("option", ["env.requests=4", "env.kinds=[]", "env.customers=all", "env.tasks=0"])
def test_options_out_of_range_are_refused(sweep_config, option):
    with pytest.raises(ConfigError, match=option.split("=")[0]):
        sweep_config("env=retail_generated", option)


def test_the_loop_trains_and_validates_on_it():
    made = load(tasks=4, validation_tasks=2)

    def play(task_id, model, seed):
        task, right = made.task(task_id), task_id in made.test_ids or seed % 2
        outcome = played(task, faultless(task, task.goals) if right else [DONE] * 5).outcome
        return replace(episode(task_id), outcome=outcome)

    loop = Loop(steps=1, size=4, play=play, domain=made, held_out=made.test_ids)
    assert [line["reference"]["mean"] for line in loop.records.of("validation")] == [1.0, 1.0]
    seen = [(line["raw_reward"], line["groups_with_spread"]) for line in loop.records.of("steps")]
    assert all(0 < reward < 1 and spread == 3 for reward, spread in seen), seen
