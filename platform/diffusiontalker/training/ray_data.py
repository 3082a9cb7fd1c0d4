"""Shards to batches through Ray Data, in streaming execution.

A row is a whole batch as plain bytes: windows are cut, bucketed and padded in the task that reads
the shard. An epoch is one execution over ``passes`` passes, because a small corpus needs many, and
starting an execution takes about a second. Order, crops and batches depend on seed, epoch and pass
alone, not on the number of tasks in flight, nor on whether a run was resumed. So does the worker
that is given a batch: Ray Data deals out the blocks in their order.
"""

# No torch at the top: tasks of Ray Data import this module, and do not need it.
import itertools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray
from ray.data.collate_fn import ArrowBatchCollateFn

from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.training.reading_position import ReadingPosition
from diffusiontalker.training.shard_reader import ShardReader
from diffusiontalker.training.windows import (
    ShardGroup,
    Window,
    Windowing,
    located,
    mixed_groups,
    shard_groups,
)

if TYPE_CHECKING:
    import torch

READER_CPUS = 0.5
"""CPUs that Ray reserves for a reading task; a whole one might starve the training workers."""
PREFETCH = 3
"""Batches fetched ahead of a worker's step."""
MAX_TASKS = 2000
"""Tasks in an execution: each costs the driver about a millisecond before the first batch."""
LAYOUT = "layout"
"""Column with the types and shapes of the arrays of a row."""


def always_first() -> ReadingPosition:
    """The beginning of epoch 0: for validation, whose batches are the same every time."""
    return ReadingPosition(0)


def dataset(
    data: CorpusFolder, split: str, windowing: Windowing, size: int, passes: int = 1, seed: int = 0,
    position: Callable[[], ReadingPosition] = always_first,
) -> ray.data.Dataset:  # fmt: skip
    """Batches of a split, one per row; ``passes`` passes, each with another order and other crops.

    Features and log-mel stay in half precision, as they are stored; ``batches`` converts them.

    Raises:
        UserError: the split is empty; while it is read, a shard is missing or corrupt.
    """
    groups = _groups(data, split, windowing, size)
    turns = [{"turn": turn} for turn in range(passes * len(groups))]
    reader = Packed(ShardReader(groups, windowing, size, seed, position))
    return ray.data.from_items(turns, override_num_blocks=min(len(turns), MAX_TASKS)).map_batches(
        reader, batch_size=1, num_cpus=READER_CPUS
    )


class Packed:
    """A reader's batches as rows of plain bytes: Ray's own type for arrays of unlike shapes copies
    and serialises them at every operator, which takes a third of a reader's time."""

    def __init__(self, reader: ShardReader) -> None:
        self.reader = reader

    def __call__(self, rows: dict[str, Any]) -> Iterator[pa.Table]:
        """Tables of one row, for the turns that ``rows`` names. Raises UserError as the reader."""
        for batch in self.reader(rows):
            yield pack(batch)


def pack(batch: Window) -> pa.Table:
    """A batch as a table of one row: a column of bytes for each array, and their layout."""
    layout = {key: [value.dtype.str, value.shape] for key, value in batch.items()}
    columns = {key: _bytes(np.ascontiguousarray(value)) for key, value in batch.items()}
    return pa.table({**columns, LAYOUT: pa.array([json.dumps(layout)])})


def _bytes(array: np.ndarray) -> pa.Array:
    """One binary value that shares the array's memory."""
    ends = pa.py_buffer(np.array([0, array.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(array)])


def unpack(row: pa.Table) -> Window:
    """The inverse of ``pack``: read-only views of the table's memory."""
    layout = json.loads(row[LAYOUT][0].as_py())
    return {
        key: np.frombuffer(row[key][0].as_buffer(), dtype).reshape(shape)
        for key, (dtype, shape) in layout.items()
    }


def batches_of(data: CorpusFolder, split: str, windowing: Windowing, size: int) -> int:
    """Batches in one pass of ``dataset``; no shard is read. Raises UserError if it is empty."""
    return sum(group.batches for group in _groups(data, split, windowing, size))


def largest_task(
    data: CorpusFolder, split: str, windowing: Windowing, size: int, passes: int
) -> int:
    """Upper bound on the batches that one task of ``dataset`` makes."""
    groups = _groups(data, split, windowing, size)
    turns = -(-passes * len(groups) // MAX_TASKS)
    return turns * max(group.batches for group in groups)


def unread(done: int, workers: int, largest: int) -> int:
    """Batches at the beginning of an epoch that are certainly among the first ``done`` of the
    worker that is given them.

    Ray Data gives each block to the worker that has the fewest batches, so that no two differ by
    more than the ``largest_task``. Those that are left out take one block a task; were they read,
    tasks of more than 128 MB would make several, and the rest would be dealt out in another way.
    """
    return max(workers * (done - largest - 1), 0)


def _groups(data: CorpusFolder, split: str, windowing: Windowing, size: int) -> list[ShardGroup]:
    """Groups of the shards of a split; pseudo-labelled speech is a part of train, and mixed in."""
    shards = located(data.manifest.of(split), data.folder)
    extra = data.pseudo_labelled
    if extra is None or split != "train":
        return shard_groups(shards, windowing, size)
    return mixed_groups([shards, located(extra.manifest.of(split), extra.folder)], windowing, size)


def batches(
    shard: ray.data.DataIterator, device: "torch.device", done: int = 0
) -> Iterator[dict[str, "torch.Tensor"]]:
    """Batches of tensors on ``device`` after the first ``done``; floats in single precision, mask
    (B, T) 1 on real frames.

    Fetching, conversion and the copy to the device (from pinned memory, asynchronously) run in
    threads, ahead of the step.
    """
    on_gpu = device.type == "cuda"
    rows = shard.iter_torch_batches(
        batch_size=1, prefetch_batches=PREFETCH, collate_fn=_Row(widen=not on_gpu), device=device,
        pin_memory=on_gpu,
    )  # fmt: skip
    for batch in itertools.islice(rows, done, None):
        if not batch:
            raise RuntimeError("a batch that is to be trained on was not read")
        # Half precision halves the copy to a GPU, which then converts at no cost.
        yield {key: _widened(value) for key, value in batch.items()}


class _Row(ArrowBatchCollateFn):
    """Collates a batch of one row of Ray Data into tensors."""

    def __init__(self, widen: bool) -> None:
        self.widen = widen

    def __call__(self, batch: pa.Table) -> Any:
        return {key: as_tensor(value, self.widen) for key, value in unpack(batch).items()}


def as_tensor(values: np.ndarray, widen: bool = True) -> "torch.Tensor":
    """A copy as a tensor: views of Ray's shared memory are read-only. ``widen``: floats to single
    precision."""
    import torch

    wide = widen and np.issubdtype(values.dtype, np.floating)
    return torch.from_numpy(values.astype(np.float32) if wide else values.copy())


def _widened(values: "torch.Tensor") -> "torch.Tensor":
    return values.float() if values.is_floating_point() else values
