"""The 52 ARKit blendshape channels: names, regions, mirror pairs, and mapping by name.

The order is alphabetical, as in BEAT and EmoTalk. Every array of coefficients in this project is
(..., frames, 52) in this order; data that come in another order are mapped by name, never by
position, because a silent mismatch of channel order is the field's most frequent fault.
"""

import difflib
from collections.abc import Sequence

import numpy as np

from diffusiontalker.errors import UserError

CHANNELS: tuple[str, ...] = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
INDEX: dict[str, int] = {name: i for i, name in enumerate(CHANNELS)}
FPS = 30
"""Frames per second of every coefficient sequence inside the project."""

LIP: tuple[int, ...] = (*range(22, 49), 51)
"""Complete lip region: jaw, mouth and tongue."""
UPPER: tuple[int, ...] = (*range(0, 5), *range(6, 22), 49, 50)
"""Complete upper face: brows, cheek squint, eyes and nose."""
LIP_PUBLISHED: tuple[int, ...] = (23, 25, 27, 28, 31, 37, 39, 40, 41, 42, 47, 48)
"""Lip mask of FaceDiffuser's BEAT metrics; leaves out jawOpen, mouthClose, smile and press."""
UPPER_PUBLISHED: tuple[int, ...] = (*range(8, 22), 49, 50)
"""Upper-face mask of FaceDiffuser's BEAT metrics; leaves out the brows."""


def region(name: str) -> tuple[int, ...]:
    """Channel indices of ``lip``, ``upper``, ``lip_published``, ``upper_published`` or ``all``."""
    return {
        "lip": LIP,
        "upper": UPPER,
        "lip_published": LIP_PUBLISHED,
        "upper_published": UPPER_PUBLISHED,
        "all": tuple(range(len(CHANNELS))),
    }[name]


def mirror_permutation() -> np.ndarray:
    """Indices (52,) that swap every Left channel with its Right twin."""
    swapped = []
    for name in CHANNELS:
        if name.endswith("Left"):
            other = name[: -len("Left")] + "Right"
        elif name.endswith("Right"):
            other = name[: -len("Right")] + "Left"
        else:
            other = name
        swapped.append(INDEX[other])
    return np.array(swapped)


def map_by_name(values: np.ndarray, names: Sequence[str], where: str) -> np.ndarray:
    """Reorder ``values`` (..., len(names)) into (..., 52); channels not named become 0.

    Names match without regard to case, so that Live Link's ``JawOpen`` is ``jawOpen``.

    Raises:
        UserError: a name is unknown or stands twice, or the count does not match.
    """
    if values.shape[-1] != len(names):
        raise UserError(f"{where}: {values.shape[-1]} columns but {len(names)} channel names")
    lower = {name.lower(): i for name, i in INDEX.items()}
    out = np.zeros((*values.shape[:-1], len(CHANNELS)), dtype=values.dtype)
    seen: set[int] = set()
    for column, name in enumerate(names):
        index = lower.get(name.lower())
        if index is None:
            near = difflib.get_close_matches(name, CHANNELS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{where}: unknown channel {name!r}{hint}")
        if index in seen:
            raise UserError(f"{where}: channel {name!r} stands twice")
        seen.add(index)
        out[..., index] = values[..., column]
    return out
