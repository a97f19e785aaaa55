"""What upstream's loop has, field by field, and where we differ on purpose. Written by hand.

Files are those of OpenPipe/ART, run_rl.py, run_training.py and tau_bench/ under dev/tau-bench; 1fd9b7c is the commit
that carries the note. The world is tau2's: its policy, tools and answers stand where tau-bench v1's stood.
"""

import random
from typing import Any

from tau2.domains.mock.environment import get_environment

from harness.factors import AS_LAUNCHED, NOTE
from tests.fidelity.replay import CREATE, CREATED, DELETION, HANDOVER, LOOK, ODD, OPENING, TASK, seed_of

AGENT = "tau_bench/agents/tool_calling_agent.py@1fd9b7c"
LOOP = "run_rl.py@1fd9b7c"
TYPES = "tau_bench/types.py@1fd9b7c TauBenchTrainingConfig"
LAUNCH = "run_training.py@1fd9b7c model 001"
ENV = "tau_bench/envs/base.py@1fd9b7c"
NOTED = "the note, docs/tau_bench_rl_diagnosis.md@1fd9b7c"
ART = "src/art@1fd9b7c"

WIKI, TOOLS = get_environment().get_policy(), [tool.openai_schema for tool in get_environment().get_tools()]
METRICS = ["avg_completion_tokens", "duration", "final_prompt_tokens", "max_completion_tokens", "outcome_correct",
           "total_steps"]  # fmt: skip
REPLY = "random"  # the identity that the server gives each call
TOKENS = [("token_id:1", -0.1), ("token_id:2", -0.2)]


class By(dict[str, Any]):
    """A value by the baseline; where one is not named, there is no such field."""


def sent(call: tuple[str, str]) -> dict[str, Any]:
    name, arguments = call
    return {"id": REPLY, "type": "function", "function": {"name": name, "arguments": arguments}}


def choice(content: str | None, made: list[tuple[str, str]], logprobs: Any) -> dict[str, Any]:
    finish = "tool_calls" if made else "stop"
    return {"content": content, "tool_calls": [sent(c) for c in made], "finish_reason": finish, "logprobs": logprobs}


def ids(first: int, end: int) -> list[str | None]:
    return [f"mock_{number:03d}" for number in range(first, end)]


def shuffled(epoch: int) -> list[str | None]:
    order = ids(0, 30)
    random.Random(epoch).shuffle(order)
    return order


SYSTEM, CUSTOMER = {"role": "system", "content": WIKI}, {"role": "user", "content": OPENING}
SPOKEN, GO_ON = {"role": "assistant", "content": "It is done."}, {"role": "user", "content": DELETION}
TOLD = {"role": "tool", "tool_call_id": REPLY, "name": CREATE[0], "content": CREATED}
HANDED = {"role": "tool", "tool_call_id": REPLY, "name": HANDOVER[0], "content": "Transfer successful"}
LOGPROBS = By({NOTE: None, AS_LAUNCHED: TOKENS})

# What upstream has, and where its code says so.
UPSTREAM: dict[str, tuple[Any, str]] = {
    # the third request of the success
    "request.model": ("policy", f"config.model is the trainable model's name: {LOOP} main, train"),
    "request.messages": (
        [SYSTEM, CUSTOMER, {"role": "assistant", "tool_calls": [sent(CREATE)]}, TOLD, SPOKEN, GO_ON],
        f"{AGENT} solve: the wiki, what the user says; of a reply the first call alone is executed and sent again. "
        "litellm 1.82 leaves out the fields of `model_dump()` that are None, content among them",
    ),
    "request.tools": (TOOLS, f"{AGENT} llm_completion: env.tools_info"),
    "request.temperature": (
        By({NOTE: 0.0, AS_LAUNCHED: 1.0}),
        f"default of --temperature, {LOOP} parse_args; {LAUNCH}",
    ),
    "request.max_tokens": (1024, f"{AGENT} llm_completion"),
    "request.logprobs": (True, f"{AGENT} llm_completion"),
    # the trajectory that is made of it
    "trajectory.messages_and_choices": (
        [
            SYSTEM,
            CUSTOMER,
            choice(None, [CREATE, LOOK], LOGPROBS),
            TOLD,
            choice("It is done.", [], LOGPROBS),
            GO_ON,
            choice(None, [HANDOVER], LOGPROBS),
            HANDED,
        ],
        f"{AGENT} create_messages_and_choices: each assistant message is replaced by the choice as it came, with "
        f"all its calls; log-probs: {NOTED}, section 5; {ART}/local/vllm.py subclass_chat_completion_request",
    ),
    "trajectory.tools": (None, f"{LOOP} rollout_tau_bench_task makes it without tools"),
    "trajectory.reward": (1.0, f"{ENV} step: a tool of terminate_tools ends the episode, which is then judged"),
    "trajectory.metrics": (
        By({NOTE: METRICS, AS_LAUNCHED: sorted([*METRICS, "completion_tokens"])}),
        f"{LOOP} rollout_tau_bench_task; duration: {ART}/trajectories.py finish; completion_tokens, where there are "
        f"log-probs: {ART}/gather.py record_metrics",
    ),
    "trajectory.metadata": (["env", "model", "phase", "reward_type", "task_index", "training_step"], LOOP),
    # its group
    "group.messages": ([8, 4, 4, 4, 62, 0], f"{AGENT} solve acts upon every reply; {LOOP}: none at an exception"),
    "group.rewards": (
        [1.0, 0.0, -1.0, -1.0, 0.0, 0.0],
        "tool_calling_agent.py@6aecef2 solve: done is looked at before the limits; exception: run_rl.py@6aecef2",
    ),
    "group.requests": ([3, 1, 1, 1, 30, 1], f"{AGENT} solve, up to max_num_steps 30: {LOOP}"),
    "group.advantages": (
        By({NOTE: [], AS_LAUNCHED: [1.69775, 0.24254, -1.21268, -1.21268, 0.24254]}),
        f"(r - mean) / (std + 1e-6) over all six, the empty one has none: {ART}/local/tokenize.py",
    ),
    "group.odd_arguments": (
        {arguments: [0.0, 0 if raises else 6] for arguments, raises in ODD.items()},
        f"json.loads: {AGENT} message_to_action; kwargs is a dict: tau_bench/types.py@1fd9b7c Action; reward and "
        f"number of messages: {LOOP} except",
    ),
    "group.of_a_broken_server": ([0.0] * 6, f"{LOOP} rollout_tau_bench_task: except Exception, reward 0.0"),
    "group.stopped": (["system", "user", "assistant", "user"], f"{AGENT} solve: ###STOP### is a message"),
    # training
    "training.groups": (By({NOTE: 8, AS_LAUNCHED: 10}), f"{LOOP} parse_args; {LAUNCH}"),
    "training.rollouts": (6, f"{LOOP} parse_args; {LAUNCH}"),
    "training.learning_rate": (1.2e-5, f"{LOOP} parse_args; {LAUNCH}"),
    "training.loss_fn": ("ppo", f"{ART}/local/train.py: clipped ratio"),
    "training.epsilon": (0.2, f"{ART}/local/train.py"),
    "training.models": (["policy", "policy"], f"{LOOP}: config.model, at each step"),
    "training.tool_order": ("stock", f"tools as pydantic orders them: {ART}/local/tokenize.py"),
    "training.calls": ("once", f"a sentinel without tool_calls: {ART}/local/tokenize.py"),
    "training.batches": (
        By({NOTE: [8, 8, 8, 6], AS_LAUNCHED: [10, 10, 10]}),
        f"{ART}/utils/iterate_dataset.py: all tasks once an epoch; 30: {TYPES}; {LAUNCH}",
    ),
    "training.first_batch": (
        By({NOTE: shuffled(0)[:8], AS_LAUNCHED: shuffled(0)[:10]}),
        f"{ART}/utils/iterate_dataset.py: random.seed(epoch)",
    ),
    # validation by the arm's own rules
    "validation.steps": ([0, 2], f"{LOOP} train: every eval_steps from step 0, and at the end"),
    "validation.ids": (
        By({NOTE: ids(30, 75) + [None] * 40, AS_LAUNCHED: ids(30, 115)}),
        f"range(30, 30 + 85), without a bound: {LOOP} train; {TYPES}; {LAUNCH}",
    ),
    "validation.past_the_end": (By({NOTE: "IndexError"}), f"get_env outside try, {LOOP}; {ENV} __init__"),
    "validation.temperatures": (By({NOTE: [0.0], AS_LAUNCHED: [1.0]}), f"{LOOP} evaluate_model: the same agent"),
    "validation.models": (["policy"], f"{LOOP} evaluate_model: the same agent"),
    "validation.rewards": (
        {"mock_031": -1.0, "mock_032": 0.0, "mock_033": 0.0, "mock_034": 0.0},
        "cut reply: tool_calling_agent.py@6aecef2; call without an object, broken server, a prompt that the server "
        "refuses: run_rl.py@6aecef2 except",
    ),
    "reply.user": ("gpt-4o, no temperature", f"tau_bench/envs/user.py@1fd9b7c; {LAUNCH}"),
    "reply.logprobs_came": (By({NOTE: False, AS_LAUNCHED: True}), f"{NOTED}, section 5; {ART}/local/vllm.py"),
}


FIRST = [f"mock_{n:03d}" for n in (14, 9, 25, 3, 19, 0, 22, 8, 21, 17)]  # of SEED

# Where we differ on purpose: what stands here instead, and why. A path counts for all that lies below it.
ABSENT = "absent"
PLACE = "identities follow from the position alone, so that an episode is the same whenever it is played"
NAME = "ART 0.5.18 serves name@step, and a bare name is 404"
RECORDS = "what the records need; more stands in the episode"
SILENT = "a scripted user stops without a word; nothing after the last choice is trained"
ENDED = "an episode is one for all levels of all fixes, and ends where a level of reward first ends it"

OUR_WAY: dict[str, tuple[Any, str]] = {
    "request.model": ("policy@0", NAME),
    "request.max_tokens": (ABSENT, "renamed, as upstream did at 046c325"),
    "request.max_completion_tokens": (1024, "as upstream from 046c325 on; to vLLM it is the same"),
    "request.seed": (seed_of(TASK, 0, 2), "arms of a seed meet the same luck"),
    "request.return_tokens_as_token_ids": (True, "ART's own server is started with it: art/dev/openai_server.py"),
    "request.return_token_ids": (True, "the ids that were served are what the checks compare"),
    "request.messages.2.content": ("", "to vLLM the same as none; ART trains an empty text for it in any case"),
    "request.messages.2.tool_calls.0.id": ("call_2_0", PLACE),
    "request.messages.3.tool_call_id": ("call_2_0", PLACE),
    "trajectory.messages_and_choices.2.tool_calls.0.id": ("call_2_0", PLACE),
    "trajectory.messages_and_choices.2.tool_calls.1.id": ("call_2_1", PLACE),
    "trajectory.messages_and_choices.3.tool_call_id": ("call_2_0", PLACE),
    "trajectory.messages_and_choices.6.tool_calls.0.id": ("call_6_0", PLACE),
    "trajectory.messages_and_choices.7.tool_call_id": ("call_6_0", PLACE),
    "trajectory.metrics": (By({NOTE: ["raw_reward"], AS_LAUNCHED: ["completion_tokens", "raw_reward"]}), RECORDS),
    "trajectory.metadata": (["episode", "rollout", "task"], RECORDS),
    "group.messages.3": (3, f"a cut reply is not acted upon: {ENDED}"),
    "group.requests.5": (4, "the episode goes on, unseen where reward is off, since other levels train on it"),
    "group.of_a_broken_server.5": (ABSENT, "an infrastructure failure is missing data, never reward 0"),
    "group.odd_arguments.{}.1": (5, SILENT),
    "group.stopped.3": (ABSENT, SILENT),
    "training.loss_fn": (By({NOTE: "cispo"}), "the note names no loss: ART 0.5.18's default"),
    "training.epsilon": (None, "ART 0.5.18's own, 0.2 for ppo: art/loss.py"),
    "training.models": (
        By({NOTE: ["policy@0"] * 2, AS_LAUNCHED: ["policy@0", "policy@1"]}),
        f"{NAME}. The pinned one means the first checkpoint, as in the note; the current one the newest, as launched",
    ),
    "training.tool_order": (By({NOTE: "served"}), "a fix beside the note's six, on unless asked for"),
    "training.first_batch": (By({NOTE: FIRST[:8], AS_LAUNCHED: FIRST}), "each seed draws an order of its own"),
    "validation.past_the_end": (By({NOTE: 0.0}), "as the note reads it; fix/split=crash raises"),
    "validation.rewards.mock_034": (-1.0, "a full context is an end of the episode, as a prompt over the limit is"),
    "validation.reference": (["policy@0", "policy@2"], "the same for every arm, beside what the arm would report"),
    "reply.user": ({"kind": "scripted"}, "asks no model, and says the same to every arm; greedy rollouts are equal"),
    "reply.logprobs_came": (By({NOTE: True}), "ART 0.5.18's server forces them; off drops them afterwards"),
    "validation.models": (By({NOTE: ["policy@0"], AS_LAUNCHED: ["policy@0", "policy@2"]}), NAME),
}


def flat(value: Any, path: str) -> dict[str, Any]:
    """Every leaf by its path."""
    if isinstance(value, dict | list) and value:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {k: v for name, each in items for k, v in flat(each, f"{path}.{name}").items()}
    return {path: value}


def of_baseline(value: Any, baseline: str) -> Any:
    """The value with every By resolved; ABSENT where a baseline is not in it."""
    if isinstance(value, By):
        return value.get(baseline, ABSENT)
    if isinstance(value, dict):
        return {name: of_baseline(each, baseline) for name, each in value.items()}
    return [of_baseline(each, baseline) for each in value] if isinstance(value, list) else value


def told(baseline: str) -> dict[str, Any]:
    """Upstream's fields, by the path of each leaf."""
    fields = {path: of_baseline(value, baseline) for path, (value, _) in UPSTREAM.items()}
    return {k: v for path, value in fields.items() if value != ABSENT for k, v in flat(value, path).items()}


def differences(baseline: str) -> dict[str, Any]:
    """What stands in the place of upstream's, by path."""
    return {
        path: value if not isinstance(value, By) else value[baseline]
        for path, (value, _) in OUR_WAY.items()
        if not isinstance(value, By) or baseline in value
    }


def below(fields: dict[str, Any], path: str) -> dict[str, Any]:
    """The leaves at a path and below it."""
    return {name: value for name, value in fields.items() if f"{name}.".startswith(f"{path}.")}


def expected(baseline: str) -> dict[str, Any]:
    """What must be observed: upstream's fields, ours where we differ."""
    fields = told(baseline)
    for path, value in differences(baseline).items():
        theirs = below(fields, path)
        fields = {name: each for name, each in fields.items() if name not in theirs}
        fields |= {} if value == ABSENT else flat(value, path)
    return fields
