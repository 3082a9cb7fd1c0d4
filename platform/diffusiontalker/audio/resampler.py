"""Resampling of a live stream: a windowed sinc with a delay of a millisecond or two.

soxr, which resamples whole recordings here, delays a stream by 20 to 120 ms: too much for live
animation.
"""

import functools
from math import ceil, gcd, lcm

import numpy as np

CROSSINGS = 24
"""Zero crossings of the sinc to either side: 1.5 ms at 16 kHz."""
ROLL_OFF = 0.92
"""Where the pass band ends, as a share of half the lower rate."""
BETA = 8.0
"""Of the Kaiser window: aliasing is attenuated by some 80 dB."""
BLOCK = 32
"""Most output samples that are computed together."""
MAX_WEIGHTS = 1 << 20
"""Most numbers in the filter table of a rate: 4 MB, computed in a tenth of a second."""


class Resampler:
    """Chunks at one rate in, chunks at another out: the same samples however they are cut.

    A polyphase filter, as matrix products: a block of output samples is its input samples times a
    matrix of weights. There are as many matrices as blocks in one period of the phases.
    """

    def __init__(self, rate: int, out: int) -> None:
        divisor = gcd(rate, out)
        self.rate, self.out = rate, out
        self.step, self.phases = rate // divisor, out // divisor
        self.half = _half(rate, out)
        """Input samples to either side that an output sample depends on."""
        self._weights = _weights(rate, out)
        self._buffer = np.zeros(self.half - 1, np.float32)
        self._first = 1 - self.half
        """Number in the whole input of the first sample in the buffer."""
        self._made = 0

    @property
    def delay(self) -> float:
        """Delay in seconds."""
        return 0.0 if self.rate == self.out else self.half / self.rate

    def push(self, samples: np.ndarray) -> np.ndarray:
        """(n,) float32 in, (m,) out: all output samples that do not depend on later input."""
        if self.rate == self.out:
            return samples
        self._buffer = np.concatenate([self._buffer, samples])
        known = self._first + len(self._buffer)
        # Output k lies at k * step / phases of the input, and depends on ``half`` samples after it.
        count = max(((known - self.half) * self.phases - 1) // self.step + 1 - self._made, 0)
        return self._make(count)

    def close(self, pushed: int) -> np.ndarray:
        """The last output samples of an input of ``pushed`` samples, with silence after its end."""
        if self.rate == self.out:
            return np.zeros(0, np.float32)
        return self._make(max(-(-pushed * self.phases // self.step) - self._made, 0))

    def _make(self, count: int) -> np.ndarray:
        matrices, width, block = self._weights.shape
        begin, end = self._made, self._made + count
        first, last = begin // block, ceil(end / block)
        # The last block may depend on later input, but only in outputs that are cut off here.
        padded = np.concatenate([self._buffer, np.zeros(width, np.float32)])
        made = np.empty((last - first, block), np.float32)
        stride = matrices * block * self.step // self.phases
        for number in range(first, min(first + matrices, last)):
            same = made[number - first :: matrices]
            inputs = np.ndarray(
                (len(same), width), np.float32, padded,
                self._place(number * block) * padded.itemsize,
                (stride * padded.itemsize, padded.itemsize),
            )  # fmt: skip
            np.matmul(inputs.copy(), self._weights[number % matrices], out=same)
        self._made = end
        keep = self._place(end // block * block)
        self._buffer, self._first = self._buffer[keep:], self._first + keep
        return made.ravel()[begin - first * block : end - first * block]

    def _place(self, output: int) -> int:
        """Position in the buffer of the first sample that this output sample depends on."""
        return output * self.step // self.phases - (self.half - 1) - self._first


def weights_of(rate: int, out: int) -> int:
    """Numbers in the filter table of two rates: many without a small ratio, such as 16 million from
    191,999 to 16,000 Hz."""
    step, phases = rate // gcd(rate, out), out // gcd(rate, out)
    block = _block(phases)
    return lcm(block, phases) * ((block - 1) * step // phases + 1 + 2 * _half(rate, out))


def _block(phases: int) -> int:
    """Output samples that are computed together."""
    return max(n for n in range(1, BLOCK + 1) if n % phases == 0 or phases % n == 0)


def _half(rate: int, out: int) -> int:
    return ceil(CROSSINGS * max(rate / out, 1.0))


@functools.lru_cache(maxsize=8)
def _weights(rate: int, out: int) -> np.ndarray:
    """(matrices, inputs, outputs): weights of a block's input samples in its output samples."""
    step, phases = rate // gcd(rate, out), out // gcd(rate, out)
    block = _block(phases)
    taps = _taps(rate, out, phases, _half(rate, out))
    outputs = np.arange(lcm(block, phases)).reshape(-1, block)
    before, phase = np.divmod(outputs * step, phases)
    before -= before[:, :1]
    found = np.zeros((len(outputs), int(before.max()) + taps.shape[1], block), np.float32)
    for weights, offsets, rows in zip(found, before, taps[phase], strict=True):
        for output, (offset, row) in enumerate(zip(offsets, rows, strict=True)):
            weights[offset : offset + len(row), output] = row
    return found


def _taps(rate: int, out: int, phases: int, half: int) -> np.ndarray:
    """(phases, 2 * half): weights of the input samples around an output sample, by its phase."""
    cutoff = ROLL_OFF * min(out / rate, 1.0)
    distance = np.arange(phases)[:, None] / phases - np.arange(1 - half, half + 1)
    window = np.i0(BETA * np.sqrt(np.clip(1 - (distance / half) ** 2, 0, 1))) / np.i0(BETA)
    taps = cutoff * np.sinc(cutoff * distance) * window
    return (taps / taps.sum(axis=1, keepdims=True)).astype(np.float32)
