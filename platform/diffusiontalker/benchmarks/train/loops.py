"""The same training steps as a stage of a run, and in a loop as one would write it by hand."""

import math
import tempfile
import time
import uuid
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from diffusiontalker.benchmarks.train import timing
from diffusiontalker.benchmarks.train.timing import StepTimes, TimedObjective
from diffusiontalker.config import Settings, TrainSettings, changed
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.model.talker import Talker
from diffusiontalker.training import architecture, checkpoints, objectives
from diffusiontalker.training.checkpoint_folder import CheckpointFolder
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.optimization import Batch
from diffusiontalker.training.ray_data import as_tensor
from diffusiontalker.training.reading_position import ReadingPosition
from diffusiontalker.training.shard_reader import ShardReader
from diffusiontalker.training.stage_run import StageRun, fit_stage
from diffusiontalker.training.weight_average import WeightAverage
from diffusiontalker.training.windows import MotionWindows, located, shard_groups


class Trained(NamedTuple):
    """What a checkpoint holds."""

    task: TimedObjective
    average: WeightAverage
    optimizer: torch.optim.Optimizer


def objective(data: CorpusFolder, settings: Settings, folder: Path) -> TimedObjective:
    """The teacher's objective, which notes its times in a folder."""
    talker = Talker(architecture.teacher_config(settings, data))
    talker.set_scales(*data.manifest.statistics())
    return TimedObjective(objectives.TeacherObjective(talker, settings.losses.teacher), folder)


def schedule(settings: Settings, passes: int) -> TrainSettings:
    """The teacher's schedule, for one epoch of ``passes`` passes."""
    return settings.training.teacher.model_copy(update={"epochs": 1, "passes": passes})


def windows(data: CorpusFolder, settings: Settings) -> MotionWindows:
    """Windows as the teacher's."""
    manifest = data.manifest
    return MotionWindows(settings.training.teacher.window, manifest.identities, manifest.emotions)


def by_stage(
    data: CorpusFolder, settings: Settings, workers: int, passes: int, folder: Path
) -> StepTimes:
    """An epoch of a training stage, with all that a run does; 0 workers: in this process."""
    settings = changed(settings, {"training.workers": workers}, "benchmark")
    notes = Path(tempfile.mkdtemp(dir=folder))
    make = partial(objective, data, settings, notes)
    place = StageRun(folder / "train", uuid.uuid4().hex, f"{workers} workers")
    started = time.time()
    fit_stage(
        settings, schedule(settings, passes), data, windows(data, settings), make, make(), place
    )
    return timing.read(notes, started)


def by_hand(
    data: CorpusFolder, settings: Settings, passes: int, folder: Path
) -> tuple[StepTimes, Trained]:
    """The same number of the same steps in a bare PyTorch loop, its batches in memory."""
    notes = Path(tempfile.mkdtemp(dir=folder))
    train, batches = schedule(settings, passes), in_memory(data, settings)
    torch.set_num_threads(settings.resources.threads)
    torch.manual_seed(settings.training.seed)
    task = objective(data, settings, notes)
    parameters = list(task.trained.parameters())
    optimizer = torch.optim.AdamW(
        parameters, lr=train.learning_rate, weight_decay=train.weight_decay, fused=True
    )
    average = WeightAverage(task.trained, train.ema)
    generator = torch.Generator().manual_seed(settings.training.seed)
    started = time.time()
    for _ in range(passes):
        for batch in batches:
            optimizer.zero_grad(set_to_none=True)
            losses = task(batch, generator)
            losses["loss"].backward()
            nn.utils.clip_grad_norm_(parameters, train.clip_norm or math.inf)
            optimizer.step()
            average.update(task.trained)
    task.write()
    return timing.read(notes, started), Trained(task, average, optimizer)


def in_memory(data: CorpusFolder, settings: Settings) -> list[Batch]:
    """All batches of a pass, as tensors."""
    own, size = windows(data, settings), settings.training.teacher.batch
    groups = shard_groups(located(data.manifest.of("train"), data.folder), own, size)
    reader = ShardReader(groups, own, size, settings.training.seed, lambda: ReadingPosition(0))
    found = reader({"turn": np.arange(len(groups))})
    return [{key: as_tensor(value) for key, value in batch.items()} for batch in found]


def checkpoint(trained: Trained, folder: Path) -> dict[str, Any]:
    """Size of a checkpoint, and seconds to write it (while training waits), to store it (meanwhile)
    and to resume from it."""
    local = Path(tempfile.mkdtemp(dir=folder))
    module, average = trained.task.trained, trained.average.weights
    began = time.monotonic()
    checkpoints.save_run(local, RunState(), module, average, trained.optimizer)
    written = time.monotonic()
    CheckpointFolder(folder / "kept").save(local, 1)
    stored = time.monotonic()
    checkpoints.load_run(local, module, average, trained.optimizer)
    return {
        "mb": sum(path.stat().st_size for path in local.iterdir()) / 1e6,
        "write_seconds": written - began,
        "store_seconds": stored - written,
        "load_seconds": time.monotonic() - stored,
    }
