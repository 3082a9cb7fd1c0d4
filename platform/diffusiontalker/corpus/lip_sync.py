"""The offset between lips and sound, from the correlation of mouth opening and loudness."""

import numpy as np

from diffusiontalker.arkit import FPS, INDEX
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus.clips import frame_to_sample

DRIFT_SECONDS = 60.0
"""Length of the beginning and the end of a take that are compared, at most; a third of a shorter
one."""
MAX_LAG = 15
"""Greatest lag between sound and mouth that is tried, in frames: half a second."""
MIN_CORRELATION = 0.2
"""Least correlation at which a lag is reported."""
_OPENING = {
    "jawOpen": 1.0, "mouthLowerDownLeft": 0.5, "mouthLowerDownRight": 0.5, "mouthUpperUpLeft": 0.5,
    "mouthUpperUpRight": 0.5, "mouthClose": -1.0,
}  # fmt: skip


def lip_audio_lag(samples: np.ndarray, coefficients: np.ndarray) -> tuple[float, float] | None:
    """Lag of the mouth behind the sound: (seconds, correlation); negative where it leads.

    The lag at which loudness (dB, clipped at 40 dB below the peak) and mouth opening correlate
    best, both high-pass filtered at a second. A mouth moves with the sound or a little before it; a
    lag common to all takes is a property of the set, and an outlier is a take out of sync.

    Args:
        samples: (n,) at 16 kHz.
        coefficients: (frames, 52) at 30 fps.

    Returns:
        None if it cannot be determined: under two seconds, silence, a static mouth, or a
        correlation below ``MIN_CORRELATION``.
    """
    opening = sum(w * coefficients[:, INDEX[name]] for name, w in _OPENING.items())
    scores = lag_correlations(loudness(samples, len(coefficients)), np.asarray(opening))
    if scores is None or scores.max() < MIN_CORRELATION:
        return None
    return lag_of(scores), float(scores.max())


def lag_drift(samples: np.ndarray, coefficients: np.ndarray) -> float | None:
    """Lag at the end of a take minus lag at its beginning, in seconds.

    The arguments are those of ``lip_audio_lag``; None: one of both cannot be determined, as in less
    than half a minute.
    """
    frames = min(len(coefficients) // 3, round(DRIFT_SECONDS * FPS))
    if frames < 10 * FPS:
        return None
    last = len(coefficients) - frames
    lags = [
        lip_audio_lag(
            samples[frame_to_sample(start) : frame_to_sample(start + frames)],
            coefficients[start : start + frames],
        )
        for start in (0, last)
    ]
    if lags[0] is None or lags[1] is None:
        return None
    return lags[1][0] - lags[0][0]


def loudness(samples: np.ndarray, frames: int) -> np.ndarray | None:
    """(frames,) loudness in dB, clipped at 40 dB below the peak and high-pass filtered at a second;
    None: silence, constant loudness, or less than two seconds and the lags."""
    if frames < 2 * FPS + 2 * MAX_LAG:
        return None
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    half = SAMPLE_RATE // FPS
    centres = np.array([frame_to_sample(k) for k in range(frames)])
    low, high = np.maximum(centres - half, 0), np.minimum(centres + half, len(samples))
    energy = (power[high] - power[low]) / np.maximum(high - low, 1)
    if energy.max() <= 0:
        return None
    filtered = high_pass(np.maximum(10 * np.log10(energy / energy.max() + 1e-12), -40.0))
    return None if filtered.std() < 1e-6 else filtered


def lag_of(scores: np.ndarray) -> float:
    """The lag in seconds at which ``lag_correlations`` are greatest, between two frames by the
    vertex of the parabola through the maximum and its neighbours."""
    best, shift = int(scores.argmax()), 0.0
    if 0 < best < len(scores) - 1:
        left, top, right = scores[best - 1 : best + 2]
        curvature = left - 2 * top + right
        shift = 0.5 * (left - right) / curvature if curvature < 0 else 0.0
    return float((best - MAX_LAG + shift) / FPS)


def lag_correlations(reference: np.ndarray | None, movement: np.ndarray) -> np.ndarray | None:
    """Correlation of a high-pass filtered reference (frames,), such as ``loudness``, and a movement
    (frames,) at each lag of the movement from -``MAX_LAG`` to ``MAX_LAG`` frames; None: no
    reference, or no movement."""
    if reference is None:
        return None
    frames, moving = len(movement), high_pass(np.asarray(movement, np.float64))
    if moving.std() < 1e-4:
        return None
    inner = reference[MAX_LAG : frames - MAX_LAG]
    lags = range(-MAX_LAG, MAX_LAG + 1)
    return np.array(
        [_correlation(inner, moving[MAX_LAG + lag : frames - MAX_LAG + lag]) for lag in lags]
    )


def high_pass(values: np.ndarray) -> np.ndarray:
    """``values`` (T,) minus their moving average over a second around each frame."""
    kernel = np.ones(FPS)
    slow = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
    return values - slow


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0
