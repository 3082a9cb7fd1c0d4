"""The variance-preserving noise schedule, continuous in time.

    x_t = alpha(t) x_0 + sigma(t) noise,    alpha^2 + sigma^2 = 1,    t in [0, 1], t = 0 is clean.

A teacher of N steps and a student of n steps read this one schedule at N and at n points. The
distillation target is only right if they do: discretising beta anew for every step count gives
schedules that disagree, and a target that is wrong without any error.
"""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from diffusiontalker.errors import UserError

Kind = Literal["linear", "cosine"]

_COSINE_OFFSET = 0.008
_BETAS = 1000
_BETA_FIRST, _BETA_LAST = 1e-4, 0.02


def broadcast(value: Tensor, like: Tensor) -> Tensor:
    """Append axes to ``value`` (B,) or () until it broadcasts over ``like`` (B, ...)."""
    return value.reshape(value.shape + (1,) * (like.ndim - value.ndim)) if value.ndim else value


@dataclass(frozen=True)
class Schedule:
    """alpha and sigma as functions of t.

    ``linear``: DDPM's 1000 betas from 1e-4 to 0.02 (Ho et al. 2020, section 4; v1 uses a linear
    schedule). ``cosine``: Nichol & Dhariwal 2021, equation 17, with s = 0.008.

    Every method computes in float64 and returns the floating dtype and the shape of ``t``.

    Raises:
        UserError: ``kind`` is unknown.
    """

    kind: Kind

    def __post_init__(self) -> None:
        """Refuse an unknown kind at once, not in the first training step."""
        if self.kind not in get_args(Kind):
            raise UserError(
                f"schedule {self.kind!r} is unknown; choose one of {', '.join(get_args(Kind))}"
            )

    def alpha_bar(self, t: Tensor) -> Tensor:
        """Share of the signal's variance that is left at ``t``: exactly 1 at t = 0."""
        return self._alpha_bar(t).to(t.dtype)

    def alpha(self, t: Tensor) -> Tensor:
        """Scale of the signal, sqrt(alpha_bar); 0 (to rounding) at t = 1 of ``cosine``."""
        return self._alpha_bar(t).sqrt().to(t.dtype)

    def sigma(self, t: Tensor) -> Tensor:
        """Scale of the noise, sqrt(1 - alpha_bar): exactly 0 at t = 0."""
        return (1 - self._alpha_bar(t)).sqrt().to(t.dtype)

    def snr(self, t: Tensor) -> Tensor:
        """Signal-to-noise ratio alpha^2 / sigma^2: infinite at t = 0."""
        alpha_bar = self._alpha_bar(t)
        return (alpha_bar / (1 - alpha_bar)).to(t.dtype)

    def times(
        self,
        steps: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Tensor:
        """The grid (steps + 1,) that a sampler of ``steps`` steps walks: 1, ..., 1/steps, 0.

        Raises:
            UserError: ``steps`` is below 1.
        """
        if steps < 1:
            raise UserError(f"a sampler needs at least 1 step, not {steps}")
        return (torch.arange(steps, -1, -1, dtype=torch.float64, device=device) / steps).to(dtype)

    def add_noise(self, x_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """Draw x_t = alpha(t) x_0 + sigma(t) noise (Ho et al. 2020, equation 4).

        ``x_0`` and ``noise`` are (B, ...), ``t`` is (B,) or a scalar.
        """
        return broadcast(self.alpha(t), x_0) * x_0 + broadcast(self.sigma(t), x_0) * noise

    def _alpha_bar(self, t: Tensor) -> Tensor:
        if not t.is_floating_point():
            raise TypeError(f"t is a time in [0, 1] and must be floating point, not {t.dtype}")
        t = t.double()
        return _cosine(t) if self.kind == "cosine" else _linear(t)


def _cosine(t: Tensor) -> Tensor:
    # cos(a + b) / cos(b), expanded so that t = 0 gives exactly 1
    a = t * (math.pi / 2 / (1 + _COSINE_OFFSET))
    b = _COSINE_OFFSET * math.pi / 2 / (1 + _COSINE_OFFSET)
    return (a.cos() - a.sin() * math.tan(b)) ** 2


def _linear(t: Tensor) -> Tensor:
    # DDPM: log alpha_bar at t = k / 1000 is the sum of log(1 - beta_i) over i = 0 .. k - 1. The
    # midpoint rule reads that sum as the integral over i from -0.5 to k - 0.5. With 1 - beta
    # falling from w by d = 1000 t slope, and y = d / w, it is
    #   integral_0^d log(w - x) dx / slope = (d log w - w ((1 - y) log(1 - y) + y)) / slope,
    # which is exactly 0 at t = 0.
    slope = (_BETA_LAST - _BETA_FIRST) / (_BETAS - 1)
    w = 1 - (_BETA_FIRST - slope / 2)
    d = t * (_BETAS * slope)
    y = d / w
    return ((d * math.log(w) - w * ((1 - y) * torch.log1p(-y) + y)) / slope).exp()
