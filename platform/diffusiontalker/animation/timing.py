"""Frame times to a frame rate, and uneven frames to even ones."""

from collections.abc import Iterable, Iterator

import numpy as np

from diffusiontalker.errors import UserError

LOWEST_FPS, HIGHEST_FPS = 1.0, 1000.0
"""Rates outside are taken for times that are not in seconds (our choice)."""
FEWEST_FRAMES = 0.1
"""Least share of an even grid's frames that must be there to fill the rest (our choice)."""


def evenly(times: np.ndarray, values: np.ndarray, where: str) -> tuple[np.ndarray, float]:
    """Values (T, C) at ``times`` (T,) seconds to (values (T', C), fps) on an even grid from
    ``times[0]`` on.

    The rate is that of ``rate``, or the whole number within 0.05 % of it. Frames that lie within
    a tenth of a frame of its grid come back as they are. Recorders drop frames now and then, and
    their clocks run a little fast or slow; such frames are resampled linearly at their real times,
    so that nothing drifts however long the take is (our choice).

    Raises:
        UserError: as ``rate``, or nearly all frames are missing.
    """
    fps = _snap(rate(times, where))
    since = (times - times[0]) * fps
    if np.abs(since - np.arange(len(times))).max() <= 0.1:
        return values, fps
    count = round(float(since[-1])) + 1
    if len(times) < FEWEST_FRAMES * count:
        raise UserError(f"{where}: {len(times)} frames where {fps:g} fps would have {count}")
    resampled = [np.interp(np.arange(count), since, column) for column in values.T]
    return np.stack(resampled, axis=1).astype(values.dtype), fps


def doubled(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The parts (T, C) of a clip at twice its rate: every second frame lies half way between its
    neighbours, and the very last stands still."""
    last: np.ndarray | None = None
    for part in parts:
        known = part if last is None else np.concatenate([last, part])
        if len(known) > 1:
            between = (known[:-1] + known[1:]) / 2
            yield np.stack([known[:-1], between], axis=1).reshape(-1, known.shape[1])
        last = known[-1:]
    if last is not None:
        yield np.concatenate([last, last])


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


def _snap(fps: float) -> float:
    """The whole number within 0.05 % (rounded timestamps), else the rate itself (29.97 stays)."""
    return float(round(fps)) if abs(fps - round(fps)) <= 5e-4 * fps else float(fps)
