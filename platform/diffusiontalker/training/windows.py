"""From clips to training batches: windows of various lengths, bucketed by length, as NumPy arrays.

Pure functions of a table of clips and a seed; Ray Data calls them shard by shard. The clip lengths
in the manifest determine how many windows and batches there are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from diffusiontalker import storage
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import PER_FRAME
from diffusiontalker.corpus.manifest import ShardInfo
from diffusiontalker.corpus.phonemes import base_phoneme
from diffusiontalker.corpus.shards import Clip, clips_of, phones_of, read_table
from diffusiontalker.objectives.articulation import bilabial_frames
from diffusiontalker.training.blinks import find_blinks, onset_labels, without_blinks

Window = dict[str, np.ndarray]
UNKNOWN = -1
"""Label of a clip without an identity or emotion."""
IGNORED_LABEL = -100
"""Phoneme label that cross-entropy ignores; torch's default ``ignore_index``."""
MAX_PADDING = 0.1
"""Upper bound on the share of padding in the frames of batches."""
GROUP_BATCHES = 8
"""A group of shards with so many batches of windows has enough of each length for full batches."""
MIXED_SHARDS = 4
"""Shards in a group where several sets are mixed."""


class Windowing(Protocol):
    """How a training stage cuts clips into windows."""

    columns: tuple[str, ...]
    """Columns of a shard that it needs."""

    def lengths(self, frames: int) -> list[int]:
        """Lengths in frames of the windows that it cuts from a clip of ``frames``."""
        ...

    def __call__(self, clip: Clip, rng: np.random.Generator) -> list[Window]:
        """The windows of a clip."""
        ...


def windows_in(frames: int, window: int) -> int:
    """Windows cut from a clip in each pass: about as many as cover it once."""
    return max(round(frames / window), 1)


class MotionWindows:
    """Windows of coefficients with cached features and log-mel, for the teacher and the rounds."""

    def __init__(
        self, window: int, identities: Sequence[str], emotions: Sequence[str], blinks: bool = False,
        features: bool = True,
    ) -> None:  # fmt: skip
        """``blinks``: remove and label blinks, instead of leaving them in the coefficients.
        ``features``: those of the frozen encoder, where a model takes them; they are most of a
        shard."""
        self.window, self.blinks, self.features = window, blinks, features
        self.columns: tuple[str, ...] = (
            "id", "identity", "emotion", "frames", "coefficients", "log_mel", "phones",
            "phone_starts", *(["features"] if features else []),
        )  # fmt: skip
        self.identities = {name: i for i, name in enumerate(identities)}
        self.emotions = {name: i for i, name in enumerate(emotions)}

    def lengths(self, frames: int) -> list[int]:
        """One window of the clip's own length if it is short; else windows of full length."""
        return [min(frames, self.window)] * windows_in(frames, self.window)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> list[Window]:
        """Random windows of one clip, nothing padded: views of its arrays.

        ``bilabials`` (N, 2) are the ``bilabial_frames`` of the p, b, m within the window.
        """
        assert clip.log_mel is not None
        frames = len(clip.coefficients)
        blinks = find_blinks(clip.coefficients) if self.blinks else []
        face = without_blinks(clip.coefficients, blinks) if blinks else clip.coefficients
        onsets = onset_labels(frames, blinks)
        closures = np.array(bilabial_frames(phones_of(clip), frames), np.int64).reshape(-1, 2)
        out: list[Window] = []
        for length in self.lengths(frames):
            start = int(rng.integers(0, frames - length + 1))
            stop = start + length
            inside = (closures[:, 0] >= start) & (closures[:, 1] <= stop)
            window = {
                "clip": encoded_id(clip.id),
                "coefficients": face[start:stop],
                "blinks": onsets[start:stop],
                "bilabials": closures[inside] - start,
                "log_mel": clip.log_mel[start * PER_FRAME : stop * PER_FRAME],
                "mask": np.ones(length, np.float32),
                "identity": np.array(self.identities.get(clip.identity or "", UNKNOWN)),
                "emotion": np.array(self.emotions.get(clip.emotion or "", UNKNOWN)),
            }
            if self.features:
                assert clip.features is not None
                window["features"] = clip.features[start:stop]
            out.append(window)
        return out


class PhonemeWindows:
    """Windows of audio, all of one length, with a phoneme for each output of the encoder."""

    columns: tuple[str, ...] = ("id", "frames", "audio", "phones", "phone_starts")

    def __init__(self, seconds: float, phonemes: Sequence[str], stride: int, field: int) -> None:
        self.window = round(seconds * FPS)
        self.samples = round(seconds * SAMPLE_RATE)
        self.phonemes = {name: i for i, name in enumerate(phonemes)}
        self.stride, self.field = stride, field

    def lengths(self, frames: int) -> list[int]:
        """Always of full length: a short clip is padded with noise."""
        return [self.window] * windows_in(frames, self.window)

    def __call__(self, clip: Clip, rng: np.random.Generator) -> list[Window]:
        """Random windows of one clip, with a random level and a little noise.

        A clip without phoneme times yields windows without labels, so that the number of steps does
        not depend on the alignment.
        """
        labels, starts = np.array([IGNORED_LABEL]), np.zeros(1)
        if clip.phones and clip.phone_starts is not None:
            labels = np.array(
                [self.phonemes.get(base_phoneme(p), IGNORED_LABEL) for p in clip.phones]
            )
            starts = clip.phone_starts
        out: list[Window] = []
        for _ in self.lengths(len(clip.coefficients)):
            start = int(rng.integers(0, max(len(clip.audio) - self.samples, 0) + 1))
            audio = clip.audio[start : start + self.samples] * 10 ** (rng.uniform(-6, 6) / 20)
            noise = 10 ** (-rng.uniform(25, 60) / 20) * 0.07
            outputs = (self.samples - self.field) // self.stride + 1
            centres = np.arange(outputs) * self.stride + self.field / 2
            times = (start + centres) / SAMPLE_RATE
            at = np.searchsorted(starts, times, side="right") - 1
            label = np.where(centres < len(audio), labels[np.maximum(at, 0)], IGNORED_LABEL)
            mixed = (noise * rng.normal(size=self.samples)).astype(np.float32)
            mixed[: len(audio)] += audio
            out.append(
                {
                    "clip": encoded_id(clip.id),
                    "audio": mixed,
                    "labels": label.astype(np.int64),
                }
            )
        return out


def encoded_id(id: str) -> np.ndarray:
    """A clip's id as bytes, which a batch of arrays can hold."""
    return np.frombuffer(id.encode(), np.uint8)


def clip_ids(batch: Mapping[str, Any]) -> list[str]:
    """The ids of a batch's clips, from NumPy arrays or tensors."""
    return [bytes(row.tolist()).rstrip(b"\0").decode() for row in batch.get("clip", ())]


def batch_count(lengths: Sequence[int], size: int) -> int:
    """Number of batches of at most ``size`` windows for windows of these lengths.

    The minimum if its padding is below ``MAX_PADDING``; else more and smaller batches, at most
    twice as many (our choice): a few windows of very different lengths stay above the bound.
    """
    least = min_batch_count(len(lengths), size)
    for count in range(least, min(2 * least, len(lengths))):
        if padding_share(lengths, count) < MAX_PADDING:
            return count
    return min(2 * least, len(lengths))


def padding_share(lengths: Sequence[int], count: int) -> float:
    """Share of padding if windows of these lengths, sorted, make ``count`` even batches."""
    ordered = np.sort(lengths)
    padded = sum(len(part) * int(part[-1]) for part in np.array_split(ordered, count))
    return 1 - int(ordered.sum()) / padded


def min_batch_count(windows: int, size: int) -> int:
    """The least number of batches of at most ``size`` windows."""
    return -(-windows // size)


@dataclass(frozen=True)
class ShardGroup:
    """Shards that one task reads together, and the number of batches that it makes of them."""

    files: tuple[str, ...]
    batches: int


def shard_groups(shards: Sequence[ShardInfo], windowing: Windowing, size: int) -> list[ShardGroup]:
    """The shards of a split, grouped.

    A shard is a group of its own, unless its lengths differ too much for full batches with little
    padding: then the next shards join it, up to ``GROUP_BATCHES`` batches. Reads no shard.
    """
    groups: list[list[ShardInfo]] = [[]]
    lengths: list[int] = []
    for shard in shards:
        if lengths and (
            len(lengths) >= GROUP_BATCHES * size
            or batch_count(lengths, size) == min_batch_count(len(lengths), size)
        ):
            groups.append([])
            lengths = []
        groups[-1].append(shard)
        lengths += _window_lengths([shard], windowing)
    return [_group(group, windowing, size) for group in groups]


def mixed_groups(
    sets: Sequence[Sequence[ShardInfo]], windowing: Windowing, size: int
) -> list[ShardGroup]:
    """The shards of several sets, in groups of about ``MIXED_SHARDS`` that each hold their share of
    every set, so that a batch mixes the sets: else all batches of a shard, one after the other, are
    of one (our choice). Reads no shard."""
    count = max(round(sum(len(shards) for shards in sets) / MIXED_SHARDS), 1)
    mixed = [
        [shard for shards in sets for shard in shards[_share(len(shards), i, count)]]
        for i in range(count)
    ]
    return [_group(group, windowing, size) for group in mixed]


def _share(total: int, i: int, count: int) -> slice:
    """The i-th of ``count`` shares of a sequence, as even as can be."""
    return slice(i * total // count, (i + 1) * total // count)


def _group(shards: Sequence[ShardInfo], windowing: Windowing, size: int) -> ShardGroup:
    files = tuple(shard.file for shard in shards)
    return ShardGroup(files, batch_count(_window_lengths(shards, windowing), size))


def _window_lengths(shards: Sequence[ShardInfo], windowing: Windowing) -> list[int]:
    return [length for s in shards for n in s.lengths for length in windowing.lengths(n)]


def located(shards: Sequence[ShardInfo], folder: Path) -> list[ShardInfo]:
    """The shards, their files by whole locations instead of names in a folder, local or in S3."""
    return [replace(shard, file=str(folder / shard.file)) for shard in shards]


def buckets(lengths: Sequence[int], size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Indices of the windows of each batch: similar lengths together, the batches in random order.

    Batch sizes differ by at most one window, so that all windows weigh about the same.
    """
    count = batch_count(lengths, size)
    # Lengths are jittered as far as MAX_PADDING allows, so that batches differ from pass to pass: a
    # jitter of j lengthens no batch by more than a factor of (1 + j) / (1 - j) = stretch.
    stretch = max((1 - padding_share(lengths, count)) / (1 - MAX_PADDING), 1.0)
    jitter = (stretch - 1) / (stretch + 1)
    about = np.array(lengths) * rng.uniform(1 - jitter, 1 + jitter, len(lengths))
    order = np.lexsort((rng.random(len(lengths)), about))
    found = np.array_split(order, count)
    return [found[i] for i in rng.permutation(count)]


def collate(windows: Sequence[Window]) -> Window:
    """One batch: every array with a leading axis (B,), shorter windows padded with zeros."""
    return {key: _stack([window[key] for window in windows]) for key in windows[0]}


class ShardReader:
    """Reads whole shards in tasks of Ray Data and makes batches of them.

    In a module that does not import torch, because every Ray Data worker imports it.

    Args:
        groups: shards that are read together, by whole locations (``located``).
        windowing: cuts clips into windows.
        size: windows in a batch, at most.
        seed: with the epoch and the pass, it determines the order, the crops and the batches.
        epoch: returns the current epoch; called once for every group that is read.
    """

    def __init__(
        self, groups: Sequence[ShardGroup], windowing: Windowing, size: int, seed: int,
        epoch: Callable[[], int],
    ) -> None:  # fmt: skip
        self.groups = list(groups)
        self.windowing, self.size = windowing, size
        self.seed, self.epoch = seed, epoch

    def __call__(self, rows: dict[str, Any]) -> Iterator[Window]:
        """Batches of the groups at the positions ``rows["turn"]`` of an epoch.

        An epoch of P passes over G groups has P * G positions; each pass has another order.

        Raises:
            UserError: a shard is missing or corrupt.
        """
        for turn in rows["turn"]:
            yield from self.read(self.epoch(), *divmod(int(turn), len(self.groups)))

    def read(self, epoch: int, number: int, position: int) -> Iterator[Window]:
        """Batches of the group at ``position`` of pass ``number``. Raises UserError."""
        order = np.random.default_rng([self.seed, epoch, number]).permutation(len(self.groups))
        index = int(order[position])
        rng = np.random.default_rng([self.seed, epoch, number, index + 1])
        windows: list[Window] = []
        lengths: list[int] = []
        for file in self.groups[index].files:
            table = read_table(storage.location(file), list(self.windowing.columns))
            for clip in clips_of(table):
                windows += self.windowing(clip, rng)
                lengths += self.windowing.lengths(len(clip.coefficients))
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
