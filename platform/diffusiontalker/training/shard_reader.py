"""Shards to batches of windows, epoch by epoch.

Without torch, because every worker of Ray Data imports it.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from diffusiontalker import storage
from diffusiontalker.corpus.shards import clips_of, read_table
from diffusiontalker.training.reading_position import ReadingPosition
from diffusiontalker.training.windows import ShardGroup, Window, Windowing, buckets


def collate(windows: Sequence[Window]) -> Window:
    """One batch: every array with a leading axis (B,), shorter windows padded with zeros."""
    return {key: _stack([window[key] for window in windows]) for key in windows[0]}


class ShardReader:
    """Reads whole shards in tasks of Ray Data and makes batches of them.

    Args:
        groups: shards that are read together, by whole locations (``located``).
        windowing: cuts clips into windows.
        size: windows in a batch, at most.
        seed: with the epoch and the pass, it determines the order, the crops and the batches.
        position: returns the current position; called once for every group that is read.
    """

    def __init__(
        self, groups: Sequence[ShardGroup], windowing: Windowing, size: int, seed: int,
        position: Callable[[], ReadingPosition],
    ) -> None:  # fmt: skip
        self.groups = list(groups)
        self.windowing, self.size = windowing, size
        self.seed, self.position = seed, position

    def __call__(self, rows: dict[str, Any]) -> Iterator[Window]:
        """Batches of the groups at the positions ``rows["turn"]`` of an epoch.

        An epoch of P passes over G groups has P * G positions; each pass has another order. A group
        all of whose batches are ``unread`` gives as many empty ones.

        Raises:
            UserError: a shard is missing or corrupt.
        """
        for turn in rows["turn"]:
            epoch, unread = self.position()
            number, place = divmod(int(turn), len(self.groups))
            order = self.order(epoch, number)
            group = self.groups[order[place]]
            if unread and self.batches_to(number, order[: place + 1]) <= unread:
                yield from ({} for _ in range(group.batches))
            else:
                yield from self.read(epoch, number, int(order[place]))

    def batches_to(self, number: int, order: np.ndarray) -> int:
        """Batches of an epoch before pass ``number``, and of the groups ``order`` of that pass."""
        own = sum(self.groups[index].batches for index in order)
        return number * sum(group.batches for group in self.groups) + own

    def order(self, epoch: int, number: int) -> np.ndarray:
        """The groups of pass ``number`` in the order in which they are read."""
        return np.random.default_rng([self.seed, epoch, number]).permutation(len(self.groups))

    def read(self, epoch: int, number: int, index: int) -> Iterator[Window]:
        """Batches of a group, as pass ``number`` cuts them. Raises UserError."""
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
