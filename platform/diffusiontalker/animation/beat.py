"""BEAT's JSON layout: channel names once, then weights and time of each frame."""

import json
from typing import Any

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import files, timing, tracks
from diffusiontalker.animation.tracks import Track
from diffusiontalker.errors import UserError


def layout(coefficients: np.ndarray, fps: float) -> dict[str, Any]:
    """Coefficients (T, 52) under BEAT's keys, with ``fps`` added, as plain values."""
    return {"names": list(arkit.CHANNELS), "fps": fps, "frames": frames(coefficients, fps)}


def frames(coefficients: np.ndarray, fps: float, first: int = 0) -> list[dict[str, Any]]:
    """The layout's list ``frames``; ``first`` is the index of the first one."""
    rows = np.round(coefficients.astype(np.float64), 6).tolist()
    return [
        {"weights": row, "time": round(i / fps, 6), "rotation": []}
        for i, row in enumerate(rows, first)
    ]


def encode(coefficients: np.ndarray, fps: float) -> str:
    """``layout`` as JSON text."""
    return json.dumps(layout(coefficients, fps))


def read(text: str, where: str, fps: float | None = None, ignore: tuple[str, ...] = ()) -> Track:
    """A BEAT take, or what ``encode`` wrote; channels match by name.

    The rate is that of the frames' times, or the file's ``fps`` where its times do not contradict
    it. Frames without weights and dropped frames are interpolated, and not ``tracked``.

    Args:
        text: of the file.
        where: prefix of error messages.
        fps: the rate of a file without rate and times; None: such a file is refused.
        ignore: names to leave out.

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
    rows, tracked = [], np.ones(len(frames), bool)
    for number, frame in enumerate(frames):
        weights = frame.get("weights")
        tracked[number] = weights != []
        if not isinstance(weights, list) or len(weights) not in (0, len(names)):
            raise UserError(f"{where}: frame {number}: expected {len(names)} weights, one per name")
        rows.append(weights or [0.0] * len(names))
    values = files.numbers(_floats(rows, 2, f"{where}: weights"), f"{where}: weights")
    values, missing = arkit.map_by_name(values, names, where, ignore), arkit.missing(names)
    timestamps = [frame.get("time", np.nan) for frame in frames]
    if "fps" in tree or (fps is not None and not any("time" in frame for frame in frames)):
        rate = files.rate(tree.get("fps", fps), where)
        times = files.numbers(_floats([frames[0].get("time", 0.0)], 1, where), f"{where}: times")
        if not _contradict(timestamps, rate, where):
            filled = timing.fill_gaps(values, tracked, where)
            return Track(filled, rate, rate, float(times[0]), missing, tracked)
    times = _floats(timestamps, 1, f"{where}: times")
    even = timing.on_even_grid(times, values, where, tracked)
    start = float(times[0])
    return Track(
        even.values, even.fps, even.measured_fps, start, missing, even.tracked, even.notes
    )  # fmt: skip


def _contradict(timestamps: list[Any], fps: float, where: str) -> bool:
    """Whether every frame has a time, and some are off by more than half a frame at ``fps``."""
    if not all(isinstance(time, int | float) for time in timestamps):
        return False
    times = _floats(timestamps, 1, f"{where}: times")
    positions = (times - times[0]) * fps
    return bool(np.abs(positions - np.arange(len(times))).max() > 0.5)


def decode(text: str, where: str, fps: float | None = None) -> tuple[np.ndarray, float]:
    """``read`` as (coefficients (T, 52) float32, fps).

    Raises:
        UserError: as ``read``, or frames are missing for longer than ``tracks.MAX_GAP``.
    """
    return tracks.continuous(read(text, where, fps), where)


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
