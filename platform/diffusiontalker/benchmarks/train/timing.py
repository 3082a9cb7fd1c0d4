"""Times of training steps, taken by the objective itself in whatever process it runs."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from diffusiontalker.errors import UserError
from diffusiontalker.training.optimization import Batch, trained_module

WARM_UP = 5
"""Steps that are not counted."""


class TimedObjective(nn.Module):
    """An objective that notes when each training step begins, and writes the times into a folder
    when validation begins."""

    def __init__(self, objective: nn.Module, folder: Path) -> None:
        super().__init__()
        self.objective, self.folder = objective, folder
        self.begun: list[float] = []

    @property
    def trained(self) -> nn.Module:
        """That of the objective."""
        return trained_module(self.objective)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """That of the objective."""
        if self.training:
            self.begun.append(time.time())
        elif self.begun:
            self.write()
        losses: dict[str, Tensor] = self.objective(batch, generator)
        return losses

    def write(self) -> None:
        """Write the times, once."""
        (self.folder / f"{os.getpid()}.json").write_text(json.dumps(self.begun))
        self.begun = []


@dataclass(frozen=True)
class StepTimes:
    """What the times of an epoch's steps come to."""

    steps_per_second: float
    """After the first few steps."""
    start_seconds: float
    """From the start of the stage to the first step."""


def read(folder: Path, started: float) -> StepTimes:
    """The times that the workers of a run wrote: the slowest counts.

    Args:
        folder: of one run alone.
        started: when the run was, in seconds since 1970.

    Raises:
        UserError: there were too few steps.
    """
    workers = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    if min(map(len, workers), default=0) < WARM_UP + 2:
        raise UserError(
            f"a worker trains fewer than {WARM_UP + 2} steps, which are too few to be measured; "
            "raise clips or passes"
        )
    rates = [(len(own) - 1 - WARM_UP) / (own[-1] - own[WARM_UP]) for own in workers]
    return StepTimes(min(rates), max(own[0] for own in workers) - started)


def middle(repeats: list[StepTimes]) -> StepTimes:
    """The median of each figure."""
    return StepTimes(
        median(one.steps_per_second for one in repeats),
        median(one.start_seconds for one in repeats),
    )
