"""From a recording as published to clips: one clock for audio and face, checks, cuts, lag.

Pure functions. Time is counted in seconds of the take's audio; frame k of a clip lies k / 30 s
after its beginning, whatever the rates of the recording were.
"""

from collections.abc import Iterator

import numpy as np

from diffusiontalker import audio as sound
from diffusiontalker.arkit import FPS, INDEX
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus.sources.base import Recording
from diffusiontalker.errors import UserError

LEAST, MOST = -0.5, 1.5
"""Blendshape coefficients lie in 0 to 1; what lies beyond these is on another scale."""
MAX_LAG = 15
"""Frames of lag between sound and mouth that are tried, either way: half a second."""
MIN_CORRELATION = 0.2
"""Below it nothing is said about the lag."""
_OPENING = {
    "jawOpen": 1.0, "mouthLowerDownLeft": 0.5, "mouthLowerDownRight": 0.5, "mouthUpperUpLeft": 0.5,
    "mouthUpperUpRight": 0.5, "mouthClose": -1.0,
}  # fmt: skip


def align(recording: Recording, max_mismatch: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Bring a recording to 16 kHz and 30 fps over the time that audio and face share.

    Args:
        recording: as published.
        max_mismatch: seconds by which audio and coefficients may differ in length.

    Returns:
        Audio (n,) float32 at 16 kHz, coefficients (frames, 52) float32 in 0 to 1, and the seconds
        that were left out because the other one lacks them.

    Raises:
        UserError: lengths that differ by more, coefficients on another scale or not finite, or
            audio that ``audio.prepare`` refuses.
    """
    values = recording.coefficients
    if len(values) == 0:
        raise UserError("holds no frames of coefficients")
    if not np.isfinite(values).all():
        frame, channel = np.argwhere(~np.isfinite(values))[0]
        raise UserError(f"NaN or infinity in frame {frame}, channel {channel}")
    if values.min() < LEAST or values.max() > MOST:
        raise UserError(
            f"coefficients from {values.min():.3g} to {values.max():.3g}, but blendshapes lie in "
            "0 to 1; if these are per cent, set source.options.scale=0.01"
        )
    heard = len(recording.audio) / recording.rate
    seen = recording.start + len(values) / recording.fps
    if abs(heard - seen) > max_mismatch or recording.start < -max_mismatch:
        raise UserError(
            f"{heard:.2f} s of audio, but coefficients from {recording.start:.2f} to {seen:.2f} s; "
            "they do not belong together, or a rate is wrong (max_mismatch_seconds says how far "
            "they may differ)"
        )
    begin = max(recording.start, 0.0)
    frames = int((min(heard, seen) - begin) * FPS + 1e-6)
    if frames < 1:
        raise UserError("audio and coefficients share less than a frame")
    times = begin + np.arange(frames) / FPS
    coefficients = resample(values, recording.fps, times - recording.start)
    samples = sound.prepare(recording.audio, recording.rate)
    first = round(begin * SAMPLE_RATE)
    samples = samples[first : first + sample_of(frames)]
    samples = np.pad(samples, (0, sample_of(frames) - len(samples)))  # a sample or two by rounding
    left_out = max(heard, seen) - frames / FPS - min(recording.start, 0.0)
    return samples, np.clip(coefficients, 0.0, 1.0), left_out


def resample(values: np.ndarray, fps: float, times: np.ndarray) -> np.ndarray:
    """Values (T, C) at ``fps``, the first at 0 s, at other ``times`` (n,) seconds: (n, C) float32.

    Linear interpolation; where that skips frames, a triangle as wide as two output frames, so that
    what is too fast for 30 fps is averaged and not folded into other movements. The weights are
    positive and sum to 1: no value leaves the range of its neighbours (our choice: a sharper filter
    would overshoot closed lips).
    """
    width = max(1.0, fps / FPS)  # in input frames
    position = np.asarray(times, np.float64) * fps
    first = np.ceil(position - width).astype(int)
    total = np.zeros(len(position))
    out = np.zeros((len(position), values.shape[1]))
    for tap in range(int(2 * width) + 1):
        index = first + tap
        weight = np.maximum(1.0 - np.abs(index - position) / width, 0.0)
        weight[(index < 0) | (index >= len(values))] = 0.0
        out += weight[:, None] * values[np.clip(index, 0, len(values) - 1)]
        total += weight
    beyond = total < 1e-9  # before the first frame or after the last: hold it
    held = values[np.clip(np.round(position), 0, len(values) - 1).astype(int)]
    return np.where(beyond[:, None], held, out / np.maximum(total, 1e-9)[:, None]).astype(
        np.float32
    )


def sample_of(frame: int) -> int:
    """The sample at which a frame begins; rounded alone, so that nothing adds up."""
    return round(frame * SAMPLE_RATE / FPS)


def cut(frames: int, clip_seconds: float, min_seconds: float) -> Iterator[tuple[int, int]]:
    """First and last-plus-one frame of each clip, one after the other; a short rest is left out."""
    size = round(clip_seconds * FPS)
    for start in range(0, frames, size):
        stop = min(start + size, frames)
        if stop - start >= min(min_seconds * FPS, size):
            yield start, stop


def lip_audio_lag(samples: np.ndarray, coefficients: np.ndarray) -> tuple[float, float] | None:
    """How much later the mouth opens than the sound is loud: (seconds, correlation).

    The lag at which loudness (dB, the lowest 40 dB below the peak) and mouth opening correlate
    best, both without what is slower than a second. A mouth moves with the sound or a little before
    it; the same lag in every take is a constant of the set, and an outlier is a take out of sync.

    Args:
        samples: (n,) at 16 kHz.
        coefficients: (frames, 52) at 30 fps.

    Returns:
        None where nothing can be told: under two seconds, silence, a still mouth, or a correlation
        below ``MIN_CORRELATION``.
    """
    frames = len(coefficients)
    if frames < 2 * FPS + 2 * MAX_LAG:
        return None
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    half = SAMPLE_RATE // FPS
    centres = np.array([sample_of(k) for k in range(frames)])
    low, high = np.maximum(centres - half, 0), np.minimum(centres + half, len(samples))
    energy = (power[high] - power[low]) / np.maximum(high - low, 1)
    if energy.max() <= 0:
        return None
    loudness = np.maximum(10 * np.log10(energy / energy.max() + 1e-12), -40.0)
    opening = sum(w * coefficients[:, INDEX[name]] for name, w in _OPENING.items())
    a, b = _fast(loudness), _fast(np.asarray(opening, np.float64))
    if a.std() < 1e-6 or b.std() < 1e-4:
        return None
    lags = np.arange(-MAX_LAG, MAX_LAG + 1)
    inner = a[MAX_LAG : frames - MAX_LAG]
    scores = np.array(
        [_correlation(inner, b[MAX_LAG + lag : frames - MAX_LAG + lag]) for lag in lags]
    )
    best = int(scores.argmax())
    if scores[best] < MIN_CORRELATION:
        return None
    shift = 0.0
    if 0 < best < len(lags) - 1:  # the top of the parabola through three points
        left, top, right = scores[best - 1 : best + 2]
        bend = left - 2 * top + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float((lags[best] + shift) / FPS), float(scores[best])


def _fast(values: np.ndarray) -> np.ndarray:
    """``values`` (T,) minus their mean over the second around each frame."""
    kernel = np.ones(FPS)
    slow = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
    return values - slow


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0
