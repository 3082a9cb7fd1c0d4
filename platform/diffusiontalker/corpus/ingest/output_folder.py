"""The output folder of a set: what it holds, how a job resumes, and how a set is replaced.

While a set is being made, ``plan.json`` holds its provenance, and every finished batch leaves a
record, ``part-NNNNN.json``; a job run again keeps the batches whose record matches. A set that
replaces a published one gets shard numbers above it, so that the old shards and their manifest stay
intact until the new manifest is written over the old one, in one step on a disk and in S3 alike.
Only then are the old shards removed, then the records, and the plan last of all.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from diffusiontalker import storage
from diffusiontalker.corpus.ingest.tables import read_takes
from diffusiontalker.corpus.manifest import (
    FILE,
    SPLITS,
    Manifest,
    ShardInfo,
    is_published,
    open_corpus,
    read_manifest,
    write_manifest,
)
from diffusiontalker.corpus.provenance import Provenance
from diffusiontalker.corpus.take_reports import TakeReport
from diffusiontalker.errors import UserError

PLAN = "plan.json"
SHARD = re.compile(rf"(?:{'|'.join(SPLITS)})-(\d{{5,}})\.parquet")
RECORD = re.compile(r"part-(\d{5,})\.json")


@dataclass(frozen=True)
class SetPlan(Provenance):
    """The content of ``plan.json``: what the unfinished set in a folder is made from."""

    first_shard: int = 0
    """Number of the shards of the first batch."""


@dataclass(frozen=True)
class BatchRecord:
    """The result of one batch."""

    shards: list[ShardInfo]
    takes: list[TakeReport]
    key: str = ""
    """``batch_key`` of the batch."""


def is_complete(folder: Path) -> bool:
    """Whether the folder holds a published set, and none that is to replace it."""
    return is_published(folder) and not storage.is_file(folder / PLAN)


def changes_since_published(folder: Path, now: Provenance) -> list[str]:
    """What has changed since the complete set in ``folder`` was made, or is missing from it. Raises
    UserError if it is another set."""
    before = read_takes(folder).provenance
    if before is None or not now.is_same_set(before):
        raise UserError(
            f"{folder}: holds a set made from another source or with other settings; choose "
            "another output=..., or remove it"
        )
    return now.changes_since(before) or _damage(folder)


def claim(folder: Path, now: Provenance) -> list[str]:
    """Write the plan of a new set into the folder, or compare with that of an unfinished one:
    returns what has changed since. Raises UserError if that is another set."""
    if not storage.is_file(folder / PLAN):
        if found := [name for name in storage.files(folder) if SHARD.fullmatch(name)]:
            raise UserError(
                f"{folder}: holds {found[0]}, which would be overwritten, and neither {PLAN} nor "
                f"{FILE} states which set it belongs to; choose another output=..., or remove it"
            )
        _write_plan(folder, now, first_shard=0)
        return []
    try:
        before = read_plan(folder)
    except ValidationError:
        before = None
    if before is None or not now.is_same_set(before):
        raise UserError(
            f"{folder}: holds an unfinished set from another source or with other settings; choose "
            "another output=..., or remove it"
        )
    return now.changes_since(before)


def read_plan(folder: Path) -> SetPlan:
    """The plan of the unfinished set. Raises UserError, or ValidationError if it is damaged."""
    return TypeAdapter(SetPlan).validate_json(storage.read_bytes(folder / PLAN))


def begin_again(folder: Path, now: Provenance, keys: Sequence[str]) -> None:
    """Plan a set whose source has changed; of an unfinished set the batches with other ``keys`` are
    removed, and of a published one nothing.

    Args:
        folder: the output.
        now: what the set is made from.
        keys: ``batch_key`` of every batch.

    Raises:
        UserError: the folder cannot be read or written.
    """
    protected: set[str] = set()
    if is_published(folder):
        protected = {shard.file for shard in read_manifest(folder).shards}
    first = _first_shard(folder, now, protected)
    _write_plan(folder, now, first)
    for name in storage.sizes(folder):
        if match := RECORD.fullmatch(name):
            record, batch = read_record(folder / name), int(match[1]) - first
            if record is None or not 0 <= batch < len(keys) or record.key != keys[batch]:
                storage.remove(folder / name)
                for shard in record.shards if record else ():
                    if shard.file not in protected:
                        storage.remove(folder / shard.file)


def publish(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, and then remove the shards that it does not name and the files of the
    unfinished set. Raises UserError."""
    write_manifest(folder, manifest)
    names = {shard.file for shard in manifest.shards}
    found = storage.files(folder)
    for name in found:
        if SHARD.fullmatch(name) and name not in names:
            storage.remove(folder / name)
    for name in found:
        if RECORD.fullmatch(name):
            storage.remove(folder / name)
    storage.remove(folder / PLAN)


def record_path(folder: Path, number: int) -> Path:
    """The record of the batch whose shards have that number."""
    return folder / f"part-{number:05d}.json"


def read_record(path: Path) -> BatchRecord | None:
    """A batch record; None: there is none of this release."""
    if not storage.is_file(path):
        return None
    try:
        return TypeAdapter(BatchRecord).validate_json(storage.read_bytes(path))
    except ValidationError:
        return None


def _write_plan(folder: Path, now: Provenance, first_shard: int) -> None:
    plan = SetPlan(**{**vars(now), "first_shard": first_shard})
    storage.write_json(folder / PLAN, TypeAdapter(SetPlan).dump_python(plan))


def _first_shard(folder: Path, now: Provenance, published: Collection[str]) -> int:
    """Number of the first shard of the set that is begun.

    Numbers begin above those of a published set; also above those of the plan's own set, if a job
    was killed after it had published that and before it removed the plan. A published set that has
    merely lost a shard is made again under its own names, so that the fingerprint of the manifest
    stays.
    """
    numbers = [int(match[1]) for name in published if (match := SHARD.fullmatch(name))]
    above = max(numbers, default=-1) + 1
    if not is_complete(folder):
        return max(read_plan(folder).first_shard, above)
    before = read_takes(folder).provenance
    if before is not None and not now.changes_since(before):
        return min(numbers, default=0)
    return above


def _damage(folder: Path) -> list[str]:
    """A shard that is missing or truncated. Raises UserError if the manifest cannot be read."""
    try:
        open_corpus(folder)
    except UserError as error:
        if error.__cause__ is not None:
            raise
        return [str(error).removeprefix(f"{folder}/").partition(";")[0]]
    return []
