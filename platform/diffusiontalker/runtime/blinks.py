"""Blinks: when the eyes close is drawn, how they close is learned.

A blink is an event, which Gaussian noise cannot make: a network that has to turn noise into events
makes too few, or flicker. So the network is trained on faces without blinks (``training.blinks``)
and gives the probability that a blink begins in a frame, which speech, speaker and emotion move. A
number from a counter-based generator decides; the lids then follow the median course of the blinks
of the training data. Our choice; Audio2Face-3D has a blink layer too, of fixed intervals.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffusiontalker.arkit import INDEX

LIDS = INDEX["eyeBlinkLeft"], INDEX["eyeBlinkRight"]
LONG_AGO = 1 << 30
"""Frames since a blink began, where there has been none."""
STREAM = 1 << 64
"""Added to a seed, it selects the generator's sequence for blinks, beside that for noise."""


@dataclass(frozen=True)
class BlinkParameters:
    """How lids move in a blink."""

    shape: tuple[float, ...] = ()
    """How far the lids are closed in each frame, 0 to 1, from the frame on in which it begins.
    Another one may begin when it has ended. Empty: the face never blinks."""

    def trimmed(self) -> "BlinkParameters":
        """Without the zeros at the end of the shape."""
        lasting = np.flatnonzero(self.shape)
        return BlinkParameters(self.shape[: lasting[-1] + 1] if len(lasting) else ())

    @cached_property
    def padded(self) -> np.ndarray:
        """The shape, and a 0 for the time after it."""
        return np.array([*self.shape, 0.0], np.float32)


NO_BLINKS = BlinkParameters()


def uniforms(seed: int) -> np.random.Philox:
    """The generator of a seed's uniform numbers: ``draw`` takes the next."""
    return np.random.Philox(key=seed + STREAM)


def draw(generator: np.random.Philox, frames: int) -> np.ndarray:
    """The next uniform numbers in [0, 1), one for each frame: (frames,) float64."""
    return (generator.random_raw(frames) >> np.uint64(32)) * 2.0**-32


def closed(
    parameters: BlinkParameters, uniform: np.ndarray, probability: np.ndarray, since: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far the lids of B faces are closed in the next frame.

    Args:
        parameters: the course of a blink.
        uniform: (B,) in [0, 1).
        probability: (B,) that a blink begins in this frame.
        since: (B,) int64, frames since the last one began; any number from its length on is
            "long ago".

    Returns:
        (B,) float32 in 0-1, and ``since`` of the frame after.
    """
    length = len(parameters.shape)
    begins = (since >= length) & (uniform < probability)
    since = np.where(begins, 0, np.minimum(since, length))
    return parameters.padded[since], since + 1


def close_lids(coefficients: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Coefficients (..., 52) with the lids closed by ``amount`` (...,) of the way that is left."""
    out = coefficients.copy()
    for lid in LIDS:
        out[..., lid] += (1 - out[..., lid]) * amount
    return out


class Blinks:
    """The blinks of one recording, chunk after chunk: the same however it is cut."""

    def __init__(self, seed: int, parameters: BlinkParameters) -> None:
        self._parameters = parameters
        self._generator = uniforms(seed)
        self._left = np.zeros(0, np.float32)
        """What is left of a blink that began in the chunk before."""

    def __call__(self, coefficients: np.ndarray, probability: np.ndarray) -> np.ndarray:
        """The next chunk: coefficients (T, 52) and the probability (T,) that a blink begins."""
        shape, frames = self._parameters.padded[:-1], len(coefficients)
        if not len(shape):
            return coefficients
        amount = np.zeros(frames + len(shape), np.float32)
        amount[: len(self._left)] = self._left
        free = len(self._left)
        for begin in np.flatnonzero(draw(self._generator, frames) < probability):
            if begin >= free:
                free = int(begin) + len(shape)
                amount[begin:free] = shape
        self._left = amount[frames : max(free, frames)]
        return close_lids(coefficients, amount[:frames])
