"""Which accelerator this process sees, asked of the driver: no torch, no CUDA context, a few milliseconds."""

import ctypes
import os
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Gpu:
    """index: as CUDA_VISIBLE_DEVICES counts; memory in GiB."""

    index: int
    name: str
    memory: float


@cache
def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine that CUDA_VISIBLE_DEVICES leaves visible; () without a driver."""
    found = _installed()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return found
    wanted = [part.strip() for part in visible.split(",")]
    return tuple(gpu for gpu in found if str(gpu.index) in wanted)


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
    handle, name, memory = ctypes.c_void_p(), ctypes.create_string_buffer(96), _Memory()
    nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
    nvml.nvmlDeviceGetName(handle, name, len(name))
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    return Gpu(index, name.value.decode(), memory.total / 2**30)
