"""Shards to batches through Ray Data, without ever holding the set in memory.

A row is a batch as plain bytes, ready but for its way to the device: it is cut, put together and
padded where the shard is read, so that similar lengths meet. An epoch is one streaming execution
over ``passes`` passes: a small corpus needs many, and starting an execution costs a second or so.
Order, crops and batches follow from seed, epoch and pass alone, however many tasks are in flight,
and whether a run was resumed or not.
"""

# No torch at the top: tasks of Ray Data import this module, and do without it.
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import ray
from ray.data.collate_fn import ArrowBatchCollateFn
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from diffusiontalker.corpus.manifest import Manifest
from diffusiontalker.training.windows import Example, Examples, ShardReader, portions

if TYPE_CHECKING:
    import torch

READER_CPUS = 0.5
"""CPUs that a reader asks for beside the workers: without it none would ever step."""
PREFETCH = 3
"""Batches on their way to a worker while it takes a step."""
MAX_TASKS = 2000
"""Tasks in an execution: each costs the driver about a millisecond before the first batch."""


FORM = "form"
"""Column that says of which type and shape the arrays of a row are."""


class Epoch:
    """The epoch that training is in, for tasks on any machine.

    Ray Train runs one and the same dataset again in every epoch, and again from the start where a
    run is resumed: what differs between epochs must be asked for.
    """

    def __init__(self) -> None:
        # Beside the driver, without which there is no run.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        kept = ray.remote(_Kept).options(num_cpus=0, scheduling_strategy=here)
        self._kept: Any = kept.remote()

    def set(self, number: int) -> None:
        """To be called by every worker before it begins to read the epoch."""
        ray.get(self._kept.set.remote(number))

    def __call__(self) -> int:
        """The epoch that was set last; 0 before."""
        return int(ray.get(self._kept.get.remote()))


class _Kept:
    def __init__(self) -> None:
        self.number = 0

    def set(self, number: int) -> None:
        self.number = number

    def get(self) -> int:
        return self.number


def always_first() -> int:
    """The epoch of a dataset that is the same every time, as validation needs it."""
    return 0


def dataset(
    folder: Path, manifest: Manifest, split: str, examples: Examples, size: int, passes: int = 1,
    seed: int = 0, epoch: Callable[[], int] = always_first,
) -> ray.data.Dataset:  # fmt: skip
    """Batches of a split, one a row, ``passes`` times, each time in another order and other crops.

    Features and log-mel stay in half precision, as they are stored; ``batches`` widens them.

    Raises:
        UserError: the split is empty; while it is read, a shard is missing or corrupt.
    """
    parts = portions(manifest.of(split), examples, size)
    turns = [{"turn": turn} for turn in range(passes * len(parts))]
    reader = Packed(ShardReader(folder, parts, examples, size, seed, epoch))
    return ray.data.from_items(turns, override_num_blocks=min(len(turns), MAX_TASKS)).map_batches(
        reader, batch_size=1, num_cpus=READER_CPUS
    )


class Packed:
    """A reader's batches as rows of plain bytes: Ray's own type for arrays of unlike shapes copies
    and describes them anew at every station, which costs a third of a reader's time."""

    def __init__(self, reader: ShardReader) -> None:
        self.reader = reader

    def __call__(self, rows: dict[str, Any]) -> Iterator[pa.Table]:
        """Tables of one row, for the turns that ``rows`` names. Raises UserError as the reader."""
        for batch in self.reader(rows):
            yield pack(batch)


def pack(batch: Example) -> pa.Table:
    """A batch as a table of one row: a column of bytes for each array, and what they mean."""
    form = {key: [value.dtype.str, value.shape] for key, value in batch.items()}
    columns = {key: _bytes(np.ascontiguousarray(value)) for key, value in batch.items()}
    return pa.table({**columns, FORM: pa.array([json.dumps(form)])})


def _bytes(array: np.ndarray) -> pa.Array:
    """One value of bytes that shares the array's memory."""
    ends = pa.py_buffer(np.array([0, array.nbytes], np.int64))
    return pa.Array.from_buffers(pa.large_binary(), 1, [None, ends, pa.py_buffer(array)])


def unpack(row: pa.Table) -> Example:
    """The inverse of ``pack``: read-only views of the table's memory."""
    form = json.loads(row[FORM][0].as_py())
    return {
        key: np.frombuffer(row[key][0].as_buffer(), dtype).reshape(shape)
        for key, (dtype, shape) in form.items()
    }


def batches_of(manifest: Manifest, split: str, examples: Examples, size: int) -> int:
    """Batches in one pass of ``dataset``; no shard is read. Raises UserError if it is empty."""
    return sum(part.batches for part in portions(manifest.of(split), examples, size))


def batches(
    shard: ray.data.DataIterator, device: "torch.device"
) -> Iterator[dict[str, "torch.Tensor"]]:
    """Batches of tensors on ``device``; floats in single precision, mask (B, T) 1 on real frames.

    Fetching, widening and the copy to the device happen in threads, ahead of the step.
    """
    on_gpu = device.type == "cuda"
    for batch in shard.iter_torch_batches(
        batch_size=1, prefetch_batches=PREFETCH, collate_fn=_Row(widen=not on_gpu), device=device,
        pin_memory=on_gpu,
    ):  # fmt: skip
        # Half precision halves the way to a GPU, which then widens in no time.
        yield {key: _widened(value) for key, value in batch.items()}


class _Row(ArrowBatchCollateFn):
    """The one row of a batch of Ray Data as tensors."""

    def __init__(self, widen: bool) -> None:
        self.widen = widen

    def __call__(self, batch: pa.Table) -> Any:
        import torch

        tensors = {}
        for key, value in unpack(batch).items():
            wide = self.widen and np.issubdtype(value.dtype, np.floating)
            # Views of Ray's shared memory are read-only: torch wants its own.
            tensors[key] = torch.from_numpy(value.astype(np.float32) if wide else value.copy())
        return tensors


def _widened(values: "torch.Tensor") -> "torch.Tensor":
    return values.float() if values.is_floating_point() else values
