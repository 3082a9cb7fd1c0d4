"""Synthetic sets: shards as the feature stage writes them, and BEAT as published.

The content is noise, which compresses as badly as real features and audio.
"""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.audio.log_mel import BANDS, PER_FRAME
from diffusiontalker.corpus import clips, shards
from diffusiontalker.corpus.manifest import Manifest, write_manifest
from diffusiontalker.corpus.shards import Clip

SHARDS = 4
FEATURE_DIM = 768
"""Of one layer of HuBERT base."""
IDENTITIES = tuple(f"speaker-{i}" for i in range(16))
EMOTIONS = ("neutral", "happiness", "anger", "sadness")
FULL, SHORTEST = 10 * FPS, 3 * FPS
"""Frames of a full clip, and of the shortest last clip of a take."""
REST_EVERY = 6
"""One clip in so many is the last of a take: takes of a minute, as in BEAT."""
BEAT_RATE, BEAT_FPS = 48_000, 60
BEAT_MINUTES = 10
"""Length of its one long take; the others last a minute."""


def shard_set(folder: Path, count: int, progress: Callable[[int, int], None]) -> Manifest:
    """``count`` clips for training in ``SHARDS`` shards of local ``folder``, with its manifest.

    Raises:
        UserError: the folder cannot be written.
    """
    written = []
    for number, members in enumerate(np.array_split(np.arange(count), SHARDS)):
        made = [clip(int(i)) for i in members]
        written.append(shards.write_shard(folder / f"train-{number:05d}.parquet", made))
        progress(number + 1, SHARDS)
    manifest = Manifest(
        source="benchmark",
        shards=written,
        identities=list(IDENTITIES),
        emotions=list(EMOTIONS),
        feature_dim=FEATURE_DIM,
        feature_fingerprint="noise",
    )
    write_manifest(folder, manifest)
    return manifest


def clip(number: int) -> Clip:
    """A clip of ten seconds, or every sixth of 3 to 10 s; noise seeded with its number."""
    rng = np.random.default_rng(number)
    rest = number % REST_EVERY == REST_EVERY - 1
    frames = int(rng.integers(SHORTEST, FULL)) if rest else FULL
    return Clip(
        id=f"clip-{number:05d}",
        identity=IDENTITIES[number % len(IDENTITIES)],
        emotion=EMOTIONS[number % len(EMOTIONS)],
        split="train",
        text=None,
        audio=rng.uniform(-0.3, 0.3, clips.frame_to_sample(frames)).astype(np.float32),
        coefficients=rng.random((frames, len(CHANNELS)), np.float32),
        features=rng.standard_normal((frames, FEATURE_DIM), np.float32).astype(np.float16),
        log_mel=rng.standard_normal((frames * PER_FRAME, BANDS), np.float32).astype(np.float16),
    )


def multiply(folder: Path, manifest: Manifest, to: Path, times: int) -> Manifest:
    """``times`` copies of a set in the empty folder ``to``, as hard links."""
    many = []
    for turn in range(times):
        for shard in manifest.shards:
            name = f"{turn:03d}-{shard.file}"
            os.link(folder / shard.file, to / name)
            many.append(replace(shard, file=name))
    larger = replace(manifest, shards=many)
    write_manifest(to, larger)
    return larger


def beat_set(root: Path, minutes: int, progress: Callable[[int, int], None]) -> None:
    """A set in BEAT's layout: one take of ten minutes, then takes of one, ``minutes`` in all.

    Audio of 48 kHz, mono, 16 bit; JSON of 51 channels at 60 fps.
    """
    folder = root / "1"
    folder.mkdir(parents=True)
    lengths = [BEAT_MINUTES] + [1] * (minutes - BEAT_MINUTES)
    for number, length in enumerate(lengths, start=1):
        rng = np.random.default_rng(number)
        take = folder / f"1_wayne_0_{number}_{number}"
        sound = rng.uniform(-0.3, 0.3, length * 60 * BEAT_RATE)
        soundfile.write(take.with_suffix(".wav"), sound, BEAT_RATE, subtype="PCM_16")
        take.with_suffix(".json").write_text(beat_json(length * 60 * BEAT_FPS, rng))
        progress(number, len(lengths))


def beat_json(frames: int, rng: np.random.Generator) -> str:
    """A take's JSON as published: time stamps instead of a rate; weights with some 17 digits."""
    names = list(CHANNELS[:-1])
    weights = rng.random((frames, len(names)), np.float32).astype(float).tolist()
    rows = [
        {"weights": row, "time": number / BEAT_FPS, "rotation": []}
        for number, row in enumerate(weights)
    ]
    return json.dumps({"names": names, "frames": rows})
