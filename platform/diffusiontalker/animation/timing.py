"""Frame rates from time stamps, and resampling of unevenly spaced frames."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from diffusiontalker.errors import UserError

LOWEST_FPS, HIGHEST_FPS = 1.0, 1000.0
"""Rates outside mean that the time stamps are not in seconds (our choice)."""
RATES = (24, 25, 30, 48, 50, 60)
"""Output rates that engines and films use, in frames per second."""
MIN_PRESENT_SHARE = 0.1
"""Least share of an even grid's frames that must be present to interpolate the rest (our
choice)."""
MAX_REPEATED_SHARE = 0.5
"""Greatest share of the frames that may repeat the time stamp of the one before (our choice): a
camera at twice the rate of its clock."""
DAY = 86_400.0
MIDNIGHT = "the clock passed midnight: a day was added"


class EvenFrames(NamedTuple):
    """Frames on an even grid."""

    values: np.ndarray
    """(T, C)."""
    fps: float
    measured_fps: float
    """The rate of the time stamps, not rounded."""
    tracked: np.ndarray
    """(T,) bool: whether there was a frame at that time; else it is interpolated."""
    notes: tuple[str, ...] = ()
    """Corrections made."""


def on_even_grid(
    times: np.ndarray, values: np.ndarray, where: str, tracked: np.ndarray | None = None
) -> EvenFrames:
    """Resample values (T, C) at ``times`` (T,) seconds to an even grid from ``times[0]`` on.

    The rate is that of ``frame_rate``, or the whole number within 0.05 % of it. Frames that lie
    within a tenth of a frame of the grid are returned unchanged. Others (recorders drop frames, and
    their clocks run a little fast or slow) are interpolated linearly at their real times, so that
    nothing drifts however long the take is (our choice). Of frames with the same time stamp the
    first is kept. A time of day that passes midnight continues.

    Args:
        times: of the frames.
        values: of the frames.
        where: prefix of error messages.
        tracked: (T,) bool: frames that hold values; None: all.

    Raises:
        UserError: as ``frame_rate``, nearly all frames are missing, or none is tracked.
    """
    midnights, notes = midnights_passed(times), []
    if midnights.any():
        times = times + DAY * midnights
        notes.append(MIDNIGHT)
    new = np.append(True, times[1:] != times[:-1])[: len(times)]
    if not new.all() and (repeated := int((~new).sum())) <= MAX_REPEATED_SHARE * len(times):
        notes.append(f"frames left out that have the time of the one before: {repeated}")
        times, values = times[new], values[new]
        tracked = None if tracked is None else tracked[new]
    measured = frame_rate(times, where)
    fps = rounded_rate(measured)
    tracked = np.ones(len(times), bool) if tracked is None else tracked
    positions = (times - times[0]) * fps
    if np.abs(positions - np.arange(len(times))).max() <= 0.1:
        return EvenFrames(
            fill_gaps(values, tracked, where), fps, measured, tracked, tuple(notes)
        )  # fmt: skip
    count = round(float(positions[-1])) + 1
    if len(times) < MIN_PRESENT_SHARE * count:
        raise UserError(f"{where}: {len(times)} frames where {fps:g} fps would have {count}")
    grid = np.arange(count)
    even = _interpolated(grid, positions, values, tracked, where)
    return EvenFrames(even, fps, measured, _is_present(grid, positions[tracked]), tuple(notes))


def fill_gaps(values: np.ndarray, tracked: np.ndarray, where: str) -> np.ndarray:
    """Values (T, C) with linear interpolation where ``tracked`` (T,) is False; unchanged if all
    frames are tracked. Raises UserError if none is."""
    if tracked.all():
        return values
    grid = np.arange(len(values))
    return _interpolated(grid, grid, values, tracked, where)


def _interpolated(
    grid: np.ndarray, positions: np.ndarray, values: np.ndarray, tracked: np.ndarray, where: str
) -> np.ndarray:
    if not tracked.any():
        raise UserError(f"{where}: no row holds a face: tracking was lost in all frames")
    columns = [np.interp(grid, positions[tracked], column) for column in values[tracked].T]
    return np.stack(columns, axis=1).astype(values.dtype)


def midnights_passed(times: np.ndarray) -> np.ndarray:
    """(T,) number of midnights that a time-of-day clock has passed at each of ``times`` (T,)
    seconds."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.cumsum(np.diff(times, prepend=times[:1]) < -DAY / 2).astype(np.float64)


def _is_present(grid: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """(T,) bool: which points of ``grid`` (T,) have a frame nearby, or lie between two frames that
    are no farther apart than jitter explains."""
    after = np.searchsorted(positions, grid)
    before = positions[np.maximum(after - 1, 0)]
    behind = positions[np.minimum(after, len(positions) - 1)]
    near = np.minimum(np.abs(grid - before), np.abs(behind - grid)) <= 0.6
    between = (after > 0) & (after < len(positions)) & (behind - before <= 1.75)
    return np.asarray(near | between)


def resampled(parts: Iterable[np.ndarray], fps: int, wanted: int) -> Iterator[np.ndarray]:
    """Convert a clip from ``fps`` to ``wanted`` frames per second, part (T, C) by part.

    Frames are interpolated linearly between their neighbours; the last frame is held. A frame is
    emitted with the part that holds its later neighbour, so that a live stream gets no further
    delay.
    """
    if wanted == fps:
        yield from parts
        return
    emitted = first = 0  # frames emitted so far; index of the first frame of `pending`
    pending: np.ndarray | None = None
    for part in parts:
        pending = part if pending is None else np.concatenate([pending, part])
        if len(pending) > 1:
            last = first + len(pending) - 1
            # Only those before the last frame: another one may follow to interpolate towards.
            due = np.arange(emitted, -(-last * wanted // fps))
            yield _between(pending, due * fps / wanted - first)
            emitted, first, pending = emitted + len(due), last, pending[-1:]
    if pending is not None:
        left = -(-(first + 1) * wanted // fps) - emitted
        yield np.repeat(pending, left, axis=0)


def _between(frames: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Linear interpolation of frames (T, C) at ``positions`` (n,), in frames."""
    before = np.floor(positions).astype(int)
    share = (positions - before).astype(frames.dtype)[:, None]
    after = np.minimum(before + 1, len(frames) - 1)
    return (1 - share) * frames[before] + share * frames[after]


def frame_rate(times: np.ndarray, where: str) -> float:
    """Frames per second of frames at ``times`` (T,) seconds: the mean over all steps within half of
    the median step, so that neither dropped frames nor rounded time stamps change it.

    Raises:
        UserError: fewer than two frames, a time that is not finite, times that do not increase, or
            a rate outside of ``LOWEST_FPS`` and ``HIGHEST_FPS``.
    """
    if len(times) < 2:
        raise UserError(f"{where}: one frame has no frame rate; two or more are needed")
    with np.errstate(over="ignore", invalid="ignore"):
        steps = np.diff(times)
    if not np.isfinite(times).all() or (steps <= 0).any():
        bad = int(np.argmin(np.where(np.isfinite(steps), steps, -np.inf))) + 1
        raise UserError(f"{where}: the time of frame {bad} is not after that of the frame before")
    # The lower median: with few steps the mean of the middle two may be like neither.
    median = np.sort(steps)[(len(steps) - 1) // 2]
    if not LOWEST_FPS <= (fps := 1 / max(float(median), 1e-9)) <= HIGHEST_FPS:
        raise UserError(f"{where}: its times give {fps:.3g} frames per second; give them in s")
    return float(1 / steps[np.abs(steps - median) <= median / 2].mean())


def rounded_rate(fps: float) -> float:
    """The whole number within 0.05 % (rounded time stamps), else the rate itself (29.97 stays)."""
    return float(round(fps)) if abs(fps - round(fps)) <= 5e-4 * fps else float(fps)
