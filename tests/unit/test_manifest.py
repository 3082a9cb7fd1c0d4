"""Manifests: what they hold, statistics, fingerprints, and what is damaged is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.refusals import refusal

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, ShardInfo, open_corpus, verify
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError

MakeClip = Callable[..., Clip]


def line(file: str, **changes: Any) -> ShardInfo:
    """A line of a manifest for a shard that is nowhere."""
    zeros = (0.0,) * 52
    values = {"split": "train", "lengths": (1,), "sums": zeros, "squares": zeros, "bytes": 1}
    return ShardInfo(**({"file": file, "sha256": "a"} | values | changes))


def test_the_statistics_are_those_of_the_training_frames():
    def of(split: str, *values: float) -> ShardInfo:
        frames = np.full((len(values), 52), 0.5)
        frames[:, 0] = values
        sums, squares = frames.sum(0), np.square(frames).sum(0)
        return line(
            f"{split}-{len(values)}.parquet", split=split, lengths=(len(values),),
            sums=tuple(sums), squares=tuple(squares),
        )  # fmt: skip

    infos = [of("train", 0.0, 0.2), of("train", 0.4), of("val", 0.9)]
    mean, deviation = Manifest("hand", infos, [], []).statistics()
    assert (mean.dtype, deviation.dtype) == (np.float32, np.float32)
    # 0, 0.2 and 0.4: mean 0.2, variance 0.08 / 3. A channel that never moves counts as 0.01.
    assert mean == pytest.approx([0.2] + [0.5] * 51)
    assert deviation == pytest.approx([(0.08 / 3) ** 0.5] + [0.01] * 51)
    without = Manifest("hand", infos[2:], [], [])
    assert refusal(without.statistics).startswith("the corpus has no split 'train'")


def test_the_statistics_agree_with_the_frames_themselves(tmp_path: Path, hand_made: MakeClip):
    rng = np.random.default_rng(3)
    clips = [hand_made(n, coefficients=rng.random((n, 52), np.float32)) for n in (4, 9)]
    info = shards.write_shard(tmp_path / "a.parquet", clips)
    frames = np.concatenate([clip.coefficients for clip in clips])
    mean, deviation = Manifest("hand", [info], [], []).statistics()
    assert mean == pytest.approx(frames.mean(0), abs=1e-6)
    assert deviation == pytest.approx(frames.std(0), abs=1e-6)


def test_a_manifest_comes_back(corpus_folder: Path):
    manifest = open_corpus(corpus_folder)
    assert [s.file for s in manifest.of("train")] == ["train-00000.parquet"]
    assert manifest.seconds("train") == pytest.approx(3 * 12 / 30)
    assert manifest.seconds() == pytest.approx(6 * 12 / 30)
    assert (manifest.identities, manifest.emotions) == (["ada"], ["anger"])
    assert refusal(lambda: manifest.of("test_seen")).startswith(
        "the corpus has no split 'test_seen'"
    )
    text = json.loads((corpus_folder / "manifest.json").read_text())
    assert text["fingerprint"] == manifest.fingerprint


def test_the_fingerprint_follows_the_content():
    def manifest(*hashes: str) -> Manifest:
        infos = [line(f"{i}.parquet", sha256=h) for i, h in enumerate(hashes)]
        return Manifest("hand", infos, [], [])

    assert manifest("a", "b").fingerprint == manifest("a", "b").fingerprint
    marks = {m.fingerprint for m in (manifest("a", "b"), manifest("b", "a"), manifest("a"))}
    assert len(marks) == 3


def test_a_folder_without_a_manifest(tmp_path: Path):
    message = refusal(lambda: open_corpus(tmp_path / "no"))
    assert "holds no manifest.json" in message
    assert str(tmp_path / "no") in message


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "3", '"text"', "null", "{}", '{"shards": 3}', '{"shards": [{"file": "a"}]}'],
)
def test_a_damaged_manifest(corpus_folder: Path, content: str):
    path = corpus_folder / "manifest.json"
    path.write_text(content)
    message = refusal(lambda: open_corpus(corpus_folder))
    assert message.startswith(f"{path}: not a manifest of this release")


def test_a_manifest_that_is_no_text(corpus_folder: Path):
    (corpus_folder / "manifest.json").write_bytes(b"\xff\xfe\x00" * 20)
    assert "not a manifest of this release" in refusal(lambda: open_corpus(corpus_folder))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"schema_version": 3}, "schema version 3, but this release reads 2"),
        ({"channels": list(reversed(CHANNELS))}, "its channels or their order"),
        ({"identities": 3}, "identities"),
    ],
)
def test_a_manifest_of_another_kind(corpus_folder: Path, changes: dict[str, object], part: str):
    path = corpus_folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    message = refusal(lambda: open_corpus(corpus_folder))
    assert message.startswith(f"{path}: ")
    assert part in message


def test_a_manifest_of_the_first_release(corpus_folder: Path):
    """Its lines had counts where lengths and sums stand now."""
    path = corpus_folder / "manifest.json"
    content = json.loads(path.read_text()) | {"schema_version": 1}
    for shard in content["shards"]:
        for key in ("lengths", "sums", "squares"):
            del shard[key]
        shard |= {"clips": 3, "frames": 36}
    path.write_text(json.dumps(content))
    assert refusal(lambda: open_corpus(corpus_folder)) == (
        f"{path}: schema version 1, but this release reads 2; prepare the corpus again"
    )


@pytest.mark.parametrize("name", ["../train-00000.parquet", "/etc/passwd", ".hidden", "..", "a/b"])
def test_a_manifest_that_leaves_its_folder(corpus_folder: Path, name: str):
    path = corpus_folder / "manifest.json"
    content = json.loads(path.read_text())
    content["shards"][0]["file"] = name
    path.write_text(json.dumps(content))
    message = refusal(lambda: open_corpus(corpus_folder))
    assert message == f"{path}: the shard name {name!r} leaves the folder"


def test_a_shard_that_the_manifest_misses(corpus_folder: Path):
    path = corpus_folder / "val-00000.parquet"
    path.unlink()
    message = refusal(lambda: open_corpus(corpus_folder))
    assert message == f"{path}: the shard is missing; prepare the corpus again"


def test_a_shard_of_another_size(corpus_folder: Path, hand_made: MakeClip):
    path = corpus_folder / "val-00000.parquet"
    before = path.stat().st_size
    info = shards.write_shard(path, [hand_made(10)])
    assert refusal(lambda: open_corpus(corpus_folder)).startswith(
        f"{path}: {info.bytes} bytes, but the manifest says {before}"
    )


def test_verify_finds_one_changed_bit(corpus_folder: Path):
    manifest = open_corpus(corpus_folder)
    seen: list[tuple[int, int]] = []
    verify(corpus_folder, manifest, lambda done, total: seen.append((done, total)))
    count = len(manifest.shards)
    assert seen == [(k + 1, count) for k in range(count)]
    path = corpus_folder / manifest.shards[-1].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=path.name):
        verify(corpus_folder, manifest, lambda done, total: None)


def test_a_corpus_without_a_test_split_is_refused(corpus_folder: Path) -> None:
    manifest = open_corpus(corpus_folder)
    assert "neither test_seen nor test_unseen" in refusal(manifest.test_splits)
    assert "no split 'test_seen'" in refusal(lambda: manifest.of("test_seen"))
    shards_ = [replace(manifest.shards[0], split=s) for s in ("test_unseen", "test_seen")]
    assert replace(manifest, shards=shards_).test_splits() == ["test_seen", "test_unseen"]


def test_a_search_for_settings_sees_no_test_split() -> None:
    infos = [
        line(f"{split}.parquet", split=split)
        for split in ("train", "val", "test_seen", "train", "test_unseen")
    ]
    manifest = Manifest("hand", infos, ["ada"], ["anger"], feature_dim=6)
    seen = manifest.without_tests()
    assert [shard.split for shard in seen.shards] == ["train", "val", "train"]
    assert "no split 'test_seen'" in refusal(lambda: seen.of("test_seen"))
    assert "neither test_seen nor test_unseen" in refusal(seen.test_splits)
    assert replace(seen, shards=infos) == manifest  # which itself is as it was
    assert len(manifest.shards) == 5
