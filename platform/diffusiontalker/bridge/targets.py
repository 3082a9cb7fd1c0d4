"""Receivers of frames: packet format, host and port."""

import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

import numpy as np

from diffusiontalker.bridge import ifacialmocap, livelink
from diffusiontalker.errors import UserError, needs_extra

LOOPBACK = "127.0.0.1"
PORTS = {"livelink": 11111, "vmc": 39539, "ifacialmocap": 49983}
"""The usual port of each kind. A VMC performer, unlike a marionette, listens at 39540."""
TRANSIENT_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN", "ENOBUFS", "EAGAIN")
    if hasattr(errno, name)
)
"""Of a receiver or a network that is away for a moment."""
Encoder = Callable[[np.ndarray, datetime], list[bytes]]
"""A frame (52,) and the time it is shown, to its packets."""


@dataclass(frozen=True)
class Target:
    """A receiver."""

    kind: str
    """One of ``PORTS``."""
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.kind} {self.host}:{self.port}"


def parse_target(text: str) -> Target:
    """A target as ``--to`` takes it: ``livelink``, ``vmc=:39540``, ``livelink=192.168.1.7:11111``.

    The host is this machine unless it is named; an IPv6 address stands in brackets.

    Raises:
        UserError: an unknown kind, or no host and port.
    """
    kind, _, rest = text.partition("=")
    if kind not in PORTS:
        raise UserError(f"--to {text}: unknown kind {kind!r}; choose one of {', '.join(PORTS)}")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname or LOOPBACK, parts.port
        if parts.netloc != rest or parts.username is not None or port == 0:
            raise ValueError("not a host and a port")
    except ValueError as error:
        raise UserError(
            f"--to {text}: write {kind}=HOST:PORT, the port from 1 to 65535 ({error})"
        ) from error
    return Target(kind, host, port or PORTS[kind])


def encoder(kind: str, subject: str, fps: int) -> Encoder:
    """The encoder of a kind. Raises UserError: a bad subject, or packages missing."""
    match kind:
        case "livelink":
            return livelink.LiveLink(subject, fps)
        case "ifacialmocap":
            return ifacialmocap.packets
    try:
        from diffusiontalker.bridge import vmc
    except ImportError as error:
        raise needs_extra("--to vmc", "client") from error
    return vmc.packets


class UdpSender:
    """Sends frames to a target."""

    def __init__(self, to: Target, encode: Encoder) -> None:
        """Resolve the host. Raises UserError: there is no such host."""
        self.target, self._encode = to, encode
        self.undelivered = 0
        """Packets known to have had no receiver."""
        try:
            found = socket.getaddrinfo(to.host, to.port, type=socket.SOCK_DGRAM)
            family, kind, protocol, _, where = found[0]
            self._socket = socket.socket(family, kind, protocol)
            # A connected socket gets an error when no receiver listens on this machine.
            self._socket.connect(where)
        except (OSError, UnicodeError) as error:
            raise UserError(f"--to {to.kind}={to.host}:{to.port}: {_reason(error)}") from error

    def send(self, face: np.ndarray, moment: datetime) -> None:
        """Send a frame (52,). Raises UserError: the network refuses it."""
        for packet in self._encode(face, moment):
            try:
                self._socket.send(packet)
            except OSError as error:
                if not isinstance(error, ConnectionError) and error.errno not in TRANSIENT_ERRORS:
                    raise UserError(f"cannot send to {self.target}: {_reason(error)}") from error
                self.undelivered += 1

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
