"""Steps of the optimizer: accumulation, precision, skipping, and when they are read."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.unit import models
from torch import Tensor, nn

from diffusiontalker import config
from diffusiontalker.config import LossSettings, TrainSettings
from diffusiontalker.errors import UserError
from diffusiontalker.objectives import losses
from diffusiontalker.training import objectives, stopping
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.fit import CheckpointClock, CheckpointInterval, fit
from diffusiontalker.training.optimization import Batch, Optimization, StepResult
from diffusiontalker.training.profiling import WAIT, StepProfiler
from diffusiontalker.training.ray_train import repeated
from diffusiontalker.training.step_statistics import LossCurve, StepStatistics

CPU = torch.device("cpu")


class Line(nn.Module):
    """A line through points, without noise."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(3, 1)

    @property
    def trained(self) -> nn.Module:
        return self

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        error = (self.net(batch["x"]) - batch["x"].sum(1, keepdim=True)).square().mean()
        return {"loss": error, "part": 2 * error}


def points(rows: int, seed: int = 1) -> Batch:
    return {"x": torch.randn(rows, 3, generator=torch.Generator().manual_seed(seed))}


def optimization(task: nn.Module, **settings: Any) -> Optimization:
    precision = settings.pop("precision", "fp32")
    return Optimization(task, task, TrainSettings(**settings), precision)


def test_accumulated_gradients_are_those_of_the_whole_batch() -> None:
    whole, parts, batch = Line(), Line(), points(8)
    expected = optimization(whole).step(batch, torch.Generator(), 0.5)
    own = optimization(parts)
    halves = [{"x": rows} for rows in batch["x"].split(4)]
    assert own.step(halves[0], torch.Generator(), 0.5, of=2, last=False) is None
    found = own.step(halves[1], torch.Generator(), 0.5, of=2)
    assert found is not None
    assert expected is not None
    torch.testing.assert_close(found.norm, expected.norm)
    torch.testing.assert_close(found.losses, expected.losses)
    torch.testing.assert_close(parts.state_dict(), whole.state_dict())
    # The next step begins with a gradient of zero.
    again = own.step(batch, torch.Generator(), 0.5)
    same = optimization(whole).step(batch, torch.Generator(), 0.5)
    assert again is not None
    assert same is not None
    torch.testing.assert_close(again.norm, same.norm)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float) -> None:
    task = Line()
    own = optimization(task)
    own.step(points(4), torch.Generator(), 0.5)
    weights = {key: value.clone() for key, value in task.state_dict().items()}
    state = {k: v.clone() for k, v in own.optimizer.state[task.net.weight].items()}
    result = own.step({"x": torch.full((4, 3), bad)}, torch.Generator(), 0.5)
    assert result is not None
    assert not result.norm.isfinite()
    assert all(torch.equal(task.state_dict()[key], value) for key, value in weights.items())
    after = own.optimizer.state[task.net.weight]
    assert all(torch.equal(after[key], value) for key, value in state.items())


def test_bf16_trains_about_as_fp32_does() -> None:
    def loss(precision: str) -> Tensor:
        task = objectives.TeacherObjective(models.talker(), LossSettings())
        task.train()
        own = optimization(task, precision=precision)
        for _ in range(2):
            result = own.step(models.batch(), torch.Generator().manual_seed(0), 0.5)
        assert result is not None
        assert all(p.dtype == torch.float32 and p.isfinite().all() for p in task.parameters())
        return result.losses["loss"]

    torch.testing.assert_close(loss("bf16"), loss("fp32"), rtol=0.05, atol=0)


def test_contrastive_losses_are_computed_in_single_precision() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 16, 8, generator=generator).bfloat16()
    expected = losses.pc(a.float(), b.float(), 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses.pc(a, b, 0.1)
        error = losses.ae(a[None], b[None], torch.ones(1, 16))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    assert error.dtype == torch.float32


def test_few_steps_of_many_batches_have_a_point_of_the_curve() -> None:
    settings = TrainSettings(epochs=1, accumulate=50)
    batches = [points(4)] * 96
    state = fit(
        Line(), lambda *_: batches, lambda: batches[:1], settings, steps_per_epoch=96, seed=0,
        device=CPU,
    )  # fmt: skip
    assert [p["step"] for p in state.history if "loss" in p] == [1, 2]


@pytest.mark.parametrize("interval", [1, 3])
def test_steps_are_read_later_with_the_same_result(interval: int) -> None:
    state = RunState()
    statistics = StepStatistics(LossCurve(state, 2), 1, interval)

    def step(number: int, loss: float, norm: float = 1.0) -> None:
        result = StepResult({"loss": torch.tensor(loss)}, torch.tensor(norm), 0.1)
        batch = {"x": torch.tensor([loss]), "clip": torch.tensor([[97 + number]])}
        statistics.add(number, [batch], result)

    step(1, 1.0)
    step(2, math.nan, math.nan)
    step(3, 3.0)
    step(4, 4.0)
    statistics.read()
    assert [(p["step"], p["loss"]) for p in state.history] == [(3, 2.0)]
    assert (state.skipped, state.skipped_clips) == (1, ["c"])

    def more() -> None:
        for number in (5, 6, 7):
            step(number, math.inf, math.inf)

    with pytest.raises(UserError, match=r"in 2 steps, .* clips c, f;"):
        more()


def history(*values: float) -> list[dict[str, float]]:
    return [{"step": n, "val_loss": v, "val_lip": -v} for n, v in enumerate(values)]


def test_training_stops_where_it_gets_no_better() -> None:
    settings = TrainSettings(epochs=9, patience=2)
    for values, stopped in (
        ((), False), ((3, 2, 1), False), ((3, 2, 4), False), ((3, 2, 4, 2), True),
        ((3, 2, 4, 1), False),
    ):  # fmt: skip
        assert stopping.stopped_early(history(*values), settings) == stopped, values
        assert stopping.is_finished(len(values), history(*values), settings) == stopped
    falling = TrainSettings(epochs=9, patience=1, monitor="lip")
    assert stopping.best_epoch(history(2, 3, 1), "lip") == 2
    assert stopping.stopped_early(history(2, 3, 1), falling)
    assert stopping.best_epoch([], "lip") == 0
    assert stopping.best_epoch(history(math.nan, 3), "loss") == 2
    with pytest.raises(UserError, match=r"'lips'.*'lip', 'loss'"):
        stopping.best_epoch(history(1), "lips")


def test_checkpoints_are_due_by_steps_and_by_minutes(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("diffusiontalker.training.fit.time.monotonic", lambda: now[0])
    by_steps = CheckpointClock(CheckpointInterval(steps=3), CPU)
    assert [step for step in range(1, 10) if by_steps.is_due(step)] == [3, 6, 9]
    by_minutes = CheckpointClock(CheckpointInterval(minutes=2), CPU)
    due = []
    for step in range(1, 100):
        now[0] += 3
        if by_minutes.is_due(step):
            due.append(step)
    assert due == [48, 96]  # after 144 s, at a step at which all workers look
    asked: list[bool] = []

    def notice() -> bool:
        asked.append(len(asked) == 2)
        return asked[-1]

    noticed = CheckpointClock(CheckpointInterval(notice=notice), CPU)
    assert [step for step in range(1, 100) if noticed.is_due(step)] == [48]  # once
    never = CheckpointClock(CheckpointInterval(), CPU)
    assert not any(never.is_due(step) for step in range(50))


def test_a_teacher_learns_a_batch_by_heart() -> None:
    """As with ``configs/debug.yaml``."""
    debug = config.load("configs/debug.yaml", []).training
    assert debug.overfit_batches == 1
    batch, calls = models.batch(), []

    def batches(epoch: int, done: int) -> list[Batch]:
        calls.append((epoch, done))
        return [batch, points(4)]

    train = debug.teacher.model_copy(update={"epochs": 2})
    task = objectives.TeacherObjective(models.talker(), LossSettings())
    state = fit(
        task, repeated(batches, 1, 30), lambda: [batch], train, steps_per_epoch=30, seed=0,
        device=CPU,
    )  # fmt: skip
    assert calls == [(0, 0)]
    curve = [point["exp"] for point in state.history if "exp" in point]
    assert curve[-1] < 0.6 * curve[0]


def test_some_steps_are_recorded(tmp_path: Path) -> None:
    seen: list[int] = []
    path = tmp_path / "profile" / "rank-0.json.gz"
    own = StepProfiler(2, path, lambda epoch, step, windows, loss: seen.append(step))
    for step in range(1, WAIT + 4):
        torch.ones(3).add_(1)
        own(0, step, 4, 0.0)
    assert seen == list(range(1, WAIT + 4))
    with gzip.open(path) as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert "aten::add_" in names
