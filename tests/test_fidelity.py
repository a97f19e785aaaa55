"""Is `off` what upstream's loop does? One scripted conversation, replayed with every fix off under either baseline.

UPSTREAM (tests/fidelity/fields.py) says field by field what upstream has, with file and revision; OUR_WAY lists every
field in which the replay differs, with its value here and the reason. Both together must be exactly what is observed:
what goes over the wire, the trajectories that ART is given, the rewards, how it is trained, what is validated.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import pytest
from art.preprocessing.tokenize import tokenize_trajectory_groups
from transformers import AutoTokenizer

from harness.backend.context import Contexts
from harness.batches import iterate
from harness.factors import AS_LAUNCHED, NOTE, derive_seed
from harness.policy import MICRO
from harness.rollout import trajectory
from harness.seams import Rendering
from tests.fidelity.fields import ABSENT, OUR_WAY, UPSTREAM, below, choice, differences, expected, flat, told
from tests.fidelity.replay import (
    ENDS,
    LOST,
    ODD,
    ODD_TASK,
    REFERENCE,
    SEED,
    STOPPED,
    TASK,
    VALIDATED,
    Replay,
    configured,
)


@pytest.fixture(scope="module", params=[NOTE, AS_LAUNCHED])
def replay(request, tmp_path_factory) -> Iterator[Replay]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.completion.PAUSE", 0)
        yield Replay(request.param, tmp_path_factory.mktemp(request.param))


def observed(replay: Replay) -> dict[str, Any]:
    made, group = replay.group(TASK)[0], replay.group(TASK)
    groups, options = replay.trainer.updates[0]
    lines = replay.records.of("validation")
    own, rolled_out = replay.validated(), [replay.rolled_out(step) for step in (0, 1)]
    reported = lines[0]["reported"]
    past = reported["mean"] * reported["n"] - sum(reported["by_task"].values())
    rendering = replay.config.seams.context(Rendering())
    size, order = replay.config.train.groups_per_step, replay.domain.train_ids
    seeds = {asked.seed for asked in own}
    return {
        "request": replay.wire(0)[2],
        "trajectory": {
            "messages_and_choices": [plain(message) for message in made.messages_and_choices],
            "tools": made.tools,
            "reward": made.reward,
            "metrics": sorted(made.metrics),
            "metadata": sorted(made.metadata),
        },
        "group": {
            "messages": [len(t.messages_and_choices) for t in group],
            "rewards": [t.reward for t in group],
            "requests": [len(replay.wire(number)) for number in range(6)],
            "advantages": advantages(groups, TASK),
            "odd_arguments": {
                arguments: [t.reward, len(t.messages_and_choices)]
                for arguments, t in zip(ODD, replay.group(ODD_TASK), strict=True)
            },
            "of_a_broken_server": [t.reward for t in replay.group(LOST)],
            "stopped": [plain(m).get("role", "assistant") for m in replay.group(STOPPED)[0].messages_and_choices],
        },
        "reply": {
            "user": replay.episode(0).episode.user,
            "logprobs_came": all(turn.logprobs for turn in replay.episode(0).episode.turns),
        },
        "training": {
            "groups": len(groups),
            "rollouts": replay.config.train.rollouts_per_group,
            "learning_rate": options["learning_rate"],
            "loss_fn": options["loss_fn"],
            "epsilon": options["epsilon"],
            "models": [name for step in rolled_out for name in names(step)],
            "tool_order": rendering.tool_order,
            "calls": rendering.calls,
            "batches": [len(batch) for batch in islice(iterate(order, size, SEED), -(-len(order) // size))],
            "first_batch": [g.trajectories[0].metadata["task"] for g in groups],
        },
        "validation": {
            "steps": [line["step"] for line in lines],
            "ids": [*reported["by_task"], *[None] * reported["nonexistent"]],
            "temperatures": sorted({r["temperature"] for r in replay.requests if r["seed"] in seeds}),
            "models": names(own),
            "rewards": {task: reported["by_task"][task] for task in VALIDATED},
            "reference": names(a for a in replay.rollouts.asked if a.seed == derive_seed(0, "validation", REFERENCE)),
        }
        | ({"past_the_end": past} if reported["nonexistent"] else {}),
    }


def names(asked: Iterable[Any]) -> list[str]:
    """As the wire has them."""
    return sorted({one.model.removeprefix("hosted_vllm/") for one in asked})


def plain(message: Any) -> dict[str, Any]:
    if isinstance(message, dict):
        return dict(message)
    made = [(call.function.name, call.function.arguments) for call in message.message.tool_calls or ()]
    tokens = message.logprobs and [(token.token, token.logprob) for token in message.logprobs.content]
    found = choice(message.message.content, made, tokens) | {"finish_reason": message.finish_reason}
    for call, own in zip(message.message.tool_calls or (), found["tool_calls"], strict=True):
        own["id"] = call.id
    return found


def advantages(groups: list[Any], task: str) -> list[float]:
    """Of the trajectories of a task that ART's own code would train on."""
    tokenizer = AutoTokenizer.from_pretrained(str(MICRO))
    one = [group for group in groups if group.trajectories[0].metadata["task"] == task]
    return [round(found.advantage, 5) for found in tokenize_trajectory_groups(tokenizer, one, False, True, False)]


PARTS = ("request", "trajectory", "group", "reply", "training", "validation")


@pytest.fixture(scope="module")
def seen(replay) -> dict[str, Any]:
    return {path: value for part, each in observed(replay).items() for path, value in flat(each, part).items()}


@pytest.mark.parametrize("part", PARTS)
def test_every_field_is_upstreams_or_is_listed_with_a_reason(replay, seen, part):
    assert below(seen, part) == below(expected(replay.baseline), part)


def test_nothing_is_left_out_of_the_comparison(replay, seen):
    assert {path.split(".")[0] for path in seen} == {path.split(".")[0] for path in UPSTREAM} == set(PARTS)


def test_every_difference_that_is_listed_is_one(replay):
    theirs = told(replay.baseline)
    for path, value in differences(replay.baseline).items():
        assert below(theirs, path) != ({} if value == ABSENT else flat(value, path)), path


def test_every_field_names_the_revision_that_has_it_and_every_difference_its_reason():
    assert all("@" in source for _, source in UPSTREAM.values()) and all(why for _, why in OUR_WAY.values())


def test_what_is_asked_first_is_asked_again_with_what_was_answered(replay):
    """tau_bench/agents/tool_calling_agent.py@1fd9b7c solve: one list of messages, sent whole with each request."""
    first, second, third = replay.wire(0)
    assert [len(request["messages"]) for request in (first, second, third)] == [2, 4, 6]
    for earlier in (first, second):
        assert earlier["messages"] == third["messages"][: len(earlier["messages"])]
        assert earlier.keys() == third.keys()
        differ = {name for name, value in earlier.items() if value != third[name]}
        assert differ <= {"messages", "seed", "return_token_ids"}


# What each revision pays for the ends of ENDS, in their order. At 1fd9b7c a cut reply ends no episode: it goes on there
# and ends here, where it earns what an end by any other limit does.
REWARDS = {
    "off_earlier": ([1.0, 0.0, 0.0, 0.0, 0.0, 0.0], "tool_calling_agent.py@1fd9b7c solve: the reward of the last step"),
    "off": ([1.0, 0.0, -1.0, -1.0, 0.0, 0.0], "tool_calling_agent.py@6aecef2 to 046c325 solve"),
    "off_later": ([1.0, 0.0, -1.0, -1.0, -1.0, 0.0], "forced_stop: tool_calling_agent.py@8890082, run_rl.py@ad65784"),
}


@pytest.mark.parametrize("level", REWARDS)
def test_each_end_earns_what_the_revision_of_its_level_pays(replay, level):
    seams = configured(replay.baseline, reward=level).runs[0].seams
    made = [trajectory(replay.episode(number), number, seams, replay.domain.tools) for number in range(len(ENDS))]
    assert [t.reward for t in made] == REWARDS[level][0]
    assert [not t.messages_and_choices for t in made] == [False] * 5 + [True]
    assert replay.episode(5).episode.outcome.reward == 1.0


def test_a_bounded_validation_over_the_training_ids(tmp_path):
    """run_rl.py@2d0a7c2 evaluate_model: range(min(num_eval_tasks, len(env.tasks))), of the split that is trained on."""
    found = Replay(NOTE, tmp_path, steps=0, split="overlap")
    (line,) = found.records.of("validation")
    assert list(line["reported"]["by_task"]) == [f"mock_{n:03d}" for n in range(75)]
    assert line["reported"]["nonexistent"] == 0


def test_a_validation_past_the_end_ends_the_loop(tmp_path):
    """run_rl.py@ad65784: get_env outside try; art.gather_trajectories raises at the first exception."""
    found = Replay(NOTE, tmp_path, split="crash")
    (line,) = found.records.of("validation")
    assert (line["step"], line["reported"]["n"], found.trainer.updates) == (0, 0, [])


def test_the_name_of_the_tool_in_its_answer_changes_no_token_of_the_micro_policy(replay):
    """Upstream sends it (tool_calling_agent.py@1fd9b7c solve); a chat template may show it."""
    seams = configured(AS_LAUNCHED).runs[0].seams
    named, bare = (trajectory(replay.episode(0), 0, seams, replay.domain.tools) for _ in range(2))
    for message in bare.messages_and_choices:
        if isinstance(message, dict):
            message.pop("name", None)
    contexts = Contexts(str(MICRO), replay.domain.tools)
    assert named != bare and contexts.ids_of(named, Rendering()) == contexts.ids_of(bare, Rendering())
