"""Inspect a source and its output, and convert the takes to shards on all workers of the cluster.

A batch of takes is one task of Ray Data, which writes the shards and then the record of the batch.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import ray
from pydantic import TypeAdapter

from diffusiontalker import storage
from diffusiontalker.config import DataSettings
from diffusiontalker.corpus import shards, splits
from diffusiontalker.corpus.ingest import output_folder
from diffusiontalker.corpus.ingest.batches import Batch, batch_key, plan_batches
from diffusiontalker.corpus.ingest.output_folder import BatchRecord
from diffusiontalker.corpus.ingest.tables import TakesSummary, read_takes, write_tables
from diffusiontalker.corpus.ingest.take_reader import read_take
from diffusiontalker.corpus.manifest import Manifest, ShardInfo, open_corpus
from diffusiontalker.corpus.provenance import Provenance, provenance_of
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.corpus.sources import (
    Source,
    TakeListing,
    open_source,
    with_absolute_paths,
)
from diffusiontalker.corpus.take_reports import QUARANTINE, TakeReport
from diffusiontalker.errors import UserError


@dataclass(frozen=True)
class IngestJob:
    """A readable source, a writable output, and how they compare."""

    settings: DataSettings
    folder: Path
    listing: TakeListing
    provenance: Provenance
    complete: bool
    """Whether the output holds a published set, and none that is to replace it."""
    changes: tuple[str, ...] = ()
    """Changes of the source since the set in the output, complete or not, was begun."""

    @property
    def up_to_date(self) -> bool:
        """Whether the output is complete and nothing is to be done."""
        return self.complete and not self.changes


@dataclass(frozen=True)
class IngestResult:
    """The set that a job has made, not yet published."""

    manifest: Manifest
    summary: TakesSummary
    problem: str | None = None
    """Why the set must not be published; None: it may."""


def inspect(settings: DataSettings, folder: Path) -> IngestJob:
    """List the takes and examine the output, before any work and without Ray.

    Args:
        settings: source, clips, splits.
        folder: the output; claimed for this set.

    Raises:
        UserError: the source or the output cannot be used, or the output holds another set.
    """
    settings = settings.model_copy(update={"source": with_absolute_paths(settings.source)})
    source = open_source(settings.source)
    listing = _list_takes(source)
    if not listing.takes:
        raise UserError(_no_takes(settings.source.root, listing))
    provenance = provenance_of(settings, source, listing.takes)
    storage.make_folder(folder)
    complete = output_folder.is_complete(folder)
    compare = output_folder.changes_since_published if complete else output_folder.claim
    changes = compare(folder, provenance)
    return IngestJob(settings, folder, listing, provenance, complete, tuple(changes))


def convert(job: IngestJob, progress: Callable[[int, int], None]) -> IngestResult:
    """Write the shards, ``takes.json`` and ``quarantine.csv``, but no manifest; batches that are
    finished already are kept.

    Args:
        job: what to read and where to write.
        progress: called with the number of takes done and in all.
    """
    settings, folder, listing = job.settings, job.folder, job.listing
    if job.up_to_date:
        return IngestResult(*published(job))
    source = open_source(settings.source)
    batches = plan_batches(source, listing.takes, settings)
    keys = [batch_key(job.provenance, batch) for batch in batches]
    if job.changes:
        output_folder.begin_again(folder, job.provenance, keys)
    limit = settings.max_quarantined * len(listing.takes)
    written: list[ShardInfo] = []
    reports: list[TakeReport] = []
    for record in _run_batches(job, batches, keys):
        written += record.shards
        reports += record.takes
        progress(len(reports), len(listing.takes))
        if sum(report.reason is not None for report in reports) > limit:
            break  # the job fails whatever follows
    reports.sort(key=lambda report: report.take)
    summary = TakesSummary(reports, listing.skipped, job.provenance)
    write_tables(folder, summary)
    # Where clips are split one by one, every speaker occurs in train.
    train = [r for r in reports if r.reason is None and r.split in (None, splits.TRAIN)]
    manifest = Manifest(
        source=settings.source.kind,
        shards=sorted(written, key=lambda shard: shard.file),
        identities=sorted({r.identity for r in train if r.identity is not None}),
        emotions=sorted({r.emotion for r in train if r.emotion is not None}),
        source_fingerprint=job.provenance.key,
    )
    return IngestResult(manifest, summary, _problem(job, reports, len(written)))


def published(job: IngestJob) -> tuple[Manifest, TakesSummary]:
    """The published set in the output. Raises UserError if it is damaged."""
    return open_corpus(job.folder), read_takes(job.folder)


def write_batch(
    settings: DataSettings, folder: Path, fingerprint: str, number: int, batch: Batch,
    first_shard: int = 0,
) -> BatchRecord:  # fmt: skip
    """Read the takes of a batch and write a shard for each split of its clips.

    Args:
        settings: source, clips, splits.
        folder: receives the shards, numbered ``first_shard + number``.
        fingerprint: of the source and the settings, stored in the shards.
        number: of the batch, by which its clips are shuffled.
        batch: its takes.
        first_shard: number of the shards of batch 0.
    """
    source = open_source(settings.source)
    reports: list[TakeReport] = []
    by_split: dict[str, list[Clip]] = {}
    for planned in batch:
        found, report = read_take(source, planned, settings)
        reports.append(report)
        for clip in found:
            by_split.setdefault(clip.split, []).append(clip)
    written = []
    for split, members in sorted(by_split.items()):
        order = np.random.default_rng([settings.split.seed, number]).permutation(len(members))
        path = folder / f"{split}-{first_shard + number:05d}.parquet"
        written.append(shards.write_shard(path, [members[i] for i in order], fingerprint))
    return BatchRecord(written, reports)


def _run_batches(job: IngestJob, batches: list[Batch], keys: list[str]) -> Iterator[BatchRecord]:
    """Run all batches on the cluster; yields their records as they finish."""
    settings, fingerprint, root = job.settings, job.provenance.key, str(job.folder)
    first_shard = output_folder.read_plan(job.folder).first_shard

    def run_batch(row: dict[str, Any]) -> dict[str, str]:
        number = int(row["number"])
        folder = storage.location(root)
        path = output_folder.record_path(folder, first_shard + number)
        existing = output_folder.read_record(path)
        if existing is not None and existing.key == keys[number]:
            return {"record": storage.read_text(path)}
        storage.remove(path)  # before its shards are overwritten
        record = write_batch(settings, folder, fingerprint, number, batches[number], first_shard)
        text = TypeAdapter(BatchRecord).dump_json(replace(record, key=keys[number])).decode()
        storage.write_bytes(path, text.encode())
        return {"record": text}

    numbers = ray.data.from_items(
        [{"number": n} for n in range(len(batches))], override_num_blocks=len(batches)
    )
    for row in numbers.map(run_batch).iter_rows():
        yield TypeAdapter(BatchRecord).validate_json(row["record"])


def _list_takes(source: Source) -> TakeListing:
    """A source's takes, with the entries of its folder that cannot be read as files."""
    try:
        listing = source.takes()
    except UserError as error:
        left_out = [f"{name}: {reason}" for name, reason in source.folder_listing.left_out]
        if not left_out:
            raise
        raise UserError("; ".join([str(error), *left_out[:3]])) from error
    return TakeListing(listing.takes, [*listing.skipped, *source.folder_listing.left_out])


def _problem(job: IngestJob, reports: Sequence[TakeReport], written: int) -> str | None:
    """Why the set must not be published: too many takes in quarantine, or no shards."""
    bad = [report for report in reports if report.reason is not None]
    total, share = len(job.listing.takes), job.settings.max_quarantined
    if not written or len(bad) > share * total:
        count = f"{len(bad)}" if len(reports) == total else f"at least {len(bad)}"
        return (
            f"{count} of {total} takes are malformed, more than max_quarantined={share:g} "
            f"allows; for example {bad[0].take}: {bad[0].reason}; all are listed in "
            f"{job.folder / QUARANTINE}"
        )
    return None


def _no_takes(root: str, listing: TakeListing) -> str:
    why = f"; {listing.skipped[0][0]}: {listing.skipped[0][1]}" if listing.skipped else ""
    return f"{root}: holds no usable take; {len(listing.skipped)} files skipped{why}"
