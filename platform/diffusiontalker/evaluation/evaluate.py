"""Measures all models of a run on the test splits, in parallel on Ray."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import ray
import torch

from diffusiontalker.animation.rig import Rig, default_rig
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.config import EvaluationSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import Manifest, open_corpus
from diffusiontalker.corpus.shards import Clip
from diffusiontalker.evaluation import measure
from diffusiontalker.evaluation.models import LABELS, TimedModel
from diffusiontalker.summary.run import ClipRow, Costs, Evaluation, Floors, Row, SplitMetrics


@dataclass(frozen=True)
class EvaluatedModel:
    """A model to be measured, at a number of sampling steps."""

    name: str
    distilled: bool
    model: TimedModel


def evaluate(
    models: Sequence[EvaluatedModel],
    folder: Path,
    settings: EvaluationSettings,
    progress: Callable[[int, int], None],
    costs: bool = True,
) -> Evaluation:
    """A row per model and split, the errors of each clip, and the floors per split.

    Args:
        models: each with one number of sampling steps.
        folder: shards, with features unless every model makes its own.
        settings: the rig.
        progress: called with the number of rows that are measured, and of all rows.
        costs: measure speed and size, too.
    """
    manifest = open_corpus(folder)
    splits = manifest.test_splits()
    work = [(model, split) for split in splits for model in models]
    pending = {
        _measure_one.remote(model, split, folder, manifest, settings): number
        for number, (model, split) in enumerate(work)
    }
    floor_tasks = {s: _floors.remote(s, folder, manifest, settings) for s in splits}
    found: dict[int, tuple[SplitMetrics, tuple[ClipRow, ...]]] = {}
    total = len(pending)
    waiting = list(pending)
    while waiting:
        ready, waiting = ray.wait(waiting)
        for reference in ready:
            found[pending[reference]] = ray.get(reference)
            progress(len(found), total)
    floor: dict[str, Floors | None] = {s: ray.get(task) for s, task in floor_tasks.items()}
    # Speed is measured alone: a second process on the machine would slow it.
    spent = [ray.get(_speed.remote(model)) if costs else Costs() for model in models]
    rows = (
        Row(
            name=model.name,
            steps=model.model.steps,
            distilled=model.distilled,
            split=split,
            **found[number][0].model_dump(),
            **spent[number % len(models)].model_dump(),
        )
        for number, (model, split) in enumerate(work)
    )
    clips = (row for number in range(total) for row in found[number][1])
    return Evaluation(rows=tuple(rows), floor=floor, clips=tuple(clips))


MANY_STEPS = 100
"""Sampling steps above which speed is measured once."""


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
    model: EvaluatedModel, split: str, folder: Path, manifest: Manifest,
    settings: EvaluationSettings,
) -> tuple[SplitMetrics, tuple[ClipRow, ...]]:  # fmt: skip
    torch.set_num_threads(1)
    own = model.model
    sample, vertices = own.load(), measure.Vertices(load_rig(settings.rig))
    clips, samples = [], []
    for number, clip in _numbered(folder, manifest, split):
        samples.append(sample(clip, number))
        # Audio and features of a split, unlike its faces, may not fit the memory.
        clips.append(replace(clip, audio=clip.audio[:0], features=None, log_mel=None))
    errors = [measure.clip_errors(*pair, vertices) for pair in zip(samples, clips, strict=True)]
    metrics = measure.measure(samples, clips, vertices, errors)
    metrics = measure.without_unused(metrics, [x for x in LABELS if x not in own.recognised()])
    about = {"name": model.name, "steps": own.steps, "distilled": model.distilled, "split": split}
    rows = (measure.clip_row(about, clip, each) for clip, each in zip(clips, errors, strict=True))
    return measure.without_strangers(metrics, clips, own.identities()), tuple(rows)


def _numbered(folder: Path, manifest: Manifest, split: str) -> Iterator[tuple[int, Clip]]:
    """The clips of a split, one shard in memory at a time, each with its place in the order of all
    ids."""
    paths = [folder / shard.file for shard in manifest.of(split)]
    ids = [shards.read_table(path, ["id"]).column(0).to_pylist() for path in paths]
    places = {name: place for place, name in enumerate(sorted(x for own in ids for x in own))}
    for path in paths:
        for clip in shards.clips_of(shards.read_table(path)):
            yield places[clip.id], clip


@ray.remote(num_cpus=1)
def _floors(split: str, folder: Path, manifest: Manifest, settings: EvaluationSettings) -> Floors:
    clips = load_clips(folder, manifest, split)
    return measure.floors(clips, measure.Vertices(load_rig(settings.rig)))


@ray.remote(num_cpus=1)
def _speed(model: EvaluatedModel) -> Costs:
    """Frames per second from waveform to coefficients: 10 s, batch 1, one thread, in PyTorch."""
    torch.set_num_threads(1)
    own = model.model.animation()
    count = sum(t.numel() for t in own.tensors)
    size = sum(t.numel() * t.element_size() for t in own.tensors)
    audio = np.random.default_rng(0).normal(0, 0.07, 10 * SAMPLE_RATE).astype(np.float32)
    # The median of many runs of a slow sampler would take longer than all metrics.
    repeats = 7 if model.model.steps <= MANY_STEPS else 1
    seconds = median_seconds(lambda: own.animate(audio), repeats)
    again = median_seconds(lambda: own.features(audio), repeats)
    return Costs(
        fps=10 * FPS / seconds,
        fps_every_step=10 * FPS / (seconds + (model.model.steps - 1) * again),
        size_mb=size / 1e6,
        params_m=count / 1e6,
    )


def median_seconds(call: Callable[[], object], repeats: int = 7) -> float:
    """Median wall time of a call after two warm-up calls."""
    times = []
    for _ in range(repeats + 2):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times[2:])
