"""``jobs/prepare.py`` from a bucket to a bucket, whose server goes away in the middle."""

import threading
import time
from pathlib import Path

import pytest
from tests import jobs
from tests.s3 import Server
from tests.sets import KIND, write_set

from diffusiontalker import storage
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import open_corpus


def test_a_server_that_restarts_loses_nothing(ray_s3: Server, tmp_path: Path) -> None:
    server, bucket = ray_s3, ray_s3.bucket()
    root, out = f"s3://{bucket}/set", f"s3://{bucket}/shards"
    storage.store(write_set(tmp_path / "set", each=6, seconds=6), storage.location(root))
    restarted: list[float] = []

    def restart() -> None:
        """When the first parts are written: others are being read and written just then."""
        while "shards/part-00001.json" not in server.objects(bucket, "shards/"):
            time.sleep(0.02)
        server.kill()
        time.sleep(3)
        server.start()
        restarted.append(time.monotonic())

    killer = threading.Thread(target=restart, daemon=True)
    killer.start()
    done = jobs.call(
        "prepare", f"source.kind={KIND}", f"source.root={root}", f"output={out}",
        "shard_minutes=0.2",
    )  # fmt: skip
    ended = time.monotonic()
    assert done.returncode == 0, done.stdout + done.stderr
    killer.join()
    assert restarted[0] < ended, "killed too late to test anything"
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


def test_a_bucket_that_is_not_there_is_one_line(ray_s3: Server, tmp_path: Path) -> None:
    write_set(tmp_path / "set", each=1)
    done = jobs.call(
        "prepare", f"source.kind={KIND}", f"source.root={tmp_path / 'set'}",
        "output=s3://no-such-bucket/shards",
    )  # fmt: skip
    assert "has no bucket 'no-such-bucket'" in jobs.mistake(done)
