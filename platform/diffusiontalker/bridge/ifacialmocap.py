"""Packets of the app iFacialMocap: one line of text per frame over UDP, values in hundredths.

Its page for developers, https://www.ifacialmocap.com/for-developer, shows a whole frame. The app
waits until a receiver asks for data; here they are sent unasked, which most receivers take.
"""

from datetime import datetime

import numpy as np

from diffusiontalker.arkit import CHANNELS

_WHOLE = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
"""Names in which left and right are directions of the whole jaw or mouth, not sides."""
_REST = "=head#0.0,0.0,0.0,0.0,0.0,0.0|rightEye#0.0,0.0,0.0|leftEye#0.0,0.0,0.0|"
"""Rotations of head and eyes: the model does not predict them."""


def _name(name: str) -> str:
    if name in _WHOLE:
        return name
    for side in ("Left", "Right"):
        if name.endswith(side):
            return f"{name.removesuffix(side)}_{side[0]}"
    return name


NAMES = tuple(_name(name) for name in CHANNELS)


def packets(frame: np.ndarray, moment: datetime) -> list[bytes]:
    """The packet of a frame (52,) in ``arkit.CHANNELS``; it holds no time."""
    hundredths = np.rint(np.clip(frame, 0, 1) * 100).astype(int)
    shapes = "".join(f"{name}-{value}|" for name, value in zip(NAMES, hundredths, strict=True))
    return [(shapes + _REST).encode("ascii")]
