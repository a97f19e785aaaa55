"""What runs on a GPU, and with which defaults."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.engine.server_process import ServerConfig, command, environment
from harness.errors import ConfigError
from harness.machine import gpu
from harness.sections import BackendConfig

H100 = gpu.Gpu(0, "NVIDIA H100 80GB HBM3", 79.6)


@pytest.fixture
def machine(monkeypatch):
    """machine(*gpus): the driver shows these."""

    def shown(*found: gpu.Gpu) -> None:
        gpu.gpus.cache_clear()
        monkeypatch.setattr(gpu, "_installed", lambda: found)

    yield shown
    gpu.gpus.cache_clear()


def test_gpus_are_as_the_driver_describes_them(monkeypatch):
    driver = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(total=80 * 2**30),
        "nvmlDeviceGetName": lambda handle: "NVIDIA H100",
        "nvmlDeviceGetUUID": lambda handle: f"GPU-{handle}",
    }
    for name, answer in driver.items():
        monkeypatch.setattr(gpu.nvml, name, answer)
    assert gpu._installed() == (gpu.Gpu(0, "NVIDIA H100", 80.0, "GPU-0"), gpu.Gpu(1, "NVIDIA H100", 80.0, "GPU-1"))


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    def missing():
        raise gpu.nvml.NVMLError_LibraryNotFound

    monkeypatch.setattr(gpu.nvml, "nvmlInit", missing)
    assert gpu._installed() == ()


def test_auto_means_the_gpu_where_there_is_one(machine):
    machine(H100)
    assert BackendConfig("shared").on_gpu
    machine()
    assert not BackendConfig("shared").on_gpu


def test_a_hidden_gpu_is_not_used(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    machine(H100)
    assert not BackendConfig("shared").on_gpu


def test_an_engine_sees_the_gpu_that_it_was_given(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    machine(H100, gpu.Gpu(1, "NVIDIA H200", 140.4))
    assert [gpu.name for gpu in gpu.gpus()] == ["NVIDIA H200"]


def test_the_first_gpu_is_the_one_that_cuda_takes_for_the_first(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    machine(H100, gpu.Gpu(1, "NVIDIA H200", 140.4))
    assert [gpu.index for gpu in gpu.gpus()] == [1, 0]


def test_a_gpu_may_be_named_by_its_uuid(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-55d6")
    machine(gpu.Gpu(0, "NVIDIA H200", 140.4, "GPU-d998-81d3"), gpu.Gpu(1, "NVIDIA H200", 140.4, "GPU-55d6-c49b"))
    assert [gpu.index for gpu in gpu.gpus()] == [1]


def test_asking_for_a_gpu_that_is_not_there_is_a_config_error(machine):
    machine()
    with pytest.raises(ConfigError, match="no NVIDIA GPU is visible"):
        _ = BackendConfig("shared", device="cuda").on_gpu


def test_requests_and_slots_follow_the_device_unless_they_are_given(machine):
    machine(H100)
    on_gpu = BackendConfig("shared")
    machine()
    on_cpu = BackendConfig("shared")
    assert (on_cpu.requests, on_cpu.slots) == (48, 8)
    machine(H100)
    assert (on_gpu.requests, on_gpu.slots) == (256, 16)
    assert BackendConfig("shared", in_flight=512, max_loras=4).requests == 512


@pytest.mark.parametrize("split", [(0.6, 0.5), (0.0, 0.4), (0.5, -0.1)])
def test_a_split_that_cannot_be_is_a_config_error(split):
    with pytest.raises(ConfigError, match="gpu_split"):
        BackendConfig("shared", gpu_split=split)


def test_a_split_engine_has_a_share_of_two_cards(machine, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0,1")
    machine(H100, replace(H100, index=1), replace(H100, index=2))
    split = BackendConfig("shared", placement="split")
    assert split.places == (("2",), "0")
    assert split.memory == (0.9, 0.9)
    assert BackendConfig("shared", placement="split", sampler_gpus=2).places == (("2", "0"), "1")
    assert BackendConfig("shared").places == ((), None)


CANNOT_BE_SPLIT = [
    ({"kind": "art_local"}, "stock ART divides two GPUs .* by itself"),
    ({"device": "cpu"}, "needs GPUs, and backend.device is cpu"),
    ({"engines_per_gpu": 2}, "gives an engine 2 whole GPUs"),
    ({"gpu_split": (0.9, 0.96)}, "each at most 0.95"),
    ({"placement": "together", "sampler_gpus": 2}, "Add backend.placement=split"),
]


@pytest.mark.parametrize(("given", "message"), CANNOT_BE_SPLIT)
def test_a_placement_that_cannot_be_is_a_config_error(given, message):
    with pytest.raises(ConfigError, match=message):
        BackendConfig(**{"kind": "shared", "placement": "split"} | given)


def test_a_split_sampler_divides_its_layers_over_its_gpus(tmp_path):
    config = ServerConfig(
        tmp_path, "large", "hermes", 4096, "bfloat16", 8, tmp_path / "log", gpu_memory_utilization=0.9
    )
    one, two = replace(config, gpus=("3",)), replace(config, gpus=("3", "4"))
    assert "--tensor-parallel-size" not in command(one, Path("python"), 1)
    assert "--tensor-parallel-size 2" in " ".join(command(two, Path("python"), 1))
    assert environment(two, "key")["CUDA_VISIBLE_DEVICES"] == "3,4"
