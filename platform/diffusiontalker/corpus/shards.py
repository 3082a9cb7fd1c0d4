"""Shards: Parquet files of clips, and the manifest that names them.

One row is one clip. Arrays are stored flat (``coefficients`` is frames x 52 in row order) so that
pyarrow, DuckDB and Ray read them without a custom type. Channel names and the schema version
stand in each file and in ``manifest.json``, which is written last: a set without one is not whole.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.errors import UserError

SCHEMA_VERSION = 1
SPLITS = ("train", "val", "test_seen", "test_unseen")
_METADATA = {
    b"diffusiontalker.schema_version": str(SCHEMA_VERSION).encode(),
    b"diffusiontalker.channels": ",".join(CHANNELS).encode(),
}
_DAMAGE = (OSError, ValueError, pa.ArrowException)
"""What pyarrow raises on damaged files: a footer's broken UTF-8 is a ValueError."""
_FLOATS = pa.list_(pa.float32())
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("take", pa.string()),
        ("identity", pa.string()),  # null: unknown
        ("emotion", pa.string()),  # null: unknown, which is not neutral
        ("split", pa.string()),
        ("text", pa.string()),
        ("fps", pa.float32()),
        ("sample_rate", pa.int32()),
        ("audio", pa.list_(pa.int16())),
        ("frames", pa.int32()),
        ("coefficients", _FLOATS),  # frames x 52
        ("phones", pa.list_(pa.string())),  # IPA, "" is a pause; null: not aligned
        ("phone_starts", _FLOATS),  # seconds
        ("redraw", _FLOATS),  # frames x 52: the same speech, random parts drawn again; or null
        ("expected", _FLOATS),  # frames x 52: the mean of many draws; or null
        ("features", pa.list_(pa.float16())),  # frames x D from the frozen encoder; or null
        ("log_mel", pa.list_(pa.float16())),  # 2 frames x 80; or null
    ],
    metadata=_METADATA,
)


@dataclass(frozen=True)
class Clip:
    """A row of a shard as arrays."""

    id: str
    identity: str | None
    emotion: str | None
    split: str
    text: str | None
    audio: np.ndarray
    """(n,) float32 at 16 kHz."""
    coefficients: np.ndarray
    """(frames, 52) float32 at 30 fps."""
    phones: list[str] | None = None
    phone_starts: np.ndarray | None = None
    redraw: np.ndarray | None = None
    expected: np.ndarray | None = None
    features: np.ndarray | None = None
    """(frames, D)."""
    log_mel: np.ndarray | None = None
    """(2 * frames, 80)."""
    source: str = "unknown"
    take: str = ""

    def row(self) -> dict[str, Any]:
        """The clip as a row of ``SCHEMA``."""
        return {
            "id": self.id,
            "source": self.source,
            "take": self.take or self.id,
            "identity": self.identity,
            "emotion": self.emotion,
            "split": self.split,
            "text": self.text,
            "fps": float(FPS),
            "sample_rate": SAMPLE_RATE,
            "audio": np.round(np.clip(self.audio, -1, 1) * 32767).astype(np.int16),
            "frames": len(self.coefficients),
            "coefficients": _flat(self.coefficients),
            "phones": self.phones,
            "phone_starts": _flat(self.phone_starts),
            "redraw": _flat(self.redraw),
            "expected": _flat(self.expected),
            "features": _flat(self.features, np.float16),
            "log_mel": _flat(self.log_mel, np.float16),
        }


def _flat(values: np.ndarray | None, dtype: type = np.float32) -> np.ndarray | None:
    return None if values is None else values.astype(dtype).ravel()


@dataclass(frozen=True)
class ShardInfo:
    """One line of the manifest."""

    file: str
    split: str
    clips: int
    frames: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a set of shards holds. ``fingerprint`` identifies its content."""

    source: str
    shards: list[ShardInfo]
    identities: list[str]
    emotions: list[str]
    feature_dim: int | None = None
    feature_fingerprint: str | None = None
    channels: list[str] = field(default_factory=lambda: list(CHANNELS))
    schema_version: int = SCHEMA_VERSION
    fps: int = FPS

    @property
    def fingerprint(self) -> str:
        """Hash of the hashes of all shards."""
        digest = hashlib.sha256()
        for shard in self.shards:
            digest.update(f"{shard.file} {shard.sha256}\n".encode())
        return digest.hexdigest()[:16]

    def of(self, split: str) -> list[ShardInfo]:
        """The shards of one split.

        Raises:
            UserError: the split is empty.
        """
        found = [shard for shard in self.shards if shard.split == split]
        if not found:
            raise UserError(f"the corpus has no split {split!r}")
        return found

    def seconds(self, split: str | None = None) -> float:
        """Seconds of speech in a split, or in all."""
        frames = sum(s.frames for s in self.shards if split in (None, s.split))
        return frames / self.fps


def write_shard(path: Path, clips: list[Clip]) -> ShardInfo:
    """Write clips of one split as one Parquet file; the file appears whole or not at all."""
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for clip in clips:
        for name, value in clip.row().items():
            columns[name].append(value)
    return write_table(path, pa.table(columns, schema=SCHEMA))


def write_table(path: Path, table: pa.Table) -> ShardInfo:
    """Write a table of ``SCHEMA``; the file appears whole or not at all.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, partial, compression="zstd", write_page_checksum=True)
        partial.replace(path)
    except OSError as error:
        raise UserError(f"{path}: cannot write the shard ({error.strerror or error})") from error
    return describe(path, table)


def describe(path: Path, table: pa.Table) -> ShardInfo:
    """The manifest's line for a shard on disk; ``table`` needs the columns split and frames."""
    content = path.read_bytes()
    return ShardInfo(
        file=path.name,
        split=table.column("split")[0].as_py(),
        clips=len(table),
        frames=int(pc.sum(table.column("frames")).as_py()),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read a shard, checking its checksums, schema version and channel order.

    Raises:
        UserError: missing, corrupt, of another schema version, or with other channels.
    """
    check_shard(path)
    try:
        return pq.read_table(
            path, columns=columns, page_checksum_verification=True, use_threads=False
        )
    except _DAMAGE as error:
        raise UserError(f"{path}: the shard is corrupt; delete it and prepare it again") from error


def check_shard(path: Path) -> None:
    """Check a shard's footer alone: cheap for any size.

    Raises:
        UserError: as ``read_table``, except for damage within the data.
    """
    if not path.is_file():
        raise UserError(f"{path}: the shard is missing; prepare the corpus again")
    try:
        schema = pq.read_schema(path)
    except _DAMAGE as error:
        raise UserError(f"{path}: the shard is corrupt; delete it and prepare it again") from error
    metadata = schema.metadata or {}
    version = metadata.get(b"diffusiontalker.schema_version", b"none").decode(errors="replace")
    if version != str(SCHEMA_VERSION):
        raise UserError(
            f"{path}: schema version {version}, but this release reads {SCHEMA_VERSION}; "
            "prepare the corpus again"
        )
    if metadata.get(b"diffusiontalker.channels") != _METADATA[b"diffusiontalker.channels"]:
        raise UserError(f"{path}: its channels or their order are not this release's 52")
    if not schema.equals(SCHEMA):
        raise UserError(
            f"{path}: its columns are not those of schema version {SCHEMA_VERSION}; "
            "prepare the corpus again"
        )


def clips_of(table: pa.Table) -> list[Clip]:
    """The rows of a table of ``SCHEMA`` (or of some of its columns) as clips.

    Raises:
        UserError: as ``clip_of``.
    """
    return [
        clip_of({name: table.column(name)[i] for name in table.column_names})
        for i in range(len(table))
    ]


def clip_of(row: dict[str, pa.Scalar]) -> Clip:
    """A row of Arrow scalars as a clip; columns that were not read count as null.

    Raises:
        UserError: a matrix does not have the row's number of frames.
    """
    frames = row["frames"].as_py()
    audio = _array(row, "audio")
    coefficients = _matrix(row, "coefficients", frames, len(CHANNELS))
    return Clip(
        id=row["id"].as_py(),
        identity=_scalar(row, "identity"),
        emotion=_scalar(row, "emotion"),
        split=_scalar(row, "split") or "",
        text=_scalar(row, "text"),
        audio=np.zeros(0, np.float32) if audio is None else audio.astype(np.float32) / 32767,
        coefficients=np.zeros((frames, 0), np.float32) if coefficients is None else coefficients,
        phones=_scalar(row, "phones"),
        phone_starts=_array(row, "phone_starts"),
        redraw=_matrix(row, "redraw", frames, len(CHANNELS)),
        expected=_matrix(row, "expected", frames, len(CHANNELS)),
        features=_matrix(row, "features", frames),
        log_mel=_matrix(row, "log_mel", 2 * frames),
        source=_scalar(row, "source") or "unknown",
        take=_scalar(row, "take") or "",
    )


def _scalar(row: dict[str, pa.Scalar], name: str) -> Any:
    return row[name].as_py() if name in row else None


def _array(row: dict[str, pa.Scalar], name: str) -> np.ndarray | None:
    if name not in row or not row[name].is_valid:
        return None
    return row[name].values.to_numpy(zero_copy_only=False)


def _matrix(
    row: dict[str, pa.Scalar], name: str, rows: int, columns: int | None = None
) -> np.ndarray | None:
    values = _array(row, name)
    if values is None:
        return None
    width = columns or max(len(values) // max(rows, 1), 1)
    if len(values) != rows * width:
        raise UserError(
            f"clip {row['id'].as_py()!r}: {len(values)} values in {name!r}, but "
            f"{rows} rows of {columns or 'equal length'} are needed; prepare the corpus again"
        )
    return values.reshape(rows, width)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish the set: ``manifest.json`` appears at once and whole.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    partial = folder / "manifest.json.partial"
    content = {
        **{k: v for k, v in vars(manifest).items() if k != "shards"},
        "fingerprint": manifest.fingerprint,
        "shards": [vars(shard) for shard in manifest.shards],
    }
    try:
        partial.write_text(json.dumps(content, indent=1) + "\n")
        partial.replace(folder / "manifest.json")
    except OSError as error:
        raise UserError(f"{partial}: cannot write the manifest ({error.strerror})") from error


def open_corpus(folder: Path) -> Manifest:
    """Read the manifest and check every shard's presence, size and footer.

    Raises:
        UserError: no manifest, another schema version or channel order, a missing or damaged shard.
    """
    path = folder / "manifest.json"
    if not path.is_file():
        raise UserError(f"{folder}: holds no manifest.json, so no whole corpus; prepare it first")
    try:
        manifest = TypeAdapter(Manifest).validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(
            f"{path}: not a manifest of this release ({where}: {first['msg']})"
        ) from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise UserError(
            f"{path}: schema version {manifest.schema_version}, but this release reads "
            f"{SCHEMA_VERSION}; prepare the corpus again"
        )
    if manifest.channels != list(CHANNELS):
        raise UserError(f"{path}: its channels or their order are not this release's 52")
    for shard in manifest.shards:
        if "/" in shard.file or shard.file.startswith("."):
            raise UserError(f"{path}: the shard name {shard.file!r} leaves the folder")
        file = folder / shard.file
        check_shard(file)
        if file.stat().st_size != shard.bytes:
            raise UserError(
                f"{file}: {file.stat().st_size} bytes, but the manifest says {shard.bytes}; "
                "prepare the corpus again"
            )
    return manifest


def verify(folder: Path, manifest: Manifest, progress: Callable[[int, int], None]) -> None:
    """Compare every shard's content with the manifest's hash: finds a single changed bit.

    Raises:
        UserError: a shard is not what was written.
    """
    for number, shard in enumerate(manifest.shards, start=1):
        with (folder / shard.file).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != shard.sha256:
            raise UserError(
                f"{folder / shard.file}: the shard is corrupt (its hash is not the manifest's); "
                "prepare it again"
            )
        progress(number, len(manifest.shards))
