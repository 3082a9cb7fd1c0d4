"""Features of the frozen encoder: read from the cache, or computed again."""

import time
from pathlib import Path
from typing import Any

import torch

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.config import Settings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.features.encoder import FrozenEncoder


def measure(data: CorpusFolder, settings: Settings, folder: Path) -> dict[str, Any]:
    """Seconds of a core for the features of a shard, and its minutes of speech.

    The encoder is that of the settings, or where they train one, an untrained one of its shape.
    """
    torch.set_num_threads(1)
    name = settings.encoder.name or _untrained(settings, folder)
    encoder = FrozenEncoder(name, settings.encoder.layers, settings.encoder.revision)
    [path, *_] = [data.folder / shard.file for shard in data.manifest.of("train")]
    began = time.monotonic()
    shards.read_table(path, ["features", "frames"])
    read = time.monotonic()
    clips = shards.clips_of(shards.read_table(path))
    audio, frames = [clip.audio for clip in clips], [len(clip.coefficients) for clip in clips]
    loaded = time.monotonic()
    encoder.many(audio, frames, settings.extraction.batch_seconds)
    return {
        "encoder": settings.encoder.name or "small HuBERT",
        "speech_seconds": sum(map(len, audio)) / SAMPLE_RATE,
        "read_seconds": read - began,
        "compute_seconds": time.monotonic() - loaded,
    }


def _untrained(settings: Settings, folder: Path) -> str:
    # Imported here: transformers takes seconds to load.
    from diffusiontalker.training.small_encoder import save_encoder, small_hubert

    small = settings.encoder.small
    (folder / "encoder").mkdir()
    save_encoder(small_hubert(small.hidden, small.depth), folder / "encoder")
    return str(folder / "encoder")
