"""The manifest of a set of shards: its shards with their hashes, speakers and emotions.

``manifest.json`` is written last, so a set without one is incomplete. It also holds what training
needs before the first shard is read: the lengths of all clips, and sums for the statistics.
"""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import TypeAdapter, ValidationError

from diffusiontalker import storage
from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.errors import UserError

FILE = "manifest.json"
SCHEMA_VERSION = 2
SPLITS = ("train", "val", "test_seen", "test_unseen")


@dataclass(frozen=True)
class ShardInfo:
    """A shard's entry in the manifest."""

    file: str
    split: str
    lengths: tuple[int, ...]
    """Frames of each clip, in order."""
    sums: tuple[float, ...]
    """(52,) sum of the coefficients over all frames."""
    squares: tuple[float, ...]
    """(52,) sum of their squares."""
    bytes: int
    sha256: str

    def to_json(self) -> str:
        """The entry as text, as Ray tasks return it."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> "ShardInfo":
        """What ``to_json`` wrote. Raises pydantic's ``ValidationError``."""
        return TypeAdapter(cls).validate_json(text)

    @property
    def clips(self) -> int:
        """Number of clips."""
        return len(self.lengths)

    @property
    def frames(self) -> int:
        """Frames of all clips."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Manifest:
    """The content of a set of shards, identified by ``fingerprint``."""

    source: str
    shards: list[ShardInfo]
    identities: list[str]
    """Speakers of train; others are unseen."""
    emotions: list[str]
    source_fingerprint: str | None = None
    """Of the source files and the settings that the shards were made from."""
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
            raise UserError(
                f"the corpus has no split {split!r}; prepare it again with more takes, or other "
                "shares in split"
            )
        return found

    def test_splits(self) -> list[str]:
        """The test splits that are not empty, test_seen first.

        Raises:
            UserError: there is none.
        """
        found = [split for split in SPLITS[2:] if any(s.split == split for s in self.shards)]
        if not found:
            raise UserError(
                "the corpus has neither test_seen nor test_unseen, so nothing could be measured; "
                "prepare it with split.test or split.unseen_speakers above 0"
            )
        return found

    def without_tests(self) -> "Manifest":
        """The manifest with train and val alone, for a search over settings."""
        return replace(self, shards=[s for s in self.shards if s.split in ("train", "val")])

    def seconds(self, split: str | None = None) -> float:
        """Seconds of speech in a split, or in all."""
        frames = sum(s.frames for s in self.shards if split in (None, s.split))
        return frames / self.fps

    def statistics(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation (52,) float32 over the training frames; at least 0.01."""
        train = self.of("train")
        count = sum(shard.frames for shard in train)
        mean = np.sum([shard.sums for shard in train], axis=0) / count
        square = np.sum([shard.squares for shard in train], axis=0) / count
        deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
        return mean.astype(np.float32), np.maximum(deviation, 0.01).astype(np.float32)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Publish the set: ``manifest.json`` is written atomically.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    content = {
        **{k: v for k, v in vars(manifest).items() if k != "shards"},
        "fingerprint": manifest.fingerprint,
        "shards": [vars(shard) for shard in manifest.shards],
    }
    # One line per shard, for human readers.
    head = json.dumps({k: v for k, v in content.items() if k != "shards"}, indent=1)
    lines = ",\n  ".join(json.dumps(shard) for shard in content["shards"])
    text = f'{head[:-2]},\n "shards": [\n  {lines}\n ]\n}}\n'
    storage.write_bytes(folder / FILE, text.encode())


def is_published(folder: Path) -> bool:
    """Whether ``folder`` holds a manifest. Raises UserError if that cannot be determined."""
    return storage.is_file(folder / FILE)


@dataclass(frozen=True)
class CorpusFolder:
    """A prepared corpus, local or in S3."""

    folder: Path
    manifest: Manifest
    pseudo_labelled: "CorpusFolder | None" = None
    """Speech with a teacher's faces, on which students are trained as well (``pseudo_labels``)."""


def open_corpus(folder: Path) -> Manifest:
    """Read the manifest and check every shard's presence and size.

    Raises:
        UserError: as ``read_manifest``, or a shard is missing or truncated.
    """
    manifest = read_manifest(folder)
    sizes = storage.sizes(folder)
    for shard in manifest.shards:
        size = sizes.get(shard.file)
        if size is None:
            raise UserError(
                f"{folder / shard.file}: the shard is missing; prepare the corpus again"
            )
        if size != shard.bytes:
            raise UserError(
                f"{folder / shard.file}: {size} bytes, but the manifest says {shard.bytes}; "
                "prepare the corpus again"
            )
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a set, without a look at its shards.

    Raises:
        UserError: no manifest, a damaged one, or another schema version or channel order.
    """
    path = folder / FILE
    if not is_published(folder):
        raise UserError(
            f"{folder}: holds no manifest.json, so no complete corpus; prepare it first"
        )
    content = storage.read_bytes(path)
    if message := _other_version(path, content):
        raise UserError(message)
    try:
        manifest = TypeAdapter(Manifest).validate_json(content)
    except ValidationError as error:
        raise UserError(_first_error(path, error)) from error
    if manifest.channels != list(CHANNELS):
        raise UserError(f"{path}: its channels or their order are not this release's 52")
    for shard in manifest.shards:
        if "/" in shard.file or "\\" in shard.file or shard.file.startswith("."):
            raise UserError(f"{path}: the shard name {shard.file!r} leaves the folder")
    return manifest


def _other_version(path: Path, content: bytes) -> str | None:
    """The error message for a manifest of another schema version; None: it is of this one."""
    try:
        version = json.loads(content)["schema_version"]
    except (ValueError, KeyError, TypeError):
        return None
    if version == SCHEMA_VERSION:
        return None
    return (
        f"{path}: schema version {version}, but this release reads {SCHEMA_VERSION}; "
        "prepare the corpus again"
    )


def _first_error(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{path}: not a manifest of this release ({where}: {first['msg']})"


def read_checked(path: Path, sha256: str) -> bytes:
    """The content of a shard, checked against the hash in the manifest.

    Raises:
        UserError: another hash, or it cannot be read.
    """
    content = storage.read_bytes(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{path}: the shard is corrupt (its hash is not the manifest's); delete it and "
            "prepare it again"
        )
    return content


def verify(folder: Path, manifest: Manifest, progress: Callable[[int, int], None]) -> None:
    """Check the hash of every shard, which detects a single changed bit.

    Raises:
        UserError: a shard was changed.
    """

    def check(shard: ShardInfo) -> None:
        read_checked(folder / shard.file, shard.sha256)

    with ThreadPoolExecutor(4) as pool:
        for number, _ in enumerate(pool.map(check, manifest.shards), start=1):
            progress(number, len(manifest.shards))
