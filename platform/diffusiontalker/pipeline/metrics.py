"""Gauges of the stages of a run, through Ray's metrics: Prometheus collects them from the nodes.

Exported as ``ray_diffusiontalker_training_*``, by run and stage.
"""

import time
from collections.abc import Mapping
from functools import cache

from ray.util.metrics import Gauge

PREFIX = "diffusiontalker_training_"
GAUGES = {
    "running": "1 while the stage runs, 0 after.",
    "progress": "Share of the stage that is done, 0-1.",
    "loss": "Mean training loss since the last point of the curve.",
    "val_loss": "Validation loss after the last epoch; NaN: training diverged.",
    "gradient_norm": "Mean norm of the gradient since the last point of the curve.",
    "windows_per_second": "Windows a second, of all workers.",
    "skipped": "Steps that were skipped because their gradient was not finite.",
    "checkpoint_time_seconds": "Unix time of the last epoch's end, when its checkpoint is stored; "
    "before the first one, of the stage's start. Of stages that train.",
}
"""Names after ``PREFIX``, and descriptions."""


class StageMetrics:
    """The gauges of one stage."""

    def __init__(self, run: str, stage: str) -> None:
        self.tags = {"run": run, "stage": stage}

    def begin(self) -> None:
        """The stage starts."""
        self.epoch_ended = time.time()
        self._set({"running": 1, "progress": 0})

    def update(self, share: float) -> None:
        """``share`` (0-1) of the stage is done."""
        self._set({"progress": share})

    def add_point(self, point: Mapping[str, float]) -> None:
        """A point of a training stage's history, of the loss curve or of validation."""
        if "val_loss" in point:
            self.epoch_ended = time.time()
        own = {name: point[name] for name in GAUGES if name in point}
        self._set(own | {"checkpoint_time_seconds": self.epoch_ended})

    def end(self) -> None:
        """The stage has ended, done or not."""
        self._set({"running": 0})

    def _set(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            _gauge(name).set(value, self.tags)


@cache
def _gauge(name: str) -> Gauge:
    """One per process, whatever the number of stages."""
    return Gauge(PREFIX + name, GAUGES[name], ("run", "stage"))
