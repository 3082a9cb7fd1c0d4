"""Measures all models of a run on the test splits, in parallel on Ray."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

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
from diffusiontalker.summary.run import Costs, Evaluation, Floors, Row, SplitMetrics
from diffusiontalker.training.checkpoints import load_talker


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to be measured, at a number of sampling steps."""

    name: str
    folder: str
    """Of its weights: a local path, or s3://."""
    steps: int
    distilled: bool
    encoder: str | None = None
    """The frozen encoder of a teacher, for its speed and size."""
    encoder_layers: tuple[int, ...] = ()
    encoder_revision: str | None = None


def evaluate(
    models: list[EvaluatedModel],
    folder: Path,
    settings: EvaluationSettings,
    sampler: str,
    progress: Callable[[int, int], None],
) -> Evaluation:
    """A row per model and split, and the floors per split.

    Args:
        models: each with one number of sampling steps.
        folder: shards with features.
        settings: seeds, rig.
        sampler: ddim or ancestral.
        progress: called with the number of rows that are measured, and of all rows.
    """
    manifest = open_corpus(folder)
    splits = manifest.test_splits()
    work = [(model, split) for split in splits for model in models]
    pending = {
        _measure_one.remote(model, split, folder, manifest, settings, sampler): (model, split)
        for model, split in work
    }
    floor_tasks = {
        split: _floors.remote(split, folder, manifest, settings) for split in splits
    }  # fmt: skip
    metrics: dict[tuple[EvaluatedModel, str], SplitMetrics] = {}
    total = len(pending)
    waiting = list(pending)
    while waiting:
        ready, waiting = ray.wait(waiting)
        for reference in ready:
            metrics[pending[reference]] = ray.get(reference)
            progress(len(metrics), total)
    # Speed is measured alone: a second process on the machine would slow it.
    costs: dict[EvaluatedModel, Costs] = {
        model: ray.get(_speed.remote(model, sampler)) for model in models
    }
    rows = (
        Row(
            name=model.name,
            steps=model.steps,
            distilled=model.distilled,
            split=split,
            **metrics[model, split].model_dump(),
            **costs[model].model_dump(),
        )
        for model, split in work
    )
    floor: dict[str, Floors | None] = {s: ray.get(task) for s, task in floor_tasks.items()}
    return Evaluation(rows=tuple(rows), floor=floor)


def load_clips(folder: Path, manifest: Manifest, split: str) -> list[Clip]:
    """All clips of a split, in order."""
    clips = []
    for shard in manifest.of(split):
        clips.extend(shards.clips_of(shards.read_table(folder / shard.file)))
    return sorted(clips, key=lambda clip: clip.id)


def load_rig(rig: str | None) -> Rig:
    """The user's rig, or the Face Cap head."""
    return Rig.load(rig) if rig else default_rig()


@ray.remote(num_cpus=1)
def _measure_one(
    model: EvaluatedModel,
    split: str,
    folder: Path,
    manifest: Manifest,
    settings: EvaluationSettings,
    sampler: str,
) -> SplitMetrics:
    torch.set_num_threads(1)
    talker = load_talker(storage.location(model.folder))
    clips = load_clips(folder, manifest, split)
    samples = [
        measure.embed_and_sample(talker, clip, model.steps, sampler, settings.seeds, seed=i)
        for i, clip in enumerate(clips)
    ]
    metrics = measure.measure(samples, clips, measure.Vertices(load_rig(settings.rig)))
    metrics = measure.without_unused(metrics, talker.config.personalizer)
    return measure.without_strangers(metrics, clips, talker.config.identities)


@ray.remote(num_cpus=1)
def _floors(split: str, folder: Path, manifest: Manifest, settings: EvaluationSettings) -> Floors:
    clips = load_clips(folder, manifest, split)
    return measure.floors(clips, measure.Vertices(load_rig(settings.rig)))


@ray.remote(num_cpus=1)
def _speed(model: EvaluatedModel, sampler: str) -> Costs:
    """Frames per second from waveform to coefficients: 10 s, batch 1, one thread, in PyTorch."""
    torch.set_num_threads(1)
    talker = load_talker(storage.location(model.folder))
    encoder = None
    tensors = list(talker.deployed().values())
    if model.encoder is not None:
        encoder = FrozenEncoder(model.encoder, model.encoder_layers, model.encoder_revision)
        tensors += encoder.model.module.parameters()
    count = sum(t.numel() for t in tensors)
    size = sum(t.numel() * t.element_size() for t in tensors)
    audio = np.random.default_rng(0).normal(0, 0.07, 10 * SAMPLE_RATE).astype(np.float32)
    seconds = median_seconds(lambda: animate(talker, encoder, audio, model.steps, sampler))
    return Costs(fps=10 * FPS / seconds, size_mb=size / 1e6, params_m=count / 1e6)


@torch.inference_mode()
def animate(
    talker: Talker, encoder: FrozenEncoder | None, audio: np.ndarray, steps: int, sampler: str,
    seed: int = 0,
) -> np.ndarray:  # fmt: skip
    """Audio (n,) at 16 kHz to coefficients (T, 52) with the PyTorch model."""
    frames = frame_count(len(audio))
    features = measure.batch_of_one(encoder(audio, frames)) if encoder is not None else None
    inputs = talker.inputs(features, torch.from_numpy(to_length(log_mel(audio), frames))[None])
    return measure.sample(talker, inputs, frames, steps, sampler, 1, seed).samples[0]


def median_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """Median wall time of a call after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])
