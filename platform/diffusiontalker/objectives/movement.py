"""How a face moves over time: speed, acceleration and blinks, against the recording's.

Spread over time, which ``metrics.spread_ratio`` measures, is met by noise from frame to frame;
these ratios are not: they are 1 for the recording, above it for flicker, and below it for a blur.
Our choice.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.objectives.metrics import Array, Region, pooled_ratio

CLOSED = 0.5
"""Coefficient of eyeBlinkLeft above which the eye counts as closed."""


def speed_ratio(p: Sequence[Array], g: Sequence[Array], region: Region = "upper") -> float:
    """Mean absolute first difference over time, predicted over true; 1 is right.

    ``p`` and ``g`` are lists of sequences (T, C), which pool: the differences of all are summed
    before the ratio. NaN where the truth never moves.
    """
    return pooled_ratio(p, g, region, lambda x: np.abs(np.diff(x, axis=0)).sum())


def acceleration_ratio(p: Sequence[Array], g: Sequence[Array], region: Region = "upper") -> float:
    """Mean absolute second difference over time, predicted over true, as ``speed_ratio``."""
    return pooled_ratio(p, g, region, lambda x: np.abs(np.diff(x, 2, axis=0)).sum())


class Blinks(NamedTuple):
    """How often the eyes close, and how."""

    per_minute: float
    single_frame: float
    """Share of the blinks that last a single frame, which no eyelid does; NaN without a blink."""


def blinks(faces: Sequence[Array]) -> Blinks:
    """Blinks in faces (T, 52) at 30 fps: runs of frames with eyeBlinkLeft above ``CLOSED``."""
    channel = arkit.CHANNELS.index("eyeBlinkLeft")
    lengths: list[int] = []
    for face in faces:
        closed = np.concatenate([[False], np.asarray(face)[:, channel] > CLOSED, [False]])
        edges = np.flatnonzero(np.diff(closed.astype(np.int8)))
        lengths += (edges[1::2] - edges[::2]).tolist()
    minutes = sum(len(face) for face in faces) / (60 * arkit.FPS)
    single = lengths.count(1) / len(lengths) if lengths else float("nan")
    return Blinks(len(lengths) / minutes if minutes else float("nan"), single)
