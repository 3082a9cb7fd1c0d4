"""The parts of the training loop without a cluster: average, learning rate, curve, validation."""

import copy
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from diffusiontalker.config import TrainSettings
from diffusiontalker.training import loop, stream
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.loop import Average, Curve, learning_rate


def scalar(value: float) -> nn.Module:
    module = nn.BatchNorm1d(1)
    nn.init.constant_(module.weight, value)
    return module


def test_average_by_hand() -> None:
    module = scalar(0.0)
    average = Average(module, decay=0.15)
    weight = average.module.weight
    # decays min(0.15, n / (n + 9)): 1/10, then 0.15 for good
    expected = 0.0
    for value, decay in ((1.0, 0.1), (2.0, 0.15), (4.0, 0.15)):
        nn.init.constant_(module.weight, value)
        average.update(module)
        expected = decay * expected + (1 - decay) * value
        assert weight.item() == pytest.approx(expected)
    assert average.updates == 3


def test_average_follows_buffers_and_leaves_the_module_alone() -> None:
    module = scalar(3.0)
    average = Average(module, decay=0.0)
    assert not average.module.training
    assert not any(p.requires_grad for p in average.module.parameters())
    before = copy.deepcopy(module.state_dict())
    module.running_mean.fill_(5.0)
    average.update(module)
    assert average.module.running_mean.item() == 5.0
    assert module.weight.item() == before["weight"].item()
    assert module.training
    assert module.weight.requires_grad


def test_long_average_needs_long_to_become_long() -> None:
    module = scalar(1.0)
    average = Average(module, decay=0.99)
    average.updates = 10_000  # a resumed run starts where it was, not short again
    nn.init.constant_(module.weight, 2.0)
    average.update(module)
    assert average.module.weight.item() == pytest.approx(1.01)


def test_learning_rate_by_hand() -> None:
    settings = TrainSettings(learning_rate=2.0, warmup=0.2)
    for share, expected in (
        (0.0, 0.04),  # a fiftieth, as 0 would waste the step
        (0.1, 1.0),
        (0.2, 2.0),
        (0.6, 2.0 * (0.01 + 0.99 / 2)),
        (1.0, 0.02),
        (1.5, 0.02),
    ):
        assert learning_rate(settings, share) == pytest.approx(expected), share


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_learning_rate_at_the_ends_of_warmup(warmup: float) -> None:
    settings = TrainSettings(learning_rate=1.0, warmup=warmup)
    rates = [learning_rate(settings, share) for share in np.linspace(0, 1, 11)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[0] == (1.0 if warmup == 0 else 0.02)


def test_training_has_diverged_where_validation_is_not_finite() -> None:
    steps = [{"step": 1, "loss": 1.0}, {"step": 2, "val_loss": 0.5}, {"step": 3, "loss": 2.0}]
    assert loop.diverged([]) is None
    assert loop.diverged(steps) is None
    for bad in (math.nan, math.inf):
        assert loop.diverged([*steps, {"step": 4, "val_loss": bad}]) == 2


def test_curve_averages_whole_pieces() -> None:
    state = RunState()
    curve = Curve(state, every=2)
    assert math.isnan(curve.last)
    for step, (loss, part) in enumerate([(1.0, 10.0), (3.0, 20.0), (8.0, 0.0)], start=1):
        state.step = step
        curve.add({"loss": torch.tensor(loss), "part": torch.tensor(part)})
    assert state.history == [{"step": 2, "loss": 2.0, "part": 15.0}]
    assert curve.last == 8.0


class Recorder(nn.Module):
    """A task that says what it was given."""

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        assert not self.training
        return {"loss": batch["x"].mean(), "drawn": torch.rand((), generator=generator)}


class Split:
    """Stands in for a Ray Data iterator over the validation split: batches of these values."""

    def __init__(self, *batches: list[float]) -> None:
        self.batches = batches

    def iter_torch_batches(self, *, batch_size: int, collate_fn: Any, **_: Any) -> Iterator[Any]:
        assert batch_size == 1
        for values in self.batches:
            yield collate_fn(stream.pack({"x": np.array(values, np.float32)}))


def validated(*batches: list[float]) -> dict[str, float]:
    return loop.validate(Recorder(), Split(*batches), torch.device("cpu"))


def test_validation_is_a_mean_over_windows_with_the_same_noise_every_time() -> None:
    one, two = (validated([1.0, 2.0, 6.0], [10.0]) for _ in range(2))
    assert one == two
    # not the mean of the batches' means, 6.5
    assert one["loss"] == pytest.approx((1 + 2 + 6 + 10) / 4)
    first, second = torch.rand(2, generator=torch.Generator().manual_seed(12345)).tolist()
    assert one["drawn"] == pytest.approx((3 * first + second) / 4)


def test_validation_of_nothing() -> None:
    assert validated() == {}


def test_windows_of_a_batch() -> None:
    assert loop.size_of({"x": torch.zeros(3, 5), "mask": torch.zeros(3, 7)}) == 3
