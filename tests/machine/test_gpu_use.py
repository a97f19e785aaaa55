"""How busy GPUs are, as far as the driver says it. A driver written by hand."""

from types import SimpleNamespace

import pytest

from harness.machine import gpu_use
from harness.machine.gpu import Gpu
from harness.machine.gpu_use import GpuUse


@pytest.fixture
def driver(monkeypatch):
    """A driver of two GPUs; the second one does not say how busy it is."""

    def rates(index):
        if index:
            raise gpu_use.nvml.NVMLError_NotSupported
        return SimpleNamespace(gpu=93)

    answers = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(used=61 * 2**30),
        "nvmlDeviceGetUtilizationRates": rates,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(gpu_use.nvml, name, answer)
    monkeypatch.setattr(gpu_use, "gpus", lambda: (Gpu(0, "H100", 80.0), Gpu(1, "H100", 80.0)))


def test_each_gpu_says_what_it_can(driver):
    assert gpu_use.gpu_use() == (GpuUse(0, "H100", 93, 61.0, 80.0), GpuUse(1, "H100", None, 61.0, 80.0))


def test_without_a_gpu_nothing_is_asked(monkeypatch):
    monkeypatch.setattr(gpu_use, "gpus", tuple)
    assert gpu_use.gpu_use() == ()
