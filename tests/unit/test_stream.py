"""From Ray's rows to tensors, and counts from the manifest, without a cluster."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from diffusiontalker.corpus.manifest import CorpusFolder, Manifest, ShardInfo
from diffusiontalker.errors import UserError
from diffusiontalker.training import ray_data
from diffusiontalker.training.windows import MotionWindows


class Rows:
    """Stands in for a Ray Data iterator: hands every row to ``collate_fn``, as Ray's threads do."""

    def __init__(self, *rows: pa.Table) -> None:
        self.rows = rows
        self.options: dict[str, Any] = {}

    def iter_torch_batches(self, *, collate_fn: Any, **options: Any) -> Iterator[Any]:
        self.options = options
        yield from map(collate_fn, self.rows)


def batch(frames: int = 3) -> dict[str, np.ndarray]:
    return {
        "coefficients": np.full((2, frames, 52), 0.5, np.float32),
        "features": np.full((2, frames, 6), 0.1, np.float16),
        "mask": np.ones((2, frames), np.float32),
        "identity": np.array([1, -1]),
    }


def test_a_row_is_a_batch_in_single_precision() -> None:
    rows = Rows(ray_data.pack(batch(3)), ray_data.pack(batch(5)))
    first, second = ray_data.batches(rows, torch.device("cpu"))
    assert {key: tuple(value.shape) for key, value in second.items()} == {
        "coefficients": (2, 5, 52),
        "features": (2, 5, 6),
        "mask": (2, 5),
        "identity": (2,),
    }
    assert {key: value.dtype for key, value in first.items()} == {
        "coefficients": torch.float32,
        "features": torch.float32,
        "mask": torch.float32,
        "identity": torch.int64,
    }
    assert first["features"].unique().tolist() == [float(np.float16(0.1))]
    assert first["identity"].tolist() == [1, -1]
    assert rows.options["batch_size"] == 1
    assert rows.options["pin_memory"] is False


def test_packing_keeps_every_value_type_and_shape() -> None:
    given = {
        **batch(),
        "transposed": np.arange(6.0).reshape(2, 3).T,  # not contiguous
        "scalar": np.array(7, np.int8),
        "empty": np.zeros((2, 0, 4), np.float16),
    }
    # as it comes out of Ray: several rows in one table, cut into single ones
    other = {key: np.zeros(3) for key in given}
    table = pa.concat_tables([ray_data.pack(other), ray_data.pack(given)])
    found = ray_data.unpack(table.slice(1, 1))
    assert list(found) == list(given)
    for key, value in given.items():
        assert found[key].dtype == value.dtype
        np.testing.assert_array_equal(found[key], value)


def test_tensors_do_not_share_rays_memory() -> None:
    row = ray_data.pack(batch())
    (tensors,) = ray_data.batches(Rows(row), torch.device("cpu"))
    for value in tensors.values():
        value.zero_()
    assert ray_data.unpack(row)["coefficients"].min() == 0.5


def test_features_travel_to_a_gpu_in_half_precision() -> None:
    tensors = ray_data._Row(widen=False)(ray_data.pack(batch()))
    assert tensors["features"].dtype == torch.float16
    assert tensors["coefficients"].dtype == torch.float32


def corpus(*lengths: list[int]) -> CorpusFolder:
    shards = [
        ShardInfo(f"train-{k}", "train", tuple(n), (), (), 1, "") for k, n in enumerate(lengths)
    ]
    return CorpusFolder(Path("corpus"), Manifest("hand", shards, [], []))


def test_batches_of_a_split_by_hand() -> None:
    make = MotionWindows(100, [], [])
    # windows: 100 once, twice, three times; then 5 alike
    assert ray_data.batches_of(corpus([100, 200, 300], [100] * 5), "train", make, 4) == 2 + 2
    assert ray_data.batches_of(corpus([100, 200, 300], [100] * 5), "train", make, 8) == 1 + 1
    with pytest.raises(UserError, match="no split 'val'"):
        ray_data.batches_of(corpus([100]), "val", make, 4)


def test_tasks_that_read_shards_do_without_torch() -> None:
    """They run in many processes, and torch takes a second and 200 MB in each."""
    code = (
        "import sys, diffusiontalker.training.ray_data, diffusiontalker.training.windows; "
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], timeout=120,
        env={"PYTHONPATH": "platform", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0
