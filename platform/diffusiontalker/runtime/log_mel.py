"""The log-mel front end, in numpy: one function for training, evaluation and every deployment.

Sixty frames a second, two per frame of animation: frame ``m`` is centred on ``m / 60`` s. The
window is long enough (40 ms) for the harmonics of a low voice to stand apart, so that pitch, which
moves the brows, is visible in the spectrum.
"""

import functools

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


def log_mel(samples: np.ndarray) -> np.ndarray:
    """Log-mel spectrogram of samples (n,) at 16 kHz: (2 * frames, 80) float32.

    ``frames`` is ``frame_count(n)``. Samples beyond the ends count as silence.
    """
    count = PER_FRAME * frame_count(len(samples))
    starts = np.round(np.arange(count) * (SAMPLE_RATE / (FPS * PER_FRAME))).astype(np.int64)
    padded = np.pad(samples.astype(np.float32), (WINDOW // 2, WINDOW))
    pieces = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[starts] * _window()
    spectrum = np.fft.rfft(pieces, FFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    return ((np.log(power @ _filters() + FLOOR) - MEAN) / SCALE).astype(np.float32)


def frame_count(samples: int) -> int:
    """Frames of animation for so many samples: every frame whose time lies within the audio."""
    return max(int(np.ceil(samples * FPS / SAMPLE_RATE - 1e-6)), 1)


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


def _mel(hz: float) -> float:
    return 2595.0 * float(np.log10(1.0 + hz / 700.0))
