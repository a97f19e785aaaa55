"""The loop: who is asked at each step, with which luck, what is trained on, and what is recorded."""

import asyncio
from dataclasses import dataclass, replace
from itertools import islice
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from harness.backend import TrainedContext
from harness.backend.context import ContextKind
from harness.batches import iterate
from harness.errors import EngineError, EpisodeError
from harness.factors import Factor, derive_seed
from harness.fixes import endpoint, exploration, logprobs, reward, split, tools
from harness.loop import run_loop
from harness.rollout import Sampling
from harness.seams import Check, Rendering
from harness.validation import ReferenceProtocol
from tests.fakes import RUN, SEAMS, TOOLS, Backend, Contexts, Policy, Records, Rollouts, episode, turn

TASKS = tuple(f"task_{n}" for n in range(7))  # the first four are trained on
HELD_OUT = ("held_out_0", "held_out_1")
GREEDY = Sampling(0.0, 64, 8)


class Loop:
    """A run of the loop on fakes, and all that it did."""

    def __init__(
        self,
        *,
        seams=SEAMS,
        steps=3,
        every=2,
        size=2,
        play=None,
        policy=None,
        metrics=None,
        contexts=None,
        exact=True,
        backend=None,
        val_tasks=2,
        samples=0,
        also=None,
        also_every=None,
        domain=None,
        held_out=HELD_OUT,
        **loss,
    ):
        self.rollouts = Rollouts(TASKS, play, exact)
        self.rollouts.domain = domain or self.rollouts.domain
        self.policy, self.backend, self.records = policy or Policy(), backend or Backend(metrics), Records()
        self.contexts = contexts or Contexts()
        self.reported: list[tuple[int, float | None]] = []
        config = SimpleNamespace(
            run=RUN,
            seams=seams,
            train=SimpleNamespace(
                steps=steps,
                groups_per_step=3,
                rollouts_per_group=size,
                train_tasks=4,
                val_tasks=val_tasks,
                learning_rate=0.01,
                packed_sequence_length=512,
                **({"loss": "cispo", "epsilon": None, "epsilon_high": None} | loss),
            ),
            rollout=SimpleNamespace(max_tokens=32, max_turns=6, max_prompt_tokens=900),
            validation=SimpleNamespace(every=every),
        )
        self.checks = asyncio.run(
            run_loop(
                config,
                self.policy,
                self.backend,
                self.rollouts,
                self.contexts,
                ReferenceProtocol(held_out, GREEDY, samples, also=also or {}, also_every=also_every),
                self.records,
                lambda step, reward: self.reported.append((step, reward)),
            )
        )

    @property
    def rolled_out(self) -> list[SimpleNamespace]:
        """What was asked for to train on; validation asks for other tasks."""
        return [call for call in self.rollouts.calls if call.task in TASKS[:4]]

    @property
    def batches(self) -> list[list[str]]:
        """The tasks of every step, as trained on."""
        return [[str(group.trajectories[0].metadata["task"]) for group in groups] for groups, _ in self.backend.updates]


# The tasks of each step: the second batch ends the first pass over the four.
ORDER = list(islice(iterate(TASKS[:4], 3, RUN.seed), 3))


def by_step(loop):
    """What was asked for at each step to train on, two rollouts of each task; who asks first is chance."""
    calls = iter(loop.rolled_out)
    return [list(islice(calls, 2 * len(tasks))) for tasks in ORDER]


def test_each_step_trains_on_its_tasks_in_order_and_each_task_on_its_rollouts_in_order():
    loop = Loop()
    assert loop.batches == ORDER
    for groups, _ in loop.backend.updates:
        assert [[t.metadata["rollout"] for t in group] for group in groups] == [[0, 1]] * len(groups)


def test_it_trains_on_the_tasks_that_the_split_gives():
    assert {call.task for call in Loop().rolled_out} == set(TASKS[:4])
    assert {call.task for call in Loop().rollouts.calls} == {*TASKS[:4], *TASKS[4:6], *HELD_OUT}


def test_the_seeds_are_those_of_the_run_the_step_the_task_and_the_number():
    calls = by_step(Loop())
    for step, tasks in enumerate(ORDER):
        assert sorted((call.task, call.seed) for call in calls[step]) == sorted(
            (task, derive_seed(RUN.seed, "train", step, task, number)) for task in tasks for number in range(2)
        )


def test_rollouts_are_sampled_as_the_arm_says():
    loop = Loop(seams=replace(SEAMS, exploration=exploration.On(0.9)))
    for call in loop.rolled_out:
        assert (call.run, call.sampling) == (RUN.name, Sampling(0.9, 32, 6, 900))


@pytest.mark.parametrize(("level", "needed"), [(logprobs.On(), True), (logprobs.Off(), False)])
def test_logprobs_are_asked_for_where_the_arm_needs_them(level, needed):
    loop = Loop(seams=replace(SEAMS, logprobs=level))
    assert {call.need_logprobs for call in loop.rolled_out} == {needed}
    assert loop.records.of("checks")[4]["took_effect"] is True


@pytest.mark.parametrize(("level", "told"), [(tools.On(), TOOLS), (tools.Off(), None)])
def test_the_trainer_is_told_of_the_tools_as_the_arm_says(level, told):
    loop = Loop(steps=1, seams=replace(SEAMS, tools=level))
    assert [t.tools for groups, _ in loop.backend.updates for group in groups for t in group] == [told] * 6


def names_asked(loop):
    """The model names of each step's rollouts."""
    return [{call.model for call in calls} for calls in by_step(loop)]


def test_each_step_asks_the_adapter_that_was_trained_last():
    names = names_asked(Loop())
    assert names == [{"hosted_vllm/policy@0"}, {"hosted_vllm/policy@1"}, {"hosted_vllm/policy@2"}]


def test_without_the_endpoint_fix_each_step_asks_the_adapter_of_registration():
    assert names_asked(Loop(seams=replace(SEAMS, endpoint=endpoint.Off()))) == [{"hosted_vllm/policy@0"}] * 3


@pytest.mark.parametrize(
    ("level", "scored"),
    [
        (endpoint.On(), ["policy@0", "policy@0", "policy@1", "policy@0", "policy@2", "policy@1"]),
        (endpoint.Off(), ["policy@0", "policy@0", "policy@0", "policy@1", "policy@0", "policy@2"]),
    ],
)
def test_what_was_served_is_scored_with_the_weights_that_were_asked_and_with_their_rival(level, scored):
    loop = Loop(seams=replace(SEAMS, endpoint=level))
    assert [name for name, _ in loop.backend.scored] == scored


def test_a_step_is_scored_while_the_trainer_still_has_the_weights_of_the_step_before():
    policy, when = Policy(), []

    class Trainer(Backend):
        async def score(self, name, replies):
            when.append(policy.step)
            return [np.full(len(reply.output_ids), -0.1, np.float32) for reply in replies]

    seen: list[Any] = []
    arm = replace(SEAMS, further=(Further("batch", seen),))
    Loop(seams=arm, policy=policy, backend=Trainer())
    assert when == [0, 0, 1, 1, 2, 2]
    assert [evidence.scores.tokens for evidence in seen] == [6, 2, 6]
    assert all(evidence.scores.gap < 1e-6 for evidence in seen)


def test_a_policy_that_was_registered_under_no_name_is_asked_under_none():
    loop = Loop(seams=replace(SEAMS, endpoint=endpoint.Off()), policy=Policy(pinned=None))
    assert {call.model for call in loop.rolled_out} == {"hosted_vllm/"}


def test_validation_asks_the_adapter_of_its_step_whatever_the_rollouts_ask():
    loop = Loop(every=1, seams=replace(SEAMS, endpoint=endpoint.Off()))
    asked = [call.model for call in loop.rollouts.calls if call.task == HELD_OUT[0]]
    assert asked == [f"hosted_vllm/policy@{step}" for step in range(4)]


@pytest.mark.parametrize(
    ("steps", "every", "validated"),
    [(3, 2, [0, 2, 3]), (4, 2, [0, 2, 4]), (3, 1, [0, 1, 2, 3]), (5, 3, [0, 3, 5]), (2, 9, [0, 2]), (0, 1, [0])],
)
def test_it_validates_at_every_kth_step_and_at_the_last(steps, every, validated):
    loop = Loop(steps=steps, every=every)
    assert [line["step"] for line in loop.records.of("validation")] == validated
    assert [step for step, _ in loop.reported] == list(range(steps + 1))
    assert [step for step, reward in loop.reported if reward is not None] == validated
    assert len(loop.backend.updates) == steps


def test_what_it_reports_is_the_mean_of_the_reference():
    def play(task, model, seed):
        return episode(task, success=float(task == HELD_OUT[0] and model == "hosted_vllm/policy@2"))

    assert Loop(play=play).reported == [(0, 0.0), (1, None), (2, 0.5), (3, 0.0)]


@pytest.mark.parametrize(("every", "asked"), [(None, [0, 4]), (2, [0, 2, 4]), (3, [0, 3, 4])])
def test_further_validation_sets_are_asked_at_steps_of_their_own_and_change_no_other_number(every, asked):
    def play(task, model, seed):
        return episode(task, success=1.0)

    with_sets = Loop(steps=4, every=1, play=play, also={"other": ("o1", "o2")}, also_every=every)
    lines = with_sets.records.of("validation")
    assert [line["step"] for line in lines if "also" in line] == asked
    assert lines[0]["also"] == {"other": {"o1": 1.0, "o2": 1.0}}
    plain = Loop(steps=4, every=1, play=play).records.of("validation")
    assert [line["reference"] for line in lines] == [line["reference"] for line in plain]
    of_sets = [call for call in with_sets.rollouts.calls if call.task == "o1"]
    assert {(call.sampling.temperature, call.seed) for call in of_sets} == {(0.0, derive_seed(0, "validation", "o1"))}
    assert [call.model.partition("/")[2] for call in of_sets] == [f"policy@{step}" for step in asked]


def test_samples_are_played_at_the_first_and_the_last_validation_alone():
    lines = Loop(steps=4, every=1, samples=3).records.of("validation")
    assert [len(line["sampled"]["by_task"][HELD_OUT[0]]) if "sampled" in line else 0 for line in lines] == [
        3, 0, 0, 0, 3,
    ]  # fmt: skip
    assert not any("sampled" in line for line in Loop().records.of("validation"))


def test_it_validates_on_the_held_out_tasks_and_reports_on_the_arms_own():
    line = Loop().records.of("validation")[0]
    assert list(line["reference"]["by_task"]) == list(HELD_OUT)
    assert list(line["reported"]["by_task"]) == ["task_4", "task_5"]


ROW = {"learning_rate": 0.01, "packed_sequence_length": 512}


@pytest.mark.parametrize(
    "loss",
    [
        {"loss": "cispo", "epsilon": None, "epsilon_high": None},
        {"loss": "ppo", "epsilon": 0.1, "epsilon_high": 0.3},
    ],
    ids=lambda loss: loss["loss"],
)
def test_the_trainer_is_called_with_the_rate_the_row_and_the_loss_of_the_config(loss):
    expected = ROW | {"loss_fn": loss["loss"], "epsilon": loss["epsilon"], "epsilon_high": loss["epsilon_high"]}
    assert [options for _, options in Loop(**loss).backend.updates] == [expected] * 3


@dataclass(frozen=True)
class Further:
    """A strategy at an open seam that leaves its mark on what passes."""

    factor: ClassVar[Factor] = Factor("further")
    level: ClassVar[str] = "on"
    needs: ClassVar[str] = "always"
    seam: str
    seen: list[Any]

    def update(self, options):
        return options | {"packed_sequence_length": 256, "loss_fn": "mine"}

    def batch(self, groups):
        return groups[:1]

    def check(self, evidence):
        self.seen.append(evidence)
        return Check("further", "on", {"step": float(evidence.step)}, None, "seen")


def test_options_pass_the_open_seam_update_before_the_trainer_and_the_evidence_get_them():
    seen: list[Any] = []
    contexts = Contexts(length=300)
    loop = Loop(seams=replace(SEAMS, further=(Further("update", seen),)), contexts=contexts)
    expected = ROW | {"packed_sequence_length": 256, "loss_fn": "mine", "epsilon": None, "epsilon_high": None}
    assert [options for _, options in loop.backend.updates] == [expected] * 3
    assert [evidence.options for evidence in seen] == [expected] * 3
    assert loop.batches == ORDER
    assert [line["longer_than_row"] for line in loop.records.of("steps")] == [6, 2, 6]


def test_a_history_is_held_against_the_row_that_the_backend_makes_of_the_option():
    for tokens, longer in ((511, 0), (512, 6)):  # the fake takes one token less than it is asked for
        loop = Loop(steps=1, contexts=Contexts(length=tokens))
        assert loop.records.of("steps")[0]["longer_than_row"] == longer


class Rendered(Further):
    def context(self, rendering):
        return replace(rendering, calls="twice")


def test_the_evidence_has_what_the_backend_says_was_trained_and_how_it_was_rendered():
    seen: list[Any] = []
    contexts = Contexts(ContextKind("key", frozenset({"served"}), None, True))
    backend = Backend(contexts=[TrainedContext((1, 2, 7), (2,))])
    Loop(seams=replace(SEAMS, further=(Rendered("context", seen),)), contexts=contexts, backend=backend, steps=1)
    assert seen[0].openings_M == [{"served"}]
    assert seen[0].contexts_M == [None] and seen[0].context_equal_M == [True]
    assert contexts.renderings == {Rendering(calls="twice")}


def test_a_backend_that_cannot_say_what_was_trained_leaves_the_openings_unknown():
    seen: list[Any] = []
    Loop(seams=replace(SEAMS, further=(Further("", seen),)), backend=Backend(contexts=None), steps=1)
    assert seen[0].openings_M is None


def test_groups_pass_the_open_seam_batch_and_the_evidence_sees_all_that_was_played():
    seen: list[Any] = []
    loop = Loop(seams=replace(SEAMS, further=(Further("batch", seen),)))
    assert loop.batches == [tasks[:1] for tasks in ORDER]
    assert [evidence.rewards_G_R.shape for evidence in seen] == [(3, 2), (1, 2), (3, 2)]
    assert [line["rollouts"] for line in loop.records.of("steps")] == [6, 2, 6]


def test_a_stream_of_ones_own_gives_every_rollout_another_seed_and_nothing_else():
    seen: list[Any] = []

    class Stream(Further):
        def stream(self, name):
            return f"{name}_of_mine"

    plain, other = Loop(), Loop(seams=replace(SEAMS, further=(Stream(("stream", "update"), seen),)))
    for step, tasks in enumerate(ORDER):
        assert sorted((call.task, call.seed) for call in by_step(other)[step]) == sorted(
            (task, derive_seed(RUN.seed, "train_of_mine", step, task, number)) for task in tasks for number in range(2)
        )
    assert [evidence.own_stream_N for evidence in seen] == [[False] * 6, [False] * 2, [False] * 6]
    held_out = [[c.seed for c in loop.rollouts.calls if c.task not in TASKS[:4]] for loop in (plain, other)]
    assert held_out[0] == held_out[1] and other.batches == plain.batches


def test_the_loops_own_seeds_are_known_as_such_and_the_groups_that_were_handed_over():
    seen: list[Any] = []
    Loop(seams=replace(SEAMS, further=(Further("batch", seen),)))
    assert [evidence.own_stream_N for evidence in seen] == [[True] * 6, [True] * 2, [True] * 6]
    assert [[group.task for group in evidence.submitted] for evidence in seen] == [tasks[:1] for tasks in ORDER]
    assert [evidence.moved for evidence in seen] == [True] * 3


def test_every_strategy_is_checked_at_every_step_and_recorded_with_the_step_that_it_made():
    loop = Loop(steps=2, seams=replace(SEAMS, further=(Further("batch", []),)))
    factors = ["endpoint", "tools", "exploration", "reward", "logprobs", "split", "further"]
    assert [(line["step"], line["factor"]) for line in loop.records.of("checks")] == [
        (step, factor) for step in (1, 2) for factor in factors
    ]
    assert loop.records.of("checks")[-1] == {
        "step": 2,
        "factor": "further",
        "level": "on",
        "reading": {"step": 1.0},
        "took_effect": None,
        "text": "seen",
    }
    assert [check.record for check in loop.checks] == [
        {k: v for k, v in line.items() if k != "step"} for line in loop.records.of("checks")
    ]


def test_the_evidence_is_of_the_step_that_was_rolled_out():
    seen: list[Any] = []
    arm = replace(SEAMS, endpoint=endpoint.Off(), exploration=exploration.On(0.9), further=(Further("batch", seen),))
    loop = Loop(seams=arm, metrics={"data/step_num_gradient_steps": 2.0}, exact=False)
    assert [evidence.step for evidence in seen] == [0, 1, 2]
    assert [evidence.asked_current for evidence in seen] == [True, False, False]
    assert [evidence.policy_moved for evidence in seen] == [False, True, True]
    for evidence in seen:
        assert (evidence.temperature, evidence.exact, evidence.gradient_steps) == (0.9, False, 2)
        assert evidence.metrics is loop.backend.metrics
        assert evidence.split == split.On().split(TASKS, 4, 2)
        assert (evidence.validated, evidence.validation_raised) == (("task_4", "task_5"), False)


CRASH = replace(SEAMS, split=split.Crash())


def test_a_loop_whose_own_validation_raises_ends_there_and_keeps_its_reference():
    loop = Loop(seams=CRASH, val_tasks=9)
    assert [name for name, _ in loop.records.lines] == ["validation", *["checks"] * 6, "trajectories"]
    (line,) = loop.records.of("validation")
    assert list(line["reference"]["by_task"]) == list(HELD_OUT)
    assert (line["reported"]["by_task"], line["reported"]["n"]) == ({}, 0)
    assert {call.task for call in loop.rollouts.calls} == set(HELD_OUT)
    assert loop.backend.updates == [] and loop.reported == [(0, 0.0)]


def test_of_a_loop_that_ended_at_once_the_split_alone_is_shown():
    loop = Loop(seams=CRASH, val_tasks=9)
    shown = {check.factor: check.took_effect for check in loop.checks}
    assert shown.pop("split") is True and set(shown.values()) == {None}
    assert [line["step"] for line in loop.records.of("checks")] == [0] * 6


def test_a_split_that_was_to_raise_and_let_the_loop_go_on_is_seen():
    harmless = SimpleNamespace(
        **{"factor": split.FACTOR, "level": "crash", "raises": False},
        split=split.Crash().split,
        check=split.Crash().check,
    )
    found = [check.took_effect for check in Loop(seams=replace(SEAMS, split=harmless), val_tasks=9).checks]
    assert found[5::6] == [False] * 3


def test_an_episode_in_which_upstream_raised_stays_in_its_group_without_a_message():
    broken = derive_seed(RUN.seed, "train", 0, ORDER[0][0], 1)

    def play(task, model, seed):
        return episode(task, success=1.0, raised="no JSON object" if seed == broken else None)

    for level, rewards, messages in ((reward.Off(), [1.0, 0.0], [2, 0]), (reward.On(), [1.0, 1.0], [2, 2])):
        loop = Loop(steps=1, play=play, seams=replace(SEAMS, reward=level))
        group = loop.backend.updates[0][0][0]
        assert [t.reward for t in group] == rewards
        assert [len(t.messages_and_choices) for t in group] == messages
        assert loop.records.of("steps")[0]["missing"] == 0
        # the empty one does not lack log-probs
        assert next(c for c in loop.checks if c.factor == "logprobs").reading["with_logprobs"] == 1.0


def test_the_records_of_a_run_are_in_the_order_in_which_it_went():
    kinds = [(name, line.get("step")) for name, line in Loop(steps=2, every=1).records.lines if name != "checks"]
    assert kinds == [
        ("validation", 0),
        ("steps", 1),
        ("validation", 1),
        ("steps", 2),
        ("validation", 2),
        ("trajectories", None),
    ]


def test_the_line_of_a_step_names_its_update():
    assert [line["update"] for line in Loop().records.of("steps")] == ["update 1", "update 2", "update 3"]


def test_the_line_of_a_step_says_how_long_it_rolled_out_scored_and_trained(monkeypatch):
    now = [1.0]
    monkeypatch.setattr("harness.loop.time", SimpleNamespace(perf_counter=lambda: now[0]))

    def play(task, model, seed):
        now[0] += 1.0
        return episode(task)

    def seam(options):
        now[0] += 50.0
        return options

    async def score(self, name, replies):
        now[0] += 4.0

    monkeypatch.setattr(Backend, "score", score)
    arm = replace(SEAMS, further=(SimpleNamespace(**vars(Further("update", [])), update=seam, check=lambda e: CHECK),))
    lines = Loop(steps=2, play=play, seams=arm).records.of("steps")
    assert [line["seconds"] for line in lines] == [
        {"rollout": 6.0, "score": 8.0, "train": 50.0},
        {"rollout": 2.0, "score": 8.0, "train": 50.0},
    ]


CHECK = Check("further", "on", {}, None, "")


def test_the_transcripts_of_all_steps_are_written_at_the_end():
    rows = Loop().records.trajectories
    assert [(row["step"], row["task"], row["rollout"]) for row in rows if row["kind"] == "training"] == [
        (step, task, number) for step, tasks in enumerate(ORDER) for task in sorted(tasks) for number in range(2)
    ]


def test_the_episodes_of_the_last_validation_are_written_with_them():
    rows = [row for row in Loop().records.trajectories if row["kind"] == "validation"]
    assert [(row["step"], row["task"]) for row in rows] == [(len(ORDER), task) for task in ("held_out_0", "held_out_1")]


def test_a_run_of_no_steps_validates_and_trains_nothing():
    loop = Loop(steps=0)
    assert loop.rolled_out == [] and loop.checks == []
    assert {row["kind"] for row in loop.records.trajectories} == {"validation"}
    assert [name for name, _ in loop.records.lines] == ["validation", "trajectories"]


def test_an_episode_that_fails_in_training_is_missing_from_its_group_and_from_the_transcript():
    lost = derive_seed(RUN.seed, "train", 1, ORDER[1][0], 1)

    def play(task, model, seed):
        if seed == lost:
            raise EpisodeError("connection lost")
        return episode(task)

    loop = Loop(play=play)
    assert [line["missing"] for line in loop.records.of("steps")] == [0, 1, 0]
    assert [len(group.trajectories) for groups, _ in loop.backend.updates for group in groups] == [2, 2, 2, 1, 2, 2, 2]
    assert sum(row["kind"] == "training" for row in loop.records.trajectories) == 2 * 7 - 1


def test_a_reply_without_logprobs_is_missing_data_where_they_are_needed():
    lost = derive_seed(RUN.seed, "train", 0, ORDER[0][2], 0)
    loop = Loop(play=lambda task, model, seed: episode(task, turn(logprobs=seed != lost)))
    assert [line["missing"] for line in loop.records.of("steps")] == [1, 0, 0]


def test_any_other_failure_ends_the_run():
    def play(task, model, seed):
        if task in TASKS[:4]:
            raise EngineError("the server ended")
        return episode(task)

    with pytest.raises(EngineError, match="the server ended"):
        Loop(play=play)
