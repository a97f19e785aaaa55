"""Which accelerator this process sees, asked of the driver: no torch, no CUDA context, a few milliseconds."""

import ctypes
import os
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Gpu:
    """index and uuid (GPU-…): as CUDA_VISIBLE_DEVICES names it; memory in GiB."""

    index: int
    name: str
    memory: float
    uuid: str = ""


@cache
def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES leaves visible; () without a driver."""
    found = _installed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    wanted = [part.strip() for part in visible.split(",") if part.strip()]
    return tuple(gpu for gpu in found if any(_names(part, gpu) for part in wanted))


def _names(part: str, gpu: Gpu) -> bool:
    """CUDA takes an index, or as much of a UUID as is unique."""
    return part == str(gpu.index) or (part.startswith("GPU-") and gpu.uuid.startswith(part))


def _installed() -> tuple[Gpu, ...]:
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return ()
    if nvml.nvmlInit_v2() != 0:
        return ()
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return ()
        return tuple(_describe(nvml, index) for index in range(count.value))
    finally:
        nvml.nvmlShutdown()


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


def _describe(nvml: ctypes.CDLL, index: int) -> Gpu:
    handle, memory = ctypes.c_void_p(), _Memory()
    name, uuid = ctypes.create_string_buffer(96), ctypes.create_string_buffer(96)
    nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    nvml.nvmlDeviceGetName(handle, name, len(name))
    nvml.nvmlDeviceGetUUID(handle, uuid, len(uuid))
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    return Gpu(index, name.value.decode(), memory.total / 2**30, uuid.value.decode())
