"""The frozen encoder as a stage on Ray: shards in, shards with cached features out.

A pool of actors holds one encoder each, and an actor holds one shard at a time. Features lie in a
folder named by corpus and encoder, so a cache is used when both match and never otherwise. Shards
that exist are kept, so a killed run goes on where it was; an actor that is lost with its machine
is started again by Ray, and given its shard again.

Not Ray Data's own pool: it leaves the arguments of its actors in the object store, from which a
restarted one may miss them, as Ray warns in every run; and what would tell it not to restart any,
``map(max_restarts=0)`` or ``ray_remote_args_fn``, Ray 2.60 gives up. These are values that travel
along.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
import torch
from ray.exceptions import RayActorError

from diffusiontalker import storage
from diffusiontalker.audio.log_mel import PER_FRAME, log_mel
from diffusiontalker.config import ExtractionSettings, fingerprint
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import (
    Manifest,
    ShardInfo,
    is_whole,
    open_corpus,
    write_manifest,
)
from diffusiontalker.errors import UserError
from diffusiontalker.features.encoder import FrozenEncoder

RETRIES = 3
"""Times that a shard is given to an actor again whose process was lost with it."""
VERSION = 1
"""Raise it when the same corpus and encoder give other columns: old caches are left alone then."""


def cache_name(corpus: Manifest, encoder: str) -> str:
    """The folder of a corpus's features: named by its content and the encoder's fingerprint."""
    return f"features-{fingerprint(VERSION, corpus.schema_version, corpus.fingerprint, encoder)}"


def pool_size(
    shard_count: int, settings: ExtractionSettings, gpu: bool, cluster: Mapping[str, float]
) -> int:
    """Actors for so many shards: as many as are wanted, else as many as the cluster holds.

    Args:
        cluster: what ``ray.cluster_resources()`` says.

    Raises:
        UserError: the cluster holds none.
    """
    kind, each = ("GPU", settings.gpus_per_actor) if gpu else ("CPU", 1.0)
    there = cluster.get(kind, 0.0)
    actors = settings.actors or int(there / each + 1e-6)
    if not actors:
        raise UserError(
            f"the cluster has {there:g} {kind}s, but the encoder takes {each:g}; add some, set "
            "resources.gpu=false, or set extraction.actors if the cluster grows by itself"
        )
    return min(actors, shard_count)


def extract(
    source: Path,
    target: Path,
    encoder: FrozenEncoder,
    settings: ExtractionSettings,
    gpu: bool,
    progress: Callable[[int, int], None],
) -> Manifest:
    """Run the encoder over a corpus.

    Args:
        source: folder of shards, local or in S3.
        target: folder of the shards with features, likewise; ``cache_name`` names it.
        encoder: the encoder, which every actor loads for itself.
        settings: how many actors, and how much each hears at once.
        gpu: run on CUDA.
        progress: called with shards done and shards in all.

    Raises:
        UserError: a corrupt shard, a folder that cannot be read or written, features of something
            else in ``target``, no room for an actor in the cluster, or one that is lost with the
            same shard again and again.
    """
    corpus, weights = open_corpus(source), encoder.fingerprint()
    if is_whole(target):
        return _matching(target, corpus, weights)
    storage.make_folder(target)
    actor = ray.remote(_FeatureWriter).options(
        num_cpus=1, num_gpus=settings.gpus_per_actor if gpu else 0,
        max_restarts=-1, max_task_retries=RETRIES, scheduling_strategy="SPREAD",
    )  # fmt: skip
    count = pool_size(len(corpus.shards), settings, gpu, ray.cluster_resources())
    origin = encoder.name, encoder.layers, encoder.revision
    pool: list[Any] = [
        actor.remote(source, target, origin, weights, settings.batch_seconds, gpu)
        for _ in range(count)
    ]
    done: list[ShardInfo] = []
    try:
        for info, mistake in shared_out(pool, [(s.file, s.sha256) for s in corpus.shards]):
            if mistake:
                raise UserError(mistake)
            done.append(ShardInfo.from_json(info))
            progress(len(done), len(corpus.shards))
    except RayActorError as error:
        raise UserError(
            f"{source}: the process of an encoder ended {RETRIES + 1} times at the same shard; if "
            "its machine ran out of memory, lower extraction.actors or extraction.batch_seconds, "
            "or prepare the corpus with shorter clips"
        ) from error
    finally:
        for one in pool:
            ray.kill(one)
    out = Manifest(
        source=corpus.source,
        shards=sorted(done, key=lambda shard: shard.file),
        identities=corpus.identities,
        emotions=corpus.emotions,
        source_fingerprint=corpus.source_fingerprint,
        feature_dim=encoder.dim,
        feature_fingerprint=weights,
    )
    write_manifest(target, out)
    return out


def shared_out(pool: list[Any], work: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """What the actors of a pool return of each piece of work, as it is done. An actor gets a piece
    when it is ready for one: of those for which the cluster has no room yet none waits."""
    left = iter(work)
    busy = {one.ready.remote(): one for one in pool}
    idle = set(busy)
    done = 0
    while done < len(work):
        (first,), _ = ray.wait(list(busy), num_returns=1)
        one = busy.pop(first)
        found = ray.get(first)
        if first in idle:
            idle.remove(first)
        else:
            done += 1
            yield found
        if (piece := next(left, None)) is not None:
            busy[one.write.remote(*piece)] = one


def fit(mel: np.ndarray, frames: int) -> np.ndarray:
    """Cut or extend a log-mel spectrogram to exactly ``frames`` frames: (2 * frames, 80).

    Coefficients of a recording may be a frame longer or shorter than its audio.
    """
    missing = PER_FRAME * frames - len(mel)
    return (
        mel[: PER_FRAME * frames] if missing <= 0 else np.pad(mel, ((0, missing), (0, 0)), "edge")
    )


def _matching(target: Path, corpus: Manifest, weights: str) -> Manifest:
    """The features in ``target``, which must be this corpus's and this encoder's."""
    found = open_corpus(target)
    clips = {shard.file: shard.lengths for shard in found.shards}
    if found.feature_fingerprint != weights or clips != {s.file: s.lengths for s in corpus.shards}:
        raise UserError(
            f"{target}: holds features of another corpus or encoder; choose another folder, or "
            "empty it"
        )
    return found


class _FeatureWriter:
    """An actor: reads a shard, adds the columns ``features`` and ``log_mel``, writes it."""

    def __init__(
        self,
        source: Path,
        target: Path,
        encoder: tuple[str, tuple[int, ...], str | None],
        weights: str,
        seconds: float,
        gpu: bool,
    ) -> None:
        torch.set_num_threads(1)  # as many as Ray gives it CPUs
        torch.backends.cudnn.allow_tf32 = False  # convolutions round to 10 bits otherwise
        self.source, self.target, self.origin, self.weights = source, target, encoder, weights
        # Measured: a CPU hears HuBERT-base's 10 s clips as fast one by one, in less memory.
        self.seconds, self.device = (seconds, "cuda") if gpu else (0.0, "cpu")

    @cached_property
    def encoder(self) -> FrozenEncoder:
        """Loaded with the first shard that is not there yet."""
        encoder = FrozenEncoder(*self.origin, self.device)
        if encoder.fingerprint() != self.weights:
            raise UserError(
                f"encoder.name {encoder.name!r}: its files differ between the machines of the "
                "cluster, or have just changed; pin encoder.revision, or use one shared folder"
            )
        return encoder

    def ready(self) -> None:
        """Returns once the actor runs."""

    def write(self, name: str, sha256: str) -> tuple[str, str]:
        """A shard's line of the manifest, or the user's mistake: one of the two is empty."""
        try:
            return self._shard(name, sha256).to_json(), ""
        except UserError as error:
            return "", str(error)

    def _shard(self, name: str, sha256: str) -> ShardInfo:
        path = self.target / name
        if storage.is_file(path):
            return shards.describe(path)
        table = shards.read_table(self.source / name, sha256=sha256)
        clips = shards.clips_of(table)
        frames = [len(clip.coefficients) for clip in clips]
        features = self.encoder.many([clip.audio for clip in clips], frames, self.seconds)
        mels = [fit(log_mel(c.audio), count) for c, count in zip(clips, frames, strict=True)]
        for column, values in (("features", features), ("log_mel", mels)):
            index = shards.SCHEMA.get_field_index(column)
            field = shards.SCHEMA.field(index)
            halves = [value.astype(np.float16).ravel() for value in values]
            for clip, half in zip(clips, halves, strict=True):
                if not np.isfinite(half).all():
                    raise UserError(
                        f"encoder.name {self.origin[0]!r}: {column} of clip {clip.id} in {name} "
                        "are not finite in half precision; choose other encoder.layers, or "
                        "another model"
                    )
            flat = pa.array(halves, type=field.type)
            table = table.set_column(index, field, flat)
        return shards.write_table(path, table.cast(shards.SCHEMA))
