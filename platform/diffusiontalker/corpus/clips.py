"""From a recording as published to clips: one clock for audio and face, checks, cuts, lag.

Pure functions. Time is counted in seconds of the take's audio; frame k of a clip lies k / 30 s
after its beginning, whatever the rates of the recording were.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from diffusiontalker.animation.tracks import MAX_GAP, gaps
from diffusiontalker.arkit import CHANNELS, FPS, INDEX
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.waveform import prepare_waveform
from diffusiontalker.corpus.sources.base import Recording
from diffusiontalker.errors import UserError

LEAST, MOST = -0.5, 1.5
"""Blendshape coefficients lie in 0 to 1; what lies beyond these is on another scale."""
PER_CENT = 10.0
"""A greatest value beyond it is no blendshape that reaches too far, but one in per cent."""
BEYOND = 0.01
"""Share of values outside of 0 to 1 that is worth a note when they are clipped (our choice)."""
RATES = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0)
"""Rates that a mismatch of lengths is held against."""
NTSC = 1.001
"""By what a second is longer that counts 30 frames or 60 of a video at 29.97 or 59.94 fps."""
MAX_FILLED = 0.25
"""Share of the frames of a clip that may be filled in (our choice)."""
LEAST_SEEN = 0.5
"""Share of the frames of a take that must show the face (our choice): of one that was mostly lost
the rest is not trusted either."""
DRIFT_SECONDS = 60.0
"""How much of a take's beginning and end is compared, at most; a third of it if it is shorter."""
MAX_LAG = 15
"""Frames of lag between sound and mouth that are tried, either way: half a second."""
MIN_CORRELATION = 0.2
"""Below it nothing is said about the lag."""
_OPENING = {
    "jawOpen": 1.0, "mouthLowerDownLeft": 0.5, "mouthLowerDownRight": 0.5, "mouthUpperUpLeft": 0.5,
    "mouthUpperUpRight": 0.5, "mouthClose": -1.0,
}  # fmt: skip


def ranged(recording: Recording, rule: Literal["refuse", "clip"]) -> Recording:
    """The recording with coefficients in 0 to 1; a note says so where many lie outside.

    Args:
        recording: as published.
        rule: what is done with coefficients beyond ``LEAST`` and ``MOST``.

    Raises:
        UserError: not finite, on another scale, or beyond these and not to be clipped.
    """
    values = recording.coefficients
    if values.ndim != 2 or values.shape[1] != len(CHANNELS):
        raise UserError(f"coefficients of shape {values.shape}, expected (frames, {len(CHANNELS)})")
    if len(values) == 0:
        raise UserError("holds no frames of coefficients")
    if recording.seen is not None and recording.seen.shape != (len(values),):
        raise UserError(f"seen of shape {recording.seen.shape}, expected ({len(values)},)")
    if not np.isfinite(values).all():
        frame, channel = np.argwhere(~np.isfinite(values))[0]
        raise UserError(f"NaN or infinity in frame {frame}, channel {channel}")
    low, high = values.min(), values.max()
    if high > PER_CENT or (rule == "refuse" and (low < LEAST or high > MOST)):
        hints = ["if these are per cent, set source.options.scale=0.01"] * bool(high > MOST)
        hints += ["out_of_range=clip clips what lies beyond"] * bool(high <= PER_CENT)
        raise UserError(
            f"coefficients from {low:.3g} to {high:.3g}, but blendshapes lie in 0 to 1; "
            + "; ".join(hints)
        )
    outside = float(((values < 0) | (values > 1)).mean())
    notes = recording.notes
    if outside > BEYOND or low < LEAST or high > MOST:
        notes = (*notes, f"values clipped that lay outside of 0 to 1: {outside:.1%}")
    return replace(recording, coefficients=np.clip(values, 0.0, 1.0), notes=notes)


def paced(recording: Recording) -> Recording:
    """The recording at the rate that its audio tells, where frames were merely counted.

    Timecodes of 29.97 and 59.94 fps that skip no numbers count 30 and 60 for a second that lasts
    1.001: unless the audio's length is looked at, the face is 1 ms earlier with every second. That
    rate is taken where both then end within a frame and a half, and otherwise do not, by far.
    """
    if not recording.counted:
        return recording
    heard = len(recording.audio) / recording.rate
    seen = len(recording.coefficients) / recording.fps
    near, far = abs(heard - seen * NTSC), abs(heard - seen)
    if near > 1.5 / recording.fps or far < max(1.5 / recording.fps, 2 * near):
        return recording
    fps = recording.fps / NTSC
    note = f"timecodes without dropped numbers taken to run at {fps:.2f} fps, as the audio tells"
    return replace(recording, fps=fps, notes=(*recording.notes, note))


def align(
    recording: Recording, max_mismatch: float, max_share: float = 1.0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Bring a recording to 16 kHz and 30 fps over the time that audio and face share.

    Args:
        recording: as published, or ``ranged`` and ``paced``.
        max_mismatch: seconds by which audio and coefficients may differ in length.
        max_share: share of the longer one by which they may.

    Returns:
        Audio (n,) float32 at 16 kHz, coefficients (frames, 52) float32 in 0 to 1, and the seconds
        that were left out because the other one lacks them.

    Raises:
        UserError: lengths that differ by more, or audio that ``prepare_waveform`` refuses.
    """
    values = recording.coefficients
    heard = len(recording.audio) / recording.rate
    seen = recording.start + len(values) / recording.fps
    most = min(max_mismatch, max_share * max(heard, seen))
    if abs(heard - seen) > most or recording.start < -max_mismatch:
        raise UserError(
            f"{heard:.2f} s of audio, but coefficients from {recording.start:.2f} to {seen:.2f} s; "
            f"they do not belong together, or a rate is wrong{_other_rate(recording)} "
            "(max_mismatch_seconds and max_mismatch_share say how far they may differ)"
        )
    begin = max(recording.start, 0.0)
    frames = int((min(heard, seen) - begin) * FPS + 1e-6)
    if frames < 1:
        raise UserError("audio and coefficients share less than a frame")
    times = begin + np.arange(frames) / FPS
    coefficients = resample(values, recording.fps, times - recording.start)
    samples = prepare_waveform(recording.audio, recording.rate)
    first = round(begin * SAMPLE_RATE)
    samples = samples[first : first + sample_of(frames)]
    samples = np.pad(samples, (0, sample_of(frames) - len(samples)))  # a sample or two by rounding
    left_out = max(heard, seen) - frames / FPS - min(recording.start, 0.0)
    return samples, np.clip(coefficients, 0.0, 1.0), left_out


def _other_rate(recording: Recording) -> str:
    """The rate at which audio and coefficients would end together."""
    heard = len(recording.audio) / recording.rate - recording.start
    apart = {fps: abs(len(recording.coefficients) / fps - heard) for fps in RATES}
    fps = min(RATES, key=apart.__getitem__)
    if apart[fps] > 2 / fps:
        return ""
    return f": at {fps:g} fps both would end together; source.options.fps={fps:g} says so"


def shown(recording: Recording, frames: int) -> np.ndarray:
    """(frames,) bool: which of the 30 fps frames of ``align`` show the face."""
    if recording.seen is None:
        return np.ones(frames, bool)
    times = max(recording.start, 0.0) + np.arange(frames) / FPS - recording.start
    nearest = np.round(times * recording.fps).astype(int)
    return np.asarray(recording.seen[np.minimum(nearest, len(recording.seen) - 1)])


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


def spans(seen: np.ndarray, clip_seconds: float, min_seconds: float) -> list[tuple[int, int]]:
    """First and last-plus-one frame of each clip of a take whose face is ``seen`` (T,).

    No clip covers a gap longer than ``MAX_GAP``, nor has more than ``MAX_FILLED`` of its frames
    filled in.
    """
    holes = [gap for gap in gaps(seen) if gap[1] - gap[0] > round(MAX_GAP * FPS)]
    edges = [0, *(edge for hole in holes for edge in hole), len(seen)]
    return [
        (first + start, first + stop)
        for first, last in zip(edges[::2], edges[1::2], strict=True)
        for start, stop in cut(last - first, clip_seconds, min_seconds)
        if seen[first + start : first + stop].mean() >= 1 - MAX_FILLED
    ]


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
    opening = sum(w * coefficients[:, INDEX[name]] for name, w in _OPENING.items())
    scores = scored(loudness(samples, len(coefficients)), np.asarray(opening))
    if scores is None or scores[best := int(scores.argmax())] < MIN_CORRELATION:
        return None
    shift = 0.0
    if 0 < best < len(scores) - 1:  # the top of the parabola through three points
        left, top, right = scores[best - 1 : best + 2]
        bend = left - 2 * top + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
    return float((best - MAX_LAG + shift) / FPS), float(scores[best])


def lag_drift(samples: np.ndarray, coefficients: np.ndarray) -> float | None:
    """By how many seconds the lag is greater at the end of a take than at its beginning.

    The arguments are those of ``lip_audio_lag``; None: not told at one of both, as in less than
    half a minute.
    """
    frames = min(len(coefficients) // 3, round(DRIFT_SECONDS * FPS))
    if frames < 10 * FPS:
        return None
    last = len(coefficients) - frames
    lags = [
        lip_audio_lag(
            samples[sample_of(start) : sample_of(start + frames)],
            coefficients[start : start + frames],
        )
        for start in (0, last)
    ]
    if lags[0] is None or lags[1] is None:
        return None
    return lags[1][0] - lags[0][0]


def loudness(samples: np.ndarray, frames: int) -> np.ndarray | None:
    """(frames,) dB, the lowest 40 dB below the peak, without what is slower than a second; None:
    silence, a sound as even, or less than two seconds and the lags."""
    if frames < 2 * FPS + 2 * MAX_LAG:
        return None
    power = np.concatenate([[0.0], np.cumsum(samples.astype(np.float64) ** 2)])
    half = SAMPLE_RATE // FPS
    centres = np.array([sample_of(k) for k in range(frames)])
    low, high = np.maximum(centres - half, 0), np.minimum(centres + half, len(samples))
    energy = (power[high] - power[low]) / np.maximum(high - low, 1)
    if energy.max() <= 0:
        return None
    fast = _fast(np.maximum(10 * np.log10(energy / energy.max() + 1e-12), -40.0))
    return None if fast.std() < 1e-6 else fast


def scored(loud: np.ndarray | None, movement: np.ndarray) -> np.ndarray | None:
    """Correlation of ``loudness`` (frames,) and a movement (frames,) at each lag from -``MAX_LAG``
    to ``MAX_LAG`` frames; None: no loudness, or stillness."""
    if loud is None:
        return None
    frames, moving = len(movement), _fast(np.asarray(movement, np.float64))
    if moving.std() < 1e-4:
        return None
    inner = loud[MAX_LAG : frames - MAX_LAG]
    lags = range(-MAX_LAG, MAX_LAG + 1)
    return np.array(
        [_correlation(inner, moving[MAX_LAG + lag : frames - MAX_LAG + lag]) for lag in lags]
    )


def _fast(values: np.ndarray) -> np.ndarray:
    """``values`` (T,) minus their mean over the second around each frame."""
    kernel = np.ones(FPS)
    slow = np.convolve(values, kernel, "same") / np.convolve(np.ones(len(values)), kernel, "same")
    return values - slow


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    norm = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / norm) if norm > 0 else 0.0
