"""The log-mel front end, in numpy: one function for training, evaluation and every deployment.

Sixty mel frames a second, two per frame of animation: mel frame ``m`` is centred on ``m / 60`` s.
The window is long enough (40 ms) for the harmonics of a low voice to be resolved, so that pitch,
which moves the brows, is visible in the spectrum.
"""

import functools
import math
from typing import TypeVar

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import TRAINING, FrontEnd

PER_FRAME, BANDS = TRAINING.mel_per_frame, TRAINING.bands
STEM, OVERLAP = TRAINING.stem, TRAINING.overlap
"""Shapes of every model, which is trained with them."""
BLOCK = 32
"""Mel frames that are transformed together, so that their arrays stay in the processor's cache."""
GROUP = 20
"""Mel bands per matrix product, over the bins where their filters are not zero. Few enough that a
BLAS does not start further threads for it, which wait for each other on a busy machine."""
LOWEST_HZ, HIGHEST_HZ = 40.0, 8000.0
"""Edges of the mel filters."""
Number = TypeVar("Number", int, np.ndarray)


def log_mel(samples: np.ndarray, front_end: FrontEnd = TRAINING) -> np.ndarray:
    """Log-mel spectrogram of samples (n,) at 16 kHz: (2 * frames, 80) float32.

    ``frames`` is ``frame_count(n)``.
    """
    first = starts(0, front_end.mel_per_frame * frame_count(len(samples)), front_end)
    padded = around(samples.astype(np.float32, copy=False), first, front_end)
    return standardise(power(*padded, front_end), front_end=front_end)


def around(
    samples: np.ndarray, at: np.ndarray, front_end: FrontEnd = TRAINING
) -> tuple[np.ndarray, np.ndarray]:
    """The part of samples (n,) that the windows beginning ``at`` cover, and their first samples in
    that part.

    Half a window of padding stands before the recording. Both ends are padded with their edge
    value: silence may have an offset, and a step from there to zero would be a click.
    """
    half = front_end.window // 2
    first, last = int(at[0]), int(at[-1]) + front_end.window
    low, high = first - half, last - half
    inside = samples[max(low, 0) : high]
    missing = max(-low, 0), last - first - max(-low, 0) - len(inside)
    return np.pad(inside, missing, mode="edge" if len(inside) else "constant"), at - first


def starts(first: int, count: int, front_end: FrontEnd = TRAINING) -> np.ndarray:
    """First samples (``start``) of the windows of ``count`` mel frames from ``first`` on."""
    return start(np.arange(first, first + count), front_end)


def start(mel_frame: Number, front_end: FrontEnd = TRAINING) -> Number:
    """First sample of the window of a mel frame, or of many, counted with half a window of padding
    before the recording."""
    rate = front_end.mel_rate
    return (mel_frame * SAMPLE_RATE + rate // 2) // rate  # to the nearest


def complete(samples: np.ndarray, front_end: FrontEnd = TRAINING) -> np.ndarray:
    """How many mel frames have their windows within so many samples (B,), counted as in
    ``start``."""
    rate = front_end.mel_rate
    last = (rate * (samples - front_end.window + 1) - rate // 2 - 1) // SAMPLE_RATE
    return np.maximum(last + 1, 0)


def power(samples: np.ndarray, at: np.ndarray, front_end: FrontEnd = TRAINING) -> np.ndarray:
    """Power in each mel band of the windows that begin ``at`` samples: (len(at), 80) float32."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, front_end.window)
    out = np.empty((len(at), front_end.bands), np.float32)
    for first in range(0, len(at), BLOCK):
        block = slice(first, first + BLOCK)
        out[block], _ = powers(windows[at[block]], front_end)
    return out


def powers(windows: np.ndarray, front_end: FrontEnd = TRAINING) -> tuple[np.ndarray, np.ndarray]:
    """Power in each mel band (n, 80) and mean square (n,) of windows (n, 640), which are changed.

    The mean of each window is subtracted first, against DC.
    """
    windows -= windows.mean(axis=1, keepdims=True)
    mean_square = np.einsum("nk,nk->n", windows, windows) / front_end.window
    windows *= _window(front_end.window)
    spectrum = np.fft.rfft(windows, front_end.fft, axis=1)
    energy = np.square(spectrum.real) + np.square(spectrum.imag)
    mel = np.empty((len(windows), front_end.bands), np.float32)
    for bands, bins, filters in _groups(front_end.fft, front_end.bands):
        np.matmul(energy[:, bins], filters, out=mel[:, bands])
    return mel, mean_square


def standardise(
    powers: np.ndarray, gain: np.ndarray | float = 1.0, front_end: FrontEnd = TRAINING
) -> np.ndarray:
    """Logarithm of mel powers (n, 80), near zero mean and unit variance, as if the samples had
    been multiplied by ``gain``, a number or (n, 1)."""
    logarithm = np.log(powers * np.float32(gain) ** 2 + np.float32(front_end.floor))
    out: np.ndarray = (logarithm - front_end.mean) / front_end.scale
    return out.astype(np.float32, copy=False)


def look_ahead(milliseconds: float, front_end: FrontEnd = TRAINING) -> int:
    """The last mel frame R, counted from 2t, that frame t of the animation may depend on if it may
    depend on at most so many milliseconds of audio after its own time, half a window included."""
    half = 1000 * front_end.window / 2 / SAMPLE_RATE
    return math.floor((milliseconds - half) * front_end.mel_rate / 1000)


def look_ahead_ms(mel_frames: int, front_end: FrontEnd = TRAINING) -> float:
    """Milliseconds of audio after its own time that a frame with this look-ahead depends on."""
    return 1000 * (mel_frames / front_end.mel_rate + front_end.window / 2 / SAMPLE_RATE)


def frame_count(samples: int) -> int:
    """Frames of animation for so many samples: every frame whose time lies within the audio."""
    return max(-(-samples * FPS // SAMPLE_RATE), 1)


@functools.cache
def _window(size: int) -> np.ndarray:
    """A periodic Hann window."""
    return np.hanning(size + 1)[:-1].astype(np.float32)


@functools.cache
def mel_filters(fft: int, bands: int) -> np.ndarray:
    """Triangular mel filters (fft // 2 + 1, bands), 40 Hz to 8 kHz, HTK mel scale."""
    mels = np.linspace(_mel(LOWEST_HZ), _mel(HIGHEST_HZ), bands + 2)
    edges = 700.0 * (10 ** (mels / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(fft, 1 / SAMPLE_RATE)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rise, fall), 0.0).astype(np.float32)


@functools.cache
def _groups(fft: int, bands: int) -> list[tuple[slice, slice, np.ndarray]]:
    """The filters by ``GROUP`` bands: bands, bins that they cover, filters (bins, bands)."""
    groups, filters = [], mel_filters(fft, bands)
    for first in range(0, bands, GROUP):
        group = slice(first, first + GROUP)
        used = np.flatnonzero(filters[:, group].any(axis=1))
        bins = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(0)
        groups.append((group, bins, np.ascontiguousarray(filters[bins, group])))
    return groups


def _mel(hz: float) -> float:
    return 2595.0 * float(np.log10(1.0 + hz / 700.0))
