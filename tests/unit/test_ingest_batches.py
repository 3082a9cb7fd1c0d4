"""Batches of takes, and the shards that a batch writes."""

from pathlib import Path

import pytest
from tests.unit.ingest_sets import settings, source_of, write_own_set

from diffusiontalker.corpus import shards
from diffusiontalker.corpus.ingest.batches import plan_batches
from diffusiontalker.corpus.ingest.job import write_batch


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_own_set(tmp_path)


def test_the_plan_fills_shards_and_never_mixes_splits(root: Path) -> None:
    chosen = settings(root, "shard_minutes=0.1", "split.unseen_speakers=[cleo]")
    takes = source_of(root).takes().takes
    batches = plan_batches(source_of(root), takes, chosen)
    assert sorted(i.take.id for b in batches for i in b) == sorted(t.id for t in takes)
    assert all(len({item.split for item in batch}) == 1 for batch in batches)
    assert max(len(batch) for batch in batches) == 2  # 0.1 min hold two takes of 2.5 s
    assert batches == plan_batches(source_of(root), takes, chosen)
    assert {i.take.identity for b in batches for i in b if i.split == "test_unseen"} == {"cleo"}


def test_a_take_longer_than_a_shard_has_one_of_its_own(root: Path) -> None:
    takes = source_of(root).takes().takes
    batches = plan_batches(source_of(root), takes, settings(root, "shard_minutes=0.001"))
    assert [len(batch) for batch in batches] == [1] * len(takes)


def test_clip_by_clip_a_batch_writes_a_shard_for_each_split(root: Path) -> None:
    chosen = settings(root, "split.rule=published", "clip_seconds=1", "split.val=0.3")
    (batch,) = plan_batches(source_of(root), source_of(root).takes().takes, chosen)
    out = root.parent / "out"
    out.mkdir()
    part = write_batch(chosen, out, "abc", 4, batch)
    assert [info.file for info in part.shards] == [
        f"{split}-00004.parquet" for split in ("test_seen", "train", "val")
    ]
    for info in part.shards:
        table = shards.read_table(out / info.file, sha256=info.sha256)
        assert set(table.column("split").to_pylist()) == {info.split}
        assert table.schema.metadata[b"diffusiontalker.source_fingerprint"] == b"abc"
    of = {c: i.split for i in part.shards for c in _ids(out / i.file)}
    assert of["ann-anger-0-000"] is not None
    assert len(of) == 48
    takes = {name.rsplit("-", 1)[0] for name, split in of.items() if split == "train"}
    assert takes & {name.rsplit("-", 1)[0] for name, split in of.items() if split == "val"}


def _ids(path: Path) -> list[str]:
    return shards.read_table(path, ["id"]).column(0).to_pylist()
