"""Recordings of a folder, and clips of them: long ones are cut, short ones joined.

Pure functions but for the listing. All lengths are our choice.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.recording import ALL_SUFFIXES
from diffusiontalker.corpus import data_folder
from diffusiontalker.errors import UserError

SHARD_BYTES = 8 << 20
"""Bytes of recordings whose clips become one shard: some five minutes of FLAC at 16 kHz."""
MIN_SECONDS = 0.4
"""A shorter recording is left out."""
QUIET_DB = 35.0
"""Below the louder parts of a recording, its beginning and end are silence."""
FRAME = SAMPLE_RATE // 100
"""Samples of a piece whose level is compared: 10 ms."""
PAUSE_SECONDS = (0.15, 0.7)
"""Between two recordings of a clip."""
NOISE = 1e-4
"""Deviation of the noise in those pauses: digital silence would be audible as such."""


@dataclass(frozen=True)
class Batch:
    """Recordings of one speaker that become one shard."""

    shard: str
    """Name of the shard."""
    speaker: str
    files: tuple[str, ...]
    """Relative to the folder."""


def listing(folder: Path) -> dict[str, str]:
    """The recordings of a folder, local or in S3, with what changes when their content does.

    Raises:
        UserError: no such folder, or one without recordings.
    """
    found = {
        name: f"{info.bytes} {info.stamp}"
        for name, info in data_folder.list_files(folder).files.items()
        if name.lower().endswith(ALL_SUFFIXES)
    }
    if not found:
        raise UserError(
            f"pseudo_labels.recordings {folder}: holds no recordings ({', '.join(ALL_SUFFIXES)})"
        )
    return found


def batches(files: dict[str, int], seed: int) -> list[Batch]:
    """The recordings, given with their bytes, by speaker, in random order, about ``SHARD_BYTES``
    together."""
    speakers: dict[str, list[str]] = {}
    for name in sorted(files):
        speakers.setdefault(str(PurePosixPath(name).parent), []).append(name)
    out: list[Batch] = []
    for speaker, own in speakers.items():
        order = np.random.default_rng([seed, len(out)]).permutation(len(own))
        groups: list[list[str]] = [[]]
        for name in (own[i] for i in order):
            if groups[-1] and sum(files[one] for one in groups[-1]) + files[name] > SHARD_BYTES:
                groups.append([])
            groups[-1].append(name)
        for group in groups:
            out.append(Batch(f"train-{len(out):05d}.parquet", speaker, tuple(group)))
    return out


def trimmed(audio: np.ndarray) -> np.ndarray:
    """Audio (n,) at 16 kHz without the silence at its ends; empty where it is shorter than
    ``MIN_SECONDS``."""
    level = _levels(audio)
    if not len(level):
        return audio[:0]
    loud = np.flatnonzero(level > np.percentile(level, 95) - QUIET_DB)
    first, last = max(loud[0] - 5, 0), loud[-1] + 6  # 50 ms are left
    inside = audio[first * FRAME : last * FRAME]
    return inside if len(inside) >= MIN_SECONDS * SAMPLE_RATE else audio[:0]


def pieces(audio: np.ndarray, seconds: float) -> Iterator[np.ndarray]:
    """Audio (n,) at 16 kHz, cut into pieces of at most ``seconds``: each at the quietest moment of
    its second half."""
    size = round(seconds * SAMPLE_RATE)
    while len(audio) > size:
        half = size // 2 // FRAME * FRAME
        at = half + int(np.argmin(_levels(audio[half:size]))) * FRAME + FRAME // 2
        yield audio[:at]
        audio = audio[at:]
    yield audio


def joined(
    audios: Sequence[np.ndarray], seconds: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Recordings (n,) at 16 kHz one after the other, with pauses, in clips of about ``seconds`` at
    most; a longer recording is a clip of its own."""
    clips: list[list[np.ndarray]] = [[]]
    for audio in audios:
        length = sum(map(len, clips[-1]))
        if length and length + len(audio) > seconds * SAMPLE_RATE:
            clips.append([])
        pause = round(rng.uniform(*PAUSE_SECONDS) * SAMPLE_RATE)
        clips[-1] += [rng.normal(0, NOISE, pause).astype(np.float32), audio]
    return [np.concatenate(parts) for parts in clips if parts]


def _levels(audio: np.ndarray) -> np.ndarray:
    """dB of each whole piece of 10 ms."""
    frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME)
    decibels: np.ndarray = 10 * np.log10(np.square(frames).mean(axis=1) + 1e-10)
    return decibels
