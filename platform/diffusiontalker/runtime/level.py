"""The level of a voice while it speaks: what ``audio.normalize`` finds in a whole recording."""

import numpy as np

from diffusiontalker.audio import LEVEL_DB

SPAN_DB = 25
"""What counts as speech lies within so much of the loudest, as in ``audio.normalize``."""
FLOOR_DB = -65
"""Below that is no voice, but the room."""
MEMORY = 1800
"""Mel frames (30 s) after which what was heard weighs 1/e."""
DOUBT = 30.0
"""Mel frames (half a second) of speech until half of the correction is trusted."""
MAX_DB = 30.0
"""The largest correction, up or down."""


class Level:
    """Factors that bring a stream to the common level, frame by frame of what is heard.

    A histogram of loudness in decibels forgets slowly; its upper end is the voice. Our choice.
    """

    def __init__(self) -> None:
        self._count = np.zeros(-FLOOR_DB + 1)
        self._power = np.zeros(-FLOOR_DB + 1)
        self._keep = float(np.exp(-1 / MEMORY))

    def __call__(self, powers: np.ndarray) -> np.ndarray:
        """Mean squares (n,) of successive windows -> factors (n, 1); each knows those before it."""
        return np.array([[self._next(float(power))] for power in powers], np.float32)

    def _next(self, power: float) -> float:
        self._count *= self._keep
        self._power *= self._keep
        decibels = 10 * np.log10(power + 1e-12)
        if decibels >= FLOOR_DB:
            place = min(int(decibels - FLOOR_DB), -FLOOR_DB)
            self._count[place] += 1
            self._power[place] += power
        # A click of a frame or two is not the voice.
        (heard,) = np.nonzero(np.cumsum(self._count[::-1])[::-1] > 2)
        if not len(heard):
            return 1.0
        first = max(int(heard[-1]) - SPAN_DB, 0)
        count = float(self._count[first:].sum())
        level = 10 * np.log10(float(self._power[first:].sum()) / count)
        trust = count / (count + DOUBT)
        return float(10 ** (trust * np.clip(LEVEL_DB - level, -MAX_DB, MAX_DB) / 20))
