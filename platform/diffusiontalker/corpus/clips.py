"""From a recording as published to clips: range check, common clock of audio and face, cuts.

Pure functions. Times are in seconds of the take's audio; frame k of a clip lies k / 30 s after its
beginning, whatever the rates of the recording were.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import numpy as np

from diffusiontalker.animation.tracks import MAX_GAP, gaps
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.waveform import prepare_waveform
from diffusiontalker.corpus.sources.base import Recording
from diffusiontalker.errors import UserError

LEAST, MOST = -0.5, 1.5
"""Bounds of coefficients: those in 0 to 1 may overshoot a little, others are on another scale."""
PER_CENT = 10.0
"""A maximum above it means values in per cent, not coefficients that overshoot."""
NOTED_SHARE = 0.01
"""Share of values outside of 0 to 1 from which a note tells that they were clipped (our choice)."""
RATES = (24.0, 25.0, 30.0, 48.0, 50.0, 60.0)
"""Rates that are tried to explain a mismatch of lengths."""
NTSC = 1.001
"""Ratio of the nominal rates 30 and 60 to the true rates of 29.97 and 59.94 fps video."""
MAX_FILLED = 0.25
"""Share of the frames of a clip that may be interpolated (our choice)."""
MIN_TRACKED = 0.5
"""Share of the frames of a take that must be tracked (our choice): where tracking was mostly lost,
the rest is not reliable either."""


def in_unit_range(recording: Recording, rule: Literal["refuse", "clip"]) -> Recording:
    """The recording with coefficients clipped to 0 to 1, with a note if many lay outside.

    Args:
        recording: as published.
        rule: for coefficients beyond ``LEAST`` and ``MOST``.

    Raises:
        UserError: not finite, on another scale, or beyond these and ``rule`` is refuse.
    """
    values = recording.coefficients
    if values.ndim != 2 or values.shape[1] != len(CHANNELS):
        raise UserError(f"coefficients of shape {values.shape}, expected (frames, {len(CHANNELS)})")
    if len(values) == 0:
        raise UserError("holds no frames of coefficients")
    tracked = recording.tracked
    if tracked is not None and tracked.shape != (len(values),):
        raise UserError(f"tracked of shape {tracked.shape}, expected ({len(values)},)")
    if not np.isfinite(values).all():
        frame, channel = np.argwhere(~np.isfinite(values))[0]
        raise UserError(f"NaN or infinity in frame {frame}, channel {channel}")
    low, high = values.min(), values.max()
    if high > PER_CENT or (rule == "refuse" and (low < LEAST or high > MOST)):
        hints = ["if these are per cent, set source.options.scale=0.01"] * bool(high > MOST)
        hints += ["out_of_range=clip clips the values outside"] * bool(high <= PER_CENT)
        raise UserError(
            f"coefficients from {low:.3g} to {high:.3g}, but blendshapes lie in 0 to 1; "
            + "; ".join(hints)
        )
    outside = float(((values < 0) | (values > 1)).mean())
    notes = recording.notes
    if outside > NOTED_SHARE or low < LEAST or high > MOST:
        notes = (*notes, f"values clipped that lay outside of 0 to 1: {outside:.1%}")
    return replace(recording, coefficients=np.clip(values, 0.0, 1.0), notes=notes)


def with_true_rate(recording: Recording) -> Recording:
    """The recording with its nominal rate corrected by the length of its audio.

    Non-drop-frame timecodes of 29.97 and 59.94 fps count 30 and 60 frames for 1.001 s, which would
    shift the face by 1 ms per second. The true rate is used if audio and face then end within a
    frame and a half of each other, and at the nominal rate differ by clearly more.
    """
    if not recording.nominal_rate:
        return recording
    audio_seconds = len(recording.audio) / recording.rate
    face_seconds = len(recording.coefficients) / recording.fps
    gap, true_gap = abs(audio_seconds - face_seconds), abs(audio_seconds - face_seconds * NTSC)
    if true_gap > 1.5 / recording.fps or gap < max(1.5 / recording.fps, 2 * true_gap):
        return recording
    fps = recording.fps / NTSC
    note = f"non-drop-frame timecodes read at {fps:.2f} fps, which fits the length of the audio"
    return replace(recording, fps=fps, notes=(*recording.notes, note))


def align(
    recording: Recording, max_mismatch: float, max_share: float = 1.0
) -> tuple[np.ndarray, np.ndarray, float]:
    """Bring a recording to 16 kHz and 30 fps over the time that audio and face share.

    Args:
        recording: as published, or as of ``in_unit_range`` and ``with_true_rate``.
        max_mismatch: seconds by which audio and coefficients may differ in length.
        max_share: share of the longer one by which they may.

    Returns:
        Audio (n,) float32 at 16 kHz, coefficients (frames, 52) float32 in 0 to 1, and the seconds
        that were cut off because only one of them covers them.

    Raises:
        UserError: lengths that differ by more, or audio that ``prepare_waveform`` refuses.
    """
    values = recording.coefficients
    audio_end = len(recording.audio) / recording.rate
    face_end = recording.start + len(values) / recording.fps
    limit = min(max_mismatch, max_share * max(audio_end, face_end))
    if abs(audio_end - face_end) > limit or recording.start < -max_mismatch:
        raise UserError(
            f"{audio_end:.2f} s of audio, but coefficients from {recording.start:.2f} to "
            f"{face_end:.2f} s; they do not belong together, or a rate is wrong"
            f"{_matching_rate(recording)} "
            "(max_mismatch_seconds and max_mismatch_share limit how far they may differ)"
        )
    begin = max(recording.start, 0.0)
    frames = int((min(audio_end, face_end) - begin) * FPS + 1e-6)
    if frames < 1:
        raise UserError("audio and coefficients share less than a frame")
    times = begin + np.arange(frames) / FPS
    coefficients = resample(values, recording.fps, times - recording.start)
    samples = prepare_waveform(recording.audio, recording.rate)
    first = round(begin * SAMPLE_RATE)
    count = frame_to_sample(frames)
    samples = samples[first : first + count]
    samples = np.pad(samples, (0, count - len(samples)))  # a sample or two by rounding
    cut_off = max(audio_end, face_end) - frames / FPS - min(recording.start, 0.0)
    return samples, np.clip(coefficients, 0.0, 1.0), cut_off


def _matching_rate(recording: Recording) -> str:
    """A hint at the rate at which audio and coefficients would end together, if there is one."""
    seconds = len(recording.audio) / recording.rate - recording.start
    mismatch = {fps: abs(len(recording.coefficients) / fps - seconds) for fps in RATES}
    fps = min(RATES, key=mismatch.__getitem__)
    if mismatch[fps] > 2 / fps:
        return ""
    return f": at {fps:g} fps both would end together; source.options.fps={fps:g} says so"


def tracked_frames(recording: Recording, frames: int) -> np.ndarray:
    """(frames,) bool: in which of the 30 fps frames of ``align`` the face was tracked."""
    if recording.tracked is None:
        return np.ones(frames, bool)
    times = max(recording.start, 0.0) + np.arange(frames) / FPS - recording.start
    nearest = np.round(times * recording.fps).astype(int)
    return np.asarray(recording.tracked[np.minimum(nearest, len(recording.tracked) - 1)])


def resample(values: np.ndarray, fps: float, times: np.ndarray) -> np.ndarray:
    """Values (T, C) at ``fps``, the first at 0 s, at other ``times`` (n,) seconds: (n, C) float32.

    Linear interpolation; when downsampling, a triangular kernel as wide as two output frames
    against aliasing. The weights are positive and sum to 1, so no value leaves the range of its
    neighbours (our choice: a sharper filter would overshoot closed lips).
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
    outside = total < 1e-9  # before the first frame or after the last, which is held
    nearest = values[np.clip(np.round(position), 0, len(values) - 1).astype(int)]
    inside = out / np.maximum(total, 1e-9)[:, None]
    return np.where(outside[:, None], nearest, inside).astype(np.float32)


def frame_to_sample(frame: int) -> int:
    """The sample at which a frame begins; rounded per frame, so that errors do not accumulate."""
    return round(frame * SAMPLE_RATE / FPS)


def cut(frames: int, clip_seconds: float, min_seconds: float) -> Iterator[tuple[int, int]]:
    """Half-open frame ranges [start, stop) of consecutive clips; a short remainder is left out."""
    size = round(clip_seconds * FPS)
    for start in range(0, frames, size):
        stop = min(start + size, frames)
        if stop - start >= min(min_seconds * FPS, size):
            yield start, stop


def clip_spans(
    tracked: np.ndarray, clip_seconds: float, min_seconds: float
) -> list[tuple[int, int]]:
    """Half-open frame ranges [start, stop) of the clips of a take with ``tracked`` (T,) bool.

    No clip covers a gap longer than ``MAX_GAP``, or has more than ``MAX_FILLED`` of its frames
    interpolated.
    """
    long_gaps = [gap for gap in gaps(tracked) if gap[1] - gap[0] > round(MAX_GAP * FPS)]
    edges = [0, *(edge for gap in long_gaps for edge in gap), len(tracked)]
    return [
        (first + start, first + stop)
        for first, last in zip(edges[::2], edges[1::2], strict=True)
        for start, stop in cut(last - first, clip_seconds, min_seconds)
        if tracked[first + start : first + stop].mean() >= 1 - MAX_FILLED
    ]
