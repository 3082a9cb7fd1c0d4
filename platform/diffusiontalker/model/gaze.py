"""Gaze as the network has it: signed directions instead of eight channels that are never negative.

ARKit has a channel for each eye and direction, of which opposite ones exclude each other. Noise on
each would make eyes that look left and right at once, and in two ways. So their eight columns hold
yaw and pitch, common to both eyes and half of their difference, and four zeros. Our choice.
"""

import numpy as np
import torch
from torch import Tensor

from diffusiontalker.arkit import GAZE, INDEX


def _matrices() -> tuple[np.ndarray, np.ndarray]:
    """(8, 8) from channels to directions, and back to channels whose negative parts are dropped."""
    there, back = np.zeros((8, 8), np.float32), np.zeros((8, 8), np.float32)
    # Yaw is to the face's left, pitch up.
    for common, positive, negative in (
        (0, ("eyeLookOutLeft", "eyeLookInRight"), ("eyeLookInLeft", "eyeLookOutRight")),
        (2, ("eyeLookUpLeft", "eyeLookUpRight"), ("eyeLookDownLeft", "eyeLookDownRight")),
    ):
        for sign, channels in ((1.0, positive), (-1.0, negative)):
            for side, channel in zip((1.0, -1.0), channels, strict=True):
                at = INDEX[channel] - GAZE.start
                there[at, common], there[at, common + 1] = sign / 2, sign * side / 2
                back[common, at], back[common + 1, at] = sign, sign * side
    return there, back


_TO, _FROM = _matrices()


def to_directions(coefficients: Tensor) -> Tensor:
    """Coefficients (..., 52) with yaw, half its difference between the eyes, pitch, likewise, and
    four zeros in the columns of gaze."""
    return _replaced(coefficients, coefficients[..., GAZE] @ coefficients.new_tensor(_TO))


def from_directions(directions: Tensor) -> Tensor:
    """The inverse of ``to_directions``, where opposite channels exclude each other."""
    return _replaced(directions, (directions[..., GAZE] @ directions.new_tensor(_FROM)).relu())


def _replaced(values: Tensor, gaze: Tensor) -> Tensor:
    """``values`` (..., 52) with other columns of gaze."""
    return torch.cat([values[..., : GAZE.start], gaze, values[..., GAZE.stop :]], -1)
