"""The noise that diffusion starts from: one seed gives one animation, here and in the browser.

Philox-4x64-10 (Salmon et al. 2011), a counter-based generator, makes 64-bit words: words 26 t to
26 t + 25 are frame t's, so that its noise depends on seed and t alone. Each word gives two normal
numbers by Box and Muller's transform. Each channel is then filtered over time, and gaze jumps, so
that the noise moves as faces do (``diffusion.noise``). ``web/noise.js`` computes the same.
"""

import operator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from diffusiontalker.arkit import CHANNELS, GAZE, INDEX
from diffusiontalker.errors import UserError

WORDS = len(CHANNELS) // 2
"""64-bit words per frame."""
SEEDS = 1 << 64
"""Seeds are below it; in the browser, below 2^53."""
BLOCK = 16
"""Frames that are filtered together, at fixed places, so that noise does not depend on how it is
cut."""

_JUMP = INDEX["eyeBlinkLeft"]
"""Its white noise decides when gaze jumps (``diffusion.noise.JUMP``)."""


@dataclass(frozen=True)
class NoiseParameters:
    """Correlations of each channel's noise over one and over two frames."""

    lag_1: tuple[float, ...] = (0.0,) * len(CHANNELS)
    lag_2: tuple[float, ...] = (0.0,) * len(CHANNELS)
    gaze_threshold: float | None = None
    """White noise beyond which the gaze jumps (``diffusion.noise.gaze_noise``); None: the channels
    of gaze are filtered like others."""


WHITE = NoiseParameters()


@lru_cache(maxsize=8)
def _response(parameters: NoiseParameters) -> np.ndarray:
    """How frames of a block depend on the last two before it and its white noise: (52, BLOCK, 2 +
    BLOCK). Shared by all streams of a student, because it takes 120 kB."""
    lag_1, lag_2 = (np.array(lag, np.float64) for lag in (parameters.lag_1, parameters.lag_2))
    rest = 1 - lag_1**2
    a_1, a_2 = lag_1 * (1 - lag_2) / rest, (lag_2 - lag_1**2) / rest
    # 1 - a_1 lag_1 - a_2 lag_2, which rounding could make negative at the edge of stationarity.
    gain = np.sqrt((1 - lag_2) * np.maximum(1 + lag_2 - 2 * lag_1**2, 0) / rest)
    out = np.tile(np.eye(2 + BLOCK), (len(CHANNELS), 1, 1))
    out[:, 2:] *= gain[:, None, None]
    for t in range(2, 2 + BLOCK):
        out[:, t] += a_1[:, None] * out[:, t - 1] + a_2[:, None] * out[:, t - 2]
    return out[:, 2:]


class AutoRegression:
    """The filter from white noise to a stationary AR(2) process of unit variance per channel.

    x_t = a_1 x_(t-1) + a_2 x_(t-2) + g e_t, as ``diffusion.noise.AutoRegression``: here block after
    block in double precision. Frame 0 is white noise, and frame 1 correlated with it as always.
    """

    def __init__(self, parameters: NoiseParameters) -> None:
        self._response = _response(parameters)
        self._lag_1 = np.array(parameters.lag_1)
        self._last: np.ndarray | None = None
        """(52, 2): the last two frames."""

    def __call__(self, white: np.ndarray) -> np.ndarray:
        """The next blocks: white noise (n BLOCK, 52), n > 0, to noise like it, float32."""
        blocks = white.reshape(-1, BLOCK, len(CHANNELS)).transpose(2, 1, 0)  # (52, BLOCK, n)
        out, carry = self._response[..., 2:] @ blocks, self._response[..., :2]
        last = self._last
        for n in range(blocks.shape[2]):
            if last is None:
                out[..., n] = self._begin(blocks[..., n])
            else:
                out[..., n] += (carry @ last[..., None])[..., 0]
            last = out[:, -2:, n]
        assert last is not None
        self._last = last.copy()  # a view would keep all of ``out``
        return out.transpose(2, 1, 0).reshape(-1, len(CHANNELS)).astype(np.float32)

    def _begin(self, white: np.ndarray) -> np.ndarray:
        """The first block, (52, BLOCK)."""
        out = white.astype(np.float64)
        out[:, 1] = self._lag_1 * out[:, 0] + np.sqrt(1 - self._lag_1**2) * out[:, 1]
        out[:, 2:] = (self._response[:, :-2, :-2] @ out[..., None])[..., 0]
        return out


class GazeJumps:
    """Noise of the channels of gaze that is held and jumps: ``diffusion.noise.gaze_noise``."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._held: np.ndarray | None = None
        """(8,)."""

    def __call__(self, white: np.ndarray) -> np.ndarray:
        """The next frames: white noise (n, 52), n > 0, to (n, 8)."""
        jumps = np.abs(white[:, _JUMP]) > self._threshold
        jumps[0] |= self._held is None
        gaze = white[:, GAZE]
        last = np.maximum.accumulate(np.where(jumps, np.arange(len(white)), -1))
        held = gaze[0] if self._held is None else self._held
        out = np.where(last[:, None] < 0, held, gaze[last])
        self._held = out[-1].copy()
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
        threshold = parameters.gaze_threshold
        self._gaze = None if threshold is None else GazeJumps(threshold)
        self._left = np.zeros((0, len(CHANNELS)), np.float32)

    def __call__(self, frames: int) -> np.ndarray:
        """The next ``frames`` frames: (frames, 52) float32."""
        if (missing := frames - len(self._left)) > 0:
            new = -(-missing // BLOCK) * BLOCK
            white = normal(self._words(new * WORDS)).reshape(new, len(CHANNELS))
            filtered = self._filter(white)
            if self._gaze is not None:
                filtered[:, GAZE] = self._gaze(white)
            self._left = np.concatenate([self._left, filtered])
        out, self._left = self._left[:frames], self._left[frames:]
        return out


def normal(words: np.ndarray) -> np.ndarray:
    """Two standard normal numbers (2 n,) float32 of each 64-bit word (n,): Box and Muller (1958).

    The upper half of a word is the radius's uniform number, in (0, 1], the lower half the angle's.
    """
    radius = np.sqrt(-2 * np.log(((words >> np.uint64(32)) + np.uint64(1)) * 2.0**-32))
    angle = (words & np.uint64(0xFFFFFFFF)) * (2 * np.pi * 2.0**-32)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).astype(np.float32).ravel()
