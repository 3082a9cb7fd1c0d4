"""Samples in memory: validation, mixing to mono, and resampling to 16 kHz."""

import functools
import os
from numbers import Real
from typing import Any

import numpy as np
import soxr

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.level import BLOCK, normalize
from diffusiontalker.errors import UserError

MIN_SECONDS = 0.2
MAX_SECONDS = 3600.0
MIN_RATE, MAX_RATE = 1_000, 384_000
"""Hz, of recordings."""
PCM = (np.dtype(np.int16), np.dtype(np.int32))
CANCELLED_DB = 20
"""Channels cancel each other out if their average is so far below the louder one: our choice."""
CANCELLED = "left and right cancel each other out; the louder channel alone is used"


class ChannelPowers:
    """Count, sum and sum of squares of the channels of a recording and of their average."""

    def __init__(self) -> None:
        self._count, self._sums = 0, np.zeros((2, 1))

    def add(self, samples: np.ndarray) -> None:
        """The next samples (n, channels)."""
        for block in np.array_split(samples, 1 + samples.size // BLOCK):
            values = np.column_stack([block, block.mean(axis=1)]).astype(np.float64)
            self._count += len(values)
            self._sums = self._sums + np.stack([values.sum(axis=0), np.square(values).sum(axis=0)])

    def louder_if_cancelled(self) -> int | None:
        """The louder channel, if the channels cancel each other out in their average."""
        mean, square = self._sums / max(self._count, 1)
        *channels, average = square - mean**2
        loudest = int(np.argmax(channels)) if channels else 0
        least = channels[loudest] * 10 ** (-CANCELLED_DB / 10) if channels else 0.0
        return loudest if average < least else None


def prepare_waveform(samples: np.ndarray, rate: int, where: str = "audio") -> np.ndarray:
    """Check, resample to 16 kHz and bring to a common level: (n,) or (n, channels) -> (m,).

    Raises UserError as ``as_waveform``.
    """
    return normalize(as_waveform(samples, rate, where))


def as_waveform(samples: np.ndarray, rate: int, where: str = "audio") -> np.ndarray:
    """Check, and resample to mono at 16 kHz: (n,) or (n, channels) -> (m,) float32. Mono float32
    at that rate is not copied. Of channels that cancel each other out the louder one is used.

    Raises:
        UserError: no samples, NaN or infinite samples, too short, or an impossible rate.
    """
    samples = to_mono(_without_cancellation(_as_array(samples, where)), where, first=0)
    check_rate(rate, where)
    if len(samples) == 0:
        raise UserError(f"{where}: holds no samples")
    if len(samples) / rate < MIN_SECONDS:
        raise UserError(
            f"{where}: {len(samples) / rate:.3f} s of audio; at least {MIN_SECONDS} s are needed"
        )
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return samples


def louder_if_cancelled(samples: np.ndarray) -> int | None:
    """The louder channel of a recording (n,) or (n, channels), if the channels cancel each other
    out in their average."""
    samples = np.asarray(samples)
    if samples.ndim != 2 or samples.shape[1] < 2 or samples.dtype.kind not in "iuf":
        return None
    channels = ChannelPowers()
    with np.errstate(invalid="ignore", over="ignore"):  # NaN is refused by ``to_mono``
        channels.add(samples)
        return channels.louder_if_cancelled()


def _without_cancellation(samples: np.ndarray) -> np.ndarray:
    """The samples, or the louder channel alone."""
    louder = louder_if_cancelled(samples)
    return samples if louder is None else samples[:, louder]


def check_rate(rate: float, where: str, low: int = MIN_RATE, high: int = MAX_RATE) -> None:
    """Raises UserError unless audio may have this sample rate in Hz; by default a recording."""
    if not is_number(rate):
        raise UserError(f"{where}: rate {rate!r}: must be a number of Hz")
    if not low <= rate <= high:
        raise UserError(f"{where}: a sample rate of {rate} Hz; expected {low} to {high}")


def is_number(value: object) -> bool:
    """Whether it is one real number; text and bool are not."""
    return isinstance(value, Real) and not isinstance(value, bool)


def to_mono(samples: np.ndarray, where: str, first: int | None = None) -> np.ndarray:
    """Samples (n,) or (n, channels), integer PCM or float, as (n,) float32, channels averaged.

    Args:
        samples: the samples.
        where: names them in errors.
        first: number of the first sample in the whole, so that errors can name a sample.

    Raises:
        UserError: no numbers, another shape, integers of other widths than those of PCM, or NaN or
            infinite samples.
    """
    samples = _as_array(samples, where)
    whole = samples.dtype.kind in "iu"
    if whole and samples.dtype not in PCM:
        raise UserError(
            f"{where}: integers of type {samples.dtype}, whose full scale is unknown; give int16 "
            "or int32 PCM, or float in [-1, 1]"
        )
    if whole:
        samples = np.divide(samples, _full_scale(samples.dtype), dtype=np.float32)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 2 and samples.shape[1] > 0:
        samples = samples.mean(axis=1)
    if samples.ndim != 1:
        raise UserError(f"{where}: expected samples (n,) or (n, channels), got {samples.shape}")
    # Minimum and maximum show NaN and infinity, without a second array of this length.
    if not whole and samples.size and not np.isfinite([samples.min(), samples.max()]).all():
        bad = int(np.flatnonzero(~np.isfinite(samples))[0])
        at = "" if first is None else f", the first is number {first + bad}, counted from 0"
        raise UserError(f"{where}: holds NaN or infinite samples{at}; export it again")
    return samples


def _as_array(samples: Any, where: str) -> np.ndarray:
    """Samples as an array of numbers. Raises UserError."""
    if isinstance(samples, str | os.PathLike):
        raise UserError(
            f"{where}: {str(samples)!r} is a path, not samples; read the file first: "
            "diffusiontalker.audio.recording.read_recording(path)"
        )
    if isinstance(samples, bytes | bytearray):
        odd = " (an odd number: a sample of 16-bit PCM has two)" if len(samples) % 2 else ""
        raise UserError(
            f"{where}: {len(samples)} bytes{odd}, not samples; give numpy.frombuffer(content, "
            "'<i2') for 16-bit PCM"
        )
    try:
        found = np.asarray(samples)
    except (ValueError, TypeError) as error:  # rows of unequal length, a tensor on a GPU
        raise UserError(f"{where}: no array of samples ({error})") from error
    if found.dtype.kind not in "iuf":
        raise UserError(f"{where}: samples of type {found.dtype}; give float or PCM")
    return found


@functools.cache
def _full_scale(dtype: np.dtype) -> np.float32:
    """The value of integer PCM that stands for 1."""
    return np.float32(np.iinfo(dtype).max)
