"""Two measurements: the reference, the same for every arm, and what the arm would have reported by its own rules."""

import asyncio
import math
from dataclasses import FrozenInstanceError, dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import pytest

from harness.errors import EngineError, EpisodeError
from harness.factors import derive_seed
from harness.fixes import endpoint, exploration, reward, split
from harness.rollout import Sampling
from harness.seams import Names, TaskSplit
from harness.validation import ReferenceProtocol, Validation, validate
from tests.fakes import RUN, SEAMS, Rollouts, episode, without_room

NAMES = Names(pinned="policy@0", current="policy@3")
GREEDY = Sampling(0.0, 64, 8)
HELD_OUT = ("r1", "r2", "r3")


@dataclass(frozen=True)
class Reward(reward.Off):
    """Pays half of what the benchmark pays, so that one shows where the other should."""

    level: ClassVar[str] = "half"

    def training_reward(self, outcome):
        return outcome.reward / 2


def measured(play=None, seams=SEAMS, validation=("v1", "v2"), protocol=HELD_OUT, run=RUN):
    """What `validate` found, and what was asked for."""
    rollouts = Rollouts(protocol, play)
    split = TaskSplit(("t1",), validation)
    found = asyncio.run(validate(run, NAMES, rollouts, ReferenceProtocol(protocol, GREEDY), seams, split))
    return found, rollouts.calls


def with_samples(number, play=None, seams=SEAMS, run=RUN, asked=True):
    """What `validate` found with so many further episodes of each task at temperature 0.6, and what was asked for."""
    rollouts = Rollouts(HELD_OUT, play)
    protocol = ReferenceProtocol(HELD_OUT, GREEDY, number, 0.6)
    split = TaskSplit(("t1",), ("v1",))
    return asyncio.run(validate(run, NAMES, rollouts, protocol, seams, split, asked)), rollouts.calls


def of(calls, prefix):
    return [call for call in calls if call.task.startswith(prefix)]


BROKEN = replace(SEAMS, endpoint=endpoint.Off(), exploration=exploration.On(0.7), reward=Reward())


@pytest.mark.parametrize("seams", [SEAMS, BROKEN], ids=["fixed", "broken"])
def test_the_reference_asks_the_current_adapter_whatever_the_arm_asks(seams):
    _, calls = measured(seams=seams)
    assert [call.task for call in of(calls, "r")] == list(HELD_OUT)
    for call in of(calls, "r"):
        assert (call.model, call.sampling, call.need_logprobs) == ("hosted_vllm/policy@3", GREEDY, False)
        assert call.run == RUN.name


def test_the_reference_draws_the_same_luck_in_every_run_and_at_every_step():
    for seed in (5, 6):
        _, calls = measured(run=replace(RUN, seed=seed))
        assert [call.seed for call in of(calls, "r")] == [derive_seed(0, "validation", task) for task in HELD_OUT]


def test_the_reference_is_the_benchmarks_own_reward():
    found, _ = measured(lambda task, model, seed: episode(task, success=float(task == "r2"), met=3), seams=BROKEN)
    assert found.reference == {"r1": 0.0, "r2": 1.0, "r3": 0.0}
    assert {task: asked.episode.outcome.reward for task, asked in found.played.items()} == found.reference


def test_what_is_reported_asks_the_arms_own_endpoint_temperature_and_reward():
    found, calls = measured(lambda task, model, seed: episode(task, success=float(task == "v2")), seams=BROKEN)
    assert [(call.task, call.model) for call in of(calls, "v")] == [
        ("v1", "hosted_vllm/policy@0"),
        ("v2", "hosted_vllm/policy@0"),
    ]
    for call in of(calls, "v"):
        assert (call.sampling, call.need_logprobs) == (Sampling(0.7, 64, 8), False)
        assert call.run == RUN.name
    assert found.reported == (("v1", 0.0), ("v2", 0.5))


def test_what_is_reported_draws_its_own_luck_for_each_seed_of_the_run():
    for seed in (5, 6):
        _, calls = measured(run=replace(RUN, seed=seed))
        assert [call.seed for call in of(calls, "v")] == [derive_seed(seed, "reported", t) for t in ("v1", "v2")]


@pytest.mark.parametrize("seed", [5, 6])
def test_an_arm_that_decodes_as_the_reference_does_has_the_references_luck(seed):
    greedy = replace(SEAMS, exploration=exploration.Off())
    _, calls = measured(seams=greedy, run=replace(RUN, seed=seed), validation=("r1",))
    assert [(call.task, call.seed) for call in calls].count(("r1", derive_seed(0, "validation", "r1"))) == 2


def test_the_arms_other_decoding_draws_other_luck():
    colder = replace(SEAMS, exploration=SimpleNamespace(temperature=-1.0))  # below the reference's, as any other
    _, calls = measured(seams=colder)
    assert [call.seed for call in of(calls, "v")] == [derive_seed(5, "reported", t) for t in ("v1", "v2")]


@pytest.mark.parametrize("shared", [(), ("r1",), ("r1", "r2"), HELD_OUT])
def test_what_was_computed_and_what_was_found_make_all_that_was_asked(shared):
    rollouts, split = Rollouts(HELD_OUT, shared=shared), TaskSplit(("t1",), ("v1", "v2"))
    found = asyncio.run(validate(RUN, NAMES, rollouts, ReferenceProtocol(HELD_OUT, GREEDY), SEAMS, split))
    assert found.episodes == {"computed": 5 - len(shared), "shared": len(shared)}


@pytest.mark.parametrize("seams", [SEAMS, BROKEN], ids=["fixed", "broken"])
def test_samples_ask_the_current_adapter_hot_with_a_seed_each_whatever_the_arm_asks(seams):
    for seed in (5, 6):  # of the run: its samples draw the same luck
        _, calls = with_samples(2, seams=seams, run=replace(RUN, seed=seed))
        hot = [call for call in of(calls, "r") if call.sampling != GREEDY]
        assert {(call.model, call.sampling) for call in hot} == {
            ("hosted_vllm/policy@3", replace(GREEDY, temperature=0.6))
        }
        expected = [(task, derive_seed(0, "validation", task, "sample", n)) for task in HELD_OUT for n in range(2)]
        assert sorted((call.task, call.seed) for call in hot) == sorted(expected)
        assert not any(call.need_logprobs for call in hot)


def test_samples_change_nothing_of_what_is_validated_without_them():
    first, calls = with_samples(2, broken_for("r1"))
    second, fewer = with_samples(0, broken_for("r1"))
    assert (first.reference, first.reported) == (second.reference, second.reported)
    assert sorted((c.task, c.seed) for c in calls if c.sampling.temperature != 0.6) == sorted(
        (c.task, c.seed) for c in fewer
    )
    with_none, unasked = with_samples(2, broken_for("r1"), asked=False)
    assert with_none.sampled == {} and len(unasked) == len(fewer)
    assert (
        list(second.record(1))
        == list(with_none.record(1))
        == [*("step", "reference", "reported", "episodes", "seconds")]
    )


def test_no_further_samples_are_played_unless_a_number_is_given():
    rollouts, split = Rollouts(HELD_OUT), TaskSplit(("t1",), ())
    protocol = ReferenceProtocol(HELD_OUT, GREEDY)
    found = asyncio.run(validate(RUN, NAMES, rollouts, protocol, SEAMS, split, sampled=True))
    assert found.sampled == {} and len(rollouts.calls) == len(HELD_OUT)


def test_each_sample_is_the_benchmarks_own_reward_and_one_that_fails_is_missing():
    lost = derive_seed(0, "validation", "r2", "sample", 1)

    def play(task, model, seed):
        if seed == lost:
            raise EpisodeError("no answer")
        return episode(task, success=float(task == "r2"))

    found, _ = with_samples(3, play, seams=BROKEN)
    assert found.sampled == {"r1": (0.0,) * 3, "r2": (1.0, None, 1.0), "r3": (0.0,) * 3}
    assert found.record(2)["sampled"] == {"temperature": 0.6, "by_task": found.sampled}


def broken_for(*tasks):
    def play(task, model, seed):
        if task in tasks:
            raise EpisodeError(f"no answer for {task}")
        return episode(task, success=1.0)

    return play


def test_an_episode_that_fails_is_missing_in_the_reference_and_zero_in_what_is_reported():
    found, _ = measured(broken_for("r1", "r2", "v2"))
    assert found.reference == {"r1": None, "r2": None, "r3": 1.0}
    assert found.reported == (("v1", 1.0), ("v2", 0.0))


def test_a_reference_without_one_episode_is_a_fault_and_says_why():
    with pytest.raises(EngineError, match=r"Not one of 3 validation tasks could be played. no answer for r3"):
        measured(broken_for(*HELD_OUT))


def test_a_reference_without_tasks_is_no_fault():
    found, _ = measured(protocol=())
    assert found.reference == {}


def test_a_task_whose_first_prompt_fills_the_context_scores_what_the_benchmark_gives_it():
    found, _ = measured(lambda task, *_: without_room(task) if task == "r2" else episode(task, success=1.0))
    assert found.reference == {"r1": 1.0, "r2": 0.0, "r3": 1.0}


def test_a_context_that_every_first_prompt_fills_is_a_fault_and_says_what_to_do():
    def play(task, *_):
        if task == "r1":
            raise EpisodeError("no answer")
        return without_room(task)

    with pytest.raises(EngineError, match=r"each of 2 validation tasks fills the context of policy@3.*max_model_len"):
        measured(play)
    with pytest.raises(EngineError, match=r"each of 1 validation tasks fills the context"):
        measured(play, protocol=("r1", "r2"))


@pytest.mark.parametrize("task", ["r1", "v1"])
def test_any_other_error_ends_the_validation(task):
    def play(asked, model, seed):
        if asked == task:
            raise EngineError("the server ended")
        return episode(asked)

    with pytest.raises(EngineError, match="the server ended"):
        measured(play)


def test_an_id_past_the_end_is_reported_as_zero_and_asks_nobody():
    found, calls = measured(broken_for(), validation=("v1", None, None))
    assert found.reported == (("v1", 1.0), (None, 0.0), (None, 0.0))
    assert [call.task for call in of(calls, "v")] == ["v1"]


CRASH = replace(SEAMS, split=split.Crash())


def test_an_id_past_the_end_that_raises_leaves_the_reference_and_reports_nothing():
    found, calls = measured(broken_for(), seams=CRASH, validation=("v1", None))
    assert (found.raised, found.reported, found.asked) == (True, (), ("v1", None))
    assert set(found.reference.values()) == {1.0}
    assert of(calls, "v") == []


def test_a_split_that_raises_past_the_end_reports_where_all_ids_exist():
    found, _ = measured(broken_for(), seams=CRASH, validation=("v1",))
    assert (found.raised, found.reported) == (False, (("v1", 1.0),))


def test_what_was_asked_is_said_id_by_id():
    found, _ = measured(broken_for("v1"), validation=("v1", None, "v2"))
    assert (found.asked, found.raised) == (("v1", None, "v2"), False)


def test_what_is_reported_may_be_below_zero():
    upstream = replace(SEAMS, reward=reward.Off())
    found, _ = measured(lambda task, model, seed: episode(task, end="length"), seams=upstream)
    assert found.reported == (("v1", -1.0), ("v2", -1.0))
    assert found.reference == dict.fromkeys(HELD_OUT, 0.0)


def test_it_takes_the_time_between_its_start_and_its_end(monkeypatch):
    clock = iter([100.0, 230.5])
    monkeypatch.setattr("harness.validation.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert measured()[0].seconds == 130.5


def test_the_record_of_a_validation():
    by_task = {"r1": 1.0, "r2": None, "r3": 0.5, "r4": None, "r5": None}
    found = Validation(by_task, (("v1", 1.0), ("v2", 0.25), (None, 0.0), (None, 0.0), (None, 0.0)), 4.5)
    assert found.record(7) == {
        "step": 7,
        "reference": {"mean": 0.75, "by_task": by_task, "missing": 3},
        "reported": {"mean": 0.25, "n": 5, "by_task": {"v1": 1.0, "v2": 0.25}, "nonexistent": 3},
        "seconds": 4.5,
    }


@pytest.mark.parametrize(
    "made", [Validation({}, (), 0.0), ReferenceProtocol(HELD_OUT, GREEDY)], ids=lambda m: type(m).__name__
)
def test_a_protocol_and_its_result_are_not_changed_afterwards(made):
    with pytest.raises(FrozenInstanceError):
        made.seconds = 1.0


def test_the_mean_of_nothing_is_no_number():
    record = Validation({"r1": None}, (), 0.0).record(0)
    assert math.isnan(record["reference"]["mean"]) and record["reference"]["missing"] == 1
    assert math.isnan(record["reported"]["mean"]) and record["reported"]["n"] == 0
