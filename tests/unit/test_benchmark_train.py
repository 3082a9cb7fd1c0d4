"""The training benchmark's arithmetic, and that the objective notes its steps."""

import io
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from diffusiontalker.benchmarks.train import loops, run, table, timing
from diffusiontalker.benchmarks.train.timing import StepTimes, TimedObjective
from diffusiontalker.errors import UserError
from diffusiontalker.training.weight_average import WeightAverage


class Task(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trained = nn.Linear(2, 2)

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.trained(batch["x"]).mean()}


def test_steps_are_timed_where_they_run(tmp_path: Path) -> None:
    task, batch = TimedObjective(Task(), tmp_path), {"x": torch.ones(3, 2)}
    began = time.time()
    for _ in range(timing.WARM_UP + 3):
        task(batch, torch.Generator())
    assert not list(tmp_path.iterdir())
    task.eval()
    for _ in range(2):  # written once
        task(batch, torch.Generator())
    found = timing.read(tmp_path, began - 5)
    assert found.steps_per_second > 0
    assert found.start_seconds == pytest.approx(5, abs=1)


def test_the_slowest_worker_counts(tmp_path: Path) -> None:
    for number, seconds in ((1, 0.5), (2, 0.25)):
        begun = [100 + number + seconds * step for step in range(timing.WARM_UP + 5)]
        (tmp_path / f"{number}.json").write_text(json.dumps(begun))
    assert timing.read(tmp_path, 100.0) == StepTimes(steps_per_second=2.0, start_seconds=2.0)
    middle = timing.middle([StepTimes(n, 10 - n) for n in (1.0, 5.0, 3.0)])
    assert middle == StepTimes(3.0, 7.0)


def test_too_few_steps_are_not_measured(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_text(json.dumps(list(range(timing.WARM_UP + 1))))
    with pytest.raises(UserError, match="passes"):
        timing.read(tmp_path, 0.0)


def test_a_checkpoint_is_weighed(tmp_path: Path) -> None:
    task = TimedObjective(Task(), tmp_path)
    optimizer = torch.optim.AdamW(task.parameters())
    task({"x": torch.ones(3, 2)}, torch.Generator())["loss"].backward()
    optimizer.step()
    own = loops.Trained(task, WeightAverage(task.trained, 0.9), optimizer)
    (tmp_path / "kept").mkdir()
    found = loops.checkpoint(own, tmp_path)
    assert 0 < found["mb"] < 0.1
    assert min(found.values()) > 0


def test_what_is_printed() -> None:
    cases = [
        {"loop": name, "steps_per_second": rate, "start_seconds": 2.0, "memory_mb": 900.0}
        for name, rate in ((run.BARE, 10.0), (run.PROCESS, 9.8), (run.named(1), 9.6))
    ]
    (goal,) = run.aims(cases)
    assert goal.value == pytest.approx(0.96)
    assert goal.met
    report: dict[str, Any] = {
        "batch": 8, "threads": 1, "cases": cases, "aims": [goal],
        "checkpoint": {"mb": 3.0, "write_seconds": 0.1, "store_seconds": 0.2, "load_seconds": 0.1},
        "features": {
            "encoder": "small HuBERT", "speech_seconds": 60, "read_seconds": 0.1,
            "compute_seconds": 2,
        },
        "machine": {"processor": "a CPU", "cores": 2},
        "load_average": {"before": (0.5, 1, 1), "after": (2.0, 1, 1)},
    }  # fmt: skip
    out = io.StringIO()
    Console(file=out, width=100).print(table.table(report))
    assert "0.96" in out.getvalue()
    lines = table.lines(report)
    assert "3.0 MB" in lines[0]
    assert "0.96" in lines[-1]
