"""What each level does at its seam: off as upstream, on as fixed."""

import pytest
from openai.types.chat.chat_completion import Choice

from harness.errors import ConfigError, EpisodeError
from harness.fixes import endpoint, exploration, logprobs, reward, split, tools
from harness.seams import Names, Outcome

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


def outcome(success=0.0, actions=(0, 2), facts=(0, 1), db=False):
    return Outcome(success, *actions, *facts, db)


def test_reward_off_is_the_benchmarks_own():
    assert reward.Off().training_reward(outcome(actions=(2, 2))) == 0.0
    assert reward.Off().training_reward(outcome(success=1.0)) == 1.0


def test_reward_on_pays_every_check_that_was_met_and_keeps_success_on_top():
    shaped = reward.On(partial=0.8).training_reward
    assert shaped(outcome()) == 0.0
    assert shaped(outcome(actions=(1, 2))) == pytest.approx(0.8 / 4, abs=1e-3)
    assert shaped(outcome(actions=(2, 2), facts=(1, 1), db=True)) == pytest.approx(0.8, abs=1e-3)
    assert shaped(outcome(success=1.0, actions=(2, 2), facts=(1, 1), db=True)) == 1.0


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


@pytest.mark.parametrize("partial", [0.0, 1.0, -1.0, 1.5])
def test_reward_on_keeps_partial_credit_below_success(partial):
    with pytest.raises(ConfigError, match="fix.reward.partial"):
        reward.On(partial)


def choice(with_logprobs):
    token = {"token": "token_id:5", "logprob": -0.1, "bytes": None, "top_logprobs": []}
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


@pytest.mark.parametrize("level", [split.Off(), split.On()])
def test_a_training_set_larger_than_the_tasks_is_all_of_them(level):
    made = level.split(TASKS, 80, 5)
    assert made.train == TASKS
    assert made.validation == ((None,) * 5 if level.level == "off" else ())


def test_split_off_is_refused_where_all_ids_exist():
    for val_size in (10, 45):
        with pytest.raises(ConfigError, match=rf"30 \+ {val_size} ids fit into the 75 tasks"):
            split.Off().split(TASKS, 30, val_size)
    assert split.Off().split(TASKS, 30, 46).validation == (*TASKS[30:], None)


def test_split_on_validates_on_no_more_than_it_is_asked_for():
    assert split.On().split(TASKS, 30, 5).validation == TASKS[30:35]
