"""Frame times to a frame rate, and uneven frames to even ones."""

import numpy as np

from diffusiontalker.errors import UserError


def evenly(times: np.ndarray, values: np.ndarray, where: str) -> tuple[np.ndarray, float]:
    """Values (T, C) at ``times`` (T,) seconds to (values (T', C), fps) on an even grid.

    Even frames come back as they are. Recorders drop frames now and then; where one lies more than
    a tenth of a frame off the grid, all are resampled linearly at the median rate (our choice).

    Raises:
        UserError: fewer than two frames, a time that is not finite, or times that do not increase.
    """
    if len(times) < 2:
        raise UserError(f"{where}: one frame has no frame rate; two or more are needed")
    steps = np.diff(times)
    if not np.isfinite(times).all() or (steps <= 0).any():
        bad = int(np.argmin(np.where(np.isfinite(steps), steps, -np.inf))) + 1
        raise UserError(f"{where}: the time of frame {bad} is not after that of the frame before")
    mean = (len(times) - 1) / (times[-1] - times[0])
    drift = np.abs((times - times[0]) * mean - np.arange(len(times)))
    if drift.max() <= 0.1:
        return values, _snap(mean)
    fps = _snap(1 / float(np.median(steps)))
    grid = np.arange(round((times[-1] - times[0]) * fps) + 1) / fps + times[0]
    resampled = [np.interp(grid, times, column) for column in values.T]
    return np.stack(resampled, axis=1).astype(values.dtype), fps


def _snap(fps: float) -> float:
    """The whole number within 0.05 % (rounded timestamps), else the rate itself (29.97 stays)."""
    return float(round(fps)) if abs(fps - round(fps)) <= 5e-4 * fps else float(fps)
