"""The manifest of a set of shards: what it holds, and that it is whole.

``manifest.json`` is written last, so a set without one is not whole. It also holds what training
must know of every clip before the first shard is read: lengths, and sums for the statistics.
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
    """One line of the manifest."""

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
        """The line as text: how tasks hand it on."""
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
    """What a set of shards holds. ``fingerprint`` identifies its content."""

    source: str
    shards: list[ShardInfo]
    identities: list[str]
    """Speakers of train; others are unseen."""
    emotions: list[str]
    source_fingerprint: str | None = None
    """Of the files that the shards were made of, and of the settings."""
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
        """The test splits that there are, test_seen first.

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
        """What a search for settings may see: train and val alone."""
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
    """Publish the set: ``manifest.json`` appears at once and whole.

    Raises:
        UserError: the folder cannot be written, or the disk is full.
    """
    content = {
        **{k: v for k, v in vars(manifest).items() if k != "shards"},
        "fingerprint": manifest.fingerprint,
        "shards": [vars(shard) for shard in manifest.shards],
    }
    # One line a shard: people do look into it.
    head = json.dumps({k: v for k, v in content.items() if k != "shards"}, indent=1)
    lines = ",\n  ".join(json.dumps(shard) for shard in content["shards"])
    text = f'{head[:-2]},\n "shards": [\n  {lines}\n ]\n}}\n'
    storage.write_bytes(folder / FILE, text.encode())


def is_whole(folder: Path) -> bool:
    """Whether the set in ``folder`` was published. Raises UserError if that cannot be known."""
    return storage.is_file(folder / FILE)


def open_corpus(folder: Path) -> Manifest:
    """Read the manifest and check every shard's presence and size.

    Raises:
        UserError: no manifest, another schema version or channel order, a missing or cut shard.
    """
    path = folder / FILE
    if not is_whole(folder):
        raise UserError(f"{folder}: holds no manifest.json, so no whole corpus; prepare it first")
    content = storage.read_bytes(path)
    if message := _other_version(path, content):
        raise UserError(message)
    try:
        manifest = TypeAdapter(Manifest).validate_json(content)
    except ValidationError as error:
        raise UserError(_first(path, error)) from error
    if manifest.channels != list(CHANNELS):
        raise UserError(f"{path}: its channels or their order are not this release's 52")
    there = storage.sizes(folder)
    for shard in manifest.shards:
        if "/" in shard.file or "\\" in shard.file or shard.file.startswith("."):
            raise UserError(f"{path}: the shard name {shard.file!r} leaves the folder")
        found = there.get(shard.file)
        if found is None:
            raise UserError(
                f"{folder / shard.file}: the shard is missing; prepare the corpus again"
            )
        if found != shard.bytes:
            raise UserError(
                f"{folder / shard.file}: {found} bytes, but the manifest says {shard.bytes}; "
                "prepare the corpus again"
            )
    return manifest


def _other_version(path: Path, content: bytes) -> str | None:
    """What to say of the manifest of another release."""
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


def _first(path: Path, error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the file"
    return f"{path}: not a manifest of this release ({where}: {first['msg']})"


def read_checked(path: Path, sha256: str) -> bytes:
    """A whole shard, if its content is what the manifest says.

    Raises:
        UserError: it is not, or it cannot be read.
    """
    content = storage.read_bytes(path)
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{path}: the shard is corrupt (its hash is not the manifest's); delete it and "
            "prepare it again"
        )
    return content


def verify(folder: Path, manifest: Manifest, progress: Callable[[int, int], None]) -> None:
    """Compare every shard's content with the manifest's hash: finds a single changed bit.

    Raises:
        UserError: a shard is not what was written.
    """

    def check(shard: ShardInfo) -> None:
        read_checked(folder / shard.file, shard.sha256)

    with ThreadPoolExecutor(4) as pool:
        for number, _ in enumerate(pool.map(check, manifest.shards), start=1):
            progress(number, len(manifest.shards))
