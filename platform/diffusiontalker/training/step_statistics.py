"""Losses, gradient norms and skipped steps, read from the device every few steps.

To read a number waits until the device has computed it; a GPU that is waited for at every step
stands still while the next step is prepared.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from diffusiontalker.errors import UserError
from diffusiontalker.training import workers
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.optimization import Batch, StepResult
from diffusiontalker.training.windows import clip_ids

GPU_STEPS = 8
"""Steps between two readings on a GPU; their batches are kept, to name the clips of one that is
not finite. On a CPU there is nothing to wait for."""
OnPoint = Callable[[dict[str, float]], None]
"""Takes a new point of a run's history."""


class PendingStep(NamedTuple):
    """A step that was not read yet."""

    number: int
    batches: list[Batch]
    result: StepResult


class LossCurve:
    """Averages losses, gradient norm and learning rate over ``every`` steps and appends a point to
    the run's history."""

    def __init__(self, state: RunState, every: int, on_point: OnPoint | None = None) -> None:
        self.state, self.every, self.on_point = state, every, on_point
        self.sums: dict[str, float] = {}
        self.count = 0
        self.last = math.nan
        """The mean loss since the last point."""

    def add(self, step: int, values: dict[str, float]) -> None:
        """Add one step's values."""
        for key, value in values.items():
            self.sums[key] = self.sums.get(key, 0.0) + value
        self.count += 1
        self.last = self.sums["loss"] / self.count
        if self.count == self.every:
            point = {key: value / self.count for key, value in self.sums.items()}
            self.state.history.append({"step": step, **point})
            if self.on_point is not None:
                self.on_point(self.state.history[-1])
            self.sums, self.count = {}, 0


class StepStatistics:
    """Takes the figures of every step, and reads them from the device every ``interval`` steps."""

    def __init__(self, curve: LossCurve, max_skipped: int, interval: int) -> None:
        self.curve, self.max_skipped, self.interval = curve, max_skipped, interval
        self.pending: list[PendingStep] = []

    def add(self, number: int, batches: list[Batch], result: StepResult) -> None:
        """Add step ``number`` of the run. Raises UserError as ``read``."""
        self.pending.append(PendingStep(number, batches, result))
        if len(self.pending) == self.interval:
            self.read()

    def read(self) -> None:
        """Read all that was added: into the curve, or as a step that was skipped.

        Raises:
            UserError: more than ``max_skipped`` steps of the run were skipped.
        """
        pending, self.pending = self.pending, []
        if not pending:
            return
        values = torch.stack([_stacked(step.result) for step in pending]).tolist()
        for step, (norm, *losses) in zip(pending, values, strict=True):
            if math.isfinite(norm):
                found = dict(zip(step.result.losses, losses, strict=True))
                rate = step.result.rate
                self.curve.add(step.number, found | {"gradient_norm": norm, "learning_rate": rate})
            else:
                skip(self.curve.state, self.max_skipped, step.batches, step.result.losses)


def _stacked(result: StepResult) -> Tensor:
    return torch.stack([result.norm, *(loss.float() for loss in result.losses.values())])


def as_floats(losses: dict[str, Tensor]) -> dict[str, float]:
    """Losses as floats, with a single synchronisation of the GPU."""
    return dict(zip(losses, torch.stack(list(losses.values())).tolist(), strict=True))


def skip(
    state: RunState, most: int, batches: list[Batch], losses: dict[str, Tensor]
) -> None:  # fmt: skip
    """Count a step that was skipped, on every worker, and note the clips that may be the reason:
    those of the workers with values or losses that are not finite, or else of all.

    Raises:
        UserError: more than ``most`` steps were skipped.
    """
    # L_pc, and with it the sum, is NaN on all workers where an example of one is.
    values = [v for batch in batches for v in batch.values() if v.is_floating_point()]
    parts = [v for key, v in losses.items() if key not in ("loss", "pc")]
    suspect = not all(bool(v.isfinite().all()) for v in [*values, *parts])
    own = [name for batch in batches for name in clip_ids(batch)]
    clips = workers.gather_names(own if suspect else [])
    clips = clips or workers.gather_names(own)
    state.skipped += 1
    state.skipped_clips = sorted({*state.skipped_clips, *clips})
    if state.skipped > most:
        raise UserError(
            f"the gradient was not finite in {state.skipped} steps, last in epoch "
            f"{state.epoch + 1}, with the clips {', '.join(state.skipped_clips)}; the last "
            "checkpoint is kept. Look for extreme values in those clips, or lower learning_rate or "
            "clip_norm"
        )
