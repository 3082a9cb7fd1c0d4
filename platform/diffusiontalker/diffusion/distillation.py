"""Progressive distillation (Salimans & Ho 2022; v1): one student step equals two teacher steps."""

import torch
from torch import Tensor

from diffusiontalker.diffusion.samplers import Predict, ddim_step
from diffusiontalker.diffusion.schedule import Schedule, broadcast


@torch.no_grad()
def target(predict_teacher: Predict, schedule: Schedule, z_t: Tensor, t: Tensor, n: int) -> Tensor:
    """The x_0 a student of ``n`` steps must predict at ``t`` to land where its teacher lands.

    The teacher takes two DDIM half steps t -> t' = t - 0.5/n -> t'' = t - 1/n from ``z_t``
    (B, ...); solving one DDIM step t -> t'' for its x_0 gives

        x~ = (z'' - (sigma''/sigma) z) / (alpha'' - (sigma''/sigma) alpha)

    (v1's distillation target; Salimans & Ho 2022, algorithm 2). ``t`` (B,) holds points k/n of the
    student's grid, k = 1 .. n. Returns x~ like ``z_t``, without gradient.
    """
    half = t - 0.5 / n
    end = (t - 1 / n).clamp(min=0)  # rounding must not push the last step below 0
    z_half = ddim_step(schedule, z_t, predict_teacher(z_t, t), t, half)
    z_end = ddim_step(schedule, z_half, predict_teacher(z_half, half), half, end)

    t, end = t.double(), end.double()
    ratio = schedule.sigma(end) / schedule.sigma(t)
    divisor = schedule.alpha(end) - ratio * schedule.alpha(t)
    ratio, divisor = (broadcast(c.to(z_t.dtype), z_t) for c in (ratio, divisor))
    return (z_end - ratio * z_t) / divisor


def weight(schedule: Schedule, t: Tensor) -> Tensor:
    """Truncated-SNR weight max(alpha^2 / sigma^2, 1) of v1's L_dis, like ``t`` (B,), t > 0.

    Salimans & Ho 2022, section 4. It grows without bound as t nears 0.
    """
    return schedule.snr(t).clamp(min=1)
