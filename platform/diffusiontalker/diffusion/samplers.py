"""From noise to x_0 with a network that predicts x_0: DDIM and ancestral sampling.

One formula covers both: Song et al. 2021 (DDIM), equations 12 and 16. eta = 0 is deterministic
DDIM, eta = 1 is DDPM's ancestral sampling. Nothing divides by alpha, so t = 1 with alpha = 0 is
sound; the last step, to s = 0, returns the network's x_0 itself.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from diffusiontalker.diffusion.schedule import Schedule, broadcast
from diffusiontalker.errors import UserError

Predict = Callable[[Tensor, Tensor], Tensor]
"""``predict(x_t (B, ...), t (B,)) -> x_0_hat (B, ...)``."""

SAMPLERS: dict[str, float] = {"ddim": 0.0, "ancestral": 1.0}
"""Name of a sampler -> its eta."""


def ddim_step(
    schedule: Schedule,
    x_t: Tensor,
    x_0_hat: Tensor,
    t: Tensor,
    s: Tensor,
    eta: float = 0.0,
    noise: Tensor | None = None,
) -> Tensor:
    """One step from ``t`` down to ``s``, 0 <= s <= t <= 1, t > 0; returns x_s (B, ...).

        x_s = alpha_s x_0_hat + sqrt(sigma_s^2 - v) noise_hat + sqrt(v) noise
        noise_hat = (x_t - alpha_t x_0_hat) / sigma_t
        v = eta^2 (sigma_s^2 / sigma_t^2) (1 - alpha_bar_t / alpha_bar_s)

    Song et al. 2021, equation 12, with v = sigma^2 of equation 16. ``t`` and ``s`` are (B,) or
    scalars; ``noise`` (B, ...) is standard normal and is needed when ``eta`` is above 0.
    """
    if eta > 0 and noise is None:
        raise ValueError("ddim_step with eta > 0 needs noise")
    alpha_bar_t, alpha_bar_s = schedule.alpha_bar(t.double()), schedule.alpha_bar(s.double())
    variance_t, variance_s = 1 - alpha_bar_t, 1 - alpha_bar_s
    v = eta**2 * variance_s / variance_t * (1 - alpha_bar_t / alpha_bar_s)

    def scale(value: Tensor) -> Tensor:
        return broadcast(value.clamp(min=0).sqrt().to(x_t.dtype), x_t)

    noise_hat = (x_t - scale(alpha_bar_t) * x_0_hat) / scale(variance_t)
    x_s = scale(alpha_bar_s) * x_0_hat + scale(variance_s - v) * noise_hat
    return x_s if noise is None else x_s + scale(v) * noise


def sample(
    predict: Predict,
    schedule: Schedule,
    x_T: Tensor,
    steps: int,
    sampler: str = "ddim",
    draw: Callable[[], Tensor] | None = None,
) -> Tensor:
    """Walk from noise ``x_T`` (B, ...) at t = 1 to x_0 in ``steps`` evenly spaced steps.

    ``draw`` gives the noise of each step of ``ancestral``, like ``x_T``; white noise if None.
    Gradients flow if the caller has them enabled.

    Raises:
        UserError: ``sampler`` is unknown, or ``steps`` is below 1.
    """
    if sampler not in SAMPLERS:
        raise UserError(f"sampler {sampler!r} is unknown; choose one of {', '.join(SAMPLERS)}")
    eta, x, noise = SAMPLERS[sampler], x_T, None
    for t, s in pairwise(schedule.times(steps, dtype=x_T.dtype, device=x_T.device)):
        x_0_hat = predict(x, t.expand(len(x)))
        if eta:
            noise = draw() if draw else torch.randn_like(x)
        x = ddim_step(schedule, x, x_0_hat, t, s, eta, noise)
    return x
