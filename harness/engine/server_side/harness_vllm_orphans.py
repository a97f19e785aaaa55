"""No process of vLLM outlives its maker, loaded by vLLM in each of its processes (entry point `vllm.general_plugins`).

symptom    kill -9 of the API server leaves the engine's process, and with it the memory of a GPU
mechanism  vLLM ends its processes when it ends in order
fix        PR_SET_PDEATHSIG in every process that is forked; the guard sets it for the first one
evidence   tests/engine/test_server_real.py
"""

import ctypes
import os
import signal

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LIBC = ctypes.CDLL(None)
_parent = 0


def apply() -> None:
    """Called by vLLM."""
    os.register_at_fork(before=_remember, after_in_child=_die_with_parent)


def _remember() -> None:
    global _parent
    _parent = os.getpid()


def _die_with_parent() -> None:
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _parent:  # it was quicker
        os._exit(1)
