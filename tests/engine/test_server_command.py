"""vLLM's command line and environment on a GPU, where no test can start it."""

import json
from pathlib import Path

import pytest

from harness.engine.server_process import ServerConfig, command, environment


def config(**changes):
    fields = dict(path=Path("base"), name="base", tool_parser="hermes", max_model_len=64, dtype="bfloat16")
    fields |= dict(lora_rank=8, log=Path("log"), gpu_memory_utilization=0.25)
    return ServerConfig(**fields | changes)


def arguments(**changes):
    return command(config(**changes), Path("python"), 1)


def value(argv, name):
    return argv[argv.index(name) + 1]


SIZES = [(48, [32, 48]), (200, [192, 200]), (512, [448, 512]), (700, [512, 700])]


@pytest.mark.parametrize(("requests", "largest"), SIZES)
def test_decoding_is_captured_for_as_many_requests_as_there_may_be(requests, largest):
    graphs = json.loads(value(arguments(max_num_seqs=requests, mixed_graphs=False), "--compilation-config"))
    assert graphs["cudagraph_capture_sizes"][-2:] == largest
    assert graphs["cudagraph_mode"] == "FULL_DECODE_ONLY"


def test_steps_with_a_prompt_are_captured_in_pieces():
    graphs = json.loads(value(arguments(max_num_seqs=200), "--compilation-config"))
    sizes = graphs["cudagraph_capture_sizes"]
    assert sizes == sorted(sizes) and {200, 2048} <= set(sizes)
    assert graphs["cudagraph_mode"] == "FULL_AND_PIECEWISE"  # captured whole, they are answered wrongly on Hopper
    assert graphs["backend"] == "eager"  # traced, not compiled


def test_the_cache_is_measured_by_vllm_unless_its_size_is_given():
    assert "--kv-cache-memory-bytes" not in arguments()
    assert value(arguments(kv_cache_bytes=7), "--kv-cache-memory-bytes") == "7"


@pytest.mark.parametrize("share", [0.25, None], ids=["gpu", "cpu"])
def test_the_server_computes_on_one_thread_and_keeps_what_it_compiles(share, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "32")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    found = environment(config(gpu_memory_utilization=share), "key")
    assert found["OMP_NUM_THREADS"] == "1" and "PYTHONDONTWRITEBYTECODE" not in found


@pytest.mark.parametrize("asked", [True, False])
def test_the_configuration_alone_says_whether_kernels_are_batch_invariant(asked, monkeypatch):
    monkeypatch.setenv("VLLM_BATCH_INVARIANT", str(int(not asked)))
    assert environment(config(batch_invariant=asked), "key")["VLLM_BATCH_INVARIANT"] == str(int(asked))


def test_every_route_of_the_server_wants_the_key():
    assert value(arguments(), "--middleware") == "harness_vllm_key.KeyRequired"
    assert value(command(config(gpu_memory_utilization=None), Path("python"), 1), "--middleware")


GIVEN = ["PATH", "LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NCCL_DEBUG", "VLLM_LOGGING_LEVEL"]
GIVEN += ["XDG_CACHE_HOME", "TMPDIR", "LC_ALL", "TRITON_CACHE_DIR", "HF_HOME", "SERVER_PATH", "TORCH_LOGS"]
KEPT = [
    "WANDB_API_KEY",
    "WANDB_MODE",
    "HF_TOKEN",
    "HF_HUB_TOKEN",
    "VLLM_S3_SECRET",
    "AWS_ACCESS_KEY_ID",
    "DATABASE_URL",
]
KEPT += ["HTTPS_PROXY", "SSH_AUTH_SOCK", "OPENAI_API_KEY", "MY_PASS", "PYTHONSTARTUP"]


def test_the_server_gets_what_it_reads_of_our_environment_and_nothing_else(monkeypatch):
    for name in (*GIVEN, *KEPT):
        monkeypatch.setenv(name, "ours")
    found = environment(config(), "its own")
    assert {name: found.get(name) for name in GIVEN} == dict.fromkeys(GIVEN, "ours")
    assert not set(KEPT) & set(found)
    assert found["VLLM_API_KEY"] == "its own"


def test_what_else_the_server_needs_can_be_named(monkeypatch):
    monkeypatch.setenv("SITE_LICENCE", "ours")
    monkeypatch.setenv("HARNESS_VLLM_ENV", "OTHER, SITE_LICENCE")
    assert environment(config(), "key")["SITE_LICENCE"] == "ours"
