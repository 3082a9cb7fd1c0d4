"""Read and validate arrays in ``.npz`` and ``.npy`` files, with one-line errors."""

import tokenize
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.errors import UserError
from diffusiontalker.storage import read_bytes

DAMAGED_HEADER = (ValueError, TypeError, KeyError, EOFError, SyntaxError, tokenize.TokenError)
"""What numpy raises on a damaged header of an ``.npy``."""
_DAMAGED = (
    *DAMAGED_HEADER, OSError, MemoryError, OverflowError, RuntimeError, zipfile.BadZipFile,
    zlib.error,
)  # fmt: skip
"""What damaged or encrypted archives and arrays raise, and those with an unsupported compression; a
header may claim any size."""
MAX_UNPACKED = 1 << 30
"""Bytes that an ``.npz`` may unpack to."""


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """Every array of an ``.npz``. Pickled objects are refused. Raises UserError."""
    data = BytesIO(read_bytes(path))
    try:
        with zipfile.ZipFile(data) as members:
            if (size := sum(member.file_size for member in members.infolist())) > MAX_UNPACKED:
                raise UserError(f"{path}: unpacks to {size} bytes; at most {MAX_UNPACKED} are read")
        with np.load(data, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except _DAMAGED as error:
        raise UserError(f"{path}: not an .npz of plain arrays ({error})") from error


def read_npy(path: Path) -> np.ndarray:
    """The array of an ``.npy``. Pickled objects are refused. Raises UserError."""
    try:
        return np.lib.format.read_array(BytesIO(read_bytes(path)), allow_pickle=False)
    except _DAMAGED as error:
        raise UserError(f"{path}: not an .npy of a plain array ({error})") from error


def numbers(array: np.ndarray, where: str) -> np.ndarray:
    """``array`` as float32. Raises UserError if it does not hold finite numbers."""
    if array.dtype.kind not in "fiu":
        raise UserError(f"{where}: holds {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        first = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
        raise UserError(f"{where}: NaN or infinity at index {first}")
    return values


def coefficients(values: np.ndarray, where: str) -> np.ndarray:
    """``values`` as finite float32 (T, 52), T at least 1. Raises UserError otherwise."""
    values = numbers(np.asarray(values), where)
    if values.ndim != 2 or values.shape[1] != len(arkit.CHANNELS) or len(values) == 0:
        raise UserError(f"{where}: shape {values.shape}, expected (frames, {len(arkit.CHANNELS)})")
    return values


def rate(fps: object, where: str) -> float:
    """``fps`` as a float. Raises UserError if it is not a finite number above 0."""
    try:
        value = float(fps)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        value = float("nan")
    if not 0 < value < float("inf"):
        raise UserError(f"{where}: fps is {fps!r}, expected a number above 0")
    return value
