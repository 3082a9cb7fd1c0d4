"""The level of speech: of a whole recording, and of a stream while it goes on."""

from math import exp, log10

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE

BLOCK = 1 << 16
"""Samples of all channels that are decoded at a time."""
LEVEL_DB = -23.0
"""RMS of the louder parts after ``normalize``, in dB relative to full scale: our choice."""
FLOOR_DB = -65
"""Below that is no voice, but the room."""
SPAN_DB = 25
"""What counts as speech lies within so much of the loudest, as in ``normalize``."""
MEMORY = 1800
"""Mel frames (30 s) after which what was heard weighs 1/e."""
DOUBT = 30.0
"""Mel frames (half a second) of speech until half of the correction is trusted."""
MAX_DB = 30.0
"""The largest correction, up or down."""
HEAVY = 1e9
"""Weight of a window from which on all are brought back to small numbers."""
SILENT = f"silent: nothing in it is louder than {FLOOR_DB} dB, and the face is at rest"


def normalize(samples: np.ndarray) -> np.ndarray:
    """Remove DC and scale (n,) so that its louder parts have an RMS of ``LEVEL_DB``."""
    return apply_level(samples, *speech_level(samples))


def speech_level(samples: np.ndarray) -> tuple[float, float]:
    """Mean of samples (n,), and the gain that brings what is left to ``LEVEL_DB``.

    The level is taken over the 20 ms pieces within 25 dB of the loudest, so that pauses do not
    count. What is below ``FLOOR_DB`` stays as far below ``LEVEL_DB``: a room is no voice.
    """
    mean = samples.mean(dtype=np.float64)
    piece = min(SAMPLE_RATE // 50, len(samples))
    whole = samples[: len(samples) // piece * piece].reshape(-1, piece)
    # In blocks: an hour is not held twice.
    blocks = np.array_split(whole, 1 + whole.size // BLOCK)
    power = np.concatenate([np.square(block - np.float32(mean)).mean(axis=1) for block in blocks])
    loud = float(power[power >= power.max() * 10**-2.5].mean())
    return float(mean), 10 ** ((LEVEL_DB - max(10 * log10(loud + 1e-12), FLOOR_DB)) / 20)


def is_quiet(samples: np.ndarray) -> bool:
    """Whether nothing in samples (n,) is louder than ``FLOOR_DB``: nobody speaks."""
    return 20 * log10(speech_level(samples)[1]) >= LEVEL_DB - FLOOR_DB - 1e-6


def apply_level(samples: np.ndarray, mean: float, gain: float) -> np.ndarray:
    """A recording (n,), or a part of it, without DC and at its level, within ±1."""
    out = samples - np.float32(mean)
    out *= np.float32(gain)
    return np.clip(out, -1.0, 1.0, out=out)


class Level:
    """Factors that bring a stream to the common level, frame by frame of what is heard.

    A histogram of loudness in decibels forgets slowly; its upper end is the voice. Our choice.
    """

    def __init__(self) -> None:
        self.windows = 0
        """How many were heard."""
        self.found: int | None = None
        """Number of the window with which there was a voice for the first time."""
        # Windows and their power, the loudest first; for so few, lists are quicker than arrays.
        self._counts = [0.0] * (1 - FLOOR_DB)
        self._powers = [0.0] * (1 - FLOOR_DB)
        self._loudest = 0
        """Place where the voice ends, above which lies a click of a frame or two at most."""
        self._clicks = 0.0
        """What lies above."""
        # What a window weighs grows: that is less work than if all those before it shrank.
        self._growth = exp(1 / MEMORY)
        self._weight = 1.0

    def __call__(self, powers: np.ndarray) -> np.ndarray:
        """Mean squares (n,) of successive windows -> factors (n, 1); each knows those before it."""
        return np.array([self._next(power) for power in powers.tolist()], np.float32)[:, None]

    def _next(self, power: float) -> float:
        self._weight *= self._growth
        if self._weight > HEAVY:
            self._counts = [count / self._weight for count in self._counts]
            self._powers = [power / self._weight for power in self._powers]
            self._weight = 1.0
            self._clicks = sum(self._counts[: self._loudest])
        decibels = 10 * log10(power + 1e-12)
        if decibels >= FLOOR_DB:
            place = max(-FLOOR_DB - int(decibels - FLOOR_DB), 0)
            self._counts[place] += self._weight
            self._powers[place] += self._weight * power
            if place < self._loudest:
                self._clicks += self._weight
        self.windows += 1
        if not self._found():
            return 1.0
        if self.found is None:
            self.found = self.windows - 1
        voice = slice(self._loudest + SPAN_DB + 1)
        total = sum(self._counts[voice])
        change = LEVEL_DB - 10 * log10(sum(self._powers[voice]) / total)
        trust = total / (total + DOUBT * self._weight)
        return float(10 ** (trust * min(max(change, -MAX_DB), MAX_DB) / 20))

    def _found(self) -> bool:
        """Move ``_loudest`` to where it belongs now, which is near; whether there is any voice."""
        few, counts = 2 * self._weight, self._counts
        while self._clicks > few:
            self._loudest -= 1
            self._clicks -= counts[self._loudest]
        while self._clicks + counts[self._loudest] <= few:
            if self._loudest == len(counts) - 1:
                return False
            self._clicks += counts[self._loudest]
            self._loudest += 1
        return True
