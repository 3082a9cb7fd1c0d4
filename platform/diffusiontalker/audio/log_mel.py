"""The log-mel front end, in numpy: one function for training, evaluation and every deployment.

Sixty frames a second, two per frame of animation: frame ``m`` is centred on ``m / 60`` s. The
window is long enough (40 ms) for the harmonics of a low voice to stand apart, so that pitch, which
moves the brows, is visible in the spectrum.
"""

import functools
import math
from typing import TypeVar

import numpy as np

from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE

PER_FRAME = 2
"""Mel frames per frame of animation."""
BANDS = 80
WINDOW = 640
"""Samples: 40 ms."""
FFT = 768
"""Points: the window and some zeros, so that every mel band holds a bin; 3 x 2^8 is quick."""
FLOOR = 1e-4
"""Power added before the logarithm: about the hiss of a quiet room at our level."""
MEAN, SCALE = -3.5, 3.0
"""Bring speech at our level near zero mean and unit variance."""
STEM = 5
"""Mel frames that a student's first convolution takes for one frame of animation."""
OVERLAP = STEM - PER_FRAME
"""Mel frames that two neighbouring frames of animation share in it: T of them see 2T + 3."""
BLOCK = 32
"""Mel frames that are transformed together: what they need stays in the processor's cache."""
GROUP = 20
"""Mel bands that are added up together, of the bins that they see. Few enough that a BLAS does not
take further threads to it, which wait for each other on a busy machine."""
RATE = FPS * PER_FRAME
"""Mel frames a second."""
Number = TypeVar("Number", int, np.ndarray)


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Log-mel spectrogram of samples (n,) at 16 kHz: (2 * frames, 80) float32.

    ``frames`` is ``frame_count(n)``.
    """
    count = PER_FRAME * frame_count(len(samples))
    return standardise(power(*around(samples.astype(np.float32, copy=False), starts(0, count))))


def around(samples: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the windows that begin ``at`` see of samples (n,), and where they begin in it.

    Half a window stands before the recording. Its ends are held: silence may lie beside zero, and a
    step from there would be a click.
    """
    first, last = int(at[0]), int(at[-1]) + WINDOW
    low, high = first - WINDOW // 2, last - WINDOW // 2
    inside = samples[max(low, 0) : high]
    missing = max(-low, 0), last - first - max(-low, 0) - len(inside)
    return np.pad(inside, missing, mode="edge" if len(inside) else "constant"), at - first


def starts(first: int, count: int) -> np.ndarray:
    """First samples (``start``) of the windows of ``count`` mel frames from ``first`` on."""
    return start(np.arange(first, first + count))


def start(mel_frame: Number) -> Number:
    """First sample of the window of a mel frame, or of many, where half a window stands before
    the recording."""
    return (mel_frame * SAMPLE_RATE + RATE // 2) // RATE  # to the nearest


def complete(samples: np.ndarray) -> np.ndarray:
    """How many mel frames have their windows within so many samples (B,), counted as in
    ``start``."""
    return np.maximum((RATE * (samples - WINDOW + 1) - RATE // 2 - 1) // SAMPLE_RATE + 1, 0)


def power(samples: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Power in each mel band of the windows that begin ``at`` samples: (len(at), 80) float32."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)
    out = np.empty((len(at), BANDS), np.float32)
    for first in range(0, len(at), BLOCK):
        block = slice(first, first + BLOCK)
        out[block], _ = powers(windows[at[block]])
    return out


def powers(windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Power of windows (n, 640), which it changes: in each mel band (n, 80), and mean square (n,).

    Each window loses its mean first: a constant is no sound.
    """
    windows -= windows.mean(axis=1, keepdims=True)
    mean_square = np.einsum("nk,nk->n", windows, windows) / WINDOW
    windows *= _window()
    spectrum = np.fft.rfft(windows, FFT, axis=1)
    energy = np.square(spectrum.real) + np.square(spectrum.imag)
    mel = np.empty((len(windows), BANDS), np.float32)
    for bands, bins, filters in _groups():
        np.matmul(energy[:, bins], filters, out=mel[:, bands])
    return mel, mean_square


def standardise(powers: np.ndarray, gain: np.ndarray | float = 1.0) -> np.ndarray:
    """Logarithm of mel powers (n, 80), near zero mean and unit variance, as if the samples had
    been multiplied by ``gain``, a number or (n, 1)."""
    out: np.ndarray = (np.log(powers * np.float32(gain) ** 2 + np.float32(FLOOR)) - MEAN) / SCALE
    return out.astype(np.float32, copy=False)


def look_ahead(milliseconds: float) -> int:
    """The last mel frame R, counted from 2t, that frame t of a face may see if it may depend on at
    most so many milliseconds of audio after its own time: half a window counts too."""
    return math.floor((milliseconds - 1000 * WINDOW / 2 / SAMPLE_RATE) * RATE / 1000)


def look_ahead_ms(mel_frames: int) -> float:
    """Milliseconds of audio after its own time that a frame with this look-ahead depends on."""
    return 1000 * (mel_frames / RATE + WINDOW / 2 / SAMPLE_RATE)


def frame_count(samples: int) -> int:
    """Frames of animation for so many samples: every frame whose time lies within the audio."""
    return max(-(-samples * FPS // SAMPLE_RATE), 1)


@functools.cache
def _window() -> np.ndarray:
    return np.hanning(WINDOW + 1)[:-1].astype(np.float32)


@functools.cache
def _filters() -> np.ndarray:
    """Triangular mel filters (FFT // 2 + 1, 80), 40 Hz to 8 kHz, HTK mel scale."""
    mels = np.linspace(_mel(40.0), _mel(8000.0), BANDS + 2)
    edges = 700.0 * (10 ** (mels / 2595.0) - 1.0)
    bins = np.fft.rfftfreq(FFT, 1 / SAMPLE_RATE)[:, None]
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return np.maximum(np.minimum(rise, fall), 0.0).astype(np.float32)


@functools.cache
def _groups() -> list[tuple[slice, slice, np.ndarray]]:
    """The filters by ``GROUP`` bands: bands, bins that they see, filters (bins, bands)."""
    groups = []
    for first in range(0, BANDS, GROUP):
        bands = slice(first, first + GROUP)
        seen = np.flatnonzero(_filters()[:, bands].any(axis=1))
        bins = slice(int(seen[0]), int(seen[-1]) + 1)
        groups.append((bands, bins, np.ascontiguousarray(_filters()[bins, bands])))
    return groups


def _mel(hz: float) -> float:
    return 2595.0 * float(np.log10(1.0 + hz / 700.0))
