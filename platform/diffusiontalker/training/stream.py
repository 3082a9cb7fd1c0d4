"""Shards to batches through Ray Data, without ever holding the set in memory.

An epoch is one streaming execution over ``passes`` passes: a small corpus needs many passes, and
starting an execution costs a second or so. The order and the crops follow from the seed alone.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import ray
import torch

from diffusiontalker.corpus.manifest import Manifest
from diffusiontalker.training.examples import Examples, ShardReader


def dataset(
    folder: Path, manifest: Manifest, split: str, examples: Examples, columns: Sequence[str],
    passes: int, seed: int,
) -> ray.data.Dataset:  # fmt: skip
    """Examples of a split, ``passes`` times, each time in another order and with other crops."""
    rng = np.random.default_rng(seed)
    items = []
    for number in range(passes):
        for index in rng.permutation(len(manifest.of(split))):
            shard = manifest.of(split)[index]
            items.append({"path": str(folder / shard.file), "seed": [seed, number, int(index)]})

    return ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        ShardReader(columns, examples), batch_size=1, num_cpus=0.5
    )


def batches(
    shard: ray.data.DataIterator, size: int, device: torch.device
) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of tensors on ``device``; the incomplete last one is dropped."""
    for batch in shard.iter_batches(batch_size=size, drop_last=True, prefetch_batches=2):
        yield {
            # Ray's arrays are read-only views of shared memory: copy before torch sees them.
            key: torch.from_numpy(np.array(value)).to(device, non_blocking=True)
            for key, value in batch.items()
        }
