"""What one step measured: every field of the evidence, every key of the step's line and of a transcript."""

import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from types import SimpleNamespace

import art
import numpy as np
import pytest

from harness.answering import distinct_outputs
from harness.backend import Trained, TrainedContext
from harness.backend.context import ContextKind
from harness.episode import Episode
from harness.evidence import (
    RolloutTable,
    evidence_without_rollouts,
    gather_evidence,
    spoken,
    transcript,
    validation_transcript,
)
from harness.fixes import logprobs, reward, tools
from harness.rollout import SourcedEpisode, trajectory
from harness.seams import Evidence, Names, Rendering, Scores, TaskSplit
from tests.fakes import SEAMS, TOOLS, Contexts, episode, turn, without_room

STEP = 3
NAMES = Names(pinned="policy@0", current="policy@3")
CURRENT = "weights of policy@3"
SPLIT = TaskSplit(("b", "a"), ("c",))
METRICS = {
    "data/step_trainer_tokens": 120.0,
    "data/step_num_gradient_steps": 2.0,
    "first/probs_corr": 0.9,
    "first/logprob_gap": 0.01,
    "loss/train": -0.2,
    "loss/entropy": 1.1,
    "loss/grad_norm": 0.3,
    "train/tokens": 500.0,
    "train/rows": 4.0,
}
TRAINED = Trained("update", None)
OPTIONS = {"learning_rate": 1e-3, "packed_sequence_length": 512}


def asked(task, number, *turns, shared_with=None, **result):
    return SourcedEpisode(
        episode(task, *(turns or (turn((number,), CURRENT),)), **result), f"{task}{number}", shared_with
    )


def sampled(*episodes: SourcedEpisode, seams=SEAMS, missing=(), task_ids=("b", "a"), size=3) -> RolloutTable:
    """A step with groups of `size`: the episodes of each task in order; `missing`: keys that made no trajectory."""
    rollouts = {}
    for task in task_ids:
        for number, one in enumerate(e for e in episodes if e.episode.task_id == task):
            rollouts[f"{task}", number] = one
    groups = [
        art.TrajectoryGroup(
            [
                trajectory(one, number, seams, TOOLS)
                for (own, number), one in rollouts.items()
                if own == task and one.key not in missing
            ]
        )
        for task in task_ids
    ]
    return RolloutTable(STEP, [f"{task}" for task in task_ids], size, rollouts, groups)


def gather(step: RolloutTable, metrics=METRICS, contexts=None, trained=TRAINED, weights=None, **changes):
    known = {
        "trained_contexts": (),
        "rendering": Rendering(),
        "names_carried": "hosted_vllm/policy@3",
        "names": NAMES,
        "after": "policy@4",
        "submitted": step.groups,
        "own_seed": lambda task, number: 100 + number,
        "weights": weights or (lambda name: f"weights of {name}"),
        "temperature": 0.7,
        "row_length": 100,
        "options": OPTIONS,
        "split": SPLIT,
        "validated": ("c", None),
        "exact": True,
        "scores": None,
    }
    return gather_evidence(step, metrics, trained, contexts or Contexts(), **(known | changes))


def evidence(*args, **changes) -> Evidence:
    return gather(*args, **changes)[0]


def line(*args, **changes) -> dict:
    return gather(*args, **changes)[1]


FULL = (
    asked("b", 0, success=1.0, met=4),
    asked("b", 1, met=2),
    asked("b", 2),
    asked("a", 0),
    asked("a", 1),
    asked("a", 2),
)


def test_rewards_stand_by_task_and_rollout_trained_beside_raw():
    found = evidence(sampled(*FULL))
    half = SEAMS.reward.training_reward(FULL[1].episode.outcome)
    assert 0 < half < 1
    assert found.rewards_G_R.tolist() == [[1.0, half, 0.0], [0.0, 0.0, 0.0]]
    assert found.raw_G_R.tolist() == [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]


def test_a_rollout_without_a_trajectory_is_missing_everywhere():
    step = sampled(*FULL, missing=("b0", "a2"))
    found, record = gather(step)
    assert np.isnan(found.rewards_G_R).tolist() == [[True, False, False], [False, False, True]]
    assert np.isnan(found.raw_G_R).tolist() == [[True, False, False], [False, False, True]]
    for name in ("answered_by_current_N", "logprobs_N", "temperatures_N"):
        assert len(getattr(found, name)) == 4
    assert found.distinct_G == [2, 2]
    assert (record["rollouts"], record["missing"]) == (6, 2)


def test_a_rollout_that_was_never_played_is_missing():
    found, record = gather(sampled(*FULL[:5]))
    assert np.isnan(found.rewards_G_R).sum() == 1
    assert (record["rollouts"], record["missing"]) == (6, 1)


@pytest.mark.parametrize("left", range(7))
def test_what_is_missing_and_what_is_there_make_all_that_was_asked_for(left):
    record = line(sampled(*FULL, missing=[one.key for one in FULL[left:]]))
    assert (record["rollouts"], record["missing"]) == (6, 6 - left)


@pytest.mark.parametrize("shared", range(7))
def test_what_was_computed_and_what_was_shared_make_all_that_was_played(shared):
    episodes = [replace(one, shared_with="all_off/seed=0") for one in FULL[:shared]]
    record = line(sampled(*episodes, *FULL[shared:]))
    assert record["episodes"] == {"asked": 6, "computed": 6 - shared, "shared": shared}


def test_an_episode_of_two_tasks_is_looked_up_by_its_task():
    """The store gives two tasks one key only if they are the same task; a trajectory is found by both."""
    step = sampled(*FULL)
    other = replace(step, asked={("b", 0): replace(FULL[0], key="a0")})
    assert np.isnan(evidence(other).rewards_G_R).all()


@pytest.mark.parametrize(
    ("carried", "expected"), [("hosted_vllm/policy@3", True), ("hosted_vllm/policy@0", False), ("policy@3", False)]
)
def test_asked_current_reads_the_name_that_requests_carried(carried, expected):
    assert evidence(sampled(*FULL), names_carried=carried).asked_current is expected


def test_policy_moved_compares_weights_and_not_names():
    assert evidence(sampled(*FULL)).policy_moved is True
    assert evidence(sampled(*FULL), weights=lambda name: "the same").policy_moved is False
    reverse = {"policy@0": "z", "policy@3": "a", "policy@4": "b"}
    assert evidence(sampled(*FULL), weights=reverse.get).policy_moved is True


def test_a_rollout_is_the_current_policys_if_every_turn_is():
    old = turn((9,), "weights of policy@0")
    new = turn((8,), CURRENT)
    step = sampled(asked("b", 0, new, new), asked("b", 1, new, old), asked("b", 2, old, old))
    assert evidence(step).answered_by_current_N == [True, False, False]
    later = turn((7,), CURRENT + "9")
    assert evidence(sampled(asked("b", 0, later), asked("b", 1, new))).answered_by_current_N == [False, True]


def test_a_rollout_without_a_reply_proves_nothing_and_its_reward_counts():
    unanswered = SourcedEpisode(without_room("b"), "b0", None)
    contexts = Contexts(length=101)
    found, record = gather(sampled(unanswered, asked("b", 1), asked("a", 0)), contexts=contexts)
    assert found.answered_by_current_N == [True, True]
    assert (found.logprobs_N, found.temperatures_N) == ([True, True], [0.7, 1.0, 1.0])
    assert found.trained_rewards_N[0] == 0.0 and found.outcomes_N[0].end == "length"
    assert record["longer_than_row"] == 2  # of the two that could be trained


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [("a", "a", False), ("a", "b", True), ("unknown:policy@3", "b", None), ("a", "unknown:policy@4", None)],
)
def test_an_update_moved_the_weights_if_they_are_others_under_the_next_name(before, after, moved):
    known = {"policy@0": "a", "policy@3": before, "policy@4": after}
    assert evidence(sampled(*FULL), weights=known.get).moved is moved


def test_a_seed_is_of_the_loops_own_stream_if_the_loop_would_draw_it():
    ones = [replace(asked("b", n), seed=seed) for n, seed in enumerate((100, 100, None))]
    assert evidence(sampled(*ones)).own_stream_N == [True, False, None]


def test_what_was_handed_over_stands_beside_what_was_earned_in_its_own_order():
    step = sampled(asked("b", 0, met=1), asked("b", 1, met=2), asked("a", 0, success=1.0))
    handed = [step.groups[1], art.TrajectoryGroup(t.model_copy(update={"reward": 0.9}) for t in step.groups[0])]
    (first, second) = evidence(step, submitted=handed).submitted
    assert (first.task, first.rewards, first.earned) == ("a", {0: 1.0}, {0: 1.0})
    earned = {n: t.reward for n, t in enumerate(step.groups[0])}
    assert (second.task, second.rewards, second.earned) == ("b", {0: 0.9, 1: 0.9}, earned)
    assert evidence(step).tasks == ["b", "a"]


def test_rollouts_that_somebody_made_without_a_place_are_not_taken_for_the_steps():
    foreign = art.TrajectoryGroup([art.Trajectory(messages_and_choices=[], reward=1.0)])
    assert evidence(sampled(*FULL), submitted=[foreign]).submitted == []


def test_a_trained_rollout_has_its_reward_and_its_advantages():
    step = sampled(asked("b", 0, met=1), asked("a", 0))
    kinds = (ContextKind("b0"), ContextKind(None), ContextKind("a0"))
    trained = [TrainedContext((1,), (0,), advantage=given, computed=own) for given, own in ((1, 2), (3, 4), (5, 6))]
    found = evidence(step, contexts=Contexts(*kinds), trained_contexts=trained).learned_M
    assert [(one.task, one.computed, one.given) for one in found] == [("b", 2, 1), ("a", 6, 5)]
    assert found[0].earned == step.groups[0].trajectories[0].reward > found[1].earned == 0.0
    assert evidence(step, trained_contexts=None).learned_M is None


CONTEXT = TrainedContext((1, 2, 7), (2,))


def test_the_trained_contexts_are_judged():
    found = [ContextKind("b0", frozenset({"served"}), None, True), ContextKind(None)]
    of = evidence(sampled(asked("b", 0)), contexts=Contexts(*found), trained_contexts=[CONTEXT] * 2)
    assert of.openings_M == [{"served"}, frozenset()]
    assert of.contexts_M == [None, frozenset()]
    assert of.context_equal_M == [True, False]


def test_what_was_trained_is_unknown_where_the_backend_cannot_say():
    assert evidence(sampled(*FULL), trained_contexts=None).openings_M is None
    assert evidence(sampled(*FULL), trained_contexts=()).openings_M == []


def test_what_was_trained_has_fitted_into_a_row():
    step = sampled(asked("b", 0), asked("a", 0), asked("a", 1))
    contexts = Contexts(ContextKind("a0"), a=101, b=99)
    _, record = gather(step, contexts=contexts, trained_contexts=[CONTEXT])
    assert record["longer_than_row"] == 1
    assert contexts.attached == [TOOLS] * 2  # the lengths of two were asked for


def trained_on(*ids):
    return TrainedContext((1, 2, *ids), tuple(range(2, 2 + len(ids))))


def left_out(step, trained, contexts=None, **changes):
    contexts = contexts or Contexts(*[ContextKind(None)] * len(trained or ()))
    return evidence(step, contexts=contexts, trained_contexts=trained, **changes).left_out


def test_rollouts_with_logprobs_and_an_advantage_must_be_trained():
    step = sampled(*FULL)  # those of a earn the same
    of_b = [trained_on(n) for n in range(3)]
    assert left_out(step, of_b) == 0
    assert left_out(step, [*of_b, trained_on(9)]) == 0  # what nobody sampled makes up for nothing
    assert left_out(step, [of_b[0], trained_on(9)]) == 2
    assert left_out(step, ()) == 3
    assert left_out(step, None) == 0


def test_a_rollout_with_the_mean_reward_of_its_group_need_not_be_trained():
    step = sampled(asked("b", 0, success=1.0, met=4), asked("b", 1), asked("b", 2))
    step.groups[0].trajectories[2].reward = 0.5
    assert left_out(step, [trained_on(0), trained_on(1)]) == 0
    assert left_out(step, [trained_on(0), trained_on(2)]) == 1


def test_rollouts_that_sampled_the_same_are_counted_and_not_told_apart():
    step = sampled(*(asked("b", n, turn((7,), CURRENT), met=n) for n in range(3)))
    step.groups[0].trajectories[1].reward += 0.001
    assert left_out(step, [trained_on(7)] * 3) == 0
    assert left_out(step, [trained_on(7)] * 2) == 1


def test_what_need_not_be_trained_is_not_left_out():
    step = sampled(*FULL)
    assert left_out(step, (), contexts=Contexts(b=101)) == 0  # no room in a row
    assert left_out(step, (), contexts=Contexts(b=100)) == 3
    assert left_out(step, (), submitted=step.groups[1:]) == 0  # another fix kept the group back
    assert left_out(step, (), options=OPTIONS | {"advantage_balance": 1.0}) == 0  # ART may weigh some with 0
    assert left_out(sampled(*FULL, seams=replace(SEAMS, logprobs=logprobs.Off())), ()) == 0
    shorter = art.TrajectoryGroup([t.model_copy() for t in step.groups[0].trajectories])
    shorter.trajectories[0].messages_and_choices = shorter.trajectories[0].messages_and_choices[:1]
    assert left_out(step, (), submitted=[shorter]) == 2  # somebody has changed one
    _, *said = shorter.trajectories[2].messages_and_choices
    shorter.trajectories[2].messages_and_choices = [{"role": "user", "content": "another wish"}, *said]
    assert left_out(step, (), submitted=[shorter]) == 1
    shorter.trajectories[1].metadata = {}
    assert left_out(step, (), submitted=[shorter]) == 0


def test_only_what_was_not_trained_is_asked_for_its_length():
    contexts = Contexts(ContextKind("b0"), ContextKind("b0"), ContextKind("b1"))
    assert left_out(sampled(*FULL), [trained_on(0), trained_on(0), trained_on(1)], contexts) == 1
    longer_than_row, untrained = 4, 1  # all that no context is of; b2 alone could have been trained on
    assert len(contexts.attached) == longer_than_row + untrained


def test_an_empty_trajectory_has_nothing_that_could_be_left_out():
    step = sampled(
        asked("b", 0, raised="no JSON"), asked("b", 1, success=1.0), seams=replace(SEAMS, reward=reward.Off())
    )
    assert left_out(step, [trained_on(1)]) == 0


def test_rollouts_of_which_art_renders_more_than_the_tools_in_its_own_way_are_counted():
    contexts = Contexts(ContextKind("b0", apart=True), ContextKind("a0"), ContextKind("a1", apart=True))
    step = sampled(asked("b", 0), asked("a", 0), asked("a", 1))
    assert line(step, contexts=contexts, trained_contexts=[CONTEXT] * 3)["rendered_apart"] == 2


def test_a_trajectory_without_tools_has_its_length_without_tools():
    contexts = Contexts()
    gather(sampled(*FULL, seams=replace(SEAMS, tools=tools.Off())), contexts=contexts)
    assert set(contexts.attached) == {None}


@pytest.mark.parametrize(("tokens", "longer"), [(99, 0), (100, 0), (101, 1)])
def test_a_history_is_longer_than_a_row_if_it_does_not_fit(tokens, longer):
    found = line(sampled(asked("b", 0)), contexts=Contexts(length=tokens))
    assert found["longer_than_row"] == longer


def test_with_a_deterministic_user_the_distinct_outputs_are_the_distinct_rollouts():
    same, other = turn((1, 2)), turn((1, 3))
    step = sampled(
        asked("b", 0, same), asked("b", 1, same), asked("b", 2, same),
        asked("a", 0, same), asked("a", 1, other), asked("a", 2, turn((4,)), same),
        asked("c", 0, same), asked("c", 1, other),
        task_ids=("b", "c", "a"),
    )  # fmt: skip
    assert evidence(step).distinct_G == [1, 2, 3]


def said(*messages, task="b") -> Episode:
    """An episode of what was said in turn: text is the user's, a number the one token that the policy sampled."""
    turns = [turn((m,)) for m in messages if isinstance(m, int)]
    numbers = iter(range(len(turns)))
    kept = [next(numbers) if isinstance(m, int) else {"role": "user", "content": m} for m in messages]
    return replace(episode(task, *turns), messages=tuple(kept))


DISTINCT = {
    "no rollout": ([], 0),
    "one rollout has nobody to be compared with": ([said("hi", 1)], 0),
    "greedy": ([said("hi", 1, "yes", 2)] * 3, 1),
    "sampled at the first turn": ([said("hi", 1, "yes", 2), said("hi", 3, "no", 2), said("hi", 4)], 3),
    "sampled later": ([said("hi", 1, "yes", 2), said("hi", 1, "yes", 3), said("hi", 1, "yes", 2)], 2),
    "a user who stops where another goes on": ([said("hi", 1), said("hi", 1, "yes", 2)], 1),
    "a user who answers differently": ([said("hi", 1, "yes", 2), said("hi", 1, "no", 3)], 1),
    "such a user and a policy that samples": (
        [said("hi", 1, "yes", 2), said("hi", 1, "yes", 3), said("hi", 1, "no", 4), said("hi", 5, "no", 4)],
        3,
    ),
    "a user who opens differently": ([said("hi", 1), said("hello", 2)], 0),
    "some of whom open alike": ([said("hi", 1), said("hello", 2), said("hi", 1)], 1),
    "another reply and again the same prompt": ([said("hi", 1, "yes", 2), said("hi", 3, "yes", 2)], 2),
}


@pytest.mark.parametrize(("group", "distinct"), DISTINCT.values(), ids=DISTINCT)
def test_only_what_the_policy_does_at_one_prompt_is_distinct(group, distinct):
    assert distinct_outputs(map(spoken, group)) == distinct


def test_the_temperature_is_the_one_of_a_rollouts_requests_that_is_farthest_from_the_configured_one():
    def carrying(*temperatures):
        return [SimpleNamespace(**(vars(turn()) | {"temperature": t})) for t in temperatures]

    step = sampled(asked("b", 0, *carrying(0.7, 0.7)), asked("b", 1, *carrying(0.7, 0.0, 0.6)))
    assert evidence(step).temperatures_N == [0.7, 0.0]
    (without,) = evidence(sampled(asked("b", 0, *carrying(0.7, 0.0, math.nan, 0.7)))).temperatures_N
    assert math.isnan(without)


def test_logprobs_are_there_if_every_kept_choice_carries_them():
    kept = turn((1,))
    step = sampled(asked("b", 0, kept, kept), asked("b", 1), asked("b", 2))
    first = step.groups[0].trajectories[0]
    first.messages_and_choices[-1] = logprobs.Off().keep(first.messages_and_choices[-1])
    assert evidence(step).logprobs_N == [False, True, True]
    assert evidence(sampled(*FULL, seams=replace(SEAMS, logprobs=logprobs.Off()))).logprobs_N == [False] * 6


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_logprob_that_is_no_number_is_none(value):
    step = sampled(*FULL)
    step.groups[0].trajectories[0].messages_and_choices[1].logprobs.content[0].logprob = value
    assert evidence(step).logprobs_N == [False, *[True] * 5]


def test_fewer_or_more_logprobs_than_sampled_tokens_are_none_and_an_empty_trajectory_says_nothing():
    step = sampled(*(asked("b", n, turn((1, 2))) for n in range(3)), *FULL[3:])
    more, fewer, empty = step.groups[0].trajectories
    more.messages_and_choices[1].logprobs.content.append(more.messages_and_choices[1].logprobs.content[0])
    fewer.messages_and_choices[1].logprobs.content.pop()
    empty.messages_and_choices = []
    assert evidence(step).logprobs_N == [False, False, *[True] * 3]


def test_what_else_the_evidence_is_told():
    scores = Scores(0.0, 0.0, 0.0, 0.0, 0.0, 1, 1)
    found = evidence(sampled(*FULL), temperature=0.3, exact=False, scores=scores)
    assert found.scores is scores
    assert (found.step, found.temperature, found.exact) == (STEP, 0.3, False)
    assert found.split is SPLIT and found.options is OPTIONS and found.metrics is METRICS
    assert (found.trainable_tokens, found.gradient_steps) == (120, 2)
    assert (found.validated, found.validation_raised) == (("c", None), False)


def test_the_outcomes_stand_beside_the_rewards_that_their_trajectories_carry():
    step = sampled(*FULL, missing=("b0",))
    step.groups[0].trajectories[0].reward = 0.125  # whatever the level would have given
    found = evidence(step)
    assert found.outcomes_N == [one.episode.outcome for one in FULL[1:]]
    assert found.trained_rewards_N == [0.125, 0.0, 0.0, 0.0, 0.0]
    assert found.empty_N == [False] * 5


def test_an_empty_trajectory_has_no_choice_that_could_carry_logprobs():
    seams = replace(SEAMS, reward=reward.Off())
    found = evidence(sampled(asked("b", 0, raised="no JSON object"), asked("b", 1), seams=seams))
    assert found.logprobs_N == [True]
    assert len(found.outcomes_N) == len(found.trained_rewards_N) == 2


def test_without_rollouts_there_is_only_what_the_validation_asked():
    found = evidence_without_rollouts(0, 0.7, SPLIT, ("c", None), True)
    assert (found.step, found.split, found.validated, found.validation_raised) == (0, SPLIT, ("c", None), True)
    assert found.rewards_G_R.size == 0 and not found.outcomes_N and not found.distinct_G
    assert not found.asked_current and not found.policy_moved


def test_what_was_sampled_is_not_changed_afterwards():
    with pytest.raises(FrozenInstanceError):
        sampled(*FULL).step = 0


def test_every_field_of_the_evidence_is_given():
    """A field with a default would else be forgotten without anybody noticing."""
    told = {field.name for field in fields(Evidence)}
    assert told == {
        "step", "rewards_G_R", "raw_G_R", "asked_current", "policy_moved", "answered_by_current_N",
        "distinct_G", "logprobs_N", "temperature", "trainable_tokens",
        "gradient_steps", "split", "exact", "left_out", "options", "metrics", "outcomes_N", "trained_rewards_N",
        "empty_N", "validated",
        "validation_raised",
        "scores", "temperatures_N", "openings_M", "contexts_M", "context_equal_M",
        "tasks", "submitted", "own_stream_N", "moved", "learned_M",
    }  # fmt: skip


def test_a_trainer_that_says_nothing_has_trained_nothing():
    found, record = gather(sampled(*FULL), metrics={}, trained=Trained(None, None))
    assert (found.trainable_tokens, found.gradient_steps) == (0, 0)
    assert (record["trainable_tokens"], record["gradient_steps"]) == (0, 0)
    assert record["advanced_without_training"] is True
    for name in ("probs_corr", "logprob_gap", "loss", "entropy", "grad_norm"):
        assert math.isnan(record[name])
    assert record["trainer"] == {} and record["update"] is None


def test_the_line_of_a_step():
    shared = [replace(one, shared_with="all_off/seed=0") for one in FULL[:2]]
    found = line(sampled(*shared, *FULL[2:], missing=("b2",)), trained=Trained("3f", "all_off/seed=0"))
    half = SEAMS.reward.training_reward(FULL[1].episode.outcome)
    assert found == {
        "step": STEP + 1,  # the step that the update produced
        "reward": pytest.approx((1.0 + half) / 5),
        "raw_reward": pytest.approx(1 / 5),
        "groups": 2,
        "groups_with_spread": 1,
        "rollouts": 6,
        "missing": 1,
        "trainable_tokens": 120,
        "gradient_steps": 2,
        "advanced_without_training": False,
        "probs_corr": 0.9,
        "logprob_gap": 0.01,
        "loss": -0.2,
        "entropy": 1.1,
        "grad_norm": 0.3,
        "episodes": {"asked": 6, "computed": 4, "shared": 2},
        "trainer": {"tokens": 500.0, "rows": 4.0},
        "update": "3f",
        "update_shared_with": "all_off/seed=0",
        "longer_than_row": 0,
        "rendered_apart": 0,
    }


def test_a_step_without_rollouts_has_no_reward_and_no_spread():
    found, record = gather(sampled(*FULL, missing=[one.key for one in FULL]))
    assert math.isnan(record["reward"]) and math.isnan(record["raw_reward"])
    assert (record["groups"], record["groups_with_spread"], record["missing"]) == (2, 0, 6)
    assert found.answered_by_current_N == [] and found.distinct_G == [0, 0]


@pytest.mark.parametrize(
    ("met", "spread"), [(((4, 4, 4), (0, 0, 0)), 0), (((0, 1, 0), (2, 2, 2)), 1), (((3, 2, 0), (0, 0, 4)), 2)]
)
def test_groups_with_spread_are_those_whose_rewards_differ(met, spread):
    episodes = [asked(t, n, met=m) for t, group in zip("ba", met, strict=True) for n, m in enumerate(group)]
    assert line(sampled(*episodes))["groups_with_spread"] == spread


def test_a_missing_rollout_makes_no_spread():
    episodes = [asked("b", 0, met=4), asked("b", 1), asked("b", 2), *FULL[3:]]
    assert line(sampled(*episodes))["groups_with_spread"] == 1
    assert line(sampled(*episodes, missing=("b0",)))["groups_with_spread"] == 0


def test_a_transcript_has_one_row_per_rollout_in_the_order_of_tasks_and_numbers():
    rows = transcript(sampled(*FULL, missing=("b0",)))
    assert [(row["task"], row["rollout"]) for row in rows] == [(t, n) for t in "ab" for n in range(3)]
    assert {row["step"] for row in rows} == {STEP}


def test_a_validation_has_a_row_per_task_with_the_benchmarks_reward():
    one, other = (asked(task, 0, turn(), met=2) for task in ("b", "a"))
    rows = validation_transcript(7, {"b": one, "a": other})
    assert [(row["kind"], row["step"], row["task"], row["rollout"], row["episode"]) for row in rows] == [
        ("validation", 7, "a", 0, other.key),
        ("validation", 7, "b", 0, one.key),
    ]
    assert all(row["reward"] == row["raw_reward"] == one.episode.outcome.reward for row in rows)


def test_a_transcript_tells_what_was_said_earned_and_why_it_ended():
    call = {"id": "call_1_0", "name": "close", "arguments": "{}"}
    one = asked("b", 0, turn(content=None, calls=[call]), turn(), met=2, end="length", shared_with="all_off/seed=0")
    (row,) = transcript(sampled(one))
    said = json.loads(row.pop("messages"))
    assert row == {
        "step": STEP,
        "task": "b",
        "rollout": 0,
        "episode": one.key,
        "reward": SEAMS.reward.training_reward(one.episode.outcome),
        "raw_reward": 0.0,
        "end": "length",
        "shared_with": "all_off/seed=0",
        "kind": "training",
    }
    assert said == [
        {"role": "user", "content": "please b"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "assistant", "content": "Done.", "tool_calls": []},
    ]
