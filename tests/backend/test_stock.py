"""What stock ART is given, checked against ART's own reading of it, and what a machine must have."""

import importlib.util
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from harness.backend import stock
from harness.errors import ConfigError
from harness.policy import load_policy
from harness.seams import Rendering

SERVED = Rendering()


@pytest.fixture
def settings():
    return stock.Settings(
        load_policy("micro"), lora_rank=8, lora_alpha=16, memory=0.5, requests=128, slots=4, port=None, gpu_ids={}
    )


@pytest.fixture
def art_config(monkeypatch):
    """ART's resolved config, as its LocalBackend makes it; Megatron is not installed."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    stock.prepare_process(stock.STAND_INS, {})

    def resolve(config, tmp_path):
        from art.dev.get_model_config import get_model_config
        from art.dev.validate import validate_dedicated_config

        resolved = get_model_config("base", str(tmp_path), config)
        validate_dedicated_config(resolved)
        return resolved

    return resolve


def test_the_trainer_holds_the_policy_that_is_served(settings, art_config, tmp_path):
    config = art_config(stock.model_config(settings, 0, SERVED), tmp_path)
    assert config["init_args"]["load_in_4bit"] is False
    assert config["engine_args"]["dtype"] == "bfloat16"
    assert config["engine_args"]["lora_target_modules"] == config["peft_args"]["target_modules"]


def test_what_nobody_needs_changed_keeps_arts_default(settings, art_config, tmp_path):
    trainer = art_config(stock.model_config(settings, 0, SERVED), tmp_path)["trainer_args"]
    assert trainer["optim"] == "adamw_8bit"  # the one that is changed
    assert (trainer["max_grad_norm"], trainer["weight_decay"], trainer["adam_beta2"]) == (0.1, 0.1, 0.99)


def test_runs_of_one_seed_start_with_one_adapter(settings):
    states = [stock.model_config(settings, seed, SERVED)["peft_args"]["random_state"] for seed in (0, 0, 1)]
    assert states[0] == states[1] != states[2]


@pytest.mark.parametrize(("order", "format"), [("served", "vllm_openai"), ("stock", "default")])
def test_the_tools_have_the_key_order_that_the_run_asks_for(settings, order, format):
    made = stock.model_config(settings, 0, Rendering(tool_order=order))
    assert made["chat_template_tool_schema_format"] == format


def test_on_one_gpu_the_server_sleeps_while_the_trainer_works(settings, art_config, tmp_path):
    assert art_config(stock.model_config(settings, 0, SERVED), tmp_path)["engine_args"]["enable_sleep_mode"] is True


def test_on_two_gpus_trainer_and_server_have_one_each(settings, art_config, tmp_path):
    apart = replace(settings, gpu_ids=stock.placement(visible=None, count=2))
    config = art_config(stock.model_config(apart, 0, SERVED), tmp_path)
    assert (config["trainer_gpu_ids"], config["inference_gpu_ids"]) == ([0], [1])
    assert config["engine_args"]["enable_sleep_mode"] is False


@pytest.mark.parametrize(("visible", "count"), [(None, 1), ("0", 1), ("2,3", 2), (None, 0)])
def test_a_process_that_was_given_gpus_keeps_to_them(visible, count):
    assert stock.placement(visible, count) == {}


@pytest.mark.parametrize(("context", "row"), [(1024, 1024), (8192, 8192), (5000, 5120)])
def test_the_longest_row_is_a_multiple_of_arts_chunk(settings, context, row):
    longer = replace(settings, policy=replace(settings.policy, max_model_len=context))
    assert longer.row_length == row
    assert stock.model_config(longer, 0, SERVED)["init_args"]["max_seq_length"] == row
    assert stock.model_config(longer, 0, SERVED)["engine_args"]["max_model_len"] == context


@pytest.mark.parametrize(("rank", "served"), [(4, 8), (8, 8), (24, 32)])
def test_the_server_takes_the_next_rank_that_vllm_knows(settings, rank, served):
    assert stock.model_config(replace(settings, lora_rank=rank), 0, SERVED)["engine_args"]["max_lora_rank"] == served


def test_no_key_gets_into_the_servers_command_line(settings):
    assert stock.server_args(settings) == {"tool_call_parser": "hermes"}
    assert stock.server_args(replace(settings, port=8123))["port"] == 8123


def machine(on_gpu=True):
    return SimpleNamespace(on_gpu=on_gpu)


def test_without_a_gpu_the_kind_is_refused_with_a_way_out():
    with pytest.raises(ConfigError, match="backend=shared"):
        stock.check_machine(machine(on_gpu=False))


def test_packages_that_are_missing_are_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in ("unsloth", "trl") else object())
    with pytest.raises(ConfigError, match=r"unsloth, trl.*openpipe-art\[backend\]"):
        stock.check_machine(machine())


def test_a_server_must_be_there_or_installable(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.delenv("ART_VLLM_RUNTIME_BIN", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="ART_VLLM_RUNTIME_BIN"):
        stock.check_machine(machine())
    monkeypatch.setenv("ART_VLLM_RUNTIME_BIN", "python -m art_vllm_runtime.dedicated_server")
    stock.check_machine(machine())


def test_the_environment_keeps_what_the_user_has_set(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    environment = {"VLLM_API_KEY": "secret", "UNSLOTH_DISABLE_STATISTICS": "0"}
    stock.prepare_process(tmp_path, environment)
    assert "VLLM_API_KEY" not in environment
    assert environment["UNSLOTH_DISABLE_STATISTICS"] == "0"
    assert environment["UNSLOTH_COMPILE_LOCATION"] == str(tmp_path / "unsloth_compiled")
