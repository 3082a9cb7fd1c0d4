"""Requests to the server, API version 1, independent of how they are sent: ``Client`` and
``AsyncClient`` share them."""

import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Generic, TypeVar, get_type_hints
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import soundfile

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.waveform import as_waveform
from diffusiontalker.client import responses
from diffusiontalker.client.responses import KEY, HttpResponse
from diffusiontalker.client.types import (
    Blendshape,
    Face,
    Identities,
    Model,
    Recording,
    RecordingOptions,
    Saved,
    StreamOptions,
)
from diffusiontalker.errors import UserError

SERVER = "http://127.0.0.1:8000"
SUBPROTOCOL = "diffusiontalker.v1"
FORMATS = ("json", "csv", "npz", "glb", "ndjson")

T = TypeVar("T")


@dataclass(frozen=True)
class HttpRequest(Generic[T]):
    """A request, and the parser of its response."""

    method: str
    path: str
    parser: Callable[[HttpResponse], T]
    query: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    idempotent: bool = True
    """Whether it may be sent again when it is unknown whether it was processed."""


def check_address(server: str) -> str:
    """The server's address without a slash at its end. Raises UserError if it is none."""
    try:
        parts = urlsplit(server)
        host = (parts.hostname or "").encode("idna")
        valid = parts.scheme in ("http", "https") and host and b" " not in host and parts.port != 0
    except ValueError:  # UnicodeError too
        valid = False
    if not valid or parts.query or parts.fragment or parts.username is not None:
        raise UserError(f"server {server!r}: is not an address; write it as http://host:port")
    return server.rstrip("/")


def authorization(key: str | None) -> dict[str, str]:
    """Headers that carry the API key; None takes it from the environment, if it is there.

    Raises:
        UserError: it cannot stand in a header. The message does not show it.
    """
    key = os.environ.get(KEY, "") if key is None else key
    if not key:
        return {}
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise UserError(f"the API key holds blanks or odd characters; check {KEY}")
    return {"Authorization": f"Bearer {key}"}


def animate(
    recording: Recording, rate: int | None, options: Mapping[str, Any]
) -> HttpRequest[Face]:
    """Raises UserError: an unreadable recording or an unknown option."""
    query = _query(options, RecordingOptions) | {"format": "npz"}
    return HttpRequest("POST", "/v1/animate", responses.face, query, _body(recording, rate))


def animate_file(
    recording: Recording, rate: int | None, options: Mapping[str, Any], suffix: str
) -> HttpRequest[bytes]:
    """A file of the format of ``suffix``. Raises UserError as ``animate``, or an unknown format."""
    kind = suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UserError(f"unknown format {suffix!r}; choose one of .{', .'.join(FORMATS)}")
    query = _query(options, RecordingOptions) | {"format": kind}
    return HttpRequest("POST", "/v1/animate", responses.body, query, _body(recording, rate))


def identities(model: str | None, steps: int | None) -> HttpRequest[Identities]:
    """Names of the library and those saved."""
    query = _without_none(model=model, steps=steps)
    return HttpRequest("GET", "/v1/identities", responses.identities, query)


def save_identity(name: str, recording: Recording, rate: int | None) -> HttpRequest[Saved]:
    """Raises UserError: an unreadable recording."""
    content = _body(recording, rate)
    return HttpRequest(
        "POST", "/v1/identities", responses.saved, {"name": name}, content, idempotent=False
    )


def forget_identity(name: str) -> HttpRequest[None]:
    """Delete a saved identity."""
    path = f"/v1/identities/{quote(name, safe='')}"
    return HttpRequest("DELETE", path, responses.nothing, idempotent=False)


def emotions(model: str | None, steps: int | None) -> HttpRequest[list[str]]:
    """Names that ``emotion`` takes."""
    query = _without_none(model=model, steps=steps)
    return HttpRequest("GET", "/v1/emotions", responses.emotions, query)


def blendshapes() -> HttpRequest[list[Blendshape]]:
    """The channels, in the order of the coefficients."""
    return HttpRequest("GET", "/v1/blendshapes", responses.blendshapes)


def models() -> HttpRequest[list[Model]]:
    """The students of the server."""
    return HttpRequest("GET", "/v1/models", responses.models)


READY: HttpRequest[None] = HttpRequest("GET", "/readyz", responses.nothing)


def stream_url(server: str, rate: int, options: Mapping[str, Any]) -> str:
    """The WebSocket's address of a stream at ``rate`` Hz. Raises UserError: an unknown option."""
    fixed = {"rate": str(rate), "encoding": "pcm16", "format": "binary"}
    query = fixed | _query(options, StreamOptions)
    return f"ws{server.removeprefix('http')}/v1/stream?{urlencode(query)}"


def _query(options: Mapping[str, Any], known: type) -> dict[str, str]:
    names = sorted(get_type_hints(known))
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
            raise UserError(f"unknown option {name!r}; {hint}")
    return _without_none(**options)


def _without_none(**options: Any) -> dict[str, str]:
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{weight}" for name, weight in value.items())
    return str(value)


def _body(recording: Recording, rate: int | None) -> bytes:
    """The body of a request. Samples are sent as a WAV file of 16 kHz, mono, float32."""
    if isinstance(recording, np.ndarray | list | tuple):
        if rate is None:
            raise UserError("samples have no rate; give it in Hz, as rate=48000")
        buffer = BytesIO()
        samples = as_waveform(recording, rate)
        soundfile.write(buffer, samples, SAMPLE_RATE, format="WAV", subtype="FLOAT")
        return buffer.getvalue()
    if rate is not None:
        raise UserError(f"rate={rate}: a file has its own; leave it out, or give samples")
    if isinstance(recording, bytes):
        return recording
    path = storage.location(recording)
    if not storage.is_file(path):
        raise UserError(f"{path}: no such file")
    return storage.read_bytes(path)
