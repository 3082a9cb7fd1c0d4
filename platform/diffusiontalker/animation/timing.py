"""Frame times to a frame rate, and uneven frames to even ones."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from diffusiontalker.errors import UserError

LOWEST_FPS, HIGHEST_FPS = 1.0, 1000.0
"""Rates outside are taken for times that are not in seconds (our choice)."""
RATES = (24, 25, 30, 48, 50, 60)
"""Frames per second that engines and films run at, and that a face can be made in."""
FEWEST_FRAMES = 0.1
"""Least share of an even grid's frames that must be there to fill the rest (our choice)."""
MOST_REPEATED = 0.5
"""Greatest share of the frames that may bear the time of the one before (our choice): a camera at
twice the rate of its clock."""
DAY = 86_400.0
MIDNIGHT = "the clock passed midnight: a day was added"


class Even(NamedTuple):
    """Frames on an even grid."""

    values: np.ndarray
    """(T, C)."""
    fps: float
    exact: float
    """The rate that the times tell, not rounded."""
    seen: np.ndarray
    """(T,) bool: whether there was a frame at that time; else it is interpolated."""
    notes: tuple[str, ...] = ()
    """What was mended."""


def evenly(
    times: np.ndarray, values: np.ndarray, where: str, seen: np.ndarray | None = None
) -> Even:
    """Values (T, C) at ``times`` (T,) seconds on an even grid from ``times[0]`` on.

    The rate is that of ``rate``, or the whole number within 0.05 % of it. Frames that lie within
    a tenth of a frame of its grid come back as they are. Recorders drop frames now and then, and
    their clocks run a little fast or slow; such frames are resampled linearly at their real times,
    so that nothing drifts however long the take is (our choice). Of frames with one time the first
    is kept. A clock of the day that passes midnight goes on.

    Args:
        times: of the frames.
        values: of the frames.
        where: what messages begin with.
        seen: (T,) bool: which frames hold anything; None: all.

    Raises:
        UserError: as ``rate``, nearly all frames are missing, or none holds anything.
    """
    passed, notes = days(times), []
    if passed.any():
        times = times + DAY * passed
        notes.append(MIDNIGHT)
    fresh = np.append(True, times[1:] != times[:-1])[: len(times)]
    if not fresh.all() and (repeated := int((~fresh).sum())) <= MOST_REPEATED * len(times):
        notes.append(f"frames left out that have the time of the one before: {repeated}")
        times, values = times[fresh], values[fresh]
        seen = None if seen is None else seen[fresh]
    exact = rate(times, where)
    fps = snapped(exact)
    seen = np.ones(len(times), bool) if seen is None else seen
    since = (times - times[0]) * fps
    if np.abs(since - np.arange(len(times))).max() <= 0.1:
        return Even(filled(values, seen, where), fps, exact, seen, tuple(notes))
    count = round(float(since[-1])) + 1
    if len(times) < FEWEST_FRAMES * count:
        raise UserError(f"{where}: {len(times)} frames where {fps:g} fps would have {count}")
    grid = np.arange(count)
    resampled = _interpolated(grid, since, values, seen, where)
    return Even(resampled, fps, exact, _held(grid, since[seen]), tuple(notes))


def filled(values: np.ndarray, seen: np.ndarray, where: str) -> np.ndarray:
    """Values (T, C) with straight lines where frames are not ``seen`` (T,), and as they are if all
    of them are. Raises UserError if none is."""
    if seen.all():
        return values
    grid = np.arange(len(values))
    return _interpolated(grid, grid, values, seen, where)


def _interpolated(
    grid: np.ndarray, at: np.ndarray, values: np.ndarray, seen: np.ndarray, where: str
) -> np.ndarray:
    if not seen.any():
        raise UserError(f"{where}: no row holds a face: tracking was lost all along")
    columns = [np.interp(grid, at[seen], column) for column in values[seen].T]
    return np.stack(columns, axis=1).astype(values.dtype)


def days(times: np.ndarray) -> np.ndarray:
    """(T,) how often a clock of the day has passed midnight at each of ``times`` (T,) seconds."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.cumsum(np.diff(times, prepend=times[:1]) < -DAY / 2).astype(np.float64)


def _held(grid: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Which whole numbers of ``grid`` (T,) have a frame near, or lie between two that follow each
    other as closely as frames that jitter may."""
    after = np.searchsorted(times, grid)
    before, behind = times[np.maximum(after - 1, 0)], times[np.minimum(after, len(times) - 1)]
    near = np.minimum(np.abs(grid - before), np.abs(behind - grid)) <= 0.6
    between = (after > 0) & (after < len(times)) & (behind - before <= 1.75)
    return np.asarray(near | between)


def resampled(parts: Iterable[np.ndarray], fps: int, wanted: int) -> Iterator[np.ndarray]:
    """The parts (T, C) of a clip at ``fps`` as parts of one at ``wanted`` frames per second: frames
    lie on the lines between their neighbours, and after the last everything stands still.

    A frame comes with the part that holds its later neighbour, so that a live face waits for
    nothing else.
    """
    if wanted == fps:
        yield from parts
        return
    given = first = 0  # frames given so far; the number of the first of `known`
    known: np.ndarray | None = None
    for part in parts:
        known = part if known is None else np.concatenate([known, part])
        if len(known) > 1:
            last = first + len(known) - 1
            # Those before the last known frame: there may be one more to go on to.
            due = np.arange(given, -(-last * wanted // fps))
            yield _between(known, due * fps / wanted - first)
            given, first, known = given + len(due), last, known[-1:]
    if known is not None:
        left = -(-(first + 1) * wanted // fps) - given
        yield np.repeat(known, left, axis=0)


def _between(frames: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Frames (T, C) at ``times`` (n,), counted in frames."""
    before = np.floor(times).astype(int)
    share = (times - before).astype(frames.dtype)[:, None]
    after = np.minimum(before + 1, len(frames) - 1)
    return (1 - share) * frames[before] + share * frames[after]


def rate(times: np.ndarray, where: str) -> float:
    """Frames per second of frames at ``times`` (T,) seconds: the mean over all steps within half of
    the usual one, so that neither dropped frames nor rounded time stamps move it.

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


def snapped(fps: float) -> float:
    """The whole number within 0.05 % (rounded timestamps), else the rate itself (29.97 stays)."""
    return float(round(fps)) if abs(fps - round(fps)) <= 5e-4 * fps else float(fps)
