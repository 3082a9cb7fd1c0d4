"""Read some rows of a large ``.npy`` of vertices: VOCASET's published file has 15 GB."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffusiontalker import storage
from diffusiontalker.animation import files
from diffusiontalker.errors import UserError

MAX_TAKE_BYTES = 2 << 30
"""Of the vertices of a take: minutes of VOCASET's mesh, whose takes have 3 to 5 s (our choice)."""


def read_vertices(path: Path, rows: Sequence[int] | None, index_name: str) -> np.ndarray:
    """Rows of an ``.npy`` of (frames, V, 3) or (frames, 3 V) as (T, V, 3); None: all rows.

    Args:
        path: of the array, of which only these rows are read.
        rows: indices of frames, in any order.
        index_name: the table that ``rows`` come from, for error messages.

    Raises:
        UserError: not such an array, truncated, a row out of range, or more than
            ``MAX_TAKE_BYTES``.
    """

    def read() -> np.ndarray:
        with storage.open_input(path) as file:
            shape, dtype = _read_header(file, str(path))
            count = shape[0] if rows is None else len(rows)
            if count == 0:
                raise UserError(f"{path}: holds no frames")
            row_bytes = dtype.itemsize * math.prod(shape[1:])
            if count * row_bytes > MAX_TAKE_BYTES:
                raise UserError(
                    f"{path}: {count} frames in a take, more than {MAX_TAKE_BYTES >> 30} GiB"
                )
            wanted = np.arange(count) if rows is None else np.array(rows)
            if wanted.max() >= shape[0]:
                raise UserError(f"{path}: {shape[0]} frames, but {index_name} names {wanted.max()}")
            begin, chunks = file.tell(), []
            for block in np.split(wanted, np.flatnonzero(np.diff(wanted) != 1) + 1):
                file.seek(begin + int(block[0]) * row_bytes)
                chunks.append(file.read(len(block) * row_bytes))
                if len(chunks[-1]) < len(block) * row_bytes:
                    raise UserError(f"{path}: cut short; fetch it again")
            return np.frombuffer(b"".join(chunks), dtype).reshape(len(wanted), -1, 3)

    return storage.explained("read", path, read)


def _read_header(file: Any, where: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and dtype of the ``.npy`` at the beginning of ``file``, which is left at its data."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        shape, by_column, dtype = readers[np.lib.format.read_magic(file)](file)
    except files.DAMAGED_HEADER as error:
        raise UserError(f"{where}: not an .npy file ({error})") from error
    match shape:
        case (_, _, 3):
            fits = True
        case (_, width):
            fits = width > 0 and width % 3 == 0
        case _:
            fits = False
    if by_column or dtype.kind != "f" or not fits:
        raise UserError(
            f"{where}: {dtype} {shape}, expected floats (frames, V, 3) or (frames, 3 V), row by row"
        )
    return shape, dtype
