"""Messages of ``WS /v1/stream``, without a connection."""

import json
import struct
from collections.abc import Iterator

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import files
from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.waveform import to_mono
from diffusiontalker.client.responses import PARSE_ERRORS, raise_status
from diffusiontalker.client.types import Frames, NameOrWeights, Ready
from diffusiontalker.errors import UserError

MAX_MESSAGE = 256 * 1024
"""Bytes of samples that the server takes in one message."""
MAX_AHEAD = 5.0
"""Seconds of audio that may be sent before their frames arrive. A server that processes less than
it receives stops reading, and the pings behind those samples go unanswered, until the connection
counts as lost."""
CLOSE = json.dumps({"type": "close"})


def sample_messages(samples: np.ndarray, rate: int) -> Iterator[tuple[bytes, float]]:
    """Samples (n,) or (n, channels), float in [-1, 1] or PCM, as 16-bit messages of a stream, each
    with its seconds.

    Raises:
        UserError: NaN, or not audio.
    """
    clipped = np.clip(to_mono(samples, "stream"), -1, 1)
    content = np.rint(clipped * 32767).astype("<i2").tobytes()
    for start in range(0, len(content), MAX_MESSAGE):
        part = content[start : start + MAX_MESSAGE]
        yield part, len(part) / 2 / rate


def pin_message(identity: NameOrWeights | None, emotion: NameOrWeights | None) -> str:
    """The message that changes identity and emotion; None leaves one as it is."""
    chosen = {
        kind: choice if isinstance(choice, str) else dict(choice)
        for kind, choice in (("identity", identity), ("emotion", emotion))
        if choice is not None
    }
    return json.dumps({"type": "pin"} | chosen)


class StreamProtocol:
    """State of one stream, updated by the messages that are sent and received."""

    def __init__(self, server: str) -> None:
        """``server`` names it in errors."""
        self.server = server
        self.ready: Ready | None = None
        """None until the server has sent it."""
        self.ended = False
        """Whether all frames have arrived."""
        self.is_open_after_problem = False
        """Whether the last problem left the stream open."""
        self.sent_seconds = 0.0
        """Of audio."""
        self._received_frames = 0
        self._channels: list[str] = []

    @property
    def ahead(self) -> float:
        """Seconds of audio that were sent, and whose frames are still to arrive, without the
        look-ahead."""
        if self.ready is None or self.ended:
            return 0.0
        received = self._received_frames / self.ready.fps
        return self.sent_seconds - received - self.ready.look_ahead_ms / 1000

    def receive(self, message: str | bytes) -> Frames | None:
        """The frames of a message, if it holds any.

        Raises:
            UnavailableError: too many streams; try later.
            UserError: the server refuses something, or the message is not as expected. Where it
                refuses a pin, the stream stays open.
        """
        try:
            if isinstance(message, bytes):
                return self._frames(message)
            self._control(message)
            return None
        except (*PARSE_ERRORS, struct.error) as error:
            raise UserError(
                f"{self.server}: a message of the stream is not in the contract ({error})"
            ) from error

    def _frames(self, message: bytes) -> Frames:
        if self.ready is None:
            raise ValueError("frames before the beginning")
        first, count = struct.unpack_from("<II", message)
        values = np.frombuffer(message, "<f4", offset=8).reshape(count, len(self._channels))
        values = files.numbers(values, f"{self.server}: frame {first}")
        if tuple(self._channels) != CHANNELS:
            values = arkit.map_by_name(values, self._channels, self.server)
        self._received_frames = first + count
        return Frames(first, values, self.ready.fps)

    def _control(self, text: str) -> None:
        message = json.loads(text)
        match message["type"]:
            case "ready":
                fps = files.rate(message["fps"], self.server)
                ahead = float(message["look_ahead_ms"])
                self.ready = Ready(str(message["model"]), int(message["steps"]), fps, ahead)
                self._channels = [str(name) for name in message["channels"]]
            case "end":
                self.ended = True
            case "problem":
                self.is_open_after_problem = message.get("closing") is False
                raise_status(int(message["status"]), str(message["detail"]), is_problem=True)
