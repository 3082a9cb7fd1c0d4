"""The VMC protocol: blendshapes by name as OSC over UDP, for VRM avatars with "perfect sync".

A frame is ``/VMC/Ext/Blend/Val`` for each value, then ``/VMC/Ext/Blend/Apply``
(https://protocol.vmc.info/marionette-spec). Names are written as the specification's page on
perfect sync has them, ``JawOpen``; receivers that are strict know only these. Needs the extra
``client``.
"""

from datetime import datetime

import numpy as np
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message import OscMessage
from pythonosc.osc_message_builder import OscMessageBuilder

from diffusiontalker.arkit import CHANNELS

BUNDLE = 18
"""So that a bundle fits into one packet of any network."""
NAMES = tuple(name[0].upper() + name[1:] for name in CHANNELS)


def packets(frame: np.ndarray, moment: datetime) -> list[bytes]:
    """The bundles of a frame (52,) in ``arkit.CHANNELS``; they hold no time."""
    messages = [
        _message("/VMC/Ext/Blend/Val", (name, "s"), (float(value), "f"))
        for name, value in zip(NAMES, frame, strict=True)
    ]
    messages.append(_message("/VMC/Ext/Blend/Apply"))
    return [_bundle(messages[at : at + BUNDLE]) for at in range(0, len(messages), BUNDLE)]


def _message(address: str, *arguments: tuple[str | float, str]) -> OscMessage:
    builder = OscMessageBuilder(address)
    for value, kind in arguments:
        builder.add_arg(value, kind)
    return builder.build()


def _bundle(messages: list[OscMessage]) -> bytes:
    builder = OscBundleBuilder(IMMEDIATELY)
    for message in messages:
        builder.add_content(message)
    return builder.build().dgram
