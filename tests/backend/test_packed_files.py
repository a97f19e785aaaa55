"""A packed batch gets its room on the disk before ART writes it through memory maps."""

import errno
import os
from types import SimpleNamespace

import pytest
import torch
from art.local.backend import LocalBackend
from art.preprocessing.pack import packed_tensors_from_dir, packed_tensors_to_dir

from harness.backend.art_local import Watched
from harness.errors import DiskError

MODEL = SimpleNamespace(project="s", name="all_on-seed0")
LONG = ("tokens", "group_ids", "parent_ids", "input_pos")
FLOAT = ("logprobs", "advantages", "weights")


@pytest.fixture
def batch():
    kinds = dict.fromkeys(LONG, torch.long) | dict.fromkeys(FLOAT, torch.float32) | {"assistant_mask": torch.bool}
    made = {name: torch.ones((2, 512), dtype=dtype) for name, dtype in kinds.items()}
    return made | {"pixel_values": [None] * 2, "image_grid_thw": [None] * 2}


@pytest.fixture
def backend(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(LocalBackend, "_get_packed_tensors", lambda *_, **__: batch)
    made = object.__new__(Watched)
    made._path = str(tmp_path)
    return made


def test_the_files_that_art_maps_have_their_blocks_already(backend, batch, tmp_path):
    backend._get_packed_tensors(MODEL, [])
    (folder,) = tmp_path.glob("**/tensors")
    taken = {path.name: path.stat().st_blocks * 512 for path in folder.iterdir()}
    assert all(taken[f"{name}.pt"] >= batch[name].nbytes for name in (*LONG, *FLOAT, "assistant_mask"))
    found = packed_tensors_from_dir(**packed_tensors_to_dir(batch, str(folder)))
    assert all(torch.equal(found[name], batch[name]) for name in LONG)


def test_a_disk_without_room_is_an_error_and_no_bus_error(backend, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(DiskError, match=r"tensors/tokens.pt: the disk is full"):
        backend._get_packed_tensors(MODEL, [])
