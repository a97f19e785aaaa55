"""What each level does at its seam: off as upstream, on as fixed."""

from dataclasses import replace

import pytest
from openai.types.chat.chat_completion import Choice

from harness.errors import ConfigError, EpisodeError
from harness.fixes import endpoint, exploration, logprobs, reward, split, toolcalls, toolorder, tools
from harness.seams import Names, Outcome, Rendering, Seams

NAMES = Names(pinned="arm@0", current="arm@3")
TASKS = tuple(f"task_{i}" for i in range(75))


def test_endpoint_off_keeps_asking_for_the_name_of_registration():
    assert endpoint.Off().model_name(NAMES) == "hosted_vllm/arm@0"


def test_endpoint_on_asks_for_the_adapter_of_the_current_step():
    assert endpoint.On().model_name(NAMES) == "hosted_vllm/arm@3"


def test_tools_off_tells_the_trainer_of_no_tools():
    assert tools.Off().attach([{"type": "function"}]) is None


def test_tools_on_tells_the_trainer_exactly_what_was_sent():
    sent = [{"type": "function"}]
    assert tools.On().attach(sent) is sent


SERVED = Rendering()
STOCK = Rendering(tool_order="stock", calls="twice")
CONTEXTS = [
    (toolcalls.Off(), SERVED, Rendering(calls="twice")),
    (toolcalls.On(), STOCK, Rendering(tool_order="stock")),
    (toolorder.Off(), SERVED, Rendering(tool_order="stock")),
    (toolorder.On(), STOCK, Rendering(calls="twice")),
]


@pytest.mark.parametrize(("strategy", "given", "made"), CONTEXTS)
def test_calls_and_key_order_are_each_changed_alone(strategy, given, made):
    assert strategy.context(given) == made


def test_both_off_are_stock_art_and_without_them_the_trainer_sees_what_was_served():
    note = (endpoint.On(), tools.On(), exploration.On(), reward.On(), logprobs.On(), split.On())
    assert Seams(*note).context(SERVED) == SERVED
    assert Seams(*note, further=(toolcalls.On(), toolorder.On())).context(SERVED) == SERVED
    assert Seams(*note, further=(toolcalls.Off(), toolorder.Off())).context(SERVED) == STOCK


def test_exploration_off_is_greedy_and_cannot_be_anything_else():
    assert exploration.Off().temperature == 0.0
    with pytest.raises(ConfigError, match="fix/exploration=on"):
        exploration.Off(temperature=0.7)


def test_exploration_on_takes_any_temperature_up_to_two_and_the_notes_by_default():
    assert exploration.On().temperature == 0.7
    assert [exploration.On(t).temperature for t in (0.01, 2.0)] == [0.01, 2.0]


@pytest.mark.parametrize("temperature", [0.0, -0.5, 2.5])
def test_exploration_on_refuses_a_temperature_that_does_not_explore(temperature):
    with pytest.raises(ConfigError, match="fix.exploration.temperature"):
        exploration.On(temperature)


def outcome(success=0.0, actions=(0, 2), facts=(0, 1), db=False, end="user_stop", raised=None):
    return Outcome(success, *actions, *facts, db, end, raised)


def test_reward_off_is_the_benchmarks_own():
    assert reward.Off().training_reward(outcome(actions=(2, 2))) == 0.0
    assert reward.Off().training_reward(outcome(success=1.0)) == 1.0


# What an episode earns at off and at off_later by how it ended. Of one that was cut off no check is met: 0 at on.
# At off_earlier it is 0 too.
ENDS = [
    ("user_stop", 0.0, 0.0),
    ("done", 0.0, 0.0),
    ("turn_limit", 0.0, -1.0),
    ("prompt_limit", -1.0, -1.0),
    ("length", -1.0, -1.0),
]
REWARDS = (reward.Off(), reward.OffLater(), reward.OffEarlier(), reward.On())


@pytest.mark.parametrize(("end", "off", "off_later"), ENDS)
def test_a_forced_stop_earns_what_the_revision_of_upstream_gives(end, off, off_later):
    ended = outcome(end=end)
    assert [level.training_reward(ended) for level in REWARDS] == [off, off_later, 0.0, 0.0]
    assert [level.trains_on(ended) for level in REWARDS] == [True] * 4


@pytest.mark.parametrize("end", ["user_stop", "length", "turn_limit"])
def test_an_episode_in_which_upstream_raised_earns_nothing_there_and_is_not_trained_on(end):
    broken = outcome(success=1.0, end=end, raised="the arguments of close are no JSON object")
    assert [level.training_reward(broken) for level in REWARDS] == [0.0, 0.0, 0.0, 1.0]
    assert [level.trains_on(broken) for level in REWARDS] == [False, False, False, True]


def test_reward_on_pays_every_check_that_was_met_and_keeps_success_on_top():
    shaped = reward.On(partial=0.8).training_reward
    assert shaped(outcome()) == 0.0
    assert shaped(outcome(actions=(1, 2))) == pytest.approx(0.8 / 4, abs=1e-3)
    assert shaped(outcome(actions=(2, 2), facts=(1, 1), db=True)) == pytest.approx(0.8, abs=1e-3)
    assert shaped(outcome(success=1.0, actions=(2, 2), facts=(1, 1), db=True)) == 1.0


@pytest.mark.parametrize(("earned", "paid"), [(1.5, 1.5), (-0.25, -0.25), (1 / 3, 341 / 1024)])
def test_reward_on_pays_what_a_projects_own_rollout_pays_in_the_same_fractions(earned, paid):
    own = replace(outcome(success=1.0), shaped=earned)
    assert reward.On().training_reward(own) == paid


def test_reward_on_counts_no_database_check_where_the_task_has_none():
    credit = reward.On(partial=0.8).training_reward(outcome(actions=(1, 2), facts=(0, 0), db=None))
    assert credit == pytest.approx(0.4, abs=1e-3)


def test_a_group_of_equal_partial_rewards_has_exactly_zero_advantage():
    credit = reward.On(partial=0.8).training_reward(outcome(actions=(1, 2), facts=(0, 0), db=False))
    for size in range(2, 17):
        assert sum([credit] * size) / size == credit


def test_reward_on_pays_in_fractions_of_1024():
    """In binary fractions a group's mean is exact; thirds would not be."""
    third = reward.On(partial=0.8).training_reward(outcome(actions=(1, 3), facts=(0, 0), db=None))
    assert third == 273 / 1024  # 0.8 / 3 is 273.07 of them
    everything = reward.On(partial=0.8).training_reward(outcome(actions=(3, 3), facts=(0, 0), db=None))
    assert everything == 819 / 1024  # 0.8 is 819.2 of them


def test_reward_on_pays_nothing_where_nothing_is_checked():
    assert reward.On().training_reward(outcome(actions=(0, 0), facts=(0, 0), db=None)) == 0.0


def test_reward_on_pays_each_fact_and_the_database_as_much_as_an_action():
    shaped = reward.On(partial=0.8).training_reward
    fifth = round(0.8 / 5 * 1024) / 1024
    assert shaped(outcome(actions=(0, 2), facts=(1, 2))) == fifth
    assert shaped(outcome(actions=(0, 2), facts=(0, 2), db=True)) == fifth
    assert shaped(outcome(actions=(0, 2), facts=(1, 3), db=None)) == fifth


def test_reward_on_leaves_partial_credit_to_the_config():
    assert reward.On().partial == 0.8
    assert [reward.On(p).partial for p in (0.01, 0.99)] == [0.01, 0.99]


@pytest.mark.parametrize("partial", [1e-9, 1e-4, 1e-3, 0.5, 0.8, 0.9996, 0.9999, 1 - 2**-53])
@pytest.mark.parametrize("total", [1, 3, 7, 24])
def test_more_checks_never_earn_less_and_success_stays_on_top_whatever_is_paid(partial, total):
    earned = [reward.On(partial).training_reward(outcome(actions=(n, total), db=None)) for n in range(total + 1)]
    assert earned == sorted(earned)
    assert earned[0] == 0.0 < earned[1] and earned[-1] < 1.0


@pytest.mark.parametrize("partial", [0.0, 1.0, -1.0, 1.5])
def test_reward_on_keeps_partial_credit_below_success(partial):
    with pytest.raises(ConfigError, match="fix.reward.partial"):
        reward.On(partial)


def choice(with_logprobs, logprob=-0.1):
    token = {"token": "token_id:5", "logprob": logprob, "bytes": None, "top_logprobs": []}
    return Choice.model_validate(
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": "hi"},
            "logprobs": {"content": [token]} if with_logprobs else None,
        }
    )


def test_logprobs_off_drops_the_field_and_raises_nothing():
    assert logprobs.Off().keep(choice(True)).logprobs is None
    assert logprobs.Off().keep(choice(False)).logprobs is None


@pytest.mark.parametrize(("level", "required"), [(logprobs.Off, False), (logprobs.On, True)])
def test_a_reply_without_logprobs_is_asked_for_again_where_the_fix_is_on(level, required):
    assert level.required is required


def test_logprobs_on_refuses_a_choice_whose_field_is_empty():
    empty = choice(True)
    empty.logprobs.content = []
    with pytest.raises(EpisodeError, match="without log-probs"):
        logprobs.On().keep(empty)


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf"), float("inf")])
def test_logprobs_on_refuses_a_choice_with_one_that_is_not_finite(logprob):
    with pytest.raises(EpisodeError, match="not finite"):
        logprobs.On().keep(choice(True, logprob))


def test_logprobs_on_keeps_the_field_and_refuses_a_choice_without_it():
    kept = choice(True)
    assert logprobs.On().keep(kept) is kept
    with pytest.raises(EpisodeError, match="without log-probs"):
        logprobs.On().keep(choice(False))


def test_split_off_runs_past_the_end_as_upstream():
    made = split.Off().split(TASKS, 30, 85)
    assert made.train == TASKS[:30]
    assert made.validation[:45] == TASKS[30:]
    assert made.validation[45:] == (None,) * 40


def test_split_on_is_bounded_disjoint_and_trains_on_the_same_tasks():
    made = split.On().split(TASKS, 30, 85)
    assert made.train == split.Off().split(TASKS, 30, 85).train
    assert made.validation == TASKS[30:]


@pytest.mark.parametrize(
    ("level", "validation"),
    [(split.Off(), (None,) * 5), (split.Crash(), (None,) * 5), (split.On(), ()), (split.Overlap(), TASKS[:5])],
    ids=lambda v: getattr(v, "level", ""),
)
def test_a_training_set_larger_than_the_tasks_is_all_of_them(level, validation):
    made = level.split(TASKS, 80, 5)
    assert (made.train, made.validation) == (TASKS, validation)


def test_split_overlap_is_bounded_and_begins_with_the_tasks_that_are_trained_on():
    made = split.Overlap().split(TASKS, 30, 50)
    assert made.train == TASKS[:30] and made.validation == TASKS[:50]
    assert split.Overlap().split(TASKS, 30, 85).validation == TASKS


def test_split_crash_asks_the_ids_of_off_and_raises_where_one_is_past_the_end():
    assert split.Crash().split(TASKS, 30, 85) == split.Off().split(TASKS, 30, 85)
    levels = (split.Off, split.On, split.Overlap, split.Crash)
    assert [level.raises for level in levels] == [False, False, False, True]


@pytest.mark.parametrize("level", [split.Off(), split.Crash()], ids=lambda level: level.level)
def test_a_split_past_the_end_is_refused_where_all_ids_exist(level):
    for val_size in (10, 45):
        with pytest.raises(
            ConfigError, match=rf"fix/split={level.level} .* 30 \+ {val_size} ids fit into the 75 tasks"
        ):
            level.split(TASKS, 30, val_size)
    assert split.Off().split(TASKS, 30, 46).validation == (*TASKS[30:], None)


def test_split_on_validates_on_no_more_than_it_is_asked_for():
    assert split.On().split(TASKS, 30, 5).validation == TASKS[30:35]
