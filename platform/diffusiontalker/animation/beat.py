"""BEAT's JSON layout: names once, then per frame its weights and time."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import files, timing
from diffusiontalker.errors import UserError


@dataclass(frozen=True)
class Track:
    """The content of a file of this layout."""

    values: np.ndarray
    """(T, 52) float32 in ``arkit.CHANNELS``, evenly spaced in time."""
    fps: float
    """Rate of ``values``."""
    stated_fps: float
    """Rate as the file tells it, by its ``fps`` or else its time stamps: not rounded, whatever
    frames it lacks."""
    start: float
    """Time stamp of the first frame, in seconds; 0 if it has none."""
    missing: tuple[str, ...]
    """Channels that the file does not name; their values are 0."""


def layout(coefficients: np.ndarray, fps: float) -> dict[str, Any]:
    """Coefficients (T, 52) in BEAT's keys, and ``fps`` beside them, as plain values."""
    rows = np.round(coefficients.astype(np.float64), 6).tolist()
    frames = [
        {"weights": row, "time": round(i / fps, 6), "rotation": []} for i, row in enumerate(rows)
    ]
    return {"names": list(arkit.CHANNELS), "fps": fps, "frames": frames}


def encode(coefficients: np.ndarray, fps: float) -> str:
    """``layout`` as JSON text."""
    return json.dumps(layout(coefficients, fps))


def read(text: str, where: str) -> Track:
    """A BEAT take, or what ``encode`` wrote; channels match by name.

    The rate is ``fps`` where the file has it, else that of the frames' times.

    Raises:
        UserError: not JSON of that layout, frames of another length, an unknown channel, NaN.
    """
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of 5000 digits
        raise UserError(f"{where}: not JSON ({error})") from error
    if not isinstance(tree, dict):
        tree = {}
    names, frames = tree.get("names", []), tree.get("frames", [])
    if not _is_list(names, str) or not _is_list(frames, dict):
        raise UserError(f'{where}: expected {{"names": [...], "frames": [{{"weights": [...]}}]}}')
    rows = []
    for number, frame in enumerate(frames):
        weights = frame.get("weights")
        if not isinstance(weights, list) or len(weights) != len(names):
            raise UserError(f"{where}: frame {number}: expected {len(names)} weights, one per name")
        rows.append(weights)
    values = files.numbers(_floats(rows, 2, f"{where}: weights"), f"{where}: weights")
    values, absent = arkit.map_by_name(values, names, where), missing(names)
    if "fps" in tree:
        fps = files.rate(tree["fps"], where)
        first = _floats([frames[0].get("time", 0.0)], 1, f"{where}: times")
        return Track(values, fps, fps, float(files.numbers(first, f"{where}: times")[0]), absent)
    times = _floats([frame.get("time", np.nan) for frame in frames], 1, f"{where}: times")
    values, fps = timing.evenly(times, values, where)
    return Track(values, fps, timing.rate(times, where), float(times[0]), absent)


def decode(text: str, where: str) -> tuple[np.ndarray, float]:
    """(coefficients (T, 52) float32, fps) of ``read``. Raises UserError."""
    track = read(text, where)
    return track.values, track.fps


def missing(names: Sequence[str]) -> tuple[str, ...]:
    """The channels that are not among ``names``, whatever their case."""
    lower = {name.lower() for name in names}
    return tuple(name for name in arkit.CHANNELS if name.lower() not in lower)


def _is_list(value: Any, of: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, of) for v in value)


def _floats(values: list[Any], axes: int, where: str) -> np.ndarray:
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: expected numbers ({error})") from error
    if array.ndim != axes:
        raise UserError(f"{where}: expected numbers, got lists")
    return array
