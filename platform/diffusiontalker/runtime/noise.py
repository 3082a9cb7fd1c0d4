"""The noise that diffusion starts from: one seed gives one animation, here and in the browser.

Philox-4x64-10 (Salmon et al. 2011), a counter-based generator, makes 64-bit words: words 26 t to
26 t + 25 are frame t's, so that its noise depends on seed and t alone. Each word gives two normal
numbers by Box and Muller's transform. ``web/noise.js`` computes the same.
"""

import operator

import numpy as np

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.errors import UserError

WORDS = len(CHANNELS) // 2
"""64-bit words per frame."""
SEEDS = 1 << 64
"""Seeds are below it; in the browser, below 2^53."""


class Noise:
    """Standard normal noise, frame after frame: the same however many are drawn at a time."""

    def __init__(self, seed: int) -> None:
        """Raises UserError: the seed is no whole number from 0 to 2^64 - 1."""
        try:
            seed = operator.index(seed)
        except TypeError:
            raise UserError(f"seed {seed!r}: must be a whole number, 0 or more") from None
        if not 0 <= seed < SEEDS:
            raise UserError(f"seed {seed}: must be from 0 to 2^64 - 1")
        self._words = np.random.Philox(key=seed).random_raw

    def __call__(self, frames: int) -> np.ndarray:
        """The next ``frames`` frames: (frames, 52) float32."""
        return normal(self._words(frames * WORDS)).reshape(frames, len(CHANNELS))


def normal(words: np.ndarray) -> np.ndarray:
    """Two standard normal numbers (2 n,) float32 of each 64-bit word (n,): Box and Muller (1958).

    The upper half of a word is the radius's uniform number, in (0, 1], the lower half the angle's.
    """
    radius = np.sqrt(-2 * np.log(((words >> np.uint64(32)) + np.uint64(1)) * 2.0**-32))
    angle = (words & np.uint64(0xFFFFFFFF)) * (2 * np.pi * 2.0**-32)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32).ravel()
