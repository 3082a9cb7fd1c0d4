"""The training loop without a cluster: resume, average, learning rate, curve, validation."""

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from diffusiontalker.config import TrainSettings
from diffusiontalker.errors import UserError
from diffusiontalker.training import checkpoints
from diffusiontalker.training.checkpoints import RunState
from diffusiontalker.training.fit import Save, batch_size_of, fit, validate
from diffusiontalker.training.optimization import Batch, learning_rate
from diffusiontalker.training.step_statistics import LossCurve
from diffusiontalker.training.stopping import diverged_epoch
from diffusiontalker.training.weight_average import WeightAverage

CPU = torch.device("cpu")


def scalar(value: float) -> nn.Module:
    module = nn.BatchNorm1d(1)
    nn.init.constant_(module.weight, value)
    return module


def test_average_by_hand() -> None:
    module = scalar(0.0)
    average = WeightAverage(module, decay=0.15)
    # decays min(0.15, n / (n + 9)): 1/10, then 0.15 for good
    expected = 0.0
    for value, decay in ((1.0, 0.1), (2.0, 0.15), (4.0, 0.15)):
        nn.init.constant_(module.weight, value)
        average.update(module)
        expected = decay * expected + (1 - decay) * value
        assert average.weights["weight"].item() == pytest.approx(expected)
    assert average.updates == 3


def test_average_follows_buffers_and_leaves_the_module_alone() -> None:
    module = scalar(3.0)
    average = WeightAverage(module, decay=0.0)
    before = copy.deepcopy(module.state_dict())
    module.running_mean.fill_(5.0)
    average.update(module)
    assert average.weights["running_mean"].item() == 5.0
    assert module.weight.item() == before["weight"].item()
    assert module.weight.requires_grad
    assert not any(value.requires_grad for value in average.weights.values())


def test_long_average_needs_long_to_become_long() -> None:
    module = scalar(1.0)
    average = WeightAverage(module, decay=0.99)
    average.updates = 10_000  # a resumed run starts where it was, not short again
    nn.init.constant_(module.weight, 2.0)
    average.update(module)
    assert average.weights["weight"].item() == pytest.approx(1.01)


def test_the_average_is_applied_for_a_while() -> None:
    module = scalar(1.0)
    average = WeightAverage(module, decay=0.5)
    nn.init.constant_(module.weight, 3.0)
    parameter = module.weight
    with average.applied(module):
        assert module.weight.item() == 1.0
    assert module.weight.item() == 3.0
    assert module.weight is parameter  # which the optimizer holds
    assert average.weights["weight"].item() == 1.0


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


def test_a_constant_learning_rate_stays_after_the_warm_up() -> None:
    settings = TrainSettings(learning_rate=2.0, warmup=0.2, decay="constant")
    rates = [learning_rate(settings, share) for share in (0.1, 0.2, 0.6, 1.0)]
    assert rates == [1.0, 2.0, 2.0, 2.0]


def test_a_gradient_is_clipped_or_not() -> None:
    def norms(clip_norm: float | None) -> tuple[float, float]:
        """Of the first gradient, as it is recorded and as the optimizer takes it."""
        settings = TrainSettings(epochs=1, learning_rate=0.1, clip_norm=clip_norm, warmup=0)
        task = Guided()
        state = fit(
            task, lambda *_: list(epoch_of(0))[:1], lambda: epoch_of(99), settings,
            steps_per_epoch=1, seed=7, device=CPU,
        )  # fmt: skip
        gradients = [p.grad for p in task.student.parameters() if p.grad is not None]
        return state.history[0]["gradient_norm"], nn.utils.get_total_norm(gradients).item()

    recorded, taken = norms(None)
    assert taken == pytest.approx(recorded, rel=1e-5)
    assert recorded > 0.01
    assert norms(1e-3) == (pytest.approx(recorded, rel=1e-5), pytest.approx(1e-3, rel=1e-2))


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_learning_rate_at_the_ends_of_warmup(warmup: float) -> None:
    settings = TrainSettings(learning_rate=1.0, warmup=warmup)
    rates = [learning_rate(settings, share) for share in np.linspace(0, 1, 11)]
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[0] == (1.0 if warmup == 0 else 0.02)


def test_training_has_diverged_where_validation_is_not_finite() -> None:
    steps = [{"step": 1, "loss": 1.0}, {"step": 2, "val_loss": 0.5}, {"step": 3, "loss": 2.0}]
    assert diverged_epoch([]) is None
    assert diverged_epoch(steps) is None
    for bad in (math.nan, math.inf):
        assert diverged_epoch([*steps, {"step": 4, "val_loss": bad}]) == 2


def test_curve_averages_whole_pieces() -> None:
    state = RunState()
    points: list[dict[str, float]] = []
    curve = LossCurve(state, 2, points.append)
    assert math.isnan(curve.last)
    for step, (loss, part) in enumerate([(1.0, 10.0), (3.0, 20.0), (8.0, 0.0)], start=1):
        curve.add(step, {"loss": loss, "part": part})
    (point,) = state.history
    assert point == {"step": 2, "loss": 2.0, "part": 15.0}
    assert points == [point]
    assert curve.last == 8.0


class Recorder(nn.Module):
    """A task that says what it was given."""

    def forward(self, batch: dict[str, Tensor], generator: torch.Generator) -> dict[str, Tensor]:
        assert not torch.is_grad_enabled()
        assert not self.training
        return {"loss": batch["x"].mean(), "drawn": torch.rand((), generator=generator)}


def validated(*batches: list[float]) -> dict[str, float]:
    return validate(Recorder(), [{"x": torch.tensor(values)} for values in batches], CPU)


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
    assert batch_size_of({"x": torch.zeros(3, 5), "mask": torch.zeros(3, 7)}) == 3


# whole runs


class Guided(nn.Module):
    """A student with dropout and its frozen teacher."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.student = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.3), nn.Linear(8, 1))
        self.teacher = nn.Linear(3, 1).requires_grad_(False)

    @property
    def trained(self) -> nn.Module:
        return self.student

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        noise = torch.randn(batch["x"].shape, generator=generator)
        error = self.student(batch["x"] + 0.1 * noise) - self.teacher(batch["x"])
        return {"loss": error.square().mean()}


SETTINGS = TrainSettings(epochs=3, learning_rate=0.02, batch=4)
STEPS = 5


def epoch_of(number: int, done: int = 0) -> Iterator[Batch]:
    generator = torch.Generator().manual_seed(number)
    for step in range(STEPS):
        batch = {"x": torch.randn(4, 3, generator=generator)}
        if step >= done:
            yield batch


@contextmanager
def open_checkpoint(folder: Path) -> Iterator[Path]:
    yield folder


def run(folder: Path, resume: Path | None = None) -> tuple[Guided, RunState]:
    """Train to the end, or from a checkpoint on; one of every epoch lies in ``folder``."""

    def keep(state: RunState, save: Save) -> None:
        (folder / str(state.epoch)).mkdir(parents=True)
        save(folder / str(state.epoch))

    task = Guided()
    more = {"resume": open_checkpoint(resume)} if resume else {}
    state = fit(
        task, epoch_of, lambda: epoch_of(99), SETTINGS, steps_per_epoch=STEPS, seed=7, device=CPU,
        on_checkpoint=keep, **more,
    )  # fmt: skip
    return task, state


def test_a_resumed_run_has_the_weights_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    whole, state = run(tmp_path / "whole")
    assert (state.epoch, state.step) == (3, 15)
    for epoch in (1, 2):
        resumed, again = run(tmp_path / f"from-{epoch}", tmp_path / "whole" / str(epoch))
        for name, value in whole.state_dict().items():
            assert torch.equal(value, resumed.state_dict()[name]), name
        without_time = [
            [{key: value for key, value in point.items() if key != "seconds"} for point in one]
            for one in (state.history, again.history)
        ]
        assert without_time[0] == without_time[1]
        for file in ("trained.safetensors", "average.safetensors", "optimizer.safetensors"):
            content = [
                (tmp_path / name / "3" / file).read_bytes() for name in ("whole", f"from-{epoch}")
            ]
            assert content[0] == content[1], file


def spoiled(bad: dict[int, float]) -> Callable[[int, int], Iterator[Batch]]:
    """``epoch_of`` with values that are not finite in some steps of the whole run."""

    def batches(epoch: int, done: int) -> Iterator[Batch]:
        for number, batch in enumerate(epoch_of(epoch)):
            batch["clip"] = torch.tensor([[97, 49, 0], [98, 50, 51], [97, 49, 0], [99, 0, 0]])
            batch["x"][1] *= bad.get(epoch * STEPS + number, 1.0)
            yield batch

    return batches


def test_steps_that_are_not_finite_are_skipped(tmp_path: Path) -> None:
    task = Guided()
    for bad in (math.nan, math.inf):
        state = fit(
            task, spoiled({2: bad, 7: -bad}), lambda: epoch_of(99), SETTINGS, max_skipped=2,
            steps_per_epoch=STEPS, seed=7, device=CPU,
        )  # fmt: skip
        assert state.skipped == 2
        assert state.step == 15
        assert [p["skipped"] for p in state.history if "val_loss" in p] == [1, 2, 2]
        assert all(value.isfinite().all() for value in task.state_dict().values())
        assert all(math.isfinite(value) for point in state.history for value in point.values())


def test_too_many_of_them_end_the_run_and_name_the_clips(tmp_path: Path) -> None:
    saved: list[int] = []
    with pytest.raises(UserError) as error:
        fit(
            Guided(), spoiled({6: math.nan, 8: math.nan}), lambda: epoch_of(99), SETTINGS,
            max_skipped=1, steps_per_epoch=STEPS, seed=7, device=CPU,
            on_checkpoint=lambda state, save: saved.append(state.epoch),
        )  # fmt: skip
    assert "not finite in 2 steps, last in epoch 2, with the clips a1, b23, c;" in str(error.value)
    assert "last checkpoint is kept" in str(error.value)
    assert saved == [1]


def test_the_learning_rate_follows_the_share_of_epochs(tmp_path: Path) -> None:
    """So that a run that goes on with another number of workers, and of steps, is where it was."""

    def rates(first: int, then: int, folder: Path) -> list[float]:
        """Learning rates at each epoch's last step, with other steps per epoch after epoch 1."""
        found: list[float] = []
        for steps, start, resume in ((first, 0, None), (then, 1, folder / "1")):
            settings = SETTINGS if start else SETTINGS.model_copy(update={"epochs": 3})

            def keep(state: RunState, save: Save, only: int = start) -> None:
                if state.epoch == 1 and not only:
                    (folder / "1").mkdir(parents=True)
                    save(folder / "1")

            more = {"resume": open_checkpoint(resume)} if resume else {}
            state = fit(
                Guided(), lambda epoch, _, n=steps: list(epoch_of(epoch))[:1] * n,
                lambda: epoch_of(99), settings, steps_per_epoch=steps, seed=7, device=CPU,
                on_checkpoint=keep, **more,
            )  # fmt: skip
            found = [p["learning_rate"] for p in state.history if "learning_rate" in p]
        return found

    # a point for each step: 24 points an epoch are kept
    same, more = rates(4, 4, tmp_path / "a"), rates(4, 8, tmp_path / "b")
    assert len(same) == 12
    assert len(more) == 4 + 16
    assert more[:4] == same[:4]
    assert more[4::2] == pytest.approx(same[4:])


def test_it_learns_and_validates_the_average(tmp_path: Path) -> None:
    task, state = run(tmp_path)
    losses = [point["val_loss"] for point in state.history if "val_loss" in point]
    assert len(losses) == 3
    assert losses[-1] < 0.7 * losses[0]
    averaged = Guided()
    checkpoints.load_average(tmp_path / "3", averaged.trained)
    found = validate(averaged, epoch_of(99), CPU)["loss"]
    assert found == pytest.approx(losses[-1], rel=1e-6)
    assert found != pytest.approx(validate(task, epoch_of(99), CPU)["loss"], rel=1e-6)


def test_a_checkpoint_holds_no_teacher(tmp_path: Path) -> None:
    run(tmp_path)
    kept = load_file(tmp_path / "3" / "trained.safetensors")
    assert kept.keys() == Guided().student.state_dict().keys()


def test_a_finished_run_trains_no_more(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    _, state = run(tmp_path / "again", tmp_path / "whole" / "3")
    assert state.epoch == 3
    assert not (tmp_path / "again").exists()
