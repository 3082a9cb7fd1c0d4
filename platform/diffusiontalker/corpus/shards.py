"""Shards: Parquet files of clips.

One row is one clip. Arrays are stored flat (``coefficients`` is frames x 52 in row order) so that
pyarrow, DuckDB and Ray read them without a custom type. Every file holds the channel names and the
schema version in its metadata.
"""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.corpus.manifest import SCHEMA_VERSION, ShardInfo, read_checked
from diffusiontalker.corpus.phonemes import intervals
from diffusiontalker.errors import UserError
from diffusiontalker.stage_keys import DONE

_METADATA = {
    b"diffusiontalker.schema_version": str(SCHEMA_VERSION).encode(),
    b"diffusiontalker.channels": ",".join(CHANNELS).encode(),
}
_DAMAGE = (OSError, ValueError, pa.ArrowException)
"""What pyarrow raises on damaged files: broken UTF-8 in a footer is a ValueError."""
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
        ("redraw", _FLOATS),  # frames x 52: a second random draw for the same speech; or null
        ("expected", _FLOATS),  # frames x 52: the mean of many draws; or null
        ("features", pa.list_(pa.float16())),  # frames x D from the frozen encoder; or null
        ("log_mel", pa.list_(pa.float16())),  # 2 frames x 80; or null
    ],
    metadata=_METADATA,
)


_NAMES = ["source", "take", "identity", "emotion", "split"]


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


def phones_of(clip: Clip) -> list[tuple[str, float, float]]:
    """(base phoneme, start, end) of the phones of a clip; empty where it is not aligned."""
    if not clip.phones or clip.phone_starts is None:
        return []
    end = len(clip.coefficients) / FPS
    return list(intervals(clip.phones, clip.phone_starts.tolist(), end))


def _flat(values: np.ndarray | None, dtype: type = np.float32) -> np.ndarray | None:
    return None if values is None else values.astype(dtype).ravel()


def write_shard(path: Path, clips: list[Clip], source_fingerprint: str = "") -> ShardInfo:
    """Write clips of one split as one Parquet file, atomically.

    ``source_fingerprint`` (of the source files and the settings) is stored in its metadata.
    """
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    for clip in clips:
        for name, value in clip.row().items():
            columns[name].append(value)
    table = pa.table(columns, schema=SCHEMA)
    metadata = {**_METADATA, b"diffusiontalker.source_fingerprint": source_fingerprint.encode()}
    return write_table(path, table.replace_schema_metadata(metadata))


def write_table(path: Path, table: pa.Table) -> ShardInfo:
    """Write a table of ``SCHEMA`` atomically.

    Raises:
        UserError: the folder cannot be written, the disk is full, or S3 refuses.
    """
    buffer = BytesIO()
    # Dictionary encoding of numbers that hardly ever repeat makes reading three times as slow.
    pq.write_table(
        table, buffer, compression="zstd", write_page_checksum=True, use_dictionary=_NAMES
    )
    storage.write_bytes(path, buffer.getvalue())
    return _describe(path.name, buffer.getvalue(), table)


def describe(path: Path) -> ShardInfo:
    """The manifest's entry for an existing shard. Raises UserError as ``read_table``."""
    content = storage.read_bytes(path)
    table = _parse(pa.BufferReader(content), path, ["split", "frames", "coefficients"])
    return _describe(path.name, content, table)


def _describe(name: str, content: bytes, table: pa.Table) -> ShardInfo:
    coefficients = table.column("coefficients").combine_chunks().flatten().to_numpy()
    frames = coefficients.reshape(-1, len(CHANNELS)).astype(np.float64)
    return ShardInfo(
        file=name,
        split=table.column("split")[0].as_py(),
        lengths=tuple(table.column("frames").to_pylist()),
        sums=tuple(frames.sum(0).tolist()),
        squares=tuple(np.square(frames).sum(0).tolist()),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
    )


def read_table(path: Path, columns: list[str] | None = None, sha256: str | None = None) -> pa.Table:
    """Read a shard, or some columns of it, checking checksums, schema version and channel order.

    Args:
        path: the shard, local or in S3.
        columns: None reads all.
        sha256: hash of the file from the manifest; if given, it is checked first.

    Raises:
        UserError: missing, corrupt, of another schema version, or with other channels.
    """
    if sha256 is not None:
        return _parse(pa.BufferReader(read_checked(path, sha256)), path, columns)
    if not storage.is_remote(path):
        if not path.is_file():
            raise UserError(f"{path}: the shard is missing; prepare the corpus again")
        return _parse(str(path), path, columns)

    def read() -> pa.Table:
        with storage.open_input(path) as file:
            return _parse(file, path, columns)

    return storage.explained("read", path, read)


def _parse(source: Any, path: Path, columns: list[str] | None) -> pa.Table:
    """The table in a Parquet ``source``; errors name ``path``."""
    try:
        file = pq.ParquetFile(source, page_checksum_verification=True, pre_buffer=True)
        _check_schema(file.schema_arrow, path)
        return file.read(columns=columns, use_threads=False)
    except _DAMAGE as error:
        if storage.is_remote(path) and not isinstance(error, pa.ArrowException | ValueError):
            raise  # a network error, which is retried
        raise UserError(f"{path}: the shard is corrupt; {_mend(path)}") from error


def _mend(path: Path) -> str:
    """How a corrupt shard is made again: a stage of a run that is done stays as it is."""
    folder = path.parent
    if storage.is_file(folder / DONE):
        return f"remove {folder}, and run the same again"
    return "delete it and prepare it again"


def _check_schema(schema: pa.Schema, path: Path) -> None:
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
    """A row of Arrow scalars as a clip; columns that were not read are null.

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
