"""Recordings in: any format libsndfile reads, any rate, mono or stereo, to mono 16 kHz float32."""

import functools
from io import BytesIO
from math import log10
from pathlib import Path
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from diffusiontalker import storage
from diffusiontalker.errors import UserError

SAMPLE_RATE = 16_000
"""Hz; the rate of every encoder and of the shards."""
MIN_SECONDS = 0.2
MAX_SECONDS = 3600.0
MIN_RATE, MAX_RATE = 1_000, 384_000
"""Hz, of recordings."""
PCM = (np.dtype(np.int16), np.dtype(np.int32))
BLOCK = 1 << 16
"""Samples of all channels that are decoded at a time."""
_UNKNOWN = (1 << 63) - 1
"""What libsndfile says of a file whose header does not tell how long it is."""
LEVEL_DB = -23.0
"""RMS of the louder parts after ``normalize``, in dB relative to full scale: our choice."""
FLOOR_DB = -65
"""Below that is no voice, but the room."""


class _Sequential(soundfile.SoundFile):
    """A file that is read from its beginning to its end: soundfile seeks after every block, which
    finds out what is cut off, but fails at the end of a FLAC that does not tell its length."""

    def seekable(self) -> bool:
        return self.frames != _UNKNOWN and super().seekable()


def load(
    path: str | Path, max_seconds: float = MAX_SECONDS, to: int | None = None
) -> tuple[np.ndarray, int]:
    """Read a recording, local or in S3; ``to`` as in ``decode``.

    Returns:
        Samples (n,) float32, mono (channels averaged), and their rate in Hz.

    Raises:
        UserError: missing, or as ``decode``.
    """
    path = storage.location(path)
    content = storage.read_bytes(path) if storage.is_remote(path) else None
    if content is None and not path.is_file():
        raise UserError(f"{path}: no such file")
    if (path.stat().st_size if content is None else len(content)) == 0:
        raise UserError(f"{path}: the file is empty")
    return decode(path if content is None else BytesIO(content), str(path), max_seconds, to)


def decode(
    file: Path | BinaryIO, where: str, max_seconds: float = MAX_SECONDS, to: int | None = None
) -> tuple[np.ndarray, int]:
    """Decode a recording block by block: memory follows what is there, not what a header claims.

    Args:
        file: a path, or an open file.
        where: names it in errors.
        max_seconds: a longer one is refused.
        to: rate in Hz to which it is resampled as it comes, so that memory does not follow its own
            rate either; None: it is left as it is.

    Returns:
        Samples (n,) float32, mono (channels averaged), and their rate in Hz.

    Raises:
        UserError: not audio, an impossible rate, NaN, or longer than ``max_seconds``; the length
            that the header claims is checked before anything is decoded.
    """
    try:
        with _Sequential(file) as sound:
            rate = int(sound.samplerate)
            check_rate(rate, where)
            if sound.frames != _UNKNOWN:
                _check_length(sound.frames / rate, max_seconds, where)
            to = to or rate
            resampler = None if rate == to else soxr.ResampleStream(rate, to, 1)
            block = max(BLOCK // sound.channels, 1)
            # A header that lies costs nothing: memory that is never written to is never taken.
            seconds = 60.0 if sound.frames == _UNKNOWN else sound.frames / rate
            samples = np.empty(round(seconds * to) + 2 * BLOCK, np.float32)
            decoded = kept = 0
            while len(piece := sound.read(block, dtype="float32", always_2d=True)):
                decoded += len(piece)
                _check_length(decoded / rate, max_seconds, where)
                kept = _append(samples, kept, mono(piece, where), resampler)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:  # TypeError: .raw
        raise UserError(f"{where}: not a readable audio file (wav, flac, ogg or mp3)") from error
    kept = _append(samples, kept, np.zeros(0, np.float32), resampler, last=True)
    return samples[:kept], to


def _append(
    out: np.ndarray,
    kept: int,
    piece: np.ndarray,
    resampler: soxr.ResampleStream | None,
    last: bool = False,
) -> int:
    """Put a piece, resampled, behind the ``kept`` samples of ``out``, which grows where the header
    told of less; how many there are now."""
    if resampler is not None:
        piece = resampler.resample_chunk(piece, last=last)
    if kept + len(piece) > len(out):
        out.resize(2 * (kept + len(piece)), refcheck=False)
    out[kept : kept + len(piece)] = piece
    return kept + len(piece)


def _check_length(seconds: float, most: float, where: str) -> None:
    if seconds > most:
        raise UserError(
            f"{where}: {seconds:.0f} s of audio, but at most {most:.0f} s are allowed; "
            "cut it into parts"
        )


def prepare(samples: np.ndarray, rate: int, where: str = "audio") -> np.ndarray:
    """Check, resample to 16 kHz and bring to a common level: (n,) or (n, channels) -> (m,).

    Raises UserError as ``check``.
    """
    return normalize(check(samples, rate, where))


def check(samples: np.ndarray, rate: int, where: str = "audio") -> np.ndarray:
    """Check, and resample to mono at 16 kHz: (n,) or (n, channels) -> (m,) float32. What is that
    already is not copied.

    Raises:
        UserError: no samples, NaN or infinite samples, too short, or an impossible rate.
    """
    samples = mono(samples, where)
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


def check_rate(rate: float, where: str) -> None:
    """Raises UserError unless a recording may have this sample rate in Hz."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UserError(f"{where}: a sample rate of {rate} Hz; expected {MIN_RATE} to {MAX_RATE}")


def mono(samples: np.ndarray, where: str) -> np.ndarray:
    """Samples (n,) or (n, channels), integer PCM or float, as (n,) float32, channels averaged.

    Raises:
        UserError: another shape, integers of other widths than PCM has them, or NaN or infinite
            samples.
    """
    samples = np.asarray(samples)
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
    # Both ends tell of NaN and infinity, without a second array as long as the recording.
    if not whole and samples.size and not np.isfinite([samples.min(), samples.max()]).all():
        raise UserError(f"{where}: holds NaN or infinite samples; export it again")
    return samples


@functools.cache
def _full_scale(dtype: np.dtype) -> np.float32:
    """What stands for 1 in integer PCM."""
    return np.float32(np.iinfo(dtype).max)


def normalize(samples: np.ndarray) -> np.ndarray:
    """Remove DC and scale (n,) so that its louder parts have an RMS of ``LEVEL_DB``."""
    return leveled(samples, *level(samples))


def level(samples: np.ndarray) -> tuple[float, float]:
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
    return 20 * log10(level(samples)[1]) >= LEVEL_DB - FLOOR_DB - 1e-6


def leveled(samples: np.ndarray, mean: float, gain: float) -> np.ndarray:
    """A recording (n,), or a part of it, without DC and at its level, within ±1."""
    out = samples - np.float32(mean)
    out *= np.float32(gain)
    return np.clip(out, -1.0, 1.0, out=out)
