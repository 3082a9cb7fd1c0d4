"""Runs that are stopped at any step and resumed, compared by the hashes of their checkpoints."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from diffusiontalker.config import TrainSettings
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.fit import CheckpointInterval, Save, fit
from diffusiontalker.training.optimization import Batch

CPU = torch.device("cpu")
STEPS, EPOCHS = 6, 2


class Noisy(nn.Module):
    """An objective with dropout, noise of its own, a running buffer and an unused parameter."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(0.3))
        self.head, self.unused = nn.Linear(8, 1), nn.Parameter(torch.ones(3))

    @property
    def trained(self) -> nn.Module:
        return self

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        noise = torch.randn(batch["x"].shape, generator=generator)
        error = self.head(self.net(batch["x"] + 0.1 * noise)) - batch["x"].sum(1, keepdim=True)
        return {"loss": error.square().mean()}


class Stopped(BaseException):
    """The end of the process."""


@contextmanager
def opened(folder: Path) -> Iterator[Path]:
    yield folder


def batches(rank: int, steps: int = STEPS) -> Callable[[int, int], Iterator[Batch]]:
    def of(epoch: int, done: int) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(100 * epoch + rank)
        drawn = [torch.randn(4, 3, generator=generator) for _ in range(steps)]
        yield from ({"x": x} for x in drawn[done:])

    return of


def train(
    folder: Path, rank: int = 0, wrap: Callable[[nn.Module], nn.Module] = lambda task: task,
    stop: int = 0, every: int | None = 1, resume: Path | None = None, steps: int = STEPS,
    **settings: Any,
) -> tuple[Noisy, RunState]:  # fmt: skip
    """Train; ``stop``: until so many checkpoints lie in ``folder``."""
    kept: list[Path] = []

    def keep(state: RunState, save: Save) -> None:
        path = folder / f"{rank}-{len(kept)}"
        path.mkdir(parents=True)
        save(path)
        kept.append(path)
        if len(kept) == stop:
            raise Stopped

    task = Noisy()
    own = TrainSettings(epochs=EPOCHS, learning_rate=0.02, **settings)
    more: dict[str, Any] = {"resume": opened(resume)} if resume else {}
    state = fit(
        task, batches(rank, steps), lambda: batches(9)(0, 0), own, steps_per_epoch=steps, seed=7,
        device=CPU, rank=rank, parallel=wrap, interval=CheckpointInterval(every),
        on_checkpoint=keep, **more,
    )  # fmt: skip
    return task, state


def sha256(folder: Path) -> str:
    """Of all that a checkpoint holds but the time that it took."""
    found = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        if path.suffix == ".json":
            own = json.loads(content)
            for point in own["state"]["history"]:
                point.pop("seconds", None)
            content = json.dumps(own).encode()
        found.update(path.name.encode() + content)
    return found.hexdigest()


def every_resume_agrees(folder: Path, rank: int, **more: Any) -> int:
    """Stop after each checkpoint of a run and go on; returns the number of checkpoints."""
    train(folder / "whole", rank, **more)
    count = len(list((folder / "whole").glob(f"{rank}-*")))
    last = sha256(folder / "whole" / f"{rank}-{count - 1}")
    for stop in range(1, count):
        part = folder / f"part-{stop}"
        with pytest.raises(Stopped):
            train(part, rank, stop=stop, **more)
        if dist.is_initialized():
            dist.barrier()
        start = part / f"0-{stop - 1}"
        train(folder / f"rest-{stop}", rank, resume=start, **more)
        # Rank 0's files are the run's; its weights follow from the gradients of both.
        if rank == 0:
            assert sha256(folder / f"rest-{stop}" / f"0-{count - stop - 1}") == last, stop
    return count
