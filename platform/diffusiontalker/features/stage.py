"""The frozen encoder as a Ray Data stage: shards in, shards with cached features out.

A pool of actors holds one encoder each. The output folder is named by the encoder's fingerprint
and the corpus's, so a cache is used when both match and never otherwise. Shards that exist are
kept, so a killed run goes on where it was.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import ray

from diffusiontalker import storage
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import (
    Manifest,
    ShardInfo,
    is_whole,
    open_corpus,
    write_manifest,
)
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.runtime.log_mel import PER_FRAME, log_mel


class _FeatureWriter:
    """An actor: reads a shard, adds the columns ``features`` and ``log_mel``, writes it."""

    def __init__(
        self,
        source: Path,
        target: Path,
        name: str,
        layers: tuple[int, ...],
        revision: str | None,
        gpu: bool,
    ) -> None:
        self.source, self.target = source, target
        self.encoder = FrozenEncoder(name, layers, revision, "cuda" if gpu else "cpu")

    def __call__(self, row: dict[str, str]) -> dict[str, object]:
        path = self.target / row["file"]
        if storage.is_file(path):
            return {"info": shards.describe(path).to_json()}
        table = shards.read_table(self.source / row["file"], sha256=row["sha256"])
        columns: dict[str, list[np.ndarray]] = {"features": [], "log_mel": []}
        for clip in shards.clips_of(table):
            frames = len(clip.coefficients)
            features = self.encoder(clip.audio, frames)
            columns["features"].append(features.astype(np.float16).ravel())
            columns["log_mel"].append(fit(log_mel(clip.audio), frames).astype(np.float16).ravel())
        for name, values in columns.items():
            index = shards.SCHEMA.get_field_index(name)
            field = shards.SCHEMA.field(index)
            table = table.set_column(index, field, pa.array(values, type=field.type))
        return {"info": shards.write_table(path, table.cast(shards.SCHEMA)).to_json()}


def fit(mel: np.ndarray, frames: int) -> np.ndarray:
    """Cut or extend a log-mel spectrogram to exactly ``frames`` frames: (2 * frames, 80).

    Coefficients of a recording may be a frame longer or shorter than its audio.
    """
    missing = PER_FRAME * frames - len(mel)
    return (
        mel[: PER_FRAME * frames] if missing <= 0 else np.pad(mel, ((0, missing), (0, 0)), "edge")
    )


def extract(
    source: Path,
    target: Path,
    name: str,
    layers: tuple[int, ...],
    revision: str | None,
    workers: int,
    gpu: bool,
    progress: Callable[[int, int], None],
) -> Manifest:
    """Run the encoder over a corpus.

    Args:
        source: folder of shards.
        target: folder of the shards with features; named by the caller so that it is found again.
        name: encoder, as for ``FrozenEncoder``; with ``layers`` and ``revision``.
        workers: actors; each takes a GPU if ``gpu``, else a CPU.
        gpu: run on CUDA.
        progress: called with shards done and shards in all.
    """
    if is_whole(target):
        return open_corpus(target)
    manifest = open_corpus(source)
    storage.make_folder(target)
    encoder = FrozenEncoder(name, layers, revision)

    rows = ray.data.from_items(
        [{"file": shard.file, "sha256": shard.sha256} for shard in manifest.shards],
        override_num_blocks=len(manifest.shards),
    ).map(
        _FeatureWriter,  # type: ignore[arg-type]  # Ray's types know functions alone
        fn_constructor_args=(source, target, name, layers, revision, gpu),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_gpus=1 if gpu else 0,
        # Ray warns of actors that restart after their arguments are gone; a stage that fails goes
        # on where it was instead.
        max_restarts=0,
    )
    done = []
    for row in rows.iter_rows():
        done.append(ShardInfo.from_json(row["info"]))
        progress(len(done), len(manifest.shards))
    out = Manifest(
        source=manifest.source,
        shards=sorted(done, key=lambda shard: shard.file),
        identities=manifest.identities,
        emotions=manifest.emotions,
        source_fingerprint=manifest.source_fingerprint,
        feature_dim=encoder.dim,
        feature_fingerprint=encoder.fingerprint(),
    )
    write_manifest(target, out)
    return out
