"""Shards and manifests: what goes in comes out, and what is damaged is named."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.refusals import refusal

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, ShardInfo, open_corpus, verify, write_manifest
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.errors import UserError

MakeClip = Callable[..., Clip]


@pytest.fixture
def full(hand_made: MakeClip) -> Clip:
    """A clip with every column set."""
    rng = np.random.default_rng(0)
    return hand_made(
        10,
        phones=["ˈɑː", "", "m"],
        phone_starts=np.array([0.0, 0.1, 0.25], np.float32),
        redraw=rng.random((10, 52), dtype=np.float32),
        expected=rng.random((10, 52), dtype=np.float32),
        features=rng.normal(size=(10, 6)).astype(np.float16),
        log_mel=rng.normal(size=(20, 80)).astype(np.float16),
        source="hand",
        take="take 1",
    )


@pytest.fixture
def shard(tmp_path: Path, full: Clip) -> Path:
    path = tmp_path / "train-00000.parquet"
    shards.write_shard(path, [full])
    return path


def line(file: str, **changes: Any) -> ShardInfo:
    """A line of a manifest for a shard that is nowhere."""
    zeros = (0.0,) * 52
    values = {"split": "train", "lengths": (1,), "sums": zeros, "squares": zeros, "bytes": 1}
    return ShardInfo(**({"file": file, "sha256": "a"} | values | changes))


def rewritten(path: Path, **metadata: str) -> Path:
    """Replace entries of a shard's metadata; an empty value takes the entry out."""
    table = pq.read_table(path)
    entries = {k.decode(): v.decode() for k, v in table.schema.metadata.items()}
    entries |= {f"diffusiontalker.{k}": v for k, v in metadata.items()}
    pq.write_table(table.replace_schema_metadata({k: v for k, v in entries.items() if v}), path)
    return path


# Round trip


def test_every_column_comes_back(shard: Path, full: Clip):
    (clip,) = shards.clips_of(shards.read_table(shard))
    for name, value in vars(full).items():
        got = getattr(clip, name)
        if name == "audio":
            assert np.abs(got - value).max() <= 0.5 / 32767 + 1e-7
        elif isinstance(value, np.ndarray):
            assert got.dtype == value.dtype
            assert got.shape == value.shape
            assert (got == value).all()
        else:
            assert got == value


def test_nulls_come_back_as_none(tmp_path: Path, hand_made: MakeClip):
    bare = hand_made(4, identity=None, emotion=None, text=None)
    shards.write_shard(tmp_path / "a.parquet", [bare])
    (clip,) = shards.clips_of(shards.read_table(tmp_path / "a.parquet"))
    for name in (
        "identity", "emotion", "text", "phones", "phone_starts", "redraw", "expected", "features",
        "log_mel",
    ):  # fmt: skip
        assert getattr(clip, name) is None, name
    assert clip.take == "a"  # a clip is its own take unless it says otherwise
    assert clip.source == "unknown"


def test_columns_that_are_not_read_count_as_null(shard: Path, full: Clip):
    (clip,) = shards.clips_of(shards.read_table(shard, ["id", "frames", "features"]))
    assert clip.features is not None
    assert (clip.features == full.features).all()
    assert clip.coefficients.shape == (10, 0)
    assert clip.audio.shape == (0,)
    assert clip.emotion is None


def test_audio_beyond_full_scale_is_clipped(tmp_path: Path, hand_made: MakeClip):
    loud = hand_made(2, audio=np.array([-2.0, -1.0, 0.0, 1.0, 2.0], np.float32))
    shards.write_shard(tmp_path / "a.parquet", [loud])
    (clip,) = shards.clips_of(shards.read_table(tmp_path / "a.parquet"))
    assert clip.audio.tolist() == [-1.0, -1.0, 0.0, 1.0, 1.0]


def test_a_shard_tells_what_it_holds(tmp_path: Path, hand_made: MakeClip):
    path = tmp_path / "val-00000.parquet"
    info = shards.write_shard(path, [hand_made(n, id=str(n), split="val") for n in (2, 3)])
    assert (info.file, info.split, info.lengths) == (path.name, "val", (2, 3))
    assert (info.clips, info.frames) == (2, 5)
    # Frame k of a clip holds k / 100 in every channel: 0 1, and 0 1 2.
    assert info.sums == pytest.approx([0.04] * 52)
    assert info.squares == pytest.approx([0.0006] * 52)
    assert info.bytes == path.stat().st_size
    assert info == shards.describe(path)
    assert info == ShardInfo.from_json(info.to_json())
    assert list(path.parent.iterdir()) == [path]  # nothing partial stays


def test_the_same_clips_give_the_same_bytes(tmp_path: Path, full: Clip):
    infos = []
    for name in "xy":
        (tmp_path / name).mkdir()
        infos.append(shards.write_shard(tmp_path / name / "a.parquet", [full]))
    assert infos[0] == infos[1]


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


# Damage


def test_a_missing_shard(tmp_path: Path):
    path = tmp_path / "no.parquet"
    assert refusal(lambda: shards.read_table(path)).startswith(f"{path}: the shard is missing")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all, but text" * 9, bytes(999)])
def test_a_file_that_is_no_parquet(tmp_path: Path, content: bytes):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    assert refusal(lambda: shards.read_table(path)).startswith(f"{path}: the shard is corrupt")


@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_a_truncated_shard(shard: Path, share: float):
    content = shard.read_bytes()
    shard.write_bytes(content[: int(share * len(content))])
    assert refusal(lambda: shards.read_table(shard)).startswith(f"{shard}: the shard is corrupt")


def test_a_flipped_byte_is_found_or_harmless(shard: Path):
    content = shard.read_bytes()
    whole = shards.read_table(shard)
    messages = []
    positions = np.linspace(0, len(content) - 1, 200).astype(int)
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 0xFF
        shard.write_bytes(damaged)
        try:
            assert shards.read_table(shard).equals(whole), position
        except UserError as refused:
            messages.append(str(refused))
    assert all(message.startswith(f"{shard}: ") for message in messages)
    assert len(messages) > 0.6 * len(positions)


def test_a_flipped_byte_amid_the_audio_is_found(shard: Path):
    content = bytearray(shard.read_bytes())
    column = pq.read_metadata(shard).row_group(0).column(shards.SCHEMA.get_field_index("audio"))
    content[column.data_page_offset + column.total_compressed_size // 2] ^= 0x10
    shard.write_bytes(content)
    assert refusal(lambda: shards.read_table(shard)).startswith(f"{shard}: the shard is corrupt")


def test_the_hash_of_the_manifest_is_compared_first(shard: Path, full: Clip):
    info = shards.describe(shard)
    assert shards.read_table(shard, sha256=info.sha256).equals(shards.read_table(shard))
    # Whole Parquet, and of the same size: only the hash can tell.
    other = full.coefficients.copy()
    other[3, 7] += 0.25
    shards.write_shard(shard, [dataclasses.replace(full, coefficients=other)])
    shards.read_table(shard)
    message = refusal(lambda: shards.read_table(shard, ["id"], info.sha256))
    assert message.startswith(f"{shard}: the shard is corrupt (its hash is not the manifest's)")


@pytest.mark.parametrize(
    ("metadata", "part"),
    [
        ({"schema_version": "99"}, "schema version 99, but this release reads 2"),
        ({"schema_version": ""}, "schema version none"),
        ({"channels": ",".join(reversed(CHANNELS))}, "its channels or their order"),
        ({"channels": ",".join(CHANNELS[:51])}, "its channels or their order"),
        ({"channels": ""}, "its channels or their order"),
    ],
)
def test_a_shard_of_another_kind(shard: Path, metadata: dict[str, str], part: str):
    rewritten(shard, **metadata)
    message = refusal(lambda: shards.read_table(shard))
    assert message.startswith(f"{shard}: ")
    assert part in message


def test_a_shard_without_a_column(shard: Path):
    pq.write_table(pq.read_table(shard).drop_columns(["features"]), shard)
    message = refusal(lambda: shards.read_table(shard, ["id", "frames"]))
    assert message.startswith(f"{shard}: its columns are not those of schema version 2")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("coefficients", 52 * 10 - 1),
        ("coefficients", 51 * 10),
        ("redraw", 52 * 9),
        ("features", 61),
        ("log_mel", 80 * 20 - 1),
    ],
)
def test_a_matrix_that_does_not_fit_its_frames(shard: Path, column: str, values: int):
    table = shards.read_table(shard)
    field = shards.SCHEMA.field(column)
    wrong = pa.array([np.zeros(values, field.type.value_type.to_pandas_dtype())], field.type)
    table = table.set_column(shards.SCHEMA.get_field_index(column), field, wrong)
    message = refusal(lambda: shards.clips_of(table))
    assert message.startswith(f"clip 'a': {values} values in {column!r}")


def test_a_folder_that_cannot_be_written(tmp_path: Path, full: Clip):
    (tmp_path / "file").write_text("in the way")
    path = tmp_path / "file" / "a.parquet"
    message = refusal(lambda: shards.write_shard(path, [full]))
    assert message.startswith(f"cannot write {path}: ")
    manifest = Manifest("hand", [], [], [])
    message = refusal(lambda: write_manifest(tmp_path / "file", manifest))
    assert message.startswith(f"cannot write {tmp_path / 'file' / 'manifest.json'}: ")


# Manifests


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


def test_a_shard_of_another_size(corpus_folder: Path, full: Clip):
    path = corpus_folder / "val-00000.parquet"
    before = path.stat().st_size
    info = shards.write_shard(path, [full])
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
