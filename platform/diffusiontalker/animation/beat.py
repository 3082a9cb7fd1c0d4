"""BEAT's JSON layout: names once, then per frame its weights and time."""

import json
from typing import Any

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import files, timing
from diffusiontalker.errors import UserError


def layout(coefficients: np.ndarray, fps: float) -> dict[str, Any]:
    """Coefficients (T, 52) in BEAT's keys, and ``fps`` beside them, as plain values."""
    frames = [
        {"weights": [round(float(w), 6) for w in row], "time": round(i / fps, 6), "rotation": []}
        for i, row in enumerate(coefficients)
    ]
    return {"names": list(arkit.CHANNELS), "fps": fps, "frames": frames}


def encode(coefficients: np.ndarray, fps: float) -> str:
    """``layout`` as JSON text."""
    return json.dumps(layout(coefficients, fps))


def decode(text: str, where: str) -> tuple[np.ndarray, float]:
    """(coefficients (T, 52) float32, fps) of a BEAT take or of ``encode``; channels match by name.

    The rate is ``fps`` where the file has it, else that of the frames' times.

    Raises:
        UserError: not JSON of that layout, frames of another length, an unknown channel, NaN.
    """
    try:
        tree = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
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
    values = _floats(rows, f"{where}: weights")
    values = arkit.map_by_name(files.numbers(values, f"{where}: weights"), names, where)
    if "fps" in tree:
        return values, files.rate(tree["fps"], where)
    times = _floats([frame.get("time", np.nan) for frame in frames], f"{where}: times")
    return timing.evenly(times, values, where)


def _is_list(value: Any, of: type) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(v, of) for v in value)


def _floats(values: list[Any], where: str) -> np.ndarray:
    try:
        return np.array(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise UserError(f"{where}: expected numbers ({error})") from error
