"""A face as a file holds it: the same for every format."""

from dataclasses import dataclass

import numpy as np

from diffusiontalker.errors import UserError

MAX_GAP = 0.5
"""Seconds without a face that are filled with a straight line; what is longer is no data (our
choice: a syllable or two)."""


@dataclass(frozen=True)
class Track:
    """Coefficients, evenly spaced in time, and how that came about."""

    values: np.ndarray
    """(T, 52) float32 in ``arkit.CHANNELS``."""
    fps: float
    """Rate of ``values``."""
    stated_fps: float
    """Rate as the file tells it, by its ``fps`` or else its times: not rounded, whatever frames it
    lacks."""
    start: float = 0.0
    """Time stamp of the first frame, in seconds; 0 if it has none."""
    missing: tuple[str, ...] = ()
    """Channels that the file does not name; their values are 0."""
    seen: np.ndarray | None = None
    """(T,) bool: which frames the file holds; the others are filled in. None: all."""
    notes: tuple[str, ...] = ()
    """What was mended in reading."""
    counted: bool = False
    """Whether time was counted in frames alone, as in a timecode: at what is called 30 a second
    there may be 30 / 1.001."""


def whole(track: Track, where: str) -> tuple[np.ndarray, float]:
    """(values, fps), for those who take all frames alike.

    Raises:
        UserError: the face is lost for longer than ``MAX_GAP``.
    """
    if track.seen is not None:
        start, stop = max(gaps(track.seen), key=lambda gap: gap[1] - gap[0], default=(0, 0))
        if (stop - start) / track.fps > MAX_GAP + 1e-6:
            raise UserError(
                f"{where}: no face for {(stop - start) / track.fps:.2f} s from "
                f"{start / track.fps:.2f} s on; cut the file there"
            )
    return track.values, track.fps


def gaps(seen: np.ndarray) -> list[tuple[int, int]]:
    """First and last-plus-one frame of every run of frames that are not ``seen`` (T,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[True], seen, [True]])))
    return [(int(start), int(stop)) for start, stop in edges.reshape(-1, 2)]
