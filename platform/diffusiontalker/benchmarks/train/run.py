"""The training loop measured: throughput, start-up, memory, checkpoints, features."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from diffusiontalker import cluster, config, storage
from diffusiontalker.benchmarks.data import synthetic
from diffusiontalker.benchmarks.memory import Peak
from diffusiontalker.benchmarks.train import features, loops, timing
from diffusiontalker.benchmarks.train.timing import StepTimes
from diffusiontalker.config import Settings, TrainBenchmarkSettings
from diffusiontalker.corpus import shards
from diffusiontalker.corpus.manifest import CorpusFolder, write_manifest
from diffusiontalker.environment import machine
from diffusiontalker.errors import UserError
from diffusiontalker.evaluation.goals import at_least
from diffusiontalker.summary.run import Goal
from diffusiontalker.training.progress import StageDisplay

BARE, PROCESS = "bare PyTorch loop", "in this process"
KEPT = 0.95
"""The share of the bare loop's steps a second that one Ray Train worker reaches: our goal."""
VALIDATION_CLIPS = 8
PACKAGES = ("numpy", "ray", "torch")
Json = dict[str, Any]


def run(settings: TrainBenchmarkSettings) -> Json:
    """Measure with a synthetic set in a temporary folder, and write ``train.json``.

    Raises:
        UserError: RAY_ADDRESS is set, or the output cannot be written.
    """
    if "RAY_ADDRESS" in os.environ:
        raise UserError("RAY_ADDRESS is set, but this measures this machine alone; unset it")
    training = config.load(settings.training)
    out = storage.location(settings.out)
    storage.make_folder(out)
    before = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="diffusiontalker-benchmark-") as name:
        folder = Path(name)
        data = make_set(folder / "set", settings.clips)
        cached = features.measure(data, training, folder)
        cases, checkpoint = _cases(data, training, settings, folder)
    report = {
        "machine": machine(PACKAGES),
        "load_average": {"before": before, "after": os.getloadavg()},
        "settings": settings.model_dump(mode="json"),
        "batch": training.training.teacher.batch,
        "threads": training.resources.threads,
        "cases": cases,
        "checkpoint": checkpoint,
        "features": cached,
    }
    report["aims"] = aims(cases)
    storage.write_json(out / "train.json", to_jsonable_python(report))
    return report


def make_set(folder: Path, clips: int) -> CorpusFolder:
    """Clips of noise for training, and a few for validation."""
    folder.mkdir()
    with StageDisplay("set") as display:
        manifest = synthetic.shard_set(folder, clips, display.count)
    val = [replace(synthetic.clip(i), split="val") for i in range(VALIDATION_CLIPS)]
    info = shards.write_shard(folder / "val-00000.parquet", val)
    manifest = replace(manifest, shards=[*manifest.shards, info])
    write_manifest(folder, manifest)
    return CorpusFolder(folder, manifest)


def _cases(
    data: CorpusFolder, training: Settings, settings: TrainBenchmarkSettings, folder: Path
) -> tuple[list[Json], Json]:
    """Figures of every kind of loop, run in turn, and of a checkpoint."""
    passes = settings.passes
    kinds: dict[str, Callable[[], StepTimes]] = {
        PROCESS: lambda: loops.by_stage(data, training, 0, passes, folder),
    } | {
        named(workers): lambda n=workers: loops.by_stage(data, training, n, passes, folder)
        for workers in settings.workers
    }
    times: dict[str, list[StepTimes]] = {name: [] for name in (BARE, *kinds)}
    memory = dict.fromkeys(times, 0.0)
    with StageDisplay("steps") as display:
        total = settings.repeats * len(times)
        for turn in range(settings.repeats):
            with Peak() as peak:
                found, trained = loops.by_hand(data, training, passes, folder)
            times[BARE].append(found)
            memory[BARE] = max(memory[BARE], peak.bytes / 1e6)
            for number, (name, measure) in enumerate(kinds.items(), start=1):
                display.count(turn * len(times) + number, total)
                with Peak() as peak, cluster.session():
                    times[name].append(measure())
                memory[name] = max(memory[name], peak.bytes / 1e6)
    checkpoint = loops.checkpoint(trained, folder)
    cases = [
        {"loop": name, "memory_mb": memory[name], **vars(timing.middle(own))}
        for name, own in times.items()
    ]
    return cases, checkpoint


def named(workers: int) -> str:
    """The name of the case of so many workers."""
    return f"Ray Train, {workers}"


def aims(cases: list[Json]) -> list[Goal]:
    """One worker beside the bare loop."""
    rate = {case["loop"]: case["steps_per_second"] for case in cases}
    if named(1) not in rate:
        return []
    share = rate[named(1)] / rate[BARE]
    return [at_least("1 worker: steps/s of the bare loop's", share, KEPT)]
