"""Measuring all models of a run, in parallel on Ray."""

import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from diffusiontalker import storage
from diffusiontalker.animation.rig import Rig, default_rig
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import frame_count, log_mel
from diffusiontalker.config import EvaluationSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, open_corpus
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.evaluation import measure
from diffusiontalker.features.encoder import FrozenEncoder
from diffusiontalker.features.stage import to_length
from diffusiontalker.model.talker import Talker
from diffusiontalker.training.checkpoints import load_talker

Json = dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A model to be measured, at a number of sampling steps."""

    name: str
    folder: str
    """Where its weights lie: a local path, or s3://."""
    steps: int
    distilled: bool
    encoder: str | None = None
    """The frozen encoder of a teacher, for its speed and size."""
    encoder_layers: tuple[int, ...] = ()
    encoder_revision: str | None = None


def evaluate(
    subjects: list[Subject],
    folder: Path,
    settings: EvaluationSettings,
    sampler: str,
    progress: Callable[[int, int], None],
) -> tuple[list[Json], Json]:
    """Rows of the summary, one per subject and split, and the floors per split.

    Args:
        subjects: the models.
        folder: shards with features.
        settings: seeds, rig.
        sampler: ddim or ancestral.
        progress: called with pieces done and pieces in all.
    """
    manifest = open_corpus(folder)
    splits = manifest.test_splits()
    work = [(subject, split) for split in splits for subject in subjects]
    pending = {
        _measure_one.remote(subject, split, folder, manifest, settings, sampler): (subject, split)
        for subject, split in work
    }
    floor_tasks = {
        split: _floors.remote(split, folder, manifest, settings) for split in splits
    }  # fmt: skip
    results: dict[tuple[Subject, str], Json] = {}
    total = len(pending)
    waiting = list(pending)
    while waiting:
        ready, waiting = ray.wait(waiting)
        for reference in ready:
            results[pending[reference]] = ray.get(reference)
            progress(len(results), total)
    # Speed is measured alone: a second process on the machine would slow it.
    speeds = {subject: ray.get(_speed.remote(subject, sampler)) for subject in subjects}
    rows = [
        {
            "name": subject.name,
            "steps": subject.steps,
            "distilled": subject.distilled,
            "split": split,
            **results[subject, split],
            **speeds[subject],
        }
        for subject, split in work
    ]
    return [finite(row) for row in rows], finite({s: ray.get(t) for s, t in floor_tasks.items()})


def load_clips(folder: Path, manifest: Manifest, split: str) -> list[Clip]:
    """All clips of a split, in order."""
    clips = []
    for shard in manifest.of(split):
        clips.extend(shards.clips_of(shards.read_table(folder / shard.file)))
    return sorted(clips, key=lambda clip: clip.id)


def rig_of(settings: EvaluationSettings) -> Rig:
    """The user's rig, or the Face Cap head."""
    return Rig.load(settings.rig) if settings.rig else default_rig()


@ray.remote(num_cpus=1)
def _measure_one(
    subject: Subject,
    split: str,
    folder: Path,
    manifest: Manifest,
    settings: EvaluationSettings,
    sampler: str,
) -> Json:
    torch.set_num_threads(1)
    talker = load_talker(storage.location(subject.folder))
    clips = load_clips(folder, manifest, split)
    heard = [
        measure.embed_and_sample(talker, clip, subject.steps, sampler, settings.seeds, seed=i)
        for i, clip in enumerate(clips)
    ]
    row: Json = measure.measure(heard, clips, measure.Vertices(rig_of(settings)))
    if not any(clip.identity in talker.config.identities for clip in clips):
        # Nobody here is in the library: there is no right answer to match.
        row.update(dict.fromkeys(("identity_precision", "identity_recall", "identity_f1"), None))
    return row


@ray.remote(num_cpus=1)
def _floors(
    split: str, folder: Path, manifest: Manifest, settings: EvaluationSettings
) -> dict[str, dict[str, float]] | None:
    clips = load_clips(folder, manifest, split)
    return measure.floors(clips, measure.Vertices(rig_of(settings)))


@ray.remote(num_cpus=1)
def _speed(subject: Subject, sampler: str) -> Json:
    """Frames per second from waveform to coefficients, 10 s, batch 1, one thread, in PyTorch."""
    torch.set_num_threads(1)
    talker = load_talker(storage.location(subject.folder))
    encoder = None
    tensors = list(talker.deployed().values())
    if subject.encoder is not None:
        encoder = FrozenEncoder(subject.encoder, subject.encoder_layers, subject.encoder_revision)
        tensors += encoder.model.parameters()
    count = sum(t.numel() for t in tensors)
    size = sum(t.numel() * t.element_size() for t in tensors)
    audio = np.random.default_rng(0).normal(0, 0.07, 10 * SAMPLE_RATE).astype(np.float32)
    seconds = median_seconds(lambda: animate(talker, encoder, audio, subject.steps, sampler))
    return {"fps": 10 * FPS / seconds, "size_mb": size / 1e6, "params_m": count / 1e6}


@torch.inference_mode()
def animate(
    talker: Talker, encoder: FrozenEncoder | None, audio: np.ndarray, steps: int, sampler: str,
    seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Audio (n,) at 16 kHz to coefficients (T, 52) with the PyTorch model."""
    frames = frame_count(len(audio))
    features = measure.batch_of_one(encoder(audio, frames)) if encoder is not None else None
    inputs = talker.inputs(features, torch.from_numpy(to_length(log_mel(audio), frames))[None])
    return measure.hear(talker, inputs, frames, steps, sampler, 1, seed).samples[0]


def median_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """Median wall time of a call after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])


def finite(value: Any) -> Any:
    """NaN and infinity as None, in nested dicts and lists: JSON has neither."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
