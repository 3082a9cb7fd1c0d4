"""Level correction of a live stream: a gain for each mel window, from those before it alone."""

from math import exp, log10

import numpy as np

from diffusiontalker.audio.front_end import FrontEnd
from diffusiontalker.runtime.stream_parameters import StreamParameters

RENORMALISE = 1e9
"""Weight of a window at which the histogram is scaled back to small numbers."""
CLICKS = 2
"""Windows by which the loudest bins may be filled before they count as speech, not as a click."""


class RunningLevel:
    """The gain that brings a stream to the common level, window by window.

    A histogram of loudness with bins of 1 dB and exponential forgetting; the mean power of its
    upper ``span_db`` is the level of speech. Our choice.
    """

    def __init__(self, front_end: FrontEnd, parameters: StreamParameters) -> None:
        self._front_end, self._parameters = front_end, parameters
        self.windows = 0
        """Windows seen so far."""
        self.speech_start: int | None = None
        """Number of the window in which speech was first detected."""
        # Windows and their power per bin, the loudest first; for so few, lists beat arrays.
        self._counts = [0.0] * (1 - front_end.floor_db)
        self._powers = [0.0] * (1 - front_end.floor_db)
        self._top = 0
        """Bin where speech begins: those before it hold clicks of a window or two at most."""
        self._clicks = 0.0
        """Weight of the bins before it."""
        # The weight of a new window grows, which costs less than shrinking all those before it.
        self._growth = exp(1 / parameters.level_memory)
        self._weight = 1.0

    def __call__(self, powers: np.ndarray) -> np.ndarray:
        """Mean squares (n,) of successive windows -> gains (n, 1); each depends on it and on those
        before it."""
        return np.array([self._next(power) for power in powers.tolist()], np.float32)[:, None]

    def _next(self, power: float) -> float:
        self._weight *= self._growth
        if self._weight > RENORMALISE:
            self._counts = [count / self._weight for count in self._counts]
            self._powers = [power / self._weight for power in self._powers]
            self._weight = 1.0
            self._clicks = sum(self._counts[: self._top])
        front_end, parameters = self._front_end, self._parameters
        decibels, floor = 10 * log10(power + 1e-12), front_end.floor_db
        if decibels >= floor:
            bin = max(-floor - int(decibels - floor), 0)
            self._counts[bin] += self._weight
            self._powers[bin] += self._weight * power
            if bin < self._top:
                self._clicks += self._weight
        self.windows += 1
        if not self._find_top():
            return 1.0
        if self.speech_start is None:
            self.speech_start = self.windows - 1
        speech = slice(self._top + front_end.span_db + 1)
        total = sum(self._counts[speech])
        change = front_end.level_db - 10 * log10(sum(self._powers[speech]) / total)
        trust = total / (total + parameters.level_trust * self._weight)
        limit = parameters.level_max_db
        return float(10 ** (trust * min(max(change, -limit), limit) / 20))

    def _find_top(self) -> bool:
        """Move ``_top`` to its place, which is near the last; whether there is any speech."""
        few, counts = CLICKS * self._weight, self._counts
        while self._clicks > few:
            self._top -= 1
            self._clicks -= counts[self._top]
        while self._clicks + counts[self._top] <= few:
            if self._top == len(counts) - 1:
                return False
            self._clicks += counts[self._top]
            self._top += 1
        return True
