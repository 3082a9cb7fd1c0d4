"""The one training loop, run by Ray Train on every worker, for every stage.

It knows nothing of diffusion: a task (``tasks.py``) turns a batch into losses; the loop steps,
averages weights, validates, reports a checkpoint at each epoch's end and resumes from it.
"""

import copy
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from torch import nn

from diffusiontalker.config import TrainSettings
from diffusiontalker.training import checkpoints, stream
from diffusiontalker.training.checkpoints import RunState

CURVE_POINTS = 24
"""Points of a loss curve per epoch."""
Figures = dict[str, torch.Tensor]
Judge = Callable[[nn.Module, dict[str, torch.Tensor]], Figures]
"""What a task's model is worth on a batch of validation, beside its losses: means over windows."""


@dataclass(frozen=True)
class Own:
    """A run in the process that asked for it, where Ray Train neither keeps nor tells anything."""

    kept: checkpoints.Kept
    told: Callable[[dict[str, Any]], None] | None = None
    """Called after every epoch with its figures, once they are kept; may end the run by raising."""


def run(config: dict[str, Any]) -> None:
    """Ray Train's function. ``config`` holds:

    make_task: () -> the task, with its trained module as ``trained`` (the part that is saved)
    settings: TrainSettings
    epoch: the stream.Epoch that the training data follow
    steps_per_epoch, threads, seed, stage, board (actor or None)
    judge: the Judge of every epoch's model, or None
    own: the Own run in which the checkpoints are, or None where Ray Train keeps them
    """
    settings: TrainSettings = config["settings"]
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    device = ray.train.torch.get_device()
    rank, world = ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size()
    task: nn.Module = config["make_task"]().to(device)
    average = Average(task, settings.ema)
    parameters = [p for p in task.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    state = RunState()
    own: Own | None = config["own"]
    with opened(own, ray.train.get_checkpoint()) as folder:
        if folder is not None:
            state = checkpoints.load_run(folder, task, average.module, optimizer)
            average.updates = state.step
    # HuBERT's embedding of masked audio gets no gradient: DDP must expect that.
    parallel = ray.train.torch.prepare_model(
        task, move_to_device=False, parallel_strategy_kwargs={"find_unused_parameters": True}
    )
    total = settings.epochs * config["steps_per_epoch"]
    train, val = ray.train.get_dataset_shard("train"), ray.train.get_dataset_shard("val")
    for epoch in range(state.epoch, settings.epochs):
        # Nothing mends weights that are not finite. Every worker validates the same, so all stop.
        if diverged(state.history) is not None:
            break
        parallel.train()
        # Of the epoch, so that a resumed run draws what it would have drawn; the global generator,
        # too, from which dropout draws.
        seed = config["seed"] * 1_000_003 + epoch * 1009 + rank
        generator = torch.Generator(device=device).manual_seed(seed)
        torch.manual_seed(seed + 500)
        config["epoch"].set(epoch)
        curve = Curve(state, max(config["steps_per_epoch"] // CURVE_POINTS, 1))
        started, windows = time.monotonic(), 0
        for number, batch in enumerate(stream.batches(train, device), start=1):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, state.step / total)
            losses = parallel(batch, generator)
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimizer.step()
            average.update(task)
            state.step += 1
            curve.add(losses)
            windows += size_of(batch)
            if rank == 0 and config["board"] is not None and number % 5 == 0:
                rate = windows * world / (time.monotonic() - started)
                text = (
                    f"epoch {epoch + 1}/{settings.epochs}, loss {curve.last:.4f}, "
                    f"{rate:.0f} windows/s"
                )
                done = (epoch + min(number / config["steps_per_epoch"], 1.0)) / settings.epochs
                config["board"].put.remote(config["stage"], done, text)
        state.epoch = epoch + 1
        metrics = validate(average.module, val, device, config["judge"])
        figures = {f"val_{key}": value for key, value in metrics.items()}
        seconds = time.monotonic() - started
        state.history.append({"step": state.step, "seconds": seconds, **figures})
        report(state, task, average.module, optimizer, rank, own)


def diverged(history: Sequence[Mapping[str, float]]) -> int | None:
    """The first epoch whose loss on validation is not finite; None: training has not diverged."""
    for number, point in enumerate((p for p in history if "val_loss" in p), start=1):
        if not math.isfinite(point["val_loss"]):
            return number
    return None


def report(
    state: RunState, task: nn.Module, average: nn.Module, optimizer: torch.optim.Optimizer,
    rank: int, own: Own | None,
) -> None:  # fmt: skip
    """Hand the epoch's figures, and on rank 0 a checkpoint, to Ray Train: a barrier for all
    workers. Where there are none, ``own`` keeps the checkpoint and is told."""
    metrics = {"epoch": state.epoch, **state.history[-1]}
    folder = None
    if rank == 0:
        folder = Path(tempfile.mkdtemp(prefix="diffusiontalker-"))
        checkpoints.save_run(folder, state, task, average, optimizer)
    try:
        if own is not None and folder is not None:
            own.kept.save(folder, state.epoch)
        ray.train.report(
            metrics, checkpoint=ray.train.Checkpoint.from_directory(folder) if folder else None
        )
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    if own is not None and own.told is not None:
        own.told(metrics)


@contextmanager
def opened(own: Own | None, checkpoint: ray.train.Checkpoint | None) -> Iterator[Path | None]:
    """A local folder with a run's last checkpoint: the run's own, or Ray Train's; None before the
    first."""
    if own is not None:
        with own.kept.last() as folder:
            yield folder
    elif checkpoint is None:
        yield None
    else:
        with checkpoint.as_directory() as folder:
            yield Path(folder)


@torch.no_grad()
def validate(
    module: nn.Module, val: ray.data.DataIterator, device: torch.device, judge: Judge | None = None
) -> dict[str, float]:
    """Losses over the validation split, and what ``judge`` finds, with the same batches and noise
    every time: a mean over its windows, in batches of whatever size."""
    module.eval()
    generator = torch.Generator(device=device).manual_seed(12345)
    sums: dict[str, float] = {}
    windows = 0
    for batch in stream.batches(val, device):
        size = size_of(batch)
        found = module(batch, generator)
        if judge is not None:
            found = found | judge(module, batch)
        for key, value in numbers(found).items():
            sums[key] = sums.get(key, 0.0) + size * value
        windows += size
    return {key: value / windows for key, value in sums.items()}


def size_of(batch: dict[str, torch.Tensor]) -> int:
    """Windows in a batch."""
    return len(next(iter(batch.values())))


def numbers(losses: dict[str, torch.Tensor]) -> dict[str, float]:
    """Losses as numbers; a GPU is waited for once, not once for each."""
    return dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))


def learning_rate(settings: TrainSettings, share: float) -> float:
    """Linear warm-up, then half a cosine down to a hundredth; ``share`` of all steps is done."""
    if share < settings.warmup:
        return settings.learning_rate * max(share / settings.warmup, 0.02)
    fall = min((share - settings.warmup) / max(1 - settings.warmup, 1e-9), 1.0)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


class Average:
    """An exponential moving average of a module's weights; short at first, then of full length."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards ``module``."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        own, other = self.module.state_dict(), module.state_dict()
        floating = [k for k, v in own.items() if v.is_floating_point()]
        torch._foreach_lerp_([own[k] for k in floating], [other[k] for k in floating], 1 - decay)


class Curve:
    """Averages losses over a few steps and appends a point to the run's history."""

    def __init__(self, state: RunState, every: int) -> None:
        self.state, self.every = state, every
        self.sums: dict[str, float] = {}
        self.count = 0
        self.last = math.nan

    def add(self, losses: dict[str, torch.Tensor]) -> None:
        """Add one step's losses."""
        for key, value in numbers(losses).items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.count += 1
        self.last = self.sums["loss"] / self.count
        if self.count == self.every:
            point = {key: value / self.count for key, value in self.sums.items()}
            self.state.history.append({"step": self.state.step, **point})
            self.sums, self.count = {}, 0


TaskMaker = Callable[[], nn.Module]
