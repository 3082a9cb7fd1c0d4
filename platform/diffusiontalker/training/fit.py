"""The training loop of all stages, in plain torch: steps, averaged weights, validation, resume.

Independent of Ray and of diffusion: an objective (``objectives.py``) turns a batch into losses; the
caller of ``fit`` supplies the batches and stores the checkpoints.
"""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from diffusiontalker.config import TrainingPrecision, TrainSettings
from diffusiontalker.training import checkpoints, random_state, workers
from diffusiontalker.training.checkpoints import PartialEpoch, RunState, Weights
from diffusiontalker.training.optimization import Batch, Optimization, trained_module
from diffusiontalker.training.step_statistics import (
    GPU_STEPS,
    LossCurve,
    OnPoint,
    StepStatistics,
    as_floats,
)
from diffusiontalker.training.stopping import VALIDATION, best_epoch, is_finished
from diffusiontalker.training.weight_average import WeightAverage

CURVE_POINTS = 24
"""Points of a loss curve per epoch."""
AGREE_STEPS = 16
"""Steps between two looks at the clock: all workers must write a checkpoint at the same step."""
Metrics = Callable[[nn.Module, Batch], dict[str, Tensor]]
"""Metrics of an objective on a validation batch, beside its losses: means over windows."""
Save = Callable[[Path], None]
"""Writes a checkpoint, from which ``fit`` resumes, into an empty local folder."""
OnStep = Callable[[int, int, int, float], None]
"""Takes the epoch, the batches done in it, the windows of the last one and the mean loss since the
last point of the loss curve."""
OnCheckpoint = Callable[[RunState, Save], None]
"""Stores a checkpoint; called on every worker, within an epoch and after each."""


@dataclass(frozen=True)
class CheckpointInterval:
    """How often a checkpoint is written within an epoch, beside the one at its end."""

    steps: int | None = None
    minutes: float | None = None
    notice: Callable[[], bool] | None = None
    """Whether a worker is about to lose its machine; asked of all workers at the same steps. One is
    written at the first notice."""


def fit(
    task: nn.Module,
    train: Callable[[int, int], Iterable[Batch]],
    val: Callable[[], Iterable[Batch]],
    settings: TrainSettings,
    *,
    steps_per_epoch: int,
    seed: int,
    device: torch.device,
    rank: int = 0,
    parallel: Callable[[nn.Module], nn.Module] = lambda module: module,
    precision: TrainingPrecision = "fp32",
    resume: AbstractContextManager[Path | None] | None = None,
    metrics: Metrics | None = None,
    max_skipped: int = 0,
    interval: CheckpointInterval = CheckpointInterval(),
    on_step: OnStep | None = None,
    on_point: OnPoint | None = None,
    on_checkpoint: OnCheckpoint | None = None,
) -> RunState:
    """Train an objective for ``settings.epochs``; its averaged weights are in the checkpoints.

    A run that is stopped and resumed from any checkpoint draws the same numbers as one that was
    not, and on a CPU has the same weights to the bit, with the same number of workers. With
    another number it goes on at the same share of the epoch.

    Args:
        task: its forward turns a batch into scalar losses, of which ``loss`` is minimised;
            ``task.trained`` is the module that is optimised. It is moved to ``device``.
        train: the batches of an epoch, by its number from 0, without the first so many.
        val: the validation batches, the same every time.
        settings: epochs, learning rate, warm-up, gradient clipping, weight average, stopping.
        steps_per_epoch: batches of this worker in an epoch, for the learning rate and the curve.
        seed: of all random numbers here; epoch and rank are mixed in.
        device: of the batches; the task is moved there.
        rank: of this worker.
        parallel: wraps the task for several workers (DDP).
        precision: of the forward pass in training; validation is in fp32, as inference is.
        resume: opens a local folder with a checkpoint of the same run; None starts from scratch.
        metrics: of validation, beside the losses.
        max_skipped: steps of the whole run that may be skipped because their gradient is not
            finite: the weights stay as they were.
        interval: of the checkpoints within an epoch.
        on_step: called after each batch.
        on_point: called with each new point of the history.
        on_checkpoint: called with each checkpoint.

    Raises:
        UserError: the checkpoint is damaged or of another release; more than ``max_skipped`` steps
            had a gradient that is not finite; or ``settings.monitor`` is no validation metric.
    """
    task = task.to(device)
    trained = trained_module(task)
    average, state = WeightAverage(trained, settings.ema), RunState()
    optimization = Optimization(task, parallel(task), settings, precision)
    best, states = Weights(), Weights()
    with resume or nullcontext() as folder:
        if folder is not None:
            optimizer = optimization.optimizer
            state = checkpoints.load_run(folder, trained, average.weights, optimizer)
            average.updates = state.step
            best = checkpoints.load_weights(folder, checkpoints.BEST)
            states = checkpoints.load_weights(folder, checkpoints.GENERATORS)

    def save(generators: Weights | None) -> Save:
        return lambda folder: checkpoints.save_run(
            folder, state, trained, average.weights, optimization.optimizer, generators, best
        )

    while not is_finished(state.epoch, state.history, settings):
        epoch, partial, state.partial = state.epoch, state.partial, None
        done = batches_done(partial, steps_per_epoch, settings.accumulate)
        generator = random_state.seeded(seed, epoch, done, rank, device)
        steps = -(-steps_per_epoch // settings.accumulate)
        curve = LossCurve(state, max(steps // CURVE_POINTS, 1), on_point)
        before = 0.0
        if partial is not None:
            before = partial.seconds
            if is_same_division(partial, steps_per_epoch):
                random_state.restore(states, rank, generator)
                curve.sums, curve.count = partial.sums, partial.count
        statistics = StepStatistics(curve, max_skipped, 1 if device.type == "cpu" else GPU_STEPS)
        clock = CheckpointClock(interval, device)
        optimization.wrapped.train()
        optimization.gathered.clear()
        started, batches = time.monotonic(), list[Batch]()
        for number, batch in enumerate(train(epoch, done), start=done + 1):
            batches.append(batch)
            first = (number - 1) // settings.accumulate * settings.accumulate
            of = min(settings.accumulate, max(steps_per_epoch - first, 1))
            # Of epochs, not of steps: a run may go on with another number of workers.
            share = (epoch + (number - 1) / steps_per_epoch) / settings.epochs
            result = optimization.step(batch, generator, share, of, number - first == of)
            if result is not None:
                state.step += 1
                average.update(trained)
                statistics.add(state.step, batches, result)
                batches = []
            if on_step is not None:
                on_step(epoch, number, batch_size_of(batch), curve.last)
            if result is None or on_checkpoint is None or number >= steps_per_epoch:
                continue
            if clock.is_due(number // settings.accumulate):
                statistics.read()
                state.partial = PartialEpoch(
                    number, steps_per_epoch, workers.count(), before + time.monotonic() - started,
                    dict(curve.sums), curve.count,
                )  # fmt: skip
                on_checkpoint(state, save(random_state.of_all_workers(generator)))
                state.partial = None
        statistics.read()
        with average.applied(trained):
            # Rank 0's: the last bit may differ between machines, and with it when training ends.
            validation = workers.gather_objects(validate(task, val(), device, metrics))[0]
        state.epoch = epoch + 1
        state.history.append(
            {
                "step": state.step,
                "seconds": before + time.monotonic() - started,
                "skipped": state.skipped,
                **{f"{VALIDATION}{key}": value for key, value in validation.items()},
            }
        )
        is_best = best_epoch(state.history, settings.monitor) == state.epoch
        if settings.select == "best" and is_best:
            best = {key: value.detach().clone() for key, value in average.weights.items()}
        if on_point is not None:
            on_point(state.history[-1])
        if on_checkpoint is not None:
            on_checkpoint(state, save(None))
    return state


def is_same_division(partial: PartialEpoch, steps_per_epoch: int) -> bool:
    """Whether epochs are divided into the same batches as when a checkpoint was written."""
    return partial.batches == steps_per_epoch and partial.workers == workers.count()


def batches_done(partial: PartialEpoch | None, steps_per_epoch: int, accumulate: int) -> int:
    """Batches of an epoch that a resumed run leaves out: those that were trained on, or where the
    workers are others, the same share of them in whole steps."""
    if partial is None:
        return 0
    if is_same_division(partial, steps_per_epoch):
        return partial.batch
    done = int(partial.batch / partial.batches * steps_per_epoch)
    return done // accumulate * accumulate


class CheckpointClock:
    """When a checkpoint is due within an epoch, the same on every worker."""

    def __init__(self, interval: CheckpointInterval, device: torch.device) -> None:
        self.interval, self.device = interval, device
        self.last, self.noticed = time.monotonic(), False

    def is_due(self, step: int) -> bool:
        """Whether one is due after ``step`` of the epoch; called at every step."""
        own = self.interval
        due = own.steps is not None and step % own.steps == 0
        if step % AGREE_STEPS == 0:
            if own.minutes is not None:
                late = time.monotonic() - self.last >= 60 * own.minutes
                due |= workers.any_worker(late, self.device)
            if own.notice is not None and not self.noticed:
                self.noticed = own.notice()
                due |= self.noticed
        if due:
            self.last = time.monotonic()
        return due


@torch.no_grad()
def validate(
    task: nn.Module, batches: Iterable[Batch], device: torch.device, metrics: Metrics | None = None
) -> dict[str, float]:
    """Losses and ``metrics`` over ``batches``, in evaluation mode and with the same noise every
    time: means over all windows, whatever the batch sizes."""
    task.eval()
    generator = torch.Generator(device=device).manual_seed(12345)
    sums: dict[str, float] = {}
    windows = 0
    for batch in batches:
        size = batch_size_of(batch)
        found = task(batch, generator)
        if metrics is not None:
            found = found | metrics(task, batch)
        for key, value in as_floats(found).items():
            sums[key] = sums.get(key, 0.0) + size * value
        windows += size
    return {key: value / windows for key, value in sums.items()}


def batch_size_of(batch: Batch) -> int:
    """Windows in a batch."""
    return len(next(iter(batch.values())))
