"""A client of the HTTP server: recordings, streams and identities, synchronous and asynchronous.

Needs the extra ``client``.
"""

from diffusiontalker.client.http import AsyncClient, Client
from diffusiontalker.client.types import (
    Blendshape,
    Face,
    Frames,
    Identities,
    Model,
    Ready,
    Saved,
    UnavailableError,
)
from diffusiontalker.client.websocket import AsyncStream

__all__ = [
    "AsyncClient",
    "AsyncStream",
    "Blendshape",
    "Client",
    "Face",
    "Frames",
    "Identities",
    "Model",
    "Ready",
    "Saved",
    "UnavailableError",
]
