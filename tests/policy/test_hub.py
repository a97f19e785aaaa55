"""Models of the hub: found, refused with the command that helps, and tokenised by ART as they were served.

The hub's cache is made by hand, with the micro policy's tokenizer: no network, no weights.
"""

import json
import os
import shutil

import pytest
from huggingface_hub import constants

from harness.commands import run_command
from harness.errors import ConfigError
from harness.policy import HUB_NAMES, MICRO, hub, load_policy
from tests.policy.test_smollm2 import CONVERSATION, DOMAIN, choice, ids_of

NAME = "qwen3_4b"
SHA = "5" * 64  # what the hub's cache names a large file by


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's and one of ours."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "ours"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path


@pytest.fixture
def snapshot(cache, monkeypatch):
    """The pinned revision, whole, in the hub's cache; its template is not ours."""
    model = hub.HUB[NAME]
    root = cache / "hub" / f"models--{model.repository.replace('/', '--')}"
    folder = root / "snapshots" / model.revision
    folder.mkdir(parents=True)
    (root / "blobs").mkdir()
    for name in ("config.json", "tokenizer.json", "generation_config.json"):
        shutil.copyfile(MICRO / name, folder / name)
    settings = json.loads((MICRO / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": "theirs"}))
    (root / "blobs" / SHA).write_text("weights")
    (folder / "model.safetensors").symlink_to(os.path.relpath(root / "blobs" / SHA, folder))
    monkeypatch.setattr(hub, "fetch", lambda model, say: folder)
    return folder


@pytest.fixture
def tokenizer(snapshot):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(hub.make(NAME, print))


@pytest.mark.parametrize("name", HUB_NAMES)
def test_without_its_folder_a_policy_names_the_command_that_fetches_it(name, cache):
    with pytest.raises(ConfigError, match=rf"not on this machine.*{hub.COMMAND} {name}"):
        load_policy(name)


def test_every_name_has_a_whole_commit():
    assert set(HUB_NAMES) == set(hub.HUB)
    assert all(len(model.revision) == 40 for model in hub.HUB.values())


def test_a_model_that_cannot_be_downloaded_says_what_to_check(cache, capsys):
    assert run_command("policy", ["fetch", NAME]) == 1
    assert "Check the network, HF_HUB_OFFLINE" in capsys.readouterr().err


def test_a_policy_is_what_the_engine_needs(snapshot):
    hub.make(NAME, print)
    policy = load_policy(NAME)
    assert (policy.max_model_len, policy.dtype, policy.tool_parser) == (32768, "bfloat16", "hermes")
    assert (policy.path / "model.safetensors").read_text() == "weights"
    assert "chat_template" not in json.loads((policy.path / "tokenizer_config.json").read_text())


def test_the_digest_names_the_weights_without_reading_them(snapshot):
    folder = hub.make(NAME, print)
    before = hub.digest(folder)
    blob = (folder / "model.safetensors").resolve()
    blob.write_text("never read")
    assert hub.digest(folder) == before
    blob.rename(blob.with_name("6" * 64))
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(blob.with_name("6" * 64))
    assert hub.digest(folder) != before
    (folder / "chat_template.jinja").write_text("another")
    assert hub.digest(folder) != before


def test_weights_that_are_gone_from_the_hubs_cache_are_named(snapshot):
    folder = hub.make(NAME, print)
    (folder / "model.safetensors").resolve().unlink()
    with pytest.raises(ConfigError, match=r"gone from the hub's cache: model\.safetensors"):
        load_policy(NAME)


def test_an_interrupted_download_is_not_complete(snapshot):
    assert hub.is_complete(snapshot)
    (snapshot / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-1.safetensors"}}))
    assert not hub.is_complete(snapshot)


def test_the_template_knows_the_tokens_that_art_stands_for_a_turn(tokenizer):
    highest = tokenizer.decode([tokenizer.vocab_size - 1])
    turn = {**CONVERSATION[2], "content": highest}
    assert tokenizer.apply_chat_template([turn], tokenize=False) == f"<|im_start|>assistant\n{highest}<|im_end|>\n"


def test_a_call_is_shown_once_behind_the_text_as_it_was_written(tokenizer):
    turn = tokenizer.apply_chat_template([CONVERSATION[5]], tokenize=False)
    assert turn.startswith(
        '<|im_start|>assistant\nOnce more.\n<tool_call>\n{"name": "update_task_status", "arguments": {'
    )
    assert turn.count("<tool_call>") == 1


def test_answers_of_tools_that_follow_each_other_are_one_turn_of_the_user(tokenizer):
    shown = tokenizer.apply_chat_template(CONVERSATION[3:5], tokenize=False)
    response = "<tool_response>\n{}\n</tool_response>"
    assert shown == f"<|im_start|>user\n{response}\n{response}<|im_end|>\n"


def test_the_order_of_a_schemas_keys_changes_nothing(tokenizer):
    reordered = [{"function": dict(reversed(t["function"].items())), "type": "function"} for t in DOMAIN.tools]
    messages = CONVERSATION[:2]
    other = tokenizer.apply_chat_template(messages, tools=reordered, return_dict=False)
    assert other == ids_of(tokenizer, messages)


def test_art_trains_on_exactly_the_tokens_that_were_served(tokenizer):
    from art.preprocessing import tokenize
    from art.trajectories import History, Trajectory

    messages_and_choices, served = [], []
    for position, message in enumerate(CONVERSATION):
        if message["role"] != "assistant":
            messages_and_choices.append(message)
            continue
        prompt = ids_of(tokenizer, CONVERSATION[:position], add_generation_prompt=True)
        assert prompt[: len(served)] == served, "each prompt continues the one before and its answer"
        answer = ids_of(tokenizer, CONVERSATION[: position + 1])[len(prompt) : -1]  # without the last newline
        messages_and_choices.append(choice(message, answer))
        served = prompt + answer
    trajectory = Trajectory(messages_and_choices=messages_and_choices, tools=DOMAIN.tools, reward=1.0)
    history = History(messages_and_choices=messages_and_choices, tools=trajectory.tools)
    result = tokenize.tokenize_trajectory(
        tokenizer, None, history, 1.0, False, trajectory, chat_template_tool_schema_format="vllm_openai"
    )
    assert result.token_ids == served
