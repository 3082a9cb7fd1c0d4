"""The schedule against the papers' formulas and against diffusers' discrete schedules."""

import dataclasses
import math

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from diffusiontalker.diffusion.schedule import Schedule
from diffusiontalker.errors import UserError

BOTH = [Schedule("linear"), Schedule("cosine")]


def grid(points: int = 1000) -> torch.Tensor:
    return torch.arange(points + 1, dtype=torch.float64) / points


@pytest.mark.parametrize("schedule", BOTH, ids=lambda s: s.kind)
def test_starts_clean_and_loses_signal_monotonically(schedule: Schedule) -> None:
    t = grid()
    assert schedule.alpha(t[:1]).item() == 1.0
    assert schedule.sigma(t[:1]).item() == 0.0
    assert schedule.snr(t[:1]).item() == math.inf
    assert (schedule.alpha_bar(t).diff() < 0).all()
    assert (schedule.snr(t).diff() < 0).all()
    assert torch.allclose(schedule.alpha(t) ** 2 + schedule.sigma(t) ** 2, torch.ones_like(t))


def test_linear_agrees_with_ddpm_betas() -> None:
    beta = torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)
    product = (1 - beta).cumprod(0)
    ours = Schedule("linear").alpha_bar(grid())[1:]
    assert ((ours / product - 1).abs() < 1e-6).all()
    reference = DDPMScheduler(1000, beta_start=1e-4, beta_end=0.02, beta_schedule="linear")
    assert (ours - reference.alphas_cumprod).abs().max() < 1e-5


def test_linear_is_the_integral_it_claims() -> None:
    # log alpha_bar(t) = integral of log(1 - beta(i)) over -0.5 .. 1000 t - 0.5, here by trapezoids
    t = 0.3217
    i = torch.linspace(-0.5, 1000 * t - 0.5, 100_001, dtype=torch.float64)
    integral = torch.trapezoid(torch.log1p(-(1e-4 + (0.02 - 1e-4) * i / 999)), i)
    ours = Schedule("linear").alpha_bar(torch.tensor(t, dtype=torch.float64)).log()
    assert ours.item() == pytest.approx(integral.item(), abs=1e-10)


def test_cosine_agrees_with_paper_and_diffusers() -> None:
    t = grid()
    squared = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    ours = Schedule("cosine").alpha_bar(t)
    assert (ours - squared / squared[0]).abs().max() < 1e-12
    assert ours[-1] < 1e-30
    # diffusers caps its last beta at 0.999, so its last point keeps a little signal
    reference = DDIMScheduler(1000, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    assert (ours[1:-1] - reference[:-1]).abs().max() < 1e-5


@pytest.mark.parametrize("schedule", BOTH, ids=lambda s: s.kind)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_keeps_dtype_and_shape(schedule: Schedule, dtype: torch.dtype) -> None:
    t = torch.full((2, 3), 0.25, dtype=dtype)
    for value in (schedule.alpha_bar, schedule.alpha, schedule.sigma, schedule.snr):
        assert value(t).dtype == dtype
        assert value(t).shape == t.shape
    # float32 in still means float64 inside: only the last rounding is single
    exact = schedule.sigma(torch.tensor(2.0**-12, dtype=torch.float64))
    single = schedule.sigma(torch.tensor(2.0**-12))
    assert single.item() == exact.float().item()


def test_cosine_by_hand() -> None:
    # s = 0.008 at t = 0.496: (0.496 + 0.008) / 1.008 = 1/2, cos^2(pi/4) = 1/2
    t = torch.tensor(0.496, dtype=torch.float64)
    expected = 0.5 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert Schedule("cosine").alpha_bar(t).item() == pytest.approx(expected, abs=1e-14)


def test_times() -> None:
    assert Schedule("linear").times(4).tolist() == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert Schedule("linear").times(1, dtype=torch.float64).tolist() == [1.0, 0.0]
    # a student's grid is every second point of its teacher's, to the bit
    for n in (3, 5, 8):
        assert torch.equal(Schedule("linear").times(n), Schedule("linear").times(2 * n)[::2])


@pytest.mark.parametrize("schedule", BOTH, ids=lambda s: s.kind)
def test_add_noise(schedule: Schedule) -> None:
    x_0, noise = torch.full((2, 3, 4), 2.0), torch.full((2, 3, 4), -1.0)
    t = torch.tensor([0.0, 0.5])
    x_t = schedule.add_noise(x_0, noise, t)
    assert torch.equal(x_t[0], x_0[0])
    expected = 2 * schedule.alpha(t[1]) - schedule.sigma(t[1])
    assert torch.allclose(x_t[1], expected.expand(3, 4))
    assert torch.equal(schedule.add_noise(x_0, noise, t[1])[1], x_t[1])


def test_is_a_value() -> None:
    assert Schedule("linear") == Schedule("linear")
    with pytest.raises(dataclasses.FrozenInstanceError):
        Schedule("linear").kind = "cosine"


def test_bad_input() -> None:
    with pytest.raises(UserError, match="'quadratic' is unknown; choose one of linear, cosine"):
        Schedule("quadratic")
    with pytest.raises(UserError, match="at least 1 step, not 0"):
        Schedule("linear").times(0)
    with pytest.raises(TypeError, match="floating point"):
        Schedule("linear").alpha(torch.tensor([3]))
