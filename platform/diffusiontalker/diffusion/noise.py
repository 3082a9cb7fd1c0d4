"""Noise with memory: what diffusion adds to a face moves over time as faces do.

White noise asks the network to remove what no face ever does, and what an undertrained network
leaves of it is flicker. Here each channel's noise is a stationary autoregressive process of second
order, AR(2), of unit variance, whose speed and acceleration are those of the channel. Diffusion
needs no more than noise that is independent of x_0 and, in every frame, standard normal and
independent between channels: the schedule, DDIM and distillation stay as they are. Eyes hold a
direction and jump, so the noise of gaze does the same. Our choice; both papers use white noise.
"""

import math
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor

from diffusiontalker.arkit import GAZE, INDEX

MAX_LAG_1 = 0.9995
"""Bound on the correlation of neighbouring frames: beyond it a channel would not move in a clip."""
NEVER = 1000.0
"""A threshold that no normal number is beyond. (Averages of weights make NaN of infinity.)"""
JUMP = "eyeBlinkLeft"
"""The channel whose white noise decides when that of gaze jumps; eyes often jump in a blink."""


class AutoRegression:
    """Coefficients of a stationary AR(2) process of unit variance, per channel.

        x_t = a_1 x_(t-1) + a_2 x_(t-2) + g e_t,        e_t standard normal

    From its correlations ``lag_1``, ``lag_2`` over one and two frames by the Yule-Walker equations.
    """

    def __init__(self, lag_1: Tensor, lag_2: Tensor) -> None:
        lag_1, lag_2 = lag_1.double(), lag_2.double()
        self.lag_1 = lag_1
        self.a_1 = lag_1 * (1 - lag_2) / (1 - lag_1.square())
        self.a_2 = (lag_2 - lag_1.square()) / (1 - lag_1.square())
        self.first = (1 - lag_1.square()).sqrt()
        self.gain = (1 - self.a_1 * lag_1 - self.a_2 * lag_2).sqrt()

    def __call__(self, white: Tensor) -> Tensor:
        """Filter standard normal noise (..., T, C) along T.

        Frame 0 is the white noise itself, and frame 1 is correlated with it as the process is, so
        that the output is stationary from its first frame on.
        """
        out: list[Tensor] = []
        for t, e in enumerate(white.double().unbind(-2)):
            if t == 0:
                x = e
            elif t == 1:
                x = self.lag_1 * out[0] + self.first * e
            else:
                x = self.a_1 * out[-1] + self.a_2 * out[-2] + self.gain * e
            out.append(x)
        return torch.stack(out, -2).to(white.dtype) if out else white


def gaze_noise(white: Tensor, threshold: float) -> Tensor:
    """Noise of the channels of gaze that is held, and replaced in all of them at once.

    Each channel has its own: noise that two of them share cancels out in their difference, of which
    x_t would then show x_0 without any noise.

    Args:
        white: standard normal noise (..., T, 52).
        threshold: it is replaced in frames whose noise of ``JUMP`` is beyond it, up or down.

    Returns:
        (..., T, 8).
    """
    jumps = white[..., INDEX[JUMP]].abs() > threshold
    jumps[..., :1] = True
    frames = torch.arange(white.shape[-2], device=white.device)
    last_jump = torch.where(jumps, frames, 0).cummax(-1).values[..., None]
    gaze = white[..., GAZE]
    return gaze.gather(-2, last_jump.expand_as(gaze))


def gaze_threshold(rate: float) -> float:
    """The ``threshold`` of ``gaze_noise`` that is exceeded in this share of the frames."""
    return NormalDist().inv_cdf(1 - rate / 2) if rate > 0 else NEVER


def correlations(speed: np.ndarray, acceleration: np.ndarray) -> np.ndarray:
    """Correlations (2, C) over one and two frames of the AR(2) process with these movements.

    Args:
        speed: mean absolute first difference over the standard deviation, (C,).
        acceleration: mean absolute second difference over the standard deviation, (C,).

    A Gaussian process of unit variance has E|x_t - x_(t-1)| = sqrt(2/pi) sqrt(2 (1 - lag_1)) and
    E|x_t - 2 x_(t-1) + x_(t-2)| = sqrt(2/pi) sqrt(6 - 8 lag_1 + 2 lag_2); solved for the lags. Mean
    absolute differences rather than autocorrelations, because rare quick events (a saccade) would
    make the process restless all the time. A channel that never moves gets the smoothest process.
    """
    lag_1 = np.clip(1 - math.pi / 4 * speed**2, 0, MAX_LAG_1)
    lag_2 = (math.pi / 2 * acceleration**2 - 6 + 8 * lag_1) / 2
    # AR(2) is stationary for |lag_1| < 1 and 2 lag_1^2 - 1 < lag_2 < 1; kept off both edges.
    low, high = 2 * lag_1**2 - 1, np.ones_like(lag_1)
    margin = 0.02 * (high - low)
    return np.stack([lag_1, np.clip(lag_2, low + margin, high - margin)])
