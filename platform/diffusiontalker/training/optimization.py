"""One step of the optimizer: forward and backward passes, accumulation, precision, schedule."""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffusiontalker.config import TrainingPrecision, TrainSettings

Batch = dict[str, Tensor]


class StepResult(NamedTuple):
    """Figures of a step as tensors on the device, not yet waited for."""

    losses: dict[str, Tensor]
    """Means over the batches of the step."""
    norm: Tensor
    """Of the gradient, before it is clipped."""
    rate: float


def trained_module(task: nn.Module) -> nn.Module:
    """The part of an objective that is optimised, averaged and saved, its attribute ``trained``:
    without a frozen teacher."""
    trained = task.trained
    assert isinstance(trained, nn.Module)
    return trained


def learning_rate(settings: TrainSettings, share: float) -> float:
    """Linear warm-up, then cosine decay to a hundredth, or none; ``share`` (0-1) of all steps is
    done."""
    if share < settings.warmup:
        return settings.learning_rate * max(share / settings.warmup, 0.02)
    if settings.decay == "constant":
        return settings.learning_rate
    fall = min((share - settings.warmup) / max(1 - settings.warmup, 1e-9), 1.0)
    return settings.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * fall)))


class Optimization:
    """Trains an objective batch by batch; nothing here waits for the device.

    A step whose gradient is not finite leaves weights and optimizer as they are. The gradient is
    the mean over all workers, so all skip the same steps.
    """

    def __init__(
        self, task: nn.Module, wrapped: nn.Module, settings: TrainSettings,
        precision: TrainingPrecision = "fp32",
    ) -> None:  # fmt: skip
        """``wrapped``: the task, wrapped for several workers (DDP)."""
        self.wrapped, self.settings, self.precision = wrapped, settings, precision
        self.parameters = [p for p in trained_module(task).parameters() if p.requires_grad]
        # Fused: one kernel for all parameters, which takes a third of the time on a CPU, too.
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay,
            fused=True,
        )  # fmt: skip
        self.gathered: list[dict[str, Tensor]] = []
        """Losses of the batches since the last step."""

    def step(
        self, batch: Batch, generator: torch.Generator, share: float, of: int = 1, last: bool = True
    ) -> StepResult | None:
        """Add a batch's gradient; after the ``last`` of a step the optimizer takes it.

        Args:
            batch: of this worker.
            generator: of the objective's random numbers.
            share: of all training that is done, for the learning rate.
            of: batches in the step, over which the gradient is averaged.
            last: this is the last of them.
        """
        if not self.gathered:
            self.optimizer.zero_grad(set_to_none=True)
        with self._unsynchronised(not last):
            with torch.autocast(
                next(iter(batch.values())).device.type, torch.bfloat16,
                enabled=self.precision == "bf16",
            ):  # fmt: skip
                losses = self.wrapped(batch, generator)
            (losses["loss"] / of if of > 1 else losses["loss"]).backward()
        self.gathered.append({key: value.detach() for key, value in losses.items()})
        if not last:
            return None
        rate = learning_rate(self.settings, share)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        norm = nn.utils.clip_grad_norm_(self.parameters, self.settings.clip_norm or math.inf)
        # As torch's GradScaler does it: the fused kernel reads on the device whether to skip.
        self.optimizer.found_inf = (~norm.isfinite()).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        gathered, self.gathered = self.gathered, []
        mean = gathered[0] if len(gathered) == 1 else _mean(gathered)
        return StepResult(mean, norm.detach(), rate)

    def _unsynchronised(self, wanted: bool) -> AbstractContextManager[None]:
        """DDP exchanges gradients with the last batch of a step alone."""
        no_sync = getattr(self.wrapped, "no_sync", None)
        return no_sync() if wanted and no_sync is not None else nullcontext()


def _mean(losses: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([one[key] for one in losses]).mean() for key in losses[0]}
