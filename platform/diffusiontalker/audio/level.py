"""The level of speech in a whole recording."""

from math import log10

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.front_end import TRAINING, FrontEnd

BLOCK = 1 << 16
"""Samples of all channels that are processed at a time, so that no copy of an hour is held."""
FLOOR_DB = TRAINING.floor_db


def normalize(samples: np.ndarray, front_end: FrontEnd = TRAINING) -> np.ndarray:
    """Remove DC and scale (n,) so that its louder parts have an RMS of ``level_db``."""
    return apply_level(samples, *speech_level(samples, front_end))


def speech_level(samples: np.ndarray, front_end: FrontEnd = TRAINING) -> tuple[float, float]:
    """Mean of samples (n,), and the gain that brings their speech to ``level_db``.

    The level is the RMS of the 20 ms pieces within ``span_db`` of the loudest, so that pauses do
    not count. Below ``floor_db`` the gain no longer grows: background noise stays quiet.
    """
    mean = samples.mean(dtype=np.float64)
    piece = min(SAMPLE_RATE // 50, len(samples))
    whole = samples[: len(samples) // piece * piece].reshape(-1, piece)
    blocks = np.array_split(whole, 1 + whole.size // BLOCK)
    power = np.concatenate([np.square(block - np.float32(mean)).mean(axis=1) for block in blocks])
    loud = float(power[power >= power.max() * 10 ** (-front_end.span_db / 10)].mean())
    decibels = max(10 * log10(loud + 1e-12), front_end.floor_db)
    return float(mean), 10 ** ((front_end.level_db - decibels) / 20)


def is_quiet(samples: np.ndarray, front_end: FrontEnd = TRAINING) -> bool:
    """Whether nothing in samples (n,) is louder than ``floor_db``: there is no speech."""
    most = front_end.level_db - front_end.floor_db
    return 20 * log10(speech_level(samples, front_end)[1]) >= most - 1e-6


def apply_level(samples: np.ndarray, mean: float, gain: float) -> np.ndarray:
    """A recording (n,), or a part of it, without DC and at its level, within ±1."""
    out = samples - np.float32(mean)
    out *= np.float32(gain)
    return np.clip(out, -1.0, 1.0, out=out)
