"""The identity that progressive distillation rests on, and proof that its test can fail."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import pytest
import torch
from torch import Tensor

from diffusiontalker.diffusion.distillation import target, weight
from diffusiontalker.diffusion.samplers import ddim_step
from diffusiontalker.diffusion.schedule import Schedule

both = pytest.mark.parametrize(
    "schedule", [Schedule("linear"), Schedule("cosine")], ids=lambda s: s.kind
)
SHAPE = (6, 5)


def teacher() -> Callable[[Tensor, Tensor], Tensor]:
    matrix = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return lambda x_t, t: torch.tanh(x_t @ matrix + 3 * t[:, None, None])


def noisy(batch: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, *SHAPE, generator=generator, dtype=torch.float64)


def landing_error(teachers: Schedule, students: Schedule, n: int) -> Tensor:
    """|student's step with x~ - teacher's two steps|, the largest per point t = 1/n, ..., 1."""
    predict = teacher()
    t = torch.arange(1, n + 1, dtype=torch.float64) / n
    half, end = t - 0.5 / n, t - 1 / n
    z_t = noisy(n)
    z_half = ddim_step(teachers, z_t, predict(z_t, t), t, half)
    z_end = ddim_step(teachers, z_half, predict(z_half, half), half, end)
    x_tilde = target(predict, teachers, z_t, t, n)
    landed = ddim_step(students, z_t, x_tilde, t, end)
    return (landed - z_end).abs().amax((1, 2))


@both
@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 16])
def test_one_student_step_lands_on_two_teacher_steps(schedule: Schedule, n: int) -> None:
    errors = landing_error(schedule, schedule, n)  # from the last step to 0 to the first at t = 1
    assert errors.shape == (n,)
    assert (errors < 1e-10).all()


@dataclass(frozen=True)
class Discretised:
    """The mistake: linear betas laid anew over each number of steps, looked up by index."""

    steps: int

    def alpha_bar(self, t: Tensor) -> Tensor:
        beta = torch.linspace(1e-4, 0.02, self.steps, dtype=torch.float64) * 1000 / self.steps
        alpha_bar = torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])
        return alpha_bar[(t * self.steps).round().long()]

    def alpha(self, t: Tensor) -> Tensor:
        return self.alpha_bar(t).sqrt()

    def sigma(self, t: Tensor) -> Tensor:
        return (1 - self.alpha_bar(t)).sqrt()


def test_schedules_discretised_apart_miss() -> None:
    coarse, fine = (cast(Schedule, Discretised(steps)) for steps in (32, 64))
    # sound on one grid: what is wrong below is only that the grids differ
    assert (landing_error(fine, fine, 32) < 1e-10).all()
    # at the last step any student lands on its own prediction, so t = 1/n cannot tell
    assert (landing_error(fine, coarse, 32)[1:] > 1e-3).any()


@both
def test_target_is_the_mean_of_the_teachers_predictions(schedule: Schedule) -> None:
    # In r = alpha / sigma a DDIM step is z'/sigma' = z/sigma + (r' - r) x_0_hat, so x~ is the mean
    # of the two predictions with weights r' - r and r'' - r': an independent way to the same number
    n, predict = 4, teacher()
    t = torch.tensor([0.5, 0.75, 1.0], dtype=torch.float64)
    half, end = t - 0.125, t - 0.25
    z_t = noisy(3)
    first = predict(z_t, t)
    second = predict(ddim_step(schedule, z_t, first, t, half), half)
    r = [schedule.snr(u).sqrt()[:, None, None] for u in (t, half, end)]
    expected = ((r[1] - r[0]) * first + (r[2] - r[1]) * second) / (r[2] - r[0])
    assert (target(predict, schedule, z_t, t, n) - expected).abs().max() < 1e-10


@both
def test_last_target_is_the_teachers_last_prediction(schedule: Schedule) -> None:
    n, predict, z_t = 4, teacher(), noisy(1)
    t = torch.tensor([0.25], dtype=torch.float64)
    z_half = ddim_step(schedule, z_t, predict(z_t, t), t, t / 2)
    assert torch.equal(target(predict, schedule, z_t, t, n), predict(z_half, t / 2))


@both
@pytest.mark.parametrize("n", [2, 3, 7, 16])
def test_single_precision_is_enough(schedule: Schedule, n: int) -> None:
    matrix = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    t = torch.arange(1, n + 1) / n
    x_tilde = target(
        lambda x, u: torch.tanh(x @ matrix + 3 * u[:, None, None]), schedule, noisy(n).float(), t, n
    )
    exact = target(
        lambda x, u: torch.tanh(x @ matrix.double() + 3 * u[:, None, None]),
        schedule,
        noisy(n).float().double(),
        torch.arange(1, n + 1, dtype=torch.float64) / n,
        n,
    )
    assert x_tilde.dtype == torch.float32
    assert (x_tilde - exact).abs().max() < 1e-4


def test_target_carries_no_gradient() -> None:
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    t = torch.tensor([1.0, 0.5], dtype=torch.float64)
    x_tilde = target(lambda x, u: scale * x, Schedule("linear"), noisy(2), t, 2)
    assert not x_tilde.requires_grad


def test_weight_by_hand() -> None:
    # cosine at t = 0.25: cos^2(0.258 / 1.008 pi / 2) / cos^2(0.008 / 1.008 pi / 2)
    #   = 0.846881 / 0.999845 = 0.847012, SNR = 0.847012 / 0.152988 = 5.5365; from 0.5 on below 1
    t = torch.tensor([0.25, 0.5, 1.0], dtype=torch.float64)
    assert weight(Schedule("cosine"), t).tolist() == pytest.approx([5.5365, 1, 1], abs=1e-4)
