"""Batches of takes: which takes are read by one task and share shards."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffusiontalker.config import DataSettings
from diffusiontalker.corpus import splits
from diffusiontalker.corpus.manifest import SPLITS
from diffusiontalker.corpus.provenance import Provenance
from diffusiontalker.corpus.sources import Source, Take

DEFAULT_BYTES_PER_SECOND = 96_000
"""Of audio, where no take can be read to measure it: 48 kHz, 16 bit, mono."""


@dataclass(frozen=True)
class PlannedTake:
    """A take and the split of its clips."""

    take: Take
    split: str | None
    """None: each clip has its own split."""


Batch = list[PlannedTake]


def plan_batches(source: Source, takes: Sequence[Take], settings: DataSettings) -> list[Batch]:
    """Takes with their splits in batches of about ``shard_minutes``, shuffled by the seed.

    The takes of a batch have one split, unless clips are split one by one. The result depends on
    the takes and the settings alone, so that a job run again has the same batches.
    """
    per_clip = settings.split.rule == "published"
    # A set without any split of its own is split by shares alone, unseen speakers included.
    final = source.splits_are_final and any(take.split is not None for take in takes)
    split_of = {} if per_clip else splits.by_take(takes, settings.split, final)
    budget = settings.shard_minutes * 60 * _bytes_per_second(source, takes)
    rng = np.random.default_rng([settings.split.seed, 7])
    shuffled = [takes[i] for i in rng.permutation(len(takes))]
    batches: list[Batch] = []
    for split in [None] if per_clip else SPLITS:
        batch: Batch = []
        size = 0
        for take in shuffled:
            if split_of.get(take.id) != split:
                continue
            if batch and size + take.bytes > budget:
                batches.append(batch)
                batch, size = [], 0
            batch.append(PlannedTake(take, split))
            size += take.bytes
        if batch:
            batches.append(batch)
    return batches


def batch_key(provenance: Provenance, batch: Batch) -> str:
    """Fingerprint of what the shards of a batch are made from."""
    return provenance.batch_key([(planned.take, planned.split) for planned in batch])


def _bytes_per_second(source: Source, takes: Sequence[Take]) -> float:
    """Of the audio of the take of median size, or of the next larger one that can be read."""
    by_size = sorted(takes, key=lambda take: (take.bytes, take.id))
    median = len(by_size) // 2
    for take in by_size[median : median + 3]:
        try:
            recording = source.read(take)
        except Exception:  # reported when its batch is read
            continue
        return max(take.bytes, 1) / max(len(recording.audio) / recording.rate, 0.1)
    return DEFAULT_BYTES_PER_SECOND
