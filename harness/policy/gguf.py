"""Reads a GGUF file: its fields, and its tensors as float32. Only the three tensor types that our policies use.

The layout is that of the GGUF specification, version 3, little-endian: header, fields, tensor infos, aligned data.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.errors import ConfigError

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8
BLOCK = 32  # weights that share a scale, in both quantised types
Q4_1_BLOCK = np.dtype([("scale", "<f2"), ("lowest", "<f2"), ("pairs", "u1", BLOCK // 2)])
Q8_0_BLOCK = np.dtype([("scale", "<f2"), ("weights", "i1", BLOCK)])


@dataclass(frozen=True)
class Gguf:
    """fields: by key; infos: tensor name -> (shape, type, offset in `data`), the shape slowest axis first."""

    fields: dict[str, Any]
    infos: dict[str, tuple[tuple[int, ...], int, int]]
    data: memoryview

    def tensors(self) -> Iterator[tuple[str, np.ndarray]]:
        """Name and float32 array of each tensor. Raises ConfigError for a type that is not read here."""
        for name, (shape, kind, offset) in self.infos.items():
            try:
                yield name, dequantise(self.data[offset:], kind, math.prod(shape)).reshape(shape)
            except ConfigError as error:
                raise ConfigError(f"Tensor {name}: {error}") from None


def dequantise(data: memoryview | bytes, kind: int, count: int) -> np.ndarray:
    """The first `count` weights in `data`, float32, flat. Raises ConfigError for an unknown type."""
    if kind == F32:
        return np.frombuffer(data, "<f4", count)
    if kind == Q8_0:
        blocks = np.frombuffer(data, Q8_0_BLOCK, count // BLOCK)
        return (blocks["scale"].astype("f4")[:, None] * blocks["weights"]).ravel()
    if kind == Q4_1:
        blocks = np.frombuffer(data, Q4_1_BLOCK, count // BLOCK)
        # a byte holds weight i of the first half below weight i of the second
        steps = np.concatenate([blocks["pairs"] & 15, blocks["pairs"] >> 4], axis=1)
        return (blocks["scale"].astype("f4")[:, None] * steps + blocks["lowest"].astype("f4")[:, None]).ravel()
    raise ConfigError(f"GGUF tensor type {kind} is not read here; expected F32 (0), Q4_1 (3) or Q8_0 (8).")


def read(content: bytes) -> Gguf:
    """A whole file's content. Raises ConfigError if it is no GGUF of version 3."""
    if content[:8] != b"GGUF" + struct.pack("<I", 3):
        raise ConfigError(f"Not a GGUF file of version 3: it begins with {content[:8]!r}.")
    cursor = _Cursor(content, 8)
    tensors, fields = cursor.number("Q"), cursor.number("Q")
    values = {cursor.string(): cursor.value(cursor.number("I")) for _ in range(fields)}
    infos = {}
    for _ in range(tensors):
        name = cursor.string()
        shape = tuple(cursor.number("Q") for _ in range(cursor.number("I")))[::-1]
        infos[name] = (shape, cursor.number("I"), cursor.number("Q"))
    alignment = values.get("general.alignment", 32)
    return Gguf(values, infos, memoryview(content)[-(-cursor.at // alignment) * alignment :])


@dataclass
class _Cursor:
    content: bytes
    at: int

    def number(self, code: str) -> Any:
        (value,) = struct.unpack_from(f"<{code}", self.content, self.at)
        self.at += struct.calcsize(f"<{code}")
        return value

    def string(self) -> str:
        length = self.number("Q")
        self.at += length
        return self.content[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            kind, length = self.number("I"), self.number("Q")
            return [self.value(kind) for _ in range(length)]
        return self.number(SCALARS[kind])
