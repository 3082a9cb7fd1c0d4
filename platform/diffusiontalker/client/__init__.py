"""A client of the HTTP server: recordings, streams and identities, sync and async alike.

Needs the extra ``client``.
"""

from diffusiontalker.client.contract import (
    Blendshape,
    Face,
    Frames,
    Identities,
    Model,
    Ready,
    Saved,
    UnavailableError,
)
from diffusiontalker.client.http import AsyncClient, Client
from diffusiontalker.client.stream import AsyncStream

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
