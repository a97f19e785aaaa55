"""Whose sockets listen on a port of this machine, from /proc: before a key is sent there, and before a reply counts."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


def _written(address: bytes) -> str:
    """An address as /proc/net writes it: 32-bit words in the machine's byte order."""
    words = (address[i : i + 4] for i in range(0, len(address), 4))
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


# what a connection to 127.0.0.1 may reach
REACHED = {
    *(_written(socket.inet_aton(address)) for address in ("127.0.0.1", "0.0.0.0")),
    *(_written(socket.inet_pton(socket.AF_INET6, address)) for address in ("::ffff:127.0.0.1", "::")),
}


def listeners(port: int) -> set[str]:
    """The sockets that a connection to 127.0.0.1:`port` may reach, as `socket:[inode]`."""
    found = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = Path("/proc/net", table).read_text().splitlines()[1:]
        except FileNotFoundError:  # a kernel without IPv6
            continue
        for _, local, _, state, *rest in map(str.split, lines):
            address, _, number = local.partition(":")
            if state == LISTENING and int(number, 16) == port and address in REACHED:
                found.add(f"socket:[{rest[5]}]")
    return found


def sockets_of(session: int) -> set[str]:
    """The sockets that the processes of a session hold. What ends meanwhile, or is not ours to look at, holds none."""
    found = set()
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat") as stat:
                _, _, _, own = stat.read().rpartition(")")[2].split()[:4]
            if int(own) == session:
                for descriptor in os.scandir(f"/proc/{entry}/fd"):
                    with suppress(FileNotFoundError):
                        found.add(os.readlink(descriptor))
        except OSError:
            continue
    return {name for name in found if name.startswith("socket:")}
