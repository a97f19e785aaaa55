"""Nothing is written through a link that leads out of a sweep's folder, whoever put it there."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from harness.errors import ConfigError

WANDB = "wandb"  # its folder is W&B's own: each run gets a new one, with a link to a log in W&B's cache


def refuse_links(folder: Path) -> None:
    """Called before anything is written into a sweep's folder, which may be a link itself and need not be there.

    Raises ConfigError where anything in it is a link to a place outside.
    """
    root = os.path.realpath(folder)
    for path in _links(root):
        target = os.path.realpath(path)
        if os.path.commonpath((root, target)) != root:
            raise ConfigError(
                f"{path} is a link that leads out of the sweep's folder, to {target}; nothing is written through it. "
                "Remove it, or put what it names into the folder. The sweep's folder itself may be a link."
            )


def _links(folder: str) -> Iterator[str]:
    with suppress(OSError), os.scandir(folder) as entries:  # not there, gone meanwhile, or not ours to read or write
        for entry in entries:
            if entry.is_symlink():
                yield entry.path
            elif entry.is_dir() and entry.name != WANDB:
                yield from _links(entry.path)
