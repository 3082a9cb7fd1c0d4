"""The samplers against hand-worked steps and against diffusers' schedulers."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler
from torch import Tensor

from diffusiontalker.diffusion.samplers import ddim_step, sample
from diffusiontalker.diffusion.schedule import Schedule
from diffusiontalker.errors import UserError

BOTH = [Schedule("linear"), Schedule("cosine")]
both = pytest.mark.parametrize("schedule", BOTH, ids=lambda s: s.kind)
STEPS = 16


def network(seed: int = 0, channels: int = 5) -> Callable[[Tensor, Tensor], Tensor]:
    """A fixed nonlinear function of x_t and t: samplers must agree for any network."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(channels, channels, generator=generator, dtype=torch.float64)

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        assert t.shape == (len(x_t),)
        return torch.tanh(x_t @ weight.to(x_t) + 3 * t[:, None, None])

    return predict


def start(seed: int = 1, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 7, 5, generator=generator, dtype=torch.float64).to(dtype)


def betas(schedule: Schedule, steps: int) -> list[float]:
    """The betas whose running product is our alpha_bar at 1/steps, 2/steps, ..., 1."""
    alpha_bar = schedule.alpha_bar(schedule.times(steps, dtype=torch.float64).flip(0))
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).tolist()


def diffusers_ddim(schedule: Schedule, steps: int) -> DDIMScheduler:
    scheduler = DDIMScheduler(
        steps,
        trained_betas=betas(schedule, steps),
        prediction_type="sample",
        clip_sample=False,
    )
    scheduler.set_timesteps(steps)
    return scheduler


@both
@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
def test_trajectory_agrees_with_diffusers_ddim(schedule: Schedule, eta: float) -> None:
    scheduler, predict = diffusers_ddim(schedule, STEPS), network()
    times = schedule.times(STEPS)
    ours = theirs = start(dtype=torch.float32)
    assert scheduler.timesteps.tolist() == list(range(STEPS - 1, -1, -1))
    assert (schedule.alpha_bar(times[:-1]).flip(0) - scheduler.alphas_cumprod).abs().max() < 1e-5
    for k, step in enumerate(scheduler.timesteps):
        t, s = times[k], times[k + 1]
        noise = start(seed=100 + k, dtype=torch.float32)
        ours = ddim_step(schedule, ours, predict(ours, t.expand(2)), t, s, eta, noise)
        theirs = scheduler.step(
            predict(theirs, t.expand(2)), step, theirs, eta=eta, variance_noise=noise
        ).prev_sample
        assert (ours - theirs).abs().max() < 1e-5
    if eta == 0:
        whole = sample(predict, schedule, start(dtype=torch.float32), STEPS)
        assert (whole - theirs).abs().max() < 1e-5


def test_strided_steps_agree_with_diffusers_own_linear_betas() -> None:
    schedule, predict = Schedule("linear"), network()
    scheduler = DDIMScheduler(
        1000, beta_start=1e-4, beta_end=0.02, prediction_type="sample", clip_sample=False
    )
    x_t = start(dtype=torch.float32)
    scheduler.set_timesteps(10)
    # diffusers' index i is our t = (i + 1) / 1000
    step = 500
    t, s = torch.tensor((step + 1) / 1000), torch.tensor((step - 99) / 1000)
    x_0_hat = predict(x_t, t.expand(2))
    theirs = scheduler.step(x_0_hat, step, x_t).prev_sample
    assert (ddim_step(schedule, x_t, x_0_hat, t, s) - theirs).abs().max() < 1e-5


@both
def test_ancestral_step_agrees_with_diffusers_ddpm_posterior(schedule: Schedule) -> None:
    scheduler = DDPMScheduler(
        STEPS,
        trained_betas=betas(schedule, STEPS),
        prediction_type="sample",
        clip_sample=False,
        variance_type="fixed_small",
    )
    predict, times = network(), schedule.times(STEPS)
    x_t = start(dtype=torch.float32)
    for k in range(STEPS):
        t, s = times[k], times[k + 1]
        x_0_hat = predict(x_t, t.expand(2))
        noise = torch.randn(x_t.shape, generator=torch.Generator().manual_seed(k))
        theirs = scheduler.step(
            x_0_hat, STEPS - 1 - k, x_t, generator=torch.Generator().manual_seed(k)
        ).prev_sample
        ours = ddim_step(schedule, x_t, x_0_hat, t, s, 1.0, noise)
        assert (ours - theirs).abs().max() < 1e-5
        x_t = ours


@both
def test_ancestral_sampling_is_a_chain_of_steps_with_eta_1(schedule: Schedule) -> None:
    predict, generator = network(), torch.Generator().manual_seed(3)
    times, x = schedule.times(4, dtype=torch.float64), start()
    for t, s in pairwise(times):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        x = ddim_step(schedule, x, predict(x, t.expand(2)), t, s, 1.0, noise)

    def draws(seed: int) -> Callable[[], Tensor]:
        own = torch.Generator().manual_seed(seed)
        return lambda: torch.randn(x.shape, generator=own, dtype=x.dtype)

    whole = [sample(predict, schedule, start(), 4, "ancestral", draws(seed)) for seed in (3, 3, 4)]
    assert torch.equal(whole[0], x)
    assert torch.equal(whole[0], whole[1])
    assert not torch.allclose(whole[0], whole[2])


def test_step_by_hand() -> None:
    # cosine at t = 1: alpha = 0, sigma = 1, so noise_hat = x_t whatever the prediction
    schedule = Schedule("cosine")
    t, s = torch.tensor([1.0], dtype=torch.float64), torch.tensor([0.5], dtype=torch.float64)
    x_t, x_0_hat = torch.full((1, 1, 1), 3.0).double(), torch.full((1, 1, 1), 2.0).double()
    expected = 2 * schedule.alpha(s) + 3 * schedule.sigma(s)
    assert ddim_step(schedule, x_t, x_0_hat, t, s).item() == pytest.approx(expected.item())
    # eta = 1 from alpha = 0: v = sigma_s^2, all of the old noise is replaced
    noise = torch.full((1, 1, 1), 7.0).double()
    expected = 2 * schedule.alpha(s) + 7 * schedule.sigma(s)
    step = ddim_step(schedule, x_t, x_0_hat, t, s, 1.0, noise)
    assert step.item() == pytest.approx(expected.item())


@both
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_last_step_returns_the_prediction(schedule: Schedule, eta: float) -> None:
    x_t, x_0_hat, noise = start(1), start(2), start(3)
    t, zero = torch.tensor([0.125, 1.0], dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    assert torch.equal(ddim_step(schedule, x_t, x_0_hat, t, zero, eta, noise), x_0_hat)


@both
@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("sampler", ["ddim", "ancestral"])
def test_a_perfect_prediction_is_reached(schedule: Schedule, steps: int, sampler: str) -> None:
    x_0 = start(2)
    assert torch.equal(sample(lambda x, t: x_0, schedule, start(1), steps, sampler), x_0)


@both
def test_true_noise_is_kept(schedule: Schedule) -> None:
    # with the true x_0, a deterministic step stays on the path of the same noise
    x_0, noise = start(1), start(2)
    t, s = (torch.tensor(v, dtype=torch.float64) for v in ([0.9, 0.5], [0.4, 0.1]))
    step = ddim_step(schedule, schedule.add_noise(x_0, noise, t), x_0, t, s)
    assert torch.allclose(step, schedule.add_noise(x_0, noise, s), atol=1e-12)


@both
def test_ancestral_noise_has_the_schedules_variance(schedule: Schedule) -> None:
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.zeros(1, 200_000, 1, dtype=torch.float64)
    noise, fresh = (
        torch.randn(x_0.shape, generator=generator, dtype=torch.float64) for _ in range(2)
    )
    t, s = torch.tensor(0.5, dtype=torch.float64), torch.tensor(0.25, dtype=torch.float64)
    x_s = ddim_step(schedule, schedule.add_noise(x_0, noise, t), x_0, t, s, 1.0, fresh)
    assert x_s.var().item() == pytest.approx(schedule.sigma(s).item() ** 2, rel=0.02)


@both
def test_gradients_flow_when_wanted(schedule: Schedule) -> None:
    x_T = start().requires_grad_()
    sample(network(), schedule, x_T, 2).sum().backward()
    assert x_T.grad is not None
    assert x_T.grad.isfinite().all()
    with torch.no_grad():
        assert not sample(network(), schedule, x_T, 2).requires_grad


def test_bad_input() -> None:
    with pytest.raises(UserError, match="'euler' is unknown; choose one of ddim, ancestral"):
        sample(network(), BOTH[0], start(), 2, "euler")
    with pytest.raises(UserError, match="at least 1 step"):
        sample(network(), BOTH[0], start(), 0)
    with pytest.raises(ValueError, match="needs noise"):
        ddim_step(BOTH[0], start(), start(), torch.tensor(0.5), torch.tensor(0.2), 1.0)
