"""How busy the GPUs of this machine are, asked of the driver."""

from dataclasses import dataclass

import pynvml as nvml

from harness.machine.gpu import gpus

GIB = 2**30


@dataclass(frozen=True)
class GpuUse:
    """busy: per cent of the last moment; memory in GiB. None where the driver does not say."""

    index: int
    name: str
    busy: int | None
    used: float | None
    memory: float


def gpu_use() -> tuple[GpuUse, ...]:
    """Of the GPUs that are visible; () without a driver."""
    if not (found := gpus()):
        return ()
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple(GpuUse(gpu.index, gpu.name, *_use(gpu.index), gpu.memory) for gpu in found)
    finally:
        nvml.nvmlShutdown()


def _use(index: int) -> tuple[int | None, float | None]:
    busy = used = None
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        used = nvml.nvmlDeviceGetMemoryInfo(handle).used / GIB
        busy = int(nvml.nvmlDeviceGetUtilizationRates(handle).gpu)
    except nvml.NVMLError:
        pass  # what it does not say stays None
    return busy, used
