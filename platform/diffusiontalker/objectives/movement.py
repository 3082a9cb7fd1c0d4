"""How a face moves over time: speed, acceleration and blinks, against the recording's.

Spread over time, which ``metrics.spread_ratio`` measures, is met by noise from frame to frame;
these ratios are not: they are 1 for the recording, above it for flicker, and below it for a blur.
Our choice.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.objectives.metrics import Array, Region, pooled_ratio

CLOSED = 0.5
"""Coefficient of eyeBlinkLeft above which the eye counts as closed."""
REACH = 8
"""Frames before and after the peak of a blink that its course covers: 0.27 s."""


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
    length: float
    """Median length in seconds, of the frames around the peak with at least half of its closure;
    NaN where no blink lies wholly within a face."""


class Blink(NamedTuple):
    """A run of frames with eyeBlinkLeft above ``CLOSED``."""

    start: int
    stop: int
    peak: int
    """The frame in which the eye is closed most."""


def blinks(faces: Sequence[Array]) -> Blinks:
    """Blinks in faces (T, 52) at 30 fps: runs of frames with eyeBlinkLeft above ``CLOSED``."""
    found = [(lid, blink) for lid in map(_lid, faces) for blink in _blinks_of(lid)]
    minutes = sum(len(face) for face in faces) / (60 * arkit.FPS)
    single = [blink.stop - blink.start == 1 for _, blink in found]
    lengths = [length for lid, blink in found if (length := _frames_half_closed(lid, blink))]
    return Blinks(
        len(found) / minutes if minutes else math.nan,
        float(np.mean(single)) if single else math.nan,
        float(np.median(lengths)) / arkit.FPS if lengths else math.nan,
    )


def blink_course(faces: Sequence[Array]) -> Array | None:
    """The mean course of blinks, (2 ``REACH`` + 1,): eyeBlinkLeft as a share of its peak, from
    ``REACH`` frames before the peak to as many after it. None without a blink of which all these
    frames are there."""
    courses = [
        lid[peak - REACH : peak + REACH + 1] / lid[peak]
        for lid in map(_lid, faces)
        for *_, peak in _blinks_of(lid)
        if REACH <= peak < len(lid) - REACH
    ]
    return np.mean(courses, axis=0) if courses else None


def blink_shape_error(p: Sequence[Array], g: Sequence[Array]) -> float:
    """Mean absolute difference of the predicted and the true ``blink_course``, in 0-1; NaN where
    one of them has no blink."""
    predicted, true = blink_course(p), blink_course(g)
    if predicted is None or true is None:
        return math.nan
    return float(np.abs(predicted - true).mean())


def _lid(face: Array) -> Array:
    lid: Array = np.asarray(face, np.float64)[:, arkit.INDEX["eyeBlinkLeft"]]
    return lid


def _blinks_of(lid: Array) -> list[Blink]:
    """The blinks of eyeBlinkLeft (T,)."""
    closed = np.concatenate([[False], lid > CLOSED, [False]])
    edges = np.flatnonzero(np.diff(closed.astype(np.int8))).tolist()
    return [
        Blink(start, stop, start + int(lid[start:stop].argmax()))
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
    ]


def _frames_half_closed(lid: Array, blink: Blink) -> int | None:
    """Frames around the peak of a blink with at least half of its closure; None where the face
    begins or ends within them."""
    less = np.flatnonzero(lid < lid[blink.peak] / 2)
    before, after = less[less < blink.peak], less[less > blink.peak]
    return int(after[0] - before[-1]) - 1 if len(before) and len(after) else None
