"""When training ends, from the history of its validation metrics."""

import math
from collections.abc import Mapping, Sequence

from diffusiontalker.config import TrainSettings
from diffusiontalker.errors import UserError

History = Sequence[Mapping[str, float]]
VALIDATION = "val_"
"""How the names of validation metrics begin in a history."""


def validations(history: History) -> list[Mapping[str, float]]:
    """The points after each epoch, which hold the validation metrics."""
    return [point for point in history if "val_loss" in point]


def diverged_epoch(history: History) -> int | None:
    """The first epoch whose loss on validation is not finite; None: training has not diverged."""
    for number, point in enumerate(validations(history), start=1):
        if not math.isfinite(point["val_loss"]):
            return number
    return None


def best_epoch(history: History, monitor: str) -> int:
    """The epoch with the lowest value of a validation metric, the first of several; 0 without one.

    Raises:
        UserError: there is no such metric.
    """
    points = validations(history)
    if points and f"{VALIDATION}{monitor}" not in points[0]:
        known = [key.removeprefix(VALIDATION) for key in points[0] if key.startswith(VALIDATION)]
        raise UserError(f"monitor {monitor!r} is no validation metric; choose of {sorted(known)}")
    values = [point[f"{VALIDATION}{monitor}"] for point in points]
    finite = [value if math.isfinite(value) else math.inf for value in values]
    return finite.index(min(finite)) + 1 if finite else 0


def stopped_early(history: History, settings: TrainSettings) -> bool:
    """Whether the last ``settings.patience`` epochs have brought no better value of
    ``settings.monitor`` (early stopping)."""
    if settings.patience is None:
        return False
    epochs = len(validations(history))
    return epochs - best_epoch(history, settings.monitor) >= settings.patience


def is_finished(epoch: int, history: History, settings: TrainSettings) -> bool:
    """Whether training ends after ``epoch`` epochs: all are done, or it diverged, whose weights
    stay so, or stopped early. The same on all workers, which have the same history."""
    return (
        epoch >= settings.epochs
        or diverged_epoch(history) is not None
        or stopped_early(history, settings)
    )
