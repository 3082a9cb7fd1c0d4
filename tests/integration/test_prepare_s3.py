"""``jobs/prepare.py`` from a bucket to a bucket, whose server goes away in the middle."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import jobs, s3
from tests.sets import KIND, write_set

from diffusiontalker import storage
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import open_corpus


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[s3.Server]:
    with s3.running(tmp_path / "s3") as running:
        for name, value in running.environment.items():
            monkeypatch.setenv(name, value)
        yield running


def test_a_server_that_restarts_loses_nothing(server: s3.Server, tmp_path: Path) -> None:
    bucket = server.bucket()
    root, out = f"s3://{bucket}/set", f"s3://{bucket}/shards"
    storage.store(write_set(tmp_path / "set", each=6, seconds=6), storage.location(root))
    log = tmp_path / "log.txt"
    arguments = (f"source.kind={KIND}", f"source.root={root}", f"output={out}", "shard_minutes=0.2")
    process = jobs.start(log, "prepare", *arguments)
    # Killed when the first parts are written: others are being read and written just then.
    jobs.wait_for(
        lambda: "shards/part-00001.json" in server.objects(bucket, "shards/"), process, log
    )
    server.kill()
    restart = threading.Timer(3, server.start)
    restart.start()
    assert process.wait(timeout=240) == 0, log.read_text()
    restart.join()
    folder = storage.location(out)
    manifest = open_corpus(folder)
    assert manifest.seconds() == pytest.approx(48 * 6, abs=0.5)
    for shard in manifest.shards:
        table = shards.read_table(folder / shard.file, sha256=shard.sha256)
        assert len(shards.clips_of(table)) == shard.clips
    # Only names of ours below the prefix, whatever the takes are called; nothing half.
    names = {key.removeprefix("shards/") for key in server.objects(bucket, "shards/")}
    assert names == {
        "manifest.json", "prepare.html", "quarantine.csv", "takes.json",
        *(shard.file for shard in manifest.shards),
    }  # fmt: skip


def test_a_bucket_that_is_not_there_is_one_line(server: s3.Server, tmp_path: Path) -> None:
    write_set(tmp_path / "set", each=1)
    done = jobs.run(
        "prepare", f"source.kind={KIND}", f"source.root={tmp_path / 'set'}",
        "output=s3://no-such-bucket/shards",
    )  # fmt: skip
    assert "has no bucket 'no-such-bucket'" in jobs.mistake(done)
