"""From clips to training batches: windows of their own length, in buckets, as NumPy arrays.

Pure functions of a table of clips and a seed; Ray Data calls them on one shard at a time. What the
manifest says of the clips' lengths is enough to know how many windows and batches there will be.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from diffusiontalker import storage
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import PER_FRAME
from diffusiontalker.corpus.manifest import ShardInfo
from diffusiontalker.corpus.shards import Clip, clips_of, read_table

Example = dict[str, np.ndarray]
UNKNOWN = -1
"""Index of an identity or emotion that the clip does not name."""
IGNORED = -100
"""Phoneme label of audio that counts for nothing, as in torch's cross-entropy."""
PADDING = 0.1
"""Share of padding that the frames of batches stay under."""
ENOUGH = 8
"""Batches' worth of windows in which similar lengths are found, whatever the lengths are."""


class Examples(Protocol):
    """How the clips of a training run become windows."""

    columns: tuple[str, ...]
    """Columns of a shard that it reads."""

    def lengths(self, frames: int) -> list[int]:
        """Frames of each window that it takes from a clip of so many."""
        ...

    def __call__(self, clip: Clip, rng: np.random.Generator) -> list[Example]:
        """Those windows."""
        ...


def windows_in(frames: int, window: int) -> int:
    """How many windows a pass takes from a clip: about as many as cover it once."""
    return max(round(frames / window), 1)


class MotionExamples:
    """Windows of coefficients with cached features and log-mel, for the teacher and the rounds."""

    columns: tuple[str, ...] = (
        "id",
        "identity",
        "emotion",
        "frames",
        "coefficients",
        "features",
        "log_mel",
    )

    def __init__(self, window: int, identities: Sequence[str], emotions: Sequence[str]) -> None:
        self.window = window
        self.identities = {name: i for i, name in enumerate(identities)}
        self.emotions = {name: i for i, name in enumerate(emotions)}

    def lengths(self, frames: int) -> list[int]:
        """A clip that fits gives one window of its own length; a longer one gives full windows."""
        return [min(frames, self.window)] * windows_in(frames, self.window)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> list[Example]:
        """Random windows of one clip, nothing padded: views of the clip's arrays."""
        assert clip.features is not None
        assert clip.log_mel is not None
        frames = len(clip.coefficients)
        out: list[Example] = []
        for length in self.lengths(frames):
            start = int(rng.integers(0, frames - length + 1))
            stop = start + length
            out.append(
                {
                    "coefficients": clip.coefficients[start:stop],
                    "features": clip.features[start:stop],
                    "log_mel": clip.log_mel[start * PER_FRAME : stop * PER_FRAME],
                    "mask": np.ones(length, np.float32),
                    "identity": np.array(self.identities.get(clip.identity or "", UNKNOWN)),
                    "emotion": np.array(self.emotions.get(clip.emotion or "", UNKNOWN)),
                }
            )
        return out


class PhonemeExamples:
    """Windows of audio, all of one length, with a phoneme for each output of the encoder."""

    columns: tuple[str, ...] = ("id", "frames", "audio", "phones", "phone_starts")

    def __init__(self, seconds: float, phonemes: Sequence[str], stride: int, field: int) -> None:
        self.window = round(seconds * FPS)
        self.samples = round(seconds * SAMPLE_RATE)
        self.phonemes = {name: i for i, name in enumerate(phonemes)}
        self.stride, self.field = stride, field

    def lengths(self, frames: int) -> list[int]:
        """Always of the full length: what a clip lacks is filled up with noise."""
        return [self.window] * windows_in(frames, self.window)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> list[Example]:
        """Random windows of one clip, with a random level and a little noise.

        A clip without phoneme times counts for nothing, but gives as many windows as any other:
        the number of steps is known beforehand.
        """
        labels, starts = np.array([IGNORED]), np.zeros(1)
        if clip.phones and clip.phone_starts is not None:
            labels = np.array([self.phonemes.get(base_phoneme(p), IGNORED) for p in clip.phones])
            starts = clip.phone_starts
        out: list[Example] = []
        for _ in self.lengths(len(clip.coefficients)):
            start = int(rng.integers(0, max(len(clip.audio) - self.samples, 0) + 1))
            audio = clip.audio[start : start + self.samples] * 10 ** (rng.uniform(-6, 6) / 20)
            noise = 10 ** (-rng.uniform(25, 60) / 20) * 0.07
            outputs = (self.samples - self.field) // self.stride + 1
            centres = np.arange(outputs) * self.stride + self.field / 2
            times = (start + centres) / SAMPLE_RATE
            at = np.searchsorted(starts, times, side="right") - 1
            label = np.where(centres < len(audio), labels[np.maximum(at, 0)], IGNORED)
            heard = (noise * rng.normal(size=self.samples)).astype(np.float32)
            heard[: len(audio)] += audio
            out.append({"audio": heard, "labels": label.astype(np.int64)})
        return out


def base_phoneme(ipa: str) -> str:
    """An IPA symbol without stress, length or other marks."""
    return "".join(c for c in ipa if c not in "ˈˌːˑ" and not unicodedata.combining(c))


def batches_in(lengths: Sequence[int], size: int) -> int:
    """Into how many batches of at most ``size`` windows these windows go.

    As few as can be, if that leaves less than ``PADDING``; else more and smaller ones, but at most
    twice as many (our choice): few windows of very different lengths stay above it.
    """
    least = fewest(len(lengths), size)
    for count in range(least, min(2 * least, len(lengths))):
        if padding_of(lengths, count) < PADDING:
            return count
    return min(2 * least, len(lengths))


def padding_of(lengths: Sequence[int], count: int) -> float:
    """Share of padding if windows of these lengths, in order, make so many even batches."""
    ordered = np.sort(lengths)
    padded = sum(len(part) * int(part[-1]) for part in np.array_split(ordered, count))
    return 1 - int(ordered.sum()) / padded


def fewest(windows: int, size: int) -> int:
    """Batches of at most ``size`` that hold so many windows."""
    return -(-windows // size)


@dataclass(frozen=True)
class Portion:
    """Shards that one task reads together, and how many batches it makes of them."""

    files: tuple[str, ...]
    batches: int


def portions(shards: Sequence[ShardInfo], examples: Examples, size: int) -> list[Portion]:
    """A split, shard by shard; where the lengths in one differ too much for full batches with
    little padding, with the next ones, up to ``ENOUGH`` windows. No shard is read for it."""
    groups: list[list[ShardInfo]] = [[]]
    lengths: list[list[int]] = [[]]
    for shard in shards:
        if lengths[-1] and (
            len(lengths[-1]) >= ENOUGH * size
            or batches_in(lengths[-1], size) == fewest(len(lengths[-1]), size)
        ):
            groups.append([])
            lengths.append([])
        groups[-1].append(shard)
        lengths[-1] += [length for n in shard.lengths for length in examples.lengths(n)]
    return [
        Portion(tuple(shard.file for shard in group), batches_in(own, size))
        for group, own in zip(groups, lengths, strict=True)
    ]


def buckets(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Indices of the windows of each batch: similar lengths together, the batches in random order.

    Batches differ by one window at most, so that the gradient of each counts for about as much.
    """
    count = batches_in(lengths, size)
    # Windows change places as far as PADDING allows, so that they meet others in every pass: if
    # each length counts as up to ``jitter`` more or less, no batch becomes longer than by stretch.
    stretch = max((1 - padding_of(lengths, count)) / (1 - PADDING), 1.0)
    jitter = (stretch - 1) / (stretch + 1)
    about = np.array(lengths) * rng.uniform(1 - jitter, 1 + jitter, len(lengths))
    order = np.lexsort((rng.random(len(lengths)), about))
    found = np.array_split(order, count)
    return [found[i] for i in rng.permutation(count)]


def collate(windows: Sequence[Example]) -> Example:
    """One batch: every array with a leading axis (B,), zeros behind the end of a shorter window."""
    return {key: _stack([window[key] for window in windows]) for key in windows[0]}


class ShardReader:
    """Reads whole shards in tasks of Ray Data and makes batches of them.

    It lives here, where torch is not imported: every process that runs it would otherwise load
    torch first.

    Args:
        folder: where the shards lie, local or in S3.
        portions: what is read together.
        examples: what becomes of a clip.
        size: windows in a batch, at most.
        seed: with the epoch and the pass, it determines the order, the crops and the batches.
        epoch: asked once for every portion that is read.
    """

    def __init__(
        self, folder: Path, portions: Sequence[Portion], examples: Examples, size: int, seed: int,
        epoch: Callable[[], int],
    ) -> None:  # fmt: skip
        self.folder, self.portions = str(folder), list(portions)
        self.examples, self.size = examples, size
        self.seed, self.epoch = seed, epoch

    def __call__(self, rows: dict[str, Any]) -> Iterator[Example]:
        """Batches of the portions whose turns ``rows["turn"]`` names.

        An epoch takes its turns one after another, and each pass the portions in another order.

        Raises:
            UserError: a shard is missing or corrupt.
        """
        for turn in rows["turn"]:
            yield from self.read(self.epoch(), *divmod(int(turn), len(self.portions)))

    def read(self, epoch: int, number: int, position: int) -> Iterator[Example]:
        """Batches of the portion at a position of pass ``number``. Raises UserError."""
        order = np.random.default_rng([self.seed, epoch, number]).permutation(len(self.portions))
        index = int(order[position])
        rng = np.random.default_rng([self.seed, epoch, number, index + 1])
        windows: list[Example] = []
        lengths: list[int] = []
        for file in self.portions[index].files:
            path = storage.location(self.folder) / file
            for clip in clips_of(read_table(path, list(self.examples.columns))):
                windows += self.examples(clip, rng)
                lengths += self.examples.lengths(len(clip.coefficients))
        for bucket in buckets(lengths, self.size, rng):
            yield collate([windows[i] for i in bucket])


def _stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if not arrays[0].ndim:
        return np.stack(arrays)
    longest = max(len(array) for array in arrays)
    out = np.zeros((len(arrays), longest, *arrays[0].shape[1:]), arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return out
