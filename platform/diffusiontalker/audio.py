"""Recordings in: any format libsndfile reads, any rate, mono or stereo, to mono 16 kHz float32."""

from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
import soxr

from diffusiontalker import storage
from diffusiontalker.errors import UserError

SAMPLE_RATE = 16_000
"""Hz; the rate of every encoder and of the shards."""
MIN_SECONDS = 0.2
MAX_SECONDS = 3600.0
BLOCK = 1 << 16
"""Samples that are decoded at a time."""
LEVEL_DB = -23.0
"""RMS of the louder parts after ``normalize``, in dB relative to full scale: our choice."""


def load(path: str | Path, max_seconds: float = MAX_SECONDS) -> tuple[np.ndarray, int]:
    """Read a recording, local or in S3.

    Returns:
        Samples (n,) float32, mono (channels averaged), and their rate in Hz.

    Raises:
        UserError: missing, not audio, empty, or longer than ``max_seconds``; the length that the
            header claims is checked before anything is decoded.
    """
    path = storage.location(path)
    content = storage.read_bytes(path) if storage.is_remote(path) else None
    if content is None and not path.is_file():
        raise UserError(f"{path}: no such file")
    if (path.stat().st_size if content is None else len(content)) == 0:
        raise UserError(f"{path}: the file is empty")
    try:
        with soundfile.SoundFile(path if content is None else BytesIO(content)) as file:
            if file.samplerate <= 0 or file.frames / file.samplerate > max_seconds:
                raise UserError(
                    f"{path}: {file.frames / max(file.samplerate, 1):.0f} s of audio, "
                    f"but at most {max_seconds:.0f} s are allowed; cut it into parts"
                )
            # In blocks, so that memory follows what is there and not what the header claims.
            blocks = file.blocks(BLOCK, dtype="float32", always_2d=True)
            samples = [block.mean(axis=1) for block in blocks]
            rate = int(file.samplerate)
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:  # TypeError: .raw
        raise UserError(f"{path}: not a readable audio file (wav, flac, ogg or mp3)") from error
    return np.concatenate([np.zeros(0, np.float32), *samples]), rate


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
    if not 1_000 <= rate <= 384_000:
        raise UserError(f"{where}: a sample rate of {rate} Hz; expected 1000 to 384000")
    if len(samples) == 0:
        raise UserError(f"{where}: holds no samples")
    if len(samples) / rate < MIN_SECONDS:
        raise UserError(
            f"{where}: {len(samples) / rate:.3f} s of audio; at least {MIN_SECONDS} s are needed"
        )
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return samples


def mono(samples: np.ndarray, where: str) -> np.ndarray:
    """Samples (n,) or (n, channels), integer PCM or float, as (n,) float32, channels averaged.

    Raises:
        UserError: another shape, or NaN or infinite samples.
    """
    samples = np.asarray(samples)
    if np.issubdtype(samples.dtype, np.integer):
        samples = samples / float(np.iinfo(samples.dtype).max)
    samples = samples.astype(np.float32, copy=False)
    if samples.ndim == 2 and samples.shape[1] > 0:
        samples = samples.mean(axis=1)
    if samples.ndim != 1:
        raise UserError(f"{where}: expected samples (n,) or (n, channels), got {samples.shape}")
    if not np.isfinite(samples).all():
        raise UserError(f"{where}: holds NaN or infinite samples; export it again")
    return samples


def normalize(samples: np.ndarray) -> np.ndarray:
    """Remove DC and scale (n,) so that its louder parts have an RMS of ``LEVEL_DB``."""
    return leveled(samples, *level(samples))


def level(samples: np.ndarray) -> tuple[float, float]:
    """Mean of samples (n,), and the gain that brings what is left to ``LEVEL_DB``.

    The level is taken over the 20 ms pieces within 25 dB of the loudest, so that pauses do not
    count. Silence stays silence.
    """
    mean = samples.mean(dtype=np.float64)
    piece = min(SAMPLE_RATE // 50, len(samples))
    whole = samples[: len(samples) // piece * piece].reshape(-1, piece)
    # In blocks: an hour is not held twice.
    blocks = np.array_split(whole, 1 + whole.size // BLOCK)
    power = np.concatenate([np.square(block - np.float32(mean)).mean(axis=1) for block in blocks])
    loud = float(power[power >= power.max() * 10**-2.5].mean())
    gain = 1.0 if loud < 1e-10 else float(np.sqrt(10 ** (LEVEL_DB / 10) / loud))
    return float(mean), gain


def leveled(samples: np.ndarray, mean: float, gain: float) -> np.ndarray:
    """A recording (n,), or a part of it, without DC and at its level, within ±1."""
    out = samples - np.float32(mean)
    out *= np.float32(gain)
    return np.clip(out, -1.0, 1.0, out=out)
