"""Runs one command and ends its whole process group when the starter is gone.

    python guard.py FD COMMAND...        (standard library only)

FD is the reading end of a pipe whose writing end only the starter holds. When the starter closes it, or dies in
any way (`kill -9` included), the pipe reads as ended: the command gets SIGTERM, and 5 seconds later whatever is left
of the group gets SIGKILL. vLLM's sockets, which it leaves behind, lie in a folder that goes with the group. Should this
process itself be killed, the kernel kills the command (PR_SET_PDEATHSIG); the command's own children see to themselves
(server_side/harness_vllm_orphans.py).
Exit status: the command's.
"""

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
PR_SET_PDEATHSIG = 1  # linux/prctl.h
LIBC = ctypes.CDLL(None)


def main() -> None:
    """Called in a fresh session (`start_new_session=True`), so this process leads the group it will kill."""
    pipe, command = int(sys.argv[1]), sys.argv[2:]
    # only the pipe ends the group, so nothing is left half-ended
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sockets = tempfile.mkdtemp(prefix="harness-vllm-")
    child = subprocess.Popen(command, preexec_fn=_prepare, env=os.environ | {"VLLM_RPC_BASE_PATH": sockets})
    while child.poll() is None:
        ended, _, _ = select.select([pipe], [], [], 0.2)
        if ended and not os.read(pipe, 1):
            child.send_signal(signal.SIGTERM)
            deadline = time.monotonic() + GRACE
            while child.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            break
    status = child.poll()
    shutil.rmtree(sockets, ignore_errors=True)
    if _others_in_group():
        os.killpg(0, signal.SIGKILL)  # takes this process too, which is the point
    sys.exit(1 if status is None else abs(status))


def _prepare() -> None:
    """In the command's process, before it is the command."""
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C ends the server through the pipe


def _others_in_group() -> bool:
    """Whether processes of the command's group still run (a worker that outlived its server)."""
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    state, _, group = stat.read().rpartition(")")[2].split()[:3]
            except OSError:
                continue
            if int(group) == os.getpid() and state != "Z":
                return True
    return False


if __name__ == "__main__":
    main()
