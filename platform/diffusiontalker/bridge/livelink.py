"""Live Link Face packets, as Epic's app sends them to Unreal Engine over UDP, version 6.

All numbers are big-endian: the version (one byte), device and subject (each its bytes as an int32,
then UTF-8), the frame's time (number as int32, the rest of a frame as float32, frames per second as
a fraction of two int32), the count of values (one byte), and the values (float32). Unreal reads
them by place in the order of its ``EARFaceBlendShape`` (``AppleARKitLiveLinkSource.cpp``).
"""

import struct
import uuid
from datetime import datetime

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import livelink
from diffusiontalker.errors import UserError

VERSION = 6
MAX_SUBJECT = 64
_PLACES = {"JawLeft": "JawRight", "MouthLeft": "MouthRight"}
_PLACES |= {right: left for left, right in _PLACES.items()}
CURVES = tuple(_PLACES.get(name, name) for name in livelink.CURVES)
"""The order of the packet: that of the app's files, but with left and right of jaw and
mouth swapped."""
_ORDER = [arkit.INDEX[name[0].lower() + name[1:]] for name in CURVES]
_REST = np.zeros(len(livelink.ROTATIONS))
"""Rotations of head and eyes: the model does not predict them."""


class LiveLink:
    """The packets of one subject, which is its name in Unreal."""

    def __init__(self, subject: str, fps: int) -> None:
        """Raises UserError: the subject is empty, too long, or not plain ASCII."""
        if not (subject.isascii() and subject.isprintable() and 0 < len(subject) <= MAX_SUBJECT):
            raise UserError(f"subject {subject!r}: give 1 to {MAX_SUBJECT} plain characters")
        # The same in every run, so that a receiver recognises the device.
        device = str(uuid.uuid5(uuid.NAMESPACE_URL, f"diffusiontalker:{subject}")).upper()
        self._head = struct.pack("!B", VERSION) + _text(device) + _text(subject)
        self._fps = fps

    def __call__(self, frame: np.ndarray, moment: datetime) -> list[bytes]:
        """The packet of a frame (52,) in ``arkit.CHANNELS`` that is shown at this time."""
        number, rest = timecode(moment, self._fps)
        values = np.concatenate([frame[_ORDER], _REST]).astype(">f4")
        time = struct.pack("!ifii", number, rest, self._fps, 1)
        return [self._head + time + struct.pack("!B", len(values)) + values.tobytes()]


def timecode(moment: datetime, fps: int) -> tuple[int, float]:
    """Frames since midnight, and the rest of a frame in [0, 1), to a thousandth."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    thousandths = round((moment - midnight).total_seconds() * fps * 1000)
    number, rest = divmod(thousandths, 1000)
    return number, rest / 1000


def _text(text: str) -> bytes:
    return struct.pack("!i", len(text)) + text.encode("ascii")
