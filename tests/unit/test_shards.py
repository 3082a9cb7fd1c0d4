"""Shards: what goes in comes out, and what is damaged is named."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.refusals import refusal

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, ShardInfo, write_manifest
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


def test_a_corrupt_shard_of_a_stage_that_is_done_names_its_folder(shard: Path):
    shard.write_bytes(b"PAR1")
    assert "delete it and prepare it again" in refusal(lambda: shards.read_table(shard))
    (shard.parent / "stage.json").write_text("{}")
    assert f"remove {shard.parent}, and run" in refusal(lambda: shards.read_table(shard))


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
