"""The noise that diffusion starts from: one seed gives one animation, here and in the browser.

Philox-4x64-10 (Salmon et al. 2011), a counter-based generator, makes 64-bit words: words 26 t to
26 t + 25 are frame t's, so that its noise depends on seed and t alone. Each word gives two normal
numbers by Box and Muller's transform. Each channel is then filtered over time, so that it moves as
faces do (``diffusion.noise``). ``web/noise.js`` computes the same.
"""

import operator
from dataclasses import dataclass

import numpy as np

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.errors import UserError

WORDS = len(CHANNELS) // 2
"""64-bit words per frame."""
SEEDS = 1 << 64
"""Seeds are below it; in the browser, below 2^53."""


BLOCK = 16
"""Frames that are filtered together, at fixed places, so that noise does not depend on how it is
cut."""


@dataclass(frozen=True)
class NoiseParameters:
    """Correlations of each channel's noise over one and over two frames."""

    lag_1: tuple[float, ...] = (0.0,) * len(CHANNELS)
    lag_2: tuple[float, ...] = (0.0,) * len(CHANNELS)


WHITE = NoiseParameters()


class AutoRegression:
    """The filter from white noise to a stationary AR(2) process of unit variance per channel.

    x_t = a_1 x_(t-1) + a_2 x_(t-2) + g e_t, as ``diffusion.noise.AutoRegression``: here frame after
    frame in double precision. Frame 0 is white noise, and frame 1 correlated with it as always.
    """

    def __init__(self, parameters: NoiseParameters) -> None:
        lag_1, lag_2 = (np.array(lag, np.float64) for lag in (parameters.lag_1, parameters.lag_2))
        self._lag_1, self._first = lag_1, np.sqrt(1 - lag_1**2)
        self._a_1 = lag_1 * (1 - lag_2) / (1 - lag_1**2)
        self._a_2 = (lag_2 - lag_1**2) / (1 - lag_1**2)
        self._gain = np.sqrt(1 - self._a_1 * lag_1 - self._a_2 * lag_2)
        self._last: np.ndarray | None = None
        """(52, 2): the last frame and the one before it."""
        # The response to an impulse of e, and to the two frames before a block, (52, BLOCK, ...).
        impulse = np.zeros((len(CHANNELS), BLOCK + 1))
        impulse[:, 1] = 1
        for t in range(2, BLOCK + 1):
            impulse[:, t] = self._a_1 * impulse[:, t - 1] + self._a_2 * impulse[:, t - 2]
        at = np.arange(BLOCK)
        self._kernel = self._gain[:, None, None] * impulse[:, np.maximum(at[:, None] - at, -1) + 1]
        before = self._a_1[:, None] * impulse[:, 1:] + self._a_2[:, None] * impulse[:, :-1]
        self._carry = np.stack([before, self._a_2[:, None] * impulse[:, 1:]], -1)

    def __call__(self, white: np.ndarray) -> np.ndarray:
        """The next blocks: white noise (n BLOCK, 52) to noise of the same shape, float32."""
        blocks = white.reshape(-1, BLOCK, len(CHANNELS)).transpose(2, 1, 0)  # (52, BLOCK, n)
        out = self._kernel @ blocks
        for n in range(blocks.shape[2]):
            if self._last is None:
                out[..., n] = self._begin(blocks[..., n])
            else:
                out[..., n] += (self._carry @ self._last[..., None])[..., 0]
            self._last = out[:, -2:, n][:, ::-1]
        return out.transpose(2, 1, 0).reshape(-1, len(CHANNELS)).astype(np.float32)

    def _begin(self, white: np.ndarray) -> np.ndarray:
        """The first block, (52, BLOCK)."""
        out = white.astype(np.float64)
        out[:, 1] = self._lag_1 * out[:, 0] + self._first * out[:, 1]
        for t in range(2, BLOCK):
            past = self._a_1 * out[:, t - 1] + self._a_2 * out[:, t - 2]
            out[:, t] = past + self._gain * out[:, t]
        return out


class Noise:
    """Noise, standard normal in every frame: the same however many frames are drawn at a time."""

    def __init__(self, seed: int, parameters: NoiseParameters = WHITE) -> None:
        """Raises UserError: the seed is no whole number from 0 to 2^64 - 1."""
        try:
            seed = operator.index(seed)
        except TypeError:
            raise UserError(f"seed {seed!r}: must be a whole number, 0 or more") from None
        if not 0 <= seed < SEEDS:
            raise UserError(f"seed {seed}: must be from 0 to 2^64 - 1")
        self._words = np.random.Philox(key=seed).random_raw
        self._filter = AutoRegression(parameters)
        self._left = np.zeros((0, len(CHANNELS)), np.float32)

    def __call__(self, frames: int) -> np.ndarray:
        """The next ``frames`` frames: (frames, 52) float32."""
        if (missing := frames - len(self._left)) > 0:
            new = -(-missing // BLOCK) * BLOCK
            white = normal(self._words(new * WORDS)).reshape(new, len(CHANNELS))
            self._left = np.concatenate([self._left, self._filter(white)])
        out, self._left = self._left[:frames], self._left[frames:]
        return out


def normal(words: np.ndarray) -> np.ndarray:
    """Two standard normal numbers (2 n,) float32 of each 64-bit word (n,): Box and Muller (1958).

    The upper half of a word is the radius's uniform number, in (0, 1], the lower half the angle's.
    """
    radius = np.sqrt(-2 * np.log(((words >> np.uint64(32)) + np.uint64(1)) * 2.0**-32))
    angle = (words & np.uint64(0xFFFFFFFF)) * (2 * np.pi * 2.0**-32)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32).ravel()
