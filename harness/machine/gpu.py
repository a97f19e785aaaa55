"""Which accelerator this process sees, asked of the driver: no torch, no CUDA context, a few milliseconds."""

import os
from dataclasses import dataclass
from functools import cache

import pynvml as nvml


@dataclass(frozen=True)
class Gpu:
    """index and uuid (GPU-…): as CUDA_VISIBLE_DEVICES names it; memory in GiB."""

    index: int
    name: str
    memory: float
    uuid: str = ""


@cache
def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES leaves visible, in its order; () without a driver."""
    found = _installed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    wanted = [part.strip() for part in visible.split(",") if part.strip()]
    return tuple(gpu for part in wanted for gpu in found if _names(part, gpu))


def _names(part: str, gpu: Gpu) -> bool:
    """CUDA takes an index, or as much of a UUID as is unique."""
    return part == str(gpu.index) or (part.startswith("GPU-") and gpu.uuid.startswith(part))


def _installed() -> tuple[Gpu, ...]:
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return ()
    try:
        return tuple(_describe(index) for index in range(nvml.nvmlDeviceGetCount()))
    finally:
        nvml.nvmlShutdown()


def _describe(index: int) -> Gpu:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle).total / 2**30
    return Gpu(index, nvml.nvmlDeviceGetName(handle), memory, nvml.nvmlDeviceGetUUID(handle))
