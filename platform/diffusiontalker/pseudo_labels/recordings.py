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

SHARD_BYTES = 4 << 20
"""Bytes of recordings whose clips become one shard: some three minutes of FLAC at 16 kHz."""
MIN_SECONDS = 0.4
"""A shorter recording is left out."""
QUIET_DB = 35.0
"""Below the louder parts of a recording, its beginning and end are silence."""
FRAME = SAMPLE_RATE // 100
"""Samples of a piece whose level is compared: 10 ms."""
PAUSE_SECONDS = (0.15, 0.7)
"""Between two recordings of a clip."""
NOISE = 1e-4
"""Deviation of the noise in those pauses, instead of digital silence, which no microphone gives."""


@dataclass(frozen=True)
class Batch:
    """Recordings that become one shard."""

    shard: str
    """Name of the shard."""
    files: tuple[str, ...]
    """Relative to the folder; those of a speaker one after the other."""


@dataclass(frozen=True)
class Listing:
    """The recordings of a folder."""

    files: dict[str, str]
    """By name relative to the folder, with what changes when their content does."""
    bytes: dict[str, int]
    left_out: tuple[str, ...]
    """Names of entries that cannot be read, such as dead links, and why."""


def listing(folder: Path) -> Listing:
    """The recordings of a folder, local or in S3; hidden files and folders do not count.

    Raises:
        UserError: no such folder, or one without recordings.
    """
    found = data_folder.list_files(folder)
    files = {name: info for name, info in found.files.items() if _is_recording(name)}
    left_out = tuple(f"{name}: {reason}" for name, reason in found.left_out if _is_recording(name))
    if not files:
        raise UserError(
            f"pseudo_labels.recordings {folder}: holds no recordings ({', '.join(ALL_SUFFIXES)})"
            + "".join(f"; {reason}" for reason in left_out[:1])
        )
    return Listing(
        {name: f"{info.bytes} {info.stamp}" for name, info in files.items()},
        {name: info.bytes for name, info in files.items()},
        left_out,
    )


def _is_recording(name: str) -> bool:
    """Whether a name is that of a recording, neither hidden nor in a hidden folder."""
    hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
    return name.lower().endswith(ALL_SUFFIXES) and not hidden


def speaker_of(name: str) -> str:
    """The speaker of a recording: its folder."""
    return str(PurePosixPath(name).parent)


def batches(sizes: dict[str, int], seed: int) -> list[Batch]:
    """The recordings, given with their bytes, in random order, about ``SHARD_BYTES`` together, of
    many speakers in each."""
    names = sorted(sizes)
    order = np.random.default_rng(seed).permutation(len(names))
    groups: list[list[str]] = [[]]
    for name in (names[i] for i in order):
        if groups[-1] and sum(sizes[one] for one in groups[-1]) + sizes[name] > SHARD_BYTES:
            groups.append([])
        groups[-1].append(name)
    return [
        Batch(f"train-{number:05d}.parquet", tuple(sorted(group, key=speaker_of)))
        for number, group in enumerate(groups)
    ]


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
    """Recordings (n,) of a speaker at 16 kHz one after the other, with pauses, in clips of about
    ``seconds`` at most; a longer recording is a clip of its own."""
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
