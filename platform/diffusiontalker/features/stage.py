"""Feature extraction with the frozen encoder on Ray: shards in, shards with features out.

Each actor of a pool holds an encoder and processes one shard at a time. Features are cached in a
folder named by the fingerprints of corpus and encoder. Existing shards are kept, so a killed run
resumes; Ray restarts an actor that is lost with its node, and retries its shard.

Not Ray Data's actor pool: it stores the actors' arguments in the object store, where a restarted
actor may not find them (Ray warns of it in every run), and without restarts the death of one actor
ends the pool. Here arguments are passed by value.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from diffusiontalker.config import DegradationSettings, ExtractionSettings, fingerprint
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import (
    Manifest,
    ShardInfo,
    is_published,
    open_corpus,
    write_manifest,
)
from diffusiontalker.errors import UserError
from diffusiontalker.features.augmentation import degraded
from diffusiontalker.features.encoder import FrozenEncoder

RETRIES = 3
"""Retries of a shard whose actor's process died."""
VERSION = 1
"""Raise it when the same corpus and encoder give other columns: old caches are left alone then."""


def content(encoder: str, degradation: DegradationSettings) -> str:
    """What determines the features of a corpus: the encoder's fingerprint, and how clips are
    degraded if some are."""
    return fingerprint(encoder, degradation) if degradation.share else encoder


def cache_name(corpus: Manifest, content: str) -> str:
    """The folder of a corpus's features: named by its own content and theirs."""
    return f"features-{fingerprint(VERSION, corpus.schema_version, corpus.fingerprint, content)}"


def pool_size(
    shard_count: int, settings: ExtractionSettings, gpu: bool, cluster: Mapping[str, float]
) -> int:
    """Number of actors: ``settings.actors``, else as many as the cluster holds.

    Args:
        cluster: the result of ``ray.cluster_resources()``.

    Raises:
        UserError: the cluster has no room for one.
    """
    kind, each = ("GPU", settings.gpus_per_actor) if gpu else ("CPU", 1.0)
    available = cluster.get(kind, 0.0)
    actors = settings.actors or int(available / each + 1e-6)
    if not actors:
        raise UserError(
            f"the cluster has {available:g} {kind}s, but the encoder takes {each:g}; add some, set "
            "resources.gpu=false, or set extraction.actors if the cluster is autoscaled"
        )
    return min(actors, shard_count)


def extract(
    source: Path,
    target: Path,
    encoder: FrozenEncoder,
    settings: ExtractionSettings,
    degradation: DegradationSettings,
    gpu: bool,
    progress: Callable[[int, int], None],
) -> Manifest:
    """Run the encoder over a corpus.

    Args:
        source: folder of shards, local or in S3.
        target: folder of the shards with features, likewise; ``cache_name`` names it.
        encoder: the encoder; every actor loads its own.
        settings: number of actors, and their batch size.
        degradation: which training clips are degraded, and how.
        gpu: run on CUDA.
        progress: called with the number of shards done, and of all shards.

    Raises:
        UserError: a corrupt shard, a folder that cannot be read or written, features of another
            corpus or encoder in ``target``, no room for an actor in the cluster, or an actor that
            dies at the same shard repeatedly.
    """
    corpus, weights = open_corpus(source), encoder.fingerprint()
    made_of = content(weights, degradation)
    if is_published(target):
        return _matching(target, corpus, made_of)
    storage.make_folder(target)
    origin = encoder.name, encoder.layers, encoder.revision
    own = source, target, origin, weights, degradation, settings.batch_seconds, gpu
    done: list[ShardInfo] = []
    try:
        with actor_pool(_FeatureWriter, own, len(corpus.shards), settings, gpu) as pool:
            for info, mistake in distribute(pool, [(s.file, s.sha256) for s in corpus.shards]):
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
    out = Manifest(
        source=corpus.source,
        shards=sorted(done, key=lambda shard: shard.file),
        identities=corpus.identities,
        emotions=corpus.emotions,
        source_fingerprint=corpus.source_fingerprint,
        feature_dim=encoder.dim,
        feature_fingerprint=made_of,
    )
    write_manifest(target, out)
    return out


@contextmanager
def actor_pool(
    kind: type, arguments: Sequence[Any], shard_count: int, settings: ExtractionSettings, gpu: bool
) -> Iterator[list[Any]]:
    """Actors of a class with ``ready`` and ``write``, which Ray restarts, and ends afterwards.

    Args:
        kind: the class.
        arguments: of its constructor.
        shard_count: there are no more actors than shards.
        settings: their number, and the share of a GPU that each takes.
        gpu: they take one.

    Raises:
        UserError: the cluster has no room for one.
    """
    actor: Any = ray.remote(kind)
    actor = actor.options(
        num_cpus=1, num_gpus=settings.gpus_per_actor if gpu else 0, max_restarts=-1,
        max_task_retries=RETRIES, scheduling_strategy="SPREAD",
    )  # fmt: skip
    count = pool_size(shard_count, settings, gpu, ray.cluster_resources())
    pool = [actor.remote(*arguments) for _ in range(count)]
    try:
        yield pool
    finally:
        for member in pool:
            ray.kill(member)


def distribute(pool: list[Any], shards: Sequence[tuple[Any, ...]]) -> Iterator[Any]:
    """Results of ``write`` for all shards, given by its arguments, as they complete. An actor gets
    its first shard once it runs: no shard waits for an actor that the cluster has no room for."""
    remaining = iter(shards)
    pending = {actor.ready.remote(): actor for actor in pool}
    starting = set(pending)
    done = 0
    while done < len(shards):
        (completed,), _ = ray.wait(list(pending), num_returns=1)
        actor = pending.pop(completed)
        result = ray.get(completed)
        if completed in starting:
            starting.remove(completed)
        else:
            done += 1
            yield result
        if (shard := next(remaining, None)) is not None:
            pending[actor.write.remote(*shard)] = actor


def to_length(mel: np.ndarray, frames: int) -> np.ndarray:
    """Cut or extend a log-mel spectrogram to exactly ``frames`` frames: (2 * frames, 80).

    The coefficients of a recording may be a frame longer or shorter than its audio.
    """
    missing = PER_FRAME * frames - len(mel)
    return (
        mel[: PER_FRAME * frames] if missing <= 0 else np.pad(mel, ((0, missing), (0, 0)), "edge")
    )


def _matching(target: Path, corpus: Manifest, content: str) -> Manifest:
    """The manifest of ``target``. Raises UserError unless it fits the corpus and ``content``."""
    found = open_corpus(target)
    clips = {shard.file: shard.lengths for shard in found.shards}
    if found.feature_fingerprint != content or clips != {s.file: s.lengths for s in corpus.shards}:
        raise UserError(
            f"{target}: holds features of another corpus or encoder, or degraded otherwise; choose "
            "another folder, or empty it"
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
        degradation: DegradationSettings,
        seconds: float,
        gpu: bool,
    ) -> None:
        torch.set_num_threads(1)  # Ray reserves one CPU
        torch.backends.cudnn.allow_tf32 = False  # convolutions round to 10 bits otherwise
        self.source, self.target, self.origin, self.weights = source, target, encoder, weights
        self.degradation = degradation
        # Measured: on a CPU, HuBERT-base takes 10 s clips as fast one by one, in less memory.
        self.seconds, self.device = (seconds, "cuda") if gpu else (0.0, "cpu")

    @cached_property
    def encoder(self) -> FrozenEncoder:
        """Loaded with the first shard to be processed."""
        encoder = FrozenEncoder(*self.origin, self.device)
        if encoder.fingerprint() != self.weights:
            raise UserError(
                f"encoder.name {encoder.name!r}: its files differ between the machines of the "
                "cluster, or have just changed; pin encoder.revision, or use one shared folder"
            )
        return encoder

    def ready(self) -> None:
        """Return; the call waits until the actor has started."""

    def write(self, name: str, sha256: str) -> tuple[str, str]:
        """A shard's entry in the manifest, or an error message; the other is empty."""
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
        clean = [clip.audio for clip in clips]
        audio = [
            degraded(clip, clips[:i] + clips[i + 1 :], self.degradation)
            if clip.split == "train" else clip.audio
            for i, clip in enumerate(clips)
        ]  # fmt: skip
        encoded = audio if self.degradation.features else clean
        features = self.encoder.many(encoded, frames, self.seconds)
        mels = [to_length(log_mel(a), count) for a, count in zip(audio, frames, strict=True)]
        for column, values in (("features", features), ("log_mel", mels)):
            index = shards.SCHEMA.get_field_index(column)
            field = shards.SCHEMA.field(index)
            with np.errstate(over="ignore"):  # refused below
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
