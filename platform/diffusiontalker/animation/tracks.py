"""A face track as read from a file: one type for every animation format."""

from dataclasses import dataclass

import numpy as np

from diffusiontalker.errors import UserError

MAX_GAP = 0.5
"""Seconds of lost tracking that are interpolated linearly; longer gaps are treated as missing data
(our choice: a syllable or two)."""


@dataclass(frozen=True)
class Track:
    """Coefficients, evenly spaced in time, and how they were obtained."""

    values: np.ndarray
    """(T, 52) float32 in ``arkit.CHANNELS``."""
    fps: float
    """Rate of ``values``."""
    stated_fps: float
    """Rate according to the file, by its ``fps`` field or else its time stamps: not rounded, and
    independent of dropped frames."""
    start: float = 0.0
    """Time stamp of the first frame, in seconds; 0 if it has none."""
    missing: tuple[str, ...] = ()
    """Channels that the file does not name; their values are 0."""
    tracked: np.ndarray | None = None
    """(T,) bool: frames in which the face was tracked; the others are interpolated. None: all."""
    notes: tuple[str, ...] = ()
    """Corrections made while reading."""
    nominal_rate: bool = False
    """Whether time was derived from frame counts alone, as from timecodes: a nominal 30 fps may be
    30 / 1.001."""


def continuous(track: Track, where: str) -> tuple[np.ndarray, float]:
    """(values, fps), for callers that do not distinguish interpolated frames.

    Raises:
        UserError: tracking is lost for longer than ``MAX_GAP``.
    """
    if track.tracked is not None:
        start, stop = max(gaps(track.tracked), key=lambda gap: gap[1] - gap[0], default=(0, 0))
        if (stop - start) / track.fps > MAX_GAP + 1e-6:
            raise UserError(
                f"{where}: no face for {(stop - start) / track.fps:.2f} s from "
                f"{start / track.fps:.2f} s on; cut the file there"
            )
    return track.values, track.fps


def gaps(tracked: np.ndarray) -> list[tuple[int, int]]:
    """Half-open frame ranges [start, stop) of all runs in which ``tracked`` (T,) is False."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], tracked, [True]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
