"""The micro policy's tokenizer and template: one rendering of a turn, and the same token ids wherever it is made."""

import json
from itertools import islice

import pytest
from openai.types.chat.chat_completion import Choice
from transformers import AutoTokenizer

from experiments.warm_starts.micro import demonstrations
from harness.env import load_domain
from harness.errors import ConfigError
from harness.policy import digest_files, load_policy

POLICY = load_policy("micro")
TOKENIZER = AutoTokenizer.from_pretrained(POLICY.path)
DOMAIN = load_domain("mock")
SYSTEM = {"role": "system", "content": DOMAIN.system_prompt}
USER = {"role": "user", "content": "Please close task_40."}


def render(messages, **options) -> str:
    return TOKENIZER.apply_chat_template(messages, tools=DOMAIN.tools, tokenize=False, **options)


def ids_of(messages, **options) -> list[int]:
    return TOKENIZER.apply_chat_template(messages, tools=DOMAIN.tools, return_dict=False, **options)


def call(arguments) -> dict:
    return {"id": "c", "type": "function", "function": {"name": "update_task_status", "arguments": arguments}}


def test_arguments_as_text_and_as_an_object_render_alike():
    arguments = {"task_id": "task_40", "status": "completed"}
    as_object, as_text = (
        {"role": "assistant", "content": None, "tool_calls": [call(a)]} for a in (arguments, json.dumps(arguments))
    )
    assert render([SYSTEM, USER, as_object]) == render([SYSTEM, USER, as_text])
    assert render([USER, as_object]).count('{"name": "update_task_status", "arguments": {"task_id": "task_40"') == 1


def test_the_order_of_a_schemas_keys_changes_nothing():
    reordered = [{"function": tool["function"], "type": "function"} for tool in DOMAIN.tools]
    assert TOKENIZER.apply_chat_template([USER], tools=reordered, tokenize=False) == render([USER])


def test_a_prompt_with_tools_differs_from_one_without_and_stays_small():
    openings = [DOMAIN.start(task_id).first for task_id in DOMAIN.task_ids]
    chats = [[SYSTEM, {"role": "user", "content": opening}] for opening in openings]
    sizes = [len(ids_of(chat, add_generation_prompt=True)) for chat in chats]
    assert max(sizes) <= 200
    for chat, size in zip(chats, sizes, strict=True):
        bare = TOKENIZER.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        assert size - len(bare) > 40


def test_the_top_of_the_vocabulary_is_reserved_for_arts_sentinel():
    top = TOKENIZER.vocab_size - 1
    text = TOKENIZER.decode(top)
    assert text.startswith("<|reserved_")
    assert TOKENIZER.encode(f"a{text}b", add_special_tokens=False)[1] == top


def test_marks_of_tool_calls_survive_the_decoding_that_the_parser_reads():
    ids = TOKENIZER.encode('<tool_call>\n{"name": "get_users", "arguments": {}}\n</tool_call><|im_end|>')
    assert TOKENIZER.decode(ids, skip_special_tokens=True).startswith("<tool_call>\n{")
    assert ids[0] == TOKENIZER.convert_tokens_to_ids("<tool_call>")


def served_episode(conversation: list[dict]) -> tuple[list, list[int]]:
    """What a server would have made of a conversation: messages and choices, and the ids of all prompts and answers."""
    messages_and_choices, ids = [], []
    for position, message in enumerate(conversation):
        if message["role"] != "assistant":
            messages_and_choices.append(message)
            continue
        prompt = ids_of(conversation[:position], add_generation_prompt=True)
        assert prompt[: len(ids)] == ids, "each prompt continues the one before and its answer"
        through = ids_of(conversation[: position + 1])
        answer = through[len(prompt) : -1]  # without the newline after <|im_end|>
        ids = prompt + answer
        messages_and_choices.append(choice(message, answer))
    return messages_and_choices, ids


def choice(message: dict, answer: list[int]) -> Choice:
    logprobs = [{"token": f"token_id:{i}", "bytes": None, "logprob": -0.5, "top_logprobs": []} for i in answer]
    return Choice.model_validate(
        {
            "index": 0,
            "finish_reason": "tool_calls" if message.get("tool_calls") else "stop",
            "message": message,
            "logprobs": {"content": logprobs, "refusal": None},
        }
    )


def as_served(conversation: list[dict]) -> list[dict]:
    """With ids on the calls and arguments as text, as the OpenAI interface has them."""
    out = []
    for number, message in enumerate(conversation):
        if calls := message.get("tool_calls"):
            calls = [
                {
                    "id": f"call_{number}",
                    "type": "function",
                    "function": {**c["function"], "arguments": json.dumps(c["function"]["arguments"])},
                }
                for c in calls
            ]
            message = {**message, "tool_calls": calls}
        elif message["role"] == "tool":
            message = {**message, "tool_call_id": f"call_{number - 1}"}
        out.append(message)
    return out


MIXED = [
    SYSTEM,
    USER,
    {"role": "assistant", "content": "Yes.\n", "tool_calls": [call({"task_id": "task_40", "status": "completed"})]},
    {"role": "tool", "content": "{}"},
    {"role": "assistant", "content": "All done."},
]
CONVERSATIONS = [*islice(demonstrations.stream(7, frozenset()), 40), MIXED]


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=lambda c: f"{len(c)}-messages")
def test_art_trains_on_exactly_the_tokens_that_were_served(conversation):
    from art.preprocessing import tokenize
    from art.trajectories import History, Trajectory

    messages_and_choices, served = served_episode(as_served(conversation))
    trajectory = Trajectory(messages_and_choices=messages_and_choices, tools=DOMAIN.tools, reward=1.0)
    result = tokenize.tokenize_trajectory(
        TOKENIZER,
        None,
        History(messages_and_choices=messages_and_choices, tools=trajectory.tools),
        1.0,
        False,
        trajectory,
        chat_template_tool_schema_format="vllm_openai",
    )
    assert result.token_ids == served
    wrote = sum(len(m.logprobs.content) for m in messages_and_choices if isinstance(m, Choice))
    assert sum(result.assistant_mask) == wrote


def test_demonstrations_show_no_opening_that_is_held_out():
    shown = [c[1]["content"] for c in islice(demonstrations.stream(0, frozenset()), 300)]
    held_out = frozenset(shown[:20])
    again = [c[1]["content"] for c in islice(demonstrations.stream(0, held_out), 300)]
    assert not held_out & set(again)


def test_demonstrations_are_deterministic_and_their_mode_is_wrong():
    first, second = (list(islice(demonstrations.stream(3, frozenset()), 50)) for _ in range(2))
    assert first == second
    assert all(0.25 <= rate <= 0.45 for rate in demonstrations.RIGHT.values())


def test_the_policy_is_a_small_folder_named_by_its_content(tmp_path):
    assert (POLICY.path / "model.safetensors").stat().st_size < 4e6
    assert {"config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= {
        file.name for file in POLICY.path.iterdir()
    }
    for file in POLICY.path.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert digest_files(tmp_path) == POLICY.digest
    (tmp_path / "chat_template.jinja").write_text("other")
    assert digest_files(tmp_path) != POLICY.digest


def test_an_unknown_policy_is_answered_with_the_nearest_and_a_missing_model_with_its_command(tmp_path):
    with pytest.raises(ConfigError, match=r"'micr'.*Did you mean 'micro'\?"):
        load_policy("micr")
    with pytest.raises(ConfigError, match="python -m experiments.warm_starts.micro"):
        digest_files(tmp_path)
