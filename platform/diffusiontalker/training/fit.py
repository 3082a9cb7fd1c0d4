"""The training loop of all stages, in plain torch: steps, averaged weights, validation, resume.

Independent of Ray and of diffusion: an objective (``objectives.py``) turns a batch into losses; the
caller of ``fit`` supplies the batches and stores the checkpoints.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from diffusiontalker.config import TrainSettings
from diffusiontalker.errors import UserError
from diffusiontalker.training import checkpoints, workers
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.windows import clip_ids

CURVE_POINTS = 24
"""Points of a loss curve per epoch."""
Batch = dict[str, Tensor]
Metrics = Callable[[nn.Module, Batch], dict[str, Tensor]]
"""Metrics of an objective on a validation batch, beside its losses: means over windows."""
OnPoint = Callable[[dict[str, float]], None]
"""Takes a new point of a run's history."""
Save = Callable[[Path], None]
"""Writes a checkpoint, from which ``fit`` resumes, into an empty local folder."""


def trained_module(task: nn.Module) -> nn.Module:
    """The part of an objective that is optimised, averaged and saved, its attribute ``trained``:
    without a frozen teacher."""
    trained = task.trained
    assert isinstance(trained, nn.Module)
    return trained


def fit(
    task: nn.Module,
    train: Callable[[int], Iterable[Batch]],
    val: Callable[[], Iterable[Batch]],
    settings: TrainSettings,
    *,
    steps_per_epoch: int,
    seed: int,
    device: torch.device,
    rank: int = 0,
    parallel: Callable[[nn.Module], nn.Module] = lambda module: module,
    resume: AbstractContextManager[Path | None] | None = None,
    metrics: Metrics | None = None,
    max_skipped: int = 0,
    on_step: Callable[[int, int, int, float], None] | None = None,
    on_point: OnPoint | None = None,
    on_epoch: Callable[[RunState, Save], None] | None = None,
) -> RunState:
    """Train an objective for ``settings.epochs``; its averaged weights are in the checkpoints.

    Args:
        task: its forward turns a batch into scalar losses, of which ``loss`` is minimised;
            ``task.trained`` is the module that is optimised. It is moved to ``device``.
        train: the batches of an epoch, by its number from 0.
        val: the validation batches, the same every time.
        settings: epochs, learning rate, warm-up, gradient clipping, weight average.
        steps_per_epoch: of this worker, for the learning rate and the curve.
        seed: of all random numbers here; epoch and rank are mixed in, so that a resumed run draws
            the same numbers as an uninterrupted one.
        device: of the batches; the task is moved there.
        rank: of this worker.
        parallel: wraps the task for several workers (DDP).
        resume: opens a local folder with a checkpoint of the same run; None starts from scratch.
        metrics: of validation, beside the losses.
        max_skipped: steps of the whole run that may be skipped because their gradient is not
            finite: the weights stay as they were.
        on_step: called with the epoch, the steps done in it, the windows of the last one and the
            mean loss since the last point of the loss curve.
        on_point: called with each new point of the history.
        on_epoch: called after every epoch, on every worker.

    Raises:
        UserError: the checkpoint is damaged or of another release; or more than ``max_skipped``
            steps had a gradient that is not finite.
    """
    task = task.to(device)
    trained = trained_module(task)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    # Fused: one kernel for all parameters, which takes a third of the time on a CPU, too.
    optimizer = torch.optim.AdamW(
        parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
    )
    average, state = WeightAverage(trained, settings.ema), RunState()
    with resume or nullcontext() as folder:
        if folder is not None:
            state = checkpoints.load_run(folder, trained, average.weights, optimizer)
            average.updates = state.step - state.skipped
    wrapped = parallel(task)
    for epoch in range(state.epoch, settings.epochs):
        # Weights that are not finite stay so. All workers validate on the same data, so all stop.
        if diverged_epoch(state.history) is not None:
            break
        wrapped.train()
        own = seed * 1_000_003 + epoch * 1009 + rank
        generator = torch.Generator(device=device).manual_seed(own)
        torch.manual_seed(own + 500)  # the global generator, from which dropout draws
        curve = LossCurve(state, max(steps_per_epoch // CURVE_POINTS, 1), on_point)
        started = time.monotonic()
        for number, batch in enumerate(train(epoch), start=1):
            # Of epochs, not of steps: a run may go on with another number of workers.
            share = (epoch + (number - 1) / steps_per_epoch) / settings.epochs
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, share)
            losses = wrapped(batch, generator)
            optimizer.zero_grad(set_to_none=True)
            losses["loss"].backward()
            norm = nn.utils.clip_grad_norm_(parameters, settings.clip_norm or math.inf)
            state.step += 1
            # The gradient is the mean over all workers, so all skip the same steps.
            if norm.isfinite():
                optimizer.step()
                average.update(trained)
                curve.add(losses, norm, optimizer.param_groups[0]["lr"])
            else:
                skip(state, max_skipped, batch, losses)
            if on_step is not None:
                on_step(epoch, number, batch_size_of(batch), curve.last)
        with average.applied(trained):
            validation = validate(task, val(), device, metrics)
        state.epoch = epoch + 1
        state.history.append(
            {
                "step": state.step,
                "seconds": time.monotonic() - started,
                "skipped": state.skipped,
                **{f"val_{key}": value for key, value in validation.items()},
            }
        )
        if on_point is not None:
            on_point(state.history[-1])
        if on_epoch is not None:
            on_epoch(
                state,
                lambda folder: checkpoints.save_run(
                    folder, state, trained, average.weights, optimizer
                ),
            )
    return state


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


def diverged_epoch(history: Sequence[Mapping[str, float]]) -> int | None:
    """The first epoch whose loss on validation is not finite; None: training has not diverged."""
    for number, point in enumerate((p for p in history if "val_loss" in p), start=1):
        if not math.isfinite(point["val_loss"]):
            return number
    return None


def skip(state: RunState, most: int, batch: Batch, losses: dict[str, Tensor]) -> None:
    """Count a step that was skipped, on every worker, and note the clips that may be the reason:
    those of the workers with values or losses that are not finite, or else of all.

    Raises:
        UserError: more than ``most`` steps were skipped.
    """
    # L_pc, and with it the sum, is NaN on all workers where an example of one is.
    values = [v for v in batch.values() if v.is_floating_point()]
    parts = [v for key, v in losses.items() if key not in ("loss", "pc")]
    suspect = not all(bool(v.isfinite().all()) for v in [*values, *parts])
    clips = workers.gather_names(clip_ids(batch) if suspect else [])
    clips = clips or workers.gather_names(clip_ids(batch))
    state.skipped += 1
    state.skipped_clips = sorted({*state.skipped_clips, *clips})
    if state.skipped > most:
        raise UserError(
            f"the gradient was not finite in {state.skipped} steps, last in epoch "
            f"{state.epoch + 1}, with the clips {', '.join(state.skipped_clips)}; the checkpoint "
            f"of epoch {state.epoch} is kept. Look for extreme values in those clips, or lower "
            "learning_rate or clip_norm"
        )


def batch_size_of(batch: Batch) -> int:
    """Windows in a batch."""
    return len(next(iter(batch.values())))


def as_floats(losses: dict[str, Tensor]) -> dict[str, float]:
    """Losses as floats, with a single synchronisation of the GPU."""
    return dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))


def learning_rate(settings: TrainSettings, share: float) -> float:
    """Linear warm-up, then cosine decay to a hundredth, or none; ``share`` (0-1) of all steps is
    done."""
    if share < settings.warmup:
        return settings.learning_rate * max(share / settings.warmup, 0.02)
    if settings.decay == "constant":
        return settings.learning_rate
    fall = min((share - settings.warmup) / max(1 - settings.warmup, 1e-9), 1.0)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


class WeightAverage:
    """Exponential moving average of a module's weights; the decay rises to its final value."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.weights = {key: value.detach().clone() for key, value in module.state_dict().items()}
        """Parameters and buffers by name; integer buffers stay as they were at the start."""
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the weights of ``module``."""
        self.updates += 1
        decay = min(self.decay, self.updates / (self.updates + 9))
        current = module.state_dict()
        floating = [key for key, value in self.weights.items() if value.is_floating_point()]
        torch._foreach_lerp_(
            [self.weights[key] for key in floating], [current[key] for key in floating], 1 - decay
        )

    @contextmanager
    def applied(self, module: nn.Module) -> Iterator[None]:
        """Give ``module`` the averaged weights within the context."""
        own = {key: value.detach().clone() for key, value in module.state_dict().items()}
        module.load_state_dict(self.weights)
        try:
            yield
        finally:
            module.load_state_dict(own)


class LossCurve:
    """Averages losses, gradient norm and learning rate over ``every`` steps and appends a point to
    the run's history."""

    def __init__(self, state: RunState, every: int, on_point: OnPoint | None = None) -> None:
        self.state, self.every, self.on_point = state, every, on_point
        self.sums: dict[str, float] = {}
        self.count = 0
        self.last = math.nan

    def add(self, losses: dict[str, Tensor], norm: Tensor, rate: float) -> None:
        """Add one step's losses, the norm of its gradient and its learning rate."""
        found = as_floats(losses | {"gradient_norm": norm}) | {"learning_rate": rate}
        for key, value in found.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.count += 1
        self.last = self.sums["loss"] / self.count
        if self.count == self.every:
            point = {key: value / self.count for key, value in self.sums.items()}
            self.state.history.append({"step": self.state.step, **point})
            if self.on_point is not None:
                self.on_point(self.state.history[-1])
            self.sums, self.count = {}, 0
