"""The 52 ARKit blendshape channels: names, regions, mirror pairs, and mapping by name.

The order is alphabetical, as in BEAT and EmoTalk. Every array of coefficients in this project is
(..., frames, 52) in this order; data that come in another order are mapped by name, never by
position, because a silent mismatch of channel order is the field's most frequent fault.
"""

import difflib
import re
from collections.abc import Collection, Sequence

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
GAZE = slice(INDEX["eyeLookDownLeft"], INDEX["eyeLookUpRight"] + 1)
"""The eight channels of gaze, which lie side by side."""
ROTATIONS: tuple[str, ...] = tuple(
    f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll")
)
"""Angles of head and eyes, which Live Link Face writes after its curves."""
NO_CHANNELS: tuple[str, ...] = ("_neutral", *ROTATIONS)
"""Columns beside the channels that are not channels: MediaPipe's first, and Live Link's angles."""
LIVE_LINK: tuple[str, ...] = (
    *(f"eye{what}{side}" for side in ("Left", "Right")
      for what in ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")),
    "jawForward", "jawRight", "jawLeft", "jawOpen", "mouthClose", "mouthFunnel", "mouthPucker",
    "mouthRight", "mouthLeft", "mouthSmileLeft", "mouthSmileRight", "mouthFrownLeft",
    "mouthFrownRight", "mouthDimpleLeft", "mouthDimpleRight", "mouthStretchLeft",
    "mouthStretchRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper",
    "mouthPressLeft", "mouthPressRight", "mouthLowerDownLeft", "mouthLowerDownRight",
    "mouthUpperUpLeft", "mouthUpperUpRight", "browDownLeft", "browDownRight", "browInnerUp",
    "browOuterUpLeft", "browOuterUpRight", "cheekPuff", "cheekSquintLeft", "cheekSquintRight",
    "noseSneerLeft", "noseSneerRight", "tongueOut",
)  # fmt: skip
"""The order of the Live Link Face app's own files, which puts jawRight and mouthRight before their
left twins (``openfacefx.LIVELINK_COLUMNS`` does not)."""
ORDERS: dict[str, tuple[tuple[str, ...], ...]] = {
    "arkit": (CHANNELS,),
    "mediapipe": (("_neutral", *CHANNELS[:-1]),),
    "livelink": (LIVE_LINK, (*LIVE_LINK, *ROTATIONS)),
}
"""Channel orders in which arrays occur, by the name that options use."""
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


def canonical(name: str) -> str | None:
    """The channel that ``name`` denotes; None: none.

    Case is ignored (Live Link's ``JawOpen`` is ``jawOpen``), and sides may be abbreviated
    (``eyeBlink_L``, as in Face Cap and many rigs, is ``eyeBlinkLeft``).
    """
    return _BY_LOWER.get(_SIDE.sub(lambda side: _SIDES[side[1]], name.strip().lower()))


def missing(names: Sequence[str]) -> tuple[str, ...]:
    """The channels that none of ``names`` denotes."""
    named = {canonical(name) for name in names}
    return tuple(name for name in CHANNELS if name not in named)


def map_by_name(
    values: np.ndarray, names: Sequence[str], where: str, ignore: Collection[str] = ()
) -> np.ndarray:
    """Reorder ``values`` (..., len(names)) into (..., 52); channels not named become 0.

    Names match as in ``canonical``. Columns named in ``NO_CHANNELS`` or ``ignore`` (in any case)
    are left out.

    Raises:
        UserError: a name is unknown or stands twice, or the count does not match.
    """
    if values.shape[-1] != len(names):
        raise UserError(f"{where}: {values.shape[-1]} columns but {len(names)} channel names")
    out = np.zeros((*values.shape[:-1], len(CHANNELS)), dtype=values.dtype)
    seen: set[str] = set()
    for column, name in enumerate(names):
        if is_left_out(name, ignore):
            continue
        channel = canonical(name)
        if channel is None:
            near = difflib.get_close_matches(name, CHANNELS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{where}: unknown channel {name!r}{hint}")
        if channel in seen:
            raise UserError(f"{where}: channel {name!r} stands twice")
        seen.add(channel)
        out[..., INDEX[channel]] = values[..., column]
    return out


def is_left_out(name: str, ignore: Collection[str] = ()) -> bool:
    """Whether a column of that name is to be left out, as in ``map_by_name``."""
    return name.strip().lower() in {other.strip().lower() for other in (*NO_CHANNELS, *ignore)}


_SIDES = {"l": "left", "r": "right", "left": "left", "right": "right"}
_SIDE = re.compile("_(l|r|left|right)$")
_BY_LOWER = {name.lower(): name for name in CHANNELS}
