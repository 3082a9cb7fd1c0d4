"""The output of a set: what a job run again keeps, makes anew or refuses, and when it replaces."""

import csv
import io
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter
from tests.sets import KIND, write_take
from tests.unit.ingest_sets import items, settings, source_of, write_own_set

from diffusiontalker import preparation
from diffusiontalker.corpus import ingest
from diffusiontalker.corpus.ingest.batches import Batch, batch_key, plan_batches
from diffusiontalker.corpus.ingest.job import IngestJob, write_batch
from diffusiontalker.corpus.ingest.output_folder import (
    BatchRecord,
    begin_again,
    read_plan,
    record_path,
)
from diffusiontalker.corpus.ingest.tables import TakesSummary, write_tables
from diffusiontalker.corpus.manifest import Manifest, open_corpus, verify, write_manifest
from diffusiontalker.corpus.take_reports import TakeReport
from diffusiontalker.errors import UserError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_own_set(tmp_path)


def test_a_finished_set_clears_away_nothing_but_its_own(tmp_path: Path) -> None:
    for name in ("plan.json", "part-00003.json", "part-2.wav", "part-1/interview.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("{}")
    ingest.publish(tmp_path, Manifest("hand", [], [], []))
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {"manifest.json", "part-2.wav", "part-1/interview.wav"}


def changes(root: Path, *overrides: str) -> list[str]:
    found = ingest.inspect(settings(root, *overrides), root.parent / "out")
    return list(found.changes)


def rewrite(path: Path) -> None:
    """Other content of the same size."""
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


@pytest.mark.parametrize("whole", [True, False])
def test_a_run_again_knows_what_has_changed(root: Path, whole: bool) -> None:
    out = root.parent / "out"
    found = ingest.inspect(settings(root), out)
    if whole:
        write_tables(out, TakesSummary([], [], found.provenance))
        ingest.publish(out, Manifest("x", [], [], []))
    again = ingest.inspect(settings(root), out)
    assert (again.changes, again.up_to_date) == ((), whole)
    (root / "notes.txt").write_text("of no take")
    assert changes(root) == []
    rewrite(root / "ann/anger/0.wav")
    (root / "bob/anger/1.npy").write_bytes(b"longer")
    assert changes(root) == ["ann/anger/0.wav", "bob/anger/1.npy"]
    write_take(root, "cleo/anger/new")
    for path in (root / "dan").rglob("2.*"):
        path.unlink()
    assert len(changes(root)) == 2 + 2 + 4
    with pytest.raises(UserError, match="other settings"):
        changes(root, "clip_seconds=5")


def test_the_code_of_ones_own_source_is_part_of_a_set(root: Path) -> None:
    path = root.parent / "mine.py"
    path.write_text(Path(KIND.partition(":")[0]).read_text())
    kind = f"source.kind={path}:Pairs"
    assert changes(root, kind) == []
    os.utime(path, ns=(0, 0))
    assert changes(root, kind) == []
    path.write_text(path.read_text().replace("astype(np.float32)", "astype(np.float16)"))
    assert changes(root, kind) == [str(path)]


def test_a_set_made_elsewhere_is_the_same_but_other_data_are_not(root: Path) -> None:
    changes(root)
    copy = Path(shutil.copytree(root, root.parent / "copy"))
    rewrite(copy / "ann/anger/0.wav")  # copies have other times
    assert changes(copy) == []
    (copy / "ann/anger/0.wav").write_bytes(b"RIFF")
    with pytest.raises(UserError, match="another source"):
        changes(copy)


def test_only_the_batches_that_changed_are_made_again(root: Path) -> None:
    chosen, out = settings(root, "shard_minutes=0.2"), root.parent / "out"

    def batches() -> tuple[IngestJob, list[Batch], list[str]]:
        found = ingest.inspect(chosen, out)
        planned = plan_batches(source_of(root), found.listing.takes, chosen)
        return found, planned, [batch_key(found.provenance, batch) for batch in planned]

    found, planned, keys = batches()
    for number, batch in enumerate(planned):
        part = write_batch(chosen, out, "x", number, batch)
        note = TypeAdapter(BatchRecord).dump_json(replace(part, key=keys[number]))
        (out / f"part-{number:05d}.json").write_bytes(note)
    rewrite(root / planned[1][0].take.files[0])
    found, planned, keys = batches()
    before = {path.name for path in out.iterdir()}
    begin_again(out, found.provenance, keys)
    gone = before - {path.name for path in out.iterdir()}
    assert "part-00001.json" in gone
    assert {name.rpartition("-")[2].partition(".")[0] for name in gone} == {"00001"}
    assert batches()[0].changes == ()


def publish_all(root: Path, first_shard: int = 0) -> Path:
    """The set of ``root``, complete, in one shard."""
    out = root.parent / "out"
    job = ingest.inspect(settings(root), out)
    record = write_batch(settings(root), out, "x", 0, items(root), first_shard)
    write_tables(out, TakesSummary(record.takes, [], job.provenance))
    ingest.publish(out, Manifest("x", record.shards, [], []))
    return out


def change(root: Path) -> IngestJob:
    """The job after a file has changed."""
    rewrite(root / "ann/anger/0.wav")
    return ingest.inspect(settings(root), root.parent / "out")


def test_a_published_set_stays_until_its_replacement_is_complete(root: Path) -> None:
    out = publish_all(root)
    (out / "mine.txt").write_text("mine")
    before = open_corpus(out)
    job = change(root)
    assert (job.complete, job.up_to_date) == (True, False)
    assert "all of it" in preparation.changed(job)[0]
    begin_again(out, job.provenance, ["key"])
    # Killed before, amid and after the batches: the old set is whole, and the job goes on.
    for step in ("planned", "shards", "tables"):
        if step == "shards":
            record = write_batch(settings(root), out, "y", 0, items(root), 1)
        if step == "tables":
            record_path(out, 1).write_bytes(TypeAdapter(BatchRecord).dump_json(record))
            write_tables(out, TakesSummary(record.takes, [], job.provenance))
        assert open_corpus(out) == before
        verify(out, before, lambda *_: None)
        again = ingest.inspect(settings(root), out)
        assert (again.complete, again.up_to_date, again.changes) == (False, False, ())
        assert read_plan(out).first_shard == 1
    ingest.publish(out, Manifest("x", record.shards, [], []))
    assert {path.name for path in out.iterdir()} == {
        "manifest.json", "takes.json", "quarantine.csv", "train-00001.parquet", "mine.txt",
    }  # fmt: skip
    assert ingest.inspect(settings(root), out).up_to_date


def test_a_job_killed_amid_its_cleaning_up_cleans_up_when_run_again(root: Path) -> None:
    out = publish_all(root)
    begin_again(out, change(root).provenance, ["key"])
    record = write_batch(settings(root), out, "y", 0, items(root), 1)
    write_manifest(out, Manifest("x", record.shards, [], []))
    job = ingest.inspect(settings(root), out)
    assert not job.up_to_date
    assert read_plan(out).first_shard == 1  # not above what is published by now
    ingest.publish(out, Manifest("x", record.shards, [], []))
    assert [path.name for path in out.glob("*.parquet")] == ["train-00001.parquet"]


def test_a_source_that_changes_amid_the_cleaning_up_leaves_what_is_published(root: Path) -> None:
    out = publish_all(root)
    begin_again(out, change(root).provenance, ["key"])
    record = write_batch(settings(root), out, "y", 0, items(root), 1)
    write_manifest(out, Manifest("x", record.shards, [], []))  # and then killed
    job = change(root)
    assert job.changes == ("ann/anger/0.wav",)
    begin_again(out, job.provenance, ["other key"])
    assert read_plan(out).first_shard == 2
    verify(out, open_corpus(out), lambda *_: None)


def test_batches_of_a_replacement_that_changed_leave_the_published_set(root: Path) -> None:
    out = publish_all(root)
    begin_again(out, change(root).provenance, ["key"])
    record = write_batch(settings(root), out, "y", 0, items(root), 1)
    record_path(out, 1).write_bytes(TypeAdapter(BatchRecord).dump_json(replace(record, key="key")))
    job = change(root)
    assert job.changes == ("ann/anger/0.wav",)
    begin_again(out, job.provenance, ["other key"])
    assert [path.name for path in out.glob("*.parquet")] == ["train-00000.parquet"]
    assert not list(out.glob("part-*"))
    assert read_plan(out).first_shard == 1


def test_a_published_set_that_has_lost_a_shard_is_made_again_under_its_names(root: Path) -> None:
    out = publish_all(root)
    assert ingest.inspect(settings(root), out).up_to_date
    before = open_corpus(out)
    (out / "train-00000.parquet").unlink()
    job = ingest.inspect(settings(root), out)
    assert job.changes == ("train-00000.parquet: the shard is missing",)
    assert "train-00000.parquet" in preparation.changed(job)[0]
    begin_again(out, job.provenance, ["key"])
    assert ingest.inspect(settings(root), out).changes == ()
    assert publish_all(root, read_plan(out).first_shard) == out
    assert open_corpus(out).fingerprint == before.fingerprint


def test_a_plan_of_an_earlier_release_is_resumed(root: Path) -> None:
    out = root.parent / "out"
    ingest.inspect(settings(root), out)
    plan = json.loads((out / "plan.json").read_text())
    assert plan.pop("first_shard") == 0  # earlier plans are without
    (out / "plan.json").write_text(json.dumps(plan))
    assert ingest.inspect(settings(root), out).changes == ()
    assert read_plan(out).first_shard == 0


def test_no_shard_of_an_earlier_state_stays_beside_a_set(root: Path) -> None:
    out = root.parent / "out"
    ingest.inspect(settings(root), out)
    for name in ("train-00007.parquet", "mine-00007.parquet"):  # of a batch cut off, and not ours
        (out / name).write_bytes(b"x")
    publish_all(root)
    assert {path.name for path in out.glob("*.parquet")} == {
        "train-00000.parquet", "mine-00007.parquet",
    }  # fmt: skip


def test_shards_that_no_plan_accounts_for_are_not_written_over(root: Path) -> None:
    out = root.parent / "out"
    out.mkdir()
    (out / "train-00000.parquet").write_bytes(b"mine")
    with pytest.raises(UserError, match="would be overwritten"):
        ingest.inspect(settings(root), out)
    assert {path.name for path in out.iterdir()} == {"train-00000.parquet"}


def test_an_output_that_holds_another_plan_is_left_alone(root: Path) -> None:
    out = root.parent / "out"
    out.mkdir()
    (out / "plan.json").write_text("[1]")
    with pytest.raises(UserError, match="an unfinished set from another source"):
        ingest.inspect(settings(root), out)


def test_quarantine_is_a_table_that_survives_commas_and_line_ends(tmp_path: Path) -> None:
    report = TakeReport('a,"b"\n', files=("a.wav", "a.npy"), reason="x, y")
    write_tables(tmp_path, TakesSummary([report], [("c.txt", "no wav"), ("d", "kept, but odd")]))
    rows = list(csv.reader(io.StringIO((tmp_path / "quarantine.csv").read_text())))
    assert rows == [
        ["what", "name", "files", "reason"],
        ["malformed take", 'a,"b"\n', "a.wav a.npy", "x, y"],
        ["skipped file", "c.txt", "c.txt", "no wav"],
        ["note", "d", "d", "kept, but odd"],
    ]
