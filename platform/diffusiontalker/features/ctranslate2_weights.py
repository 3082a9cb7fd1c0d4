"""Weights in CTranslate2's binary format, version 6; nothing in a file is run or unpickled.

Little-endian: version; name and revision of the specification; variables, each with name, shape,
data type, size and values; aliases. A string has its length before it and a zero at its end.
"""

import math
import struct
from pathlib import Path

import numpy as np

from diffusiontalker.errors import UserError

VERSION = 6
MAX_VARIABLES = 10_000
MAX_RANK = 4
DTYPES = {0: "<f4", 1: "<i1", 2: "<i2", 3: "<i4", 4: "<f2"}
"""Data types by their numbers; bfloat16 is not read."""


def read_weights(path: Path, name: str, revision: int) -> dict[str, np.ndarray]:
    """The variables of a model by name; read from the file as they are used.

    Args:
        path: the file.
        name: of the specification that it must have.
        revision: likewise.

    Raises:
        UserError: another format or specification, or the file is damaged.
    """
    try:
        reader = _Reader(np.memmap(path, mode="r"))
        if (version := reader.number("I")) != VERSION:
            raise ValueError(f"version {version} of the format, where {VERSION} is read")
        if (found := (reader.string(), reader.number("I"))) != (name, revision):
            raise ValueError(f"{found[0]} {found[1]}, where {name} {revision} is read")
        variables = dict(reader.variable() for _ in range(reader.count()))
        for _ in range(reader.count()):  # aliases: of variables that are shared
            reader.string()
            reader.string()
        if reader.position != len(reader.content):
            raise ValueError(f"{len(reader.content) - reader.position} bytes are left over")
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not CTranslate2 weights that can be read: {error}") from error
    return variables


class _Reader:
    """Reads from the front of a file's content; ValueError where that ends or makes no sense."""

    def __init__(self, content: np.ndarray) -> None:
        self.content, self.position = content, 0

    def take(self, size: int) -> np.ndarray:
        end = self.position + size
        if end > len(self.content):
            raise ValueError(f"the file ends at {len(self.content)} bytes, before {end}")
        taken = self.content[self.position : end]
        self.position = end
        return taken

    def number(self, kind: str) -> int:
        return int(struct.unpack(f"<{kind}", self.take(struct.calcsize(kind)).tobytes())[0])

    def count(self) -> int:
        if (count := self.number("I")) > MAX_VARIABLES:
            raise ValueError(f"{count} variables, where {MAX_VARIABLES} are read at most")
        return count

    def string(self) -> str:
        return self.take(self.number("H")).tobytes().removesuffix(b"\0").decode()

    def variable(self) -> tuple[str, np.ndarray]:
        name = self.string()
        if (rank := self.number("B")) > MAX_RANK:
            raise ValueError(f"{name} has {rank} dimensions")
        shape = [self.number("I") for _ in range(rank)]
        if (kind := self.number("B")) not in DTYPES:
            raise ValueError(f"{name} has the data type {kind}")
        dtype, size = np.dtype(DTYPES[kind]), self.number("I")
        if size != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has the shape {shape}, but {size} bytes")
        return name, self.take(size).view(dtype).reshape(shape)
