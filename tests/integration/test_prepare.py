"""``jobs/prepare.py`` on real Ray: what it writes, a kill, quarantine, and outputs in use."""

import csv
import json
import time
from pathlib import Path

import pytest
from tests import jobs
from tests.sets import KIND, SPEAKERS, write_set, write_take

from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import open_corpus
from diffusiontalker.errors import UserError

pytestmark = pytest.mark.usefixtures("ray_s3")


def arguments(root: Path, out: Path, *overrides: str) -> tuple[str, ...]:
    return (f"source.kind={KIND}", f"source.root={root}", f"output={out}", *overrides)


def prepare(root: Path, out: Path, *overrides: str) -> jobs.Done:
    """In this process."""
    return jobs.call("prepare", *arguments(root, out, *overrides))


def test_a_set_with_malformed_takes_becomes_shards_and_a_page(tmp_path: Path) -> None:
    root, out = write_set(tmp_path / "set"), tmp_path / "out"
    write_take(root, "ann/anger/long", seconds=12.4)
    (root / "bob/anger/0.wav").write_bytes(b"RIFF")
    (root / "dan/anger/1.npy").write_bytes(b"no array")
    (root / "notes.txt").write_text("mine")
    done = jobs.run("prepare", *arguments(root, out, "shard_minutes=0.2"))
    assert done.returncode == 0, done.stdout + done.stderr
    manifest = open_corpus(out)
    assert {path.name for path in out.iterdir()} == {
        "manifest.json", "prepare.html", "quarantine.csv", "takes.json",
        *(shard.file for shard in manifest.shards),
    }  # fmt: skip
    assert len(manifest.shards) > 4
    assert manifest.seconds() == pytest.approx(22 * 2.5 + 12.4, abs=0.1)
    assert manifest.emotions == ["anger"]
    assert len(manifest.identities) == len(SPEAKERS)  # four speakers: a tenth is none
    rows = list(csv.DictReader((out / "quarantine.csv").open()))
    assert [row["name"] for row in rows] == ["bob-anger-0", "dan-anger-1", "notes.txt"]
    known = json.loads((out / "takes.json").read_text())
    assert known["skipped"] == [["notes.txt", "no wav or npy"]]
    lags = [t["lag_seconds"] for t in known["takes"] if t["lag_seconds"] is not None]
    assert lags == [pytest.approx(0.0, abs=0.03)]  # the others are too short to tell
    by_take: dict[str, set[str]] = {}
    for shard in manifest.shards:
        for clip in shards.clips_of(shards.read_table(out / shard.file, sha256=shard.sha256)):
            by_take.setdefault(clip.take, set()).add(clip.split)
    assert {len(found) for found in by_take.values()} == {1}
    page = (out / "prepare.html").read_text()
    assert "bob-anger-0" in page
    again = prepare(root, out, "shard_minutes=0.2")
    assert again.returncode == 0, again.stderr
    assert open_corpus(out) == manifest
    assert "unchanged since" in again.stdout
    assert "choose another output" in jobs.mistake(prepare(root, out, "clip_seconds=2"))


def test_too_many_malformed_takes_end_the_job_and_a_wider_limit_goes_on(tmp_path: Path) -> None:
    root, out = write_set(tmp_path / "set", each=1), tmp_path / "out"
    for speaker in ("ann", "bob"):
        (root / speaker / "anger/0.wav").write_bytes(b"RIFF")
    line = jobs.mistake(prepare(root, out, "max_quarantined=0.2"))
    assert "2 of 8 takes are malformed, more than max_quarantined=0.2 allows" in line
    assert "not a readable audio file" in line
    assert (out / "quarantine.csv").is_file()
    assert "No shards were published" in (out / "prepare.html").read_text()
    assert not (out / "manifest.json").exists()
    done = prepare(root, out, "max_quarantined=0.3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sum(shard.clips for shard in open_corpus(out).shards) == 6


def test_a_killed_job_leaves_no_set_and_goes_on_where_it_was(tmp_path: Path) -> None:
    root, out = write_set(tmp_path / "set", each=6, seconds=20), tmp_path / "out"
    options = ("shard_minutes=0.3",)
    log = tmp_path / "log.txt"
    process = jobs.start(log, "prepare", *arguments(root, out, *options))
    jobs.wait_for(lambda: len(list(out.glob("part-*.json"))) >= 3, process, log)
    jobs.kill(process)
    with pytest.raises(UserError, match=r"no manifest\.json"):
        open_corpus(out)
    assert "holds an unfinished set" in jobs.mistake(prepare(root, out))
    time.sleep(2)  # what Ray's workers had in hand
    done_before = {path: path.stat().st_mtime_ns for path in out.glob("part-*.json")}
    written = {
        path: path.stat().st_mtime_ns
        for part in done_before
        for path in (out / info["file"] for info in json.loads(part.read_text())["shards"])
    }
    assert 3 <= len(done_before) < 48
    done = prepare(root, out, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    assert written == {path: path.stat().st_mtime_ns for path in written}
    assert open_corpus(out).seconds() == pytest.approx(48 * 20, abs=1)
    assert not list(out.glob("part-*"))
    assert not (out / "plan.json").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("source.root=/no/such/folder", "no such folder"),
        ("source.kind=bea", "known are beat"),
        ("source.options.fsp=3", "did you mean 'fps'"),
        ("clip_secs=3", "did you mean 'clip_seconds'"),
        ("output=/proc/nowhere", "cannot write"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, override: str, words: str) -> None:
    write_take(tmp_path / "set", "ann/anger/0")
    assert words in jobs.mistake(prepare(tmp_path / "set", tmp_path / "out", override))
