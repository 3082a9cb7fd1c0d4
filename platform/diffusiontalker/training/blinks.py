"""Blinks in training data: found, removed, and described.

A talker learns faces without blinks, and when a blink begins; see ``runtime.blinks``.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from diffusiontalker.runtime.blinks import LIDS

HEIGHT, PROMINENCE = 0.5, 0.3
"""Closure that a blink reaches, and how far it stands out of the lids' course around it."""
MAX_HALF_WIDTH = 15
"""Frames (0.5 s) that the lids may be half closed: longer is an eye that is shut on purpose."""
FOOT = 0.05
"""A blink reaches over the frames in which the lids have left rest by this share of its height."""
REACH = 12
"""Frames before and after its peak that a blink may reach."""
FEWEST = 20
"""Blinks that it takes to describe their course."""
NO_BLINK, ONSET, WITHIN = 0.0, 1.0, -1.0
"""Labels of frames: none begins here, one begins, one is under way."""


class Blink(NamedTuple):
    """Frames of a blink: the last one before the lids move, and the first one after."""

    start: int
    stop: int


def find_blinks(face: np.ndarray) -> list[Blink]:
    """The blinks of a face (T, 52), in order, apart from each other: closures of both lids."""
    from scipy.signal import find_peaks  # takes a while to import

    lids = face[:, list(LIDS)].min(1)
    # The eyes count as open around the clip, which may begin or end within a blink.
    peaks, _ = find_peaks(
        np.pad(lids, 1), height=HEIGHT, prominence=PROMINENCE, width=(1, MAX_HALF_WIDTH)
    )
    out: list[Blink] = []
    for peak in (peaks - 1).tolist():
        before, after = lids[max(peak - REACH, 0) : peak + 1], lids[peak : peak + REACH + 1]
        start = peak - len(before) + 1 + int(np.flatnonzero(before <= _foot(before)).max(initial=0))
        still = np.flatnonzero(after <= _foot(after))
        stop = peak + int(still.min(initial=len(after) - 1))
        if out and start < out[-1].stop:
            out[-1] = Blink(out[-1].start, stop)  # two peaks of one closure
        else:
            out.append(Blink(start, stop))
    return out


def _foot(lids: np.ndarray) -> float:
    """The closure below which a blink has not begun, or is over, on one side of its peak."""
    return float(lids.min() + FOOT * (lids.max() - lids.min()))


def without_blinks(face: np.ndarray, blinks: Iterable[Blink]) -> np.ndarray:
    """The face (T, 52) with the lids drawn straight across its blinks.

    Across one that the clip cuts they stay as they are at its other end.
    """
    out = face.copy()
    for start, stop in blinks:
        for lid in LIDS:
            first, last = face[start, lid], face[stop, lid]
            if start == 0:
                first = min(first, last)
            if stop == len(face) - 1:
                last = min(first, last)
            across = np.linspace(first, last, stop - start + 1)
            out[start : stop + 1, lid] = np.minimum(face[start : stop + 1, lid], across)
    return out


def onset_labels(frames: int, blinks: Iterable[Blink]) -> np.ndarray:
    """A label for each frame (T,) float32: ``NO_BLINK``, ``ONSET`` or ``WITHIN``.

    A blink without a still frame before it may have begun before the clip: it has no onset there.
    """
    out = np.full(frames, NO_BLINK, np.float32)
    for start, stop in blinks:
        out[start : stop + 1] = WITHIN
        if start > 0:  # in frame 0 lids may be moving already
            out[start + 1] = ONSET
    return out


def blink_shape(faces: Iterable[tuple[np.ndarray, np.ndarray, list[Blink]]]) -> tuple[float, ...]:
    """The median course of blinks from the first frame in which the lids move: closure in 0-1.

    Args:
        faces: as recorded and ``without_blinks`` (T, 52), and the blinks.

    Returns:
        a value for each frame; empty where there are fewer than ``FEWEST`` whole blinks.
    """
    courses = []
    for face, base, blinks in faces:
        for start, stop in blinks:
            if start > 0 and stop < len(face) - 1:  # not cut by the clip
                lids = slice(start + 1, stop), list(LIDS)
                moved = (face[lids] - base[lids]) / np.maximum(1 - base[lids], 1e-3)
                courses.append(np.pad(moved.mean(1), (0, 2 * REACH))[: 2 * REACH])
    if len(courses) < FEWEST:
        return ()
    course = np.clip(np.median(courses, axis=0), 0, 1)
    lasting = np.flatnonzero(course > FOOT)
    return tuple(course[: lasting[-1] + 1].tolist()) if len(lasting) else ()
