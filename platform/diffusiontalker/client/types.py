"""Options, results and errors of the client."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

import numpy as np

from diffusiontalker.errors import UserError

Recording = str | Path | bytes | np.ndarray
"""A path (local or ``s3://``), a file's bytes, or samples (n,) or (n, channels) with their rate."""
NameOrWeights = str | Mapping[str, float]
"""A name, ``auto``, or weights over names."""


class StreamOptions(TypedDict, total=False):
    """Options of a stream; the server has defaults for those left out."""

    model: str
    steps: int
    identity: NameOrWeights
    emotion: NameOrWeights
    seed: int
    smooth_ms: float
    mirror: bool


class RecordingOptions(StreamOptions, total=False):
    """Options of a recording."""

    fps: int
    """24, 25, 30, 48, 50 or 60."""


@dataclass(frozen=True)
class Face:
    """The animation of a recording."""

    coefficients: np.ndarray
    """(frames, 52) float32, channels in ``arkit.CHANNELS``."""
    fps: float
    identity: str | None
    """The name used; None: weights were given, or the recording is silent."""
    emotion: str | None
    model: str
    notes: tuple[str, ...] = ()
    """What is unusual about the recording, a line each."""


@dataclass(frozen=True)
class Frames:
    """The next frames of a stream."""

    first: int
    """Number of the first of them."""
    coefficients: np.ndarray
    """(frames, 52) float32, channels in ``arkit.CHANNELS``."""
    fps: float

    @property
    def time(self) -> float:
        """Position of the first of them in the audio, in seconds."""
        return self.first / self.fps


@dataclass(frozen=True)
class Ready:
    """The server's first message of a stream."""

    model: str
    steps: int
    fps: float
    look_ahead_ms: float


@dataclass(frozen=True)
class Identities:
    """The names that ``identity`` takes."""

    library: list[str]
    saved: list[str]


@dataclass(frozen=True)
class Saved:
    """An identity that was saved."""

    name: str
    seconds: float
    nearest: str
    """The most similar entry of the library."""
    notes: tuple[str, ...] = ()
    """As in ``Face``."""


@dataclass(frozen=True)
class Blendshape:
    """A channel."""

    name: str
    region: str
    mirror: str
    """The same blendshape on the other side; its own name if there is none."""


@dataclass(frozen=True)
class Model:
    """A student of the server."""

    name: str
    steps: int
    look_ahead_ms: float | None
    """None: it takes whole recordings only."""
    precision: str
    default: bool


class UnavailableError(UserError):
    """The server cannot answer now; it may later."""

    def __init__(
        self, message: str, retry_after: float | None = None, not_processed: bool = False,
        connected: bool = True,
    ) -> None:  # fmt: skip
        """``retry_after``: seconds that the server asks to wait; ``not_processed``: the server
        cannot have acted on the request; ``connected``: something accepted the connection."""
        super().__init__(message)
        self.retry_after, self.not_processed = retry_after, not_processed
        self.connected = connected
