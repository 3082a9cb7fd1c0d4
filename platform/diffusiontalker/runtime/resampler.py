"""Sample rates in a stream: a windowed sinc that waits for a millisecond or two.

soxr, which resamples whole recordings here, keeps 20 to 120 ms of a stream to itself: more than a
talking face may come late.
"""

from math import ceil, gcd

import numpy as np

CROSSINGS = 24
"""Zero crossings of the sinc to either side: 1.5 ms at 16 kHz."""
ROLL_OFF = 0.92
"""Where the pass band ends, as a share of half the lower rate."""
BETA = 8.0
"""Of the Kaiser window: what is folded back lies some 80 dB down."""


class Resampler:
    """Chunks at one rate in, chunks at another out: the same samples however they are cut."""

    def __init__(self, rate: int, out: int) -> None:
        divisor = gcd(rate, out)
        self.rate, self.out = rate, out
        self.step, self.phases = rate // divisor, out // divisor
        self.half = ceil(CROSSINGS * max(rate / out, 1.0))
        """Input samples to either side that an output sample sees."""
        self._taps = _taps(rate, out, self.phases, self.half)
        self._buffer = np.zeros(self.half - 1, np.float32)
        self._first = 1 - self.half
        """Number, in the whole input, of the first sample in the buffer."""
        self._made = 0

    @property
    def delay(self) -> float:
        """Seconds that it waits for."""
        return 0.0 if self.rate == self.out else self.half / self.rate

    def push(self, samples: np.ndarray) -> np.ndarray:
        """(n,) float32 in, (m,) out: all that does not depend on what is still to come."""
        if self.rate == self.out:
            return samples
        self._buffer = np.concatenate([self._buffer, samples])
        known = self._first + len(self._buffer)
        # Output k lies at k * step / phases of the input and sees ``half`` samples behind that.
        count = max(((known - self.half) * self.phases - 1) // self.step + 1 - self._made, 0)
        return self._make(count)

    def close(self, pushed: int) -> np.ndarray:
        """The last samples of an input of ``pushed`` samples, silence behind its end."""
        if self.rate == self.out:
            return np.zeros(0, np.float32)
        self._buffer = np.concatenate([self._buffer, np.zeros(self.half + 1, np.float32)])
        return self._make(max(-(-pushed * self.phases // self.step) - self._made, 0))

    def _make(self, count: int) -> np.ndarray:
        positions = (self._made + np.arange(count)) * self.step
        before = positions // self.phases
        at = before - (self.half - 1) - self._first
        if count == 0:
            return np.zeros(0, np.float32)
        seen = np.lib.stride_tricks.sliding_window_view(self._buffer, 2 * self.half)[at]
        made = np.einsum("nk,nk->n", seen, self._taps[positions % self.phases])
        self._made += count
        keep = self._made * self.step // self.phases - (self.half - 1) - self._first
        self._buffer, self._first = self._buffer[keep:], self._first + keep
        return made


def _taps(rate: int, out: int, phases: int, half: int) -> np.ndarray:
    """(phases, 2 * half): weights of the input samples around an output sample, by its phase."""
    cutoff = ROLL_OFF * min(out / rate, 1.0)
    distance = np.arange(phases)[:, None] / phases - np.arange(1 - half, half + 1)
    window = np.i0(BETA * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, 1))) / np.i0(BETA)
    taps = cutoff * np.sinc(cutoff * distance) * window
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
