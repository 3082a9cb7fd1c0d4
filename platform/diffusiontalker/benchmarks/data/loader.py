"""The baseline: a PyTorch DataLoader over the same shards, as one would write it by hand."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, IterableDataset

from diffusiontalker import storage
from diffusiontalker.corpus.manifest import Manifest

COLUMNS = ["identity", "emotion", "frames", "coefficients", "features", "log_mel"]
PREFETCH = 3


def loader(
    folder: Path, manifest: Manifest, window: int, size: int, batches: int, rank: int, world: int
) -> DataLoader[Any]:
    """``batches`` batches of ``size`` random windows from every ``world``-th shard.

    One persistent worker process prefetches ``PREFETCH`` batches.
    """
    files = [shard.file for shard in manifest.of("train")][rank::world]
    names = [manifest.identities, manifest.emotions]
    dataset = Windows(str(folder), files, window, names, batches * size, seed=rank)
    return DataLoader(
        dataset, size, collate_fn=padded, num_workers=1, prefetch_factor=PREFETCH,
        multiprocessing_context="spawn", persistent_workers=True,
    )  # fmt: skip


class Windows(IterableDataset[dict[str, np.ndarray]]):
    """``count`` windows, shard after shard in random order, shuffled within each."""

    def __init__(
        self, folder: str, files: Sequence[str], window: int, names: Sequence[list[str]],
        count: int, seed: int,
    ) -> None:  # fmt: skip
        self.folder, self.files = folder, files
        self.window, self.names = window, names
        self.count, self.seed = count, seed

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return itertools.islice(self.endless(), self.count)

    def endless(self) -> Iterator[dict[str, np.ndarray]]:
        """Windows of one pass after the other."""
        rng = np.random.default_rng(self.seed)
        while True:
            for file in rng.permutation(self.files):
                with storage.open_input(storage.location(self.folder) / file) as source:
                    table = pq.read_table(source, columns=COLUMNS)
                found = [w for row in range(len(table)) for w in self.cut(table, row, rng)]
                for index in rng.permutation(len(found)):
                    yield found[index]

    def cut(
        self, table: pa.Table, row: int, rng: np.random.Generator
    ) -> Iterator[dict[str, np.ndarray]]:
        """Random windows of a clip, whose number covers it about once."""
        frames = table["frames"][row].as_py()
        identity, emotion = (
            np.array(known.index(table[column][row].as_py()))
            for known, column in zip(self.names, ("identity", "emotion"), strict=True)
        )
        arrays = {
            key: table[key][row].values.to_numpy().reshape(frames, -1)
            for key in ("coefficients", "features", "log_mel")
        }
        length = min(frames, self.window)
        for _ in range(max(round(frames / self.window), 1)):
            start = int(rng.integers(0, frames - length + 1))
            cuts = {key: values[start : start + length] for key, values in arrays.items()}
            # Two frames of the log-mel spectrum per frame of coefficients.
            cuts["log_mel"] = cuts["log_mel"].reshape(2 * length, -1)
            yield {**cuts, "mask": np.ones(length), "identity": identity, "emotion": emotion}


def padded(windows: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    """A float32 batch, shorter windows padded with zeros."""
    batch = {}
    for key in windows[0]:
        tensors = [torch.tensor(window[key]) for window in windows]
        batch[key] = (
            pad_sequence(tensors, batch_first=True).float()
            if tensors[0].ndim
            else (torch.stack(tensors))
        )
    return batch
