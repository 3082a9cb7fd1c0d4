"""Responses of the server, parsed and validated: results, refusals, close codes."""

import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, NoReturn, TypeVar
from urllib.parse import unquote

import numpy as np

from diffusiontalker import arkit
from diffusiontalker.animation import files
from diffusiontalker.client.types import (
    Blendshape,
    Face,
    Identities,
    Model,
    Saved,
    UnavailableError,
)
from diffusiontalker.errors import UserError

MAX_BYTES = 1 << 30
"""Of a response, and of what it unpacks to."""
KEY = "DIFFUSIONTALKER_API_KEY"
"""Environment variable: the API key, where none is given."""
NOT_PROCESSED = (429, 503)
"""Statuses of requests that the server has not acted on, and may answer later."""
TRANSIENT = (500, 502, 504)
"""Statuses that may be others on a second attempt, unless they come with problem details."""
PROXY_ERRORS = {
    401: "a proxy in front of the server requires credentials of its own",
    407: "a proxy requires credentials",
    413: "a proxy in front of the server refuses bodies of this size; raise its limit or send less",
    426: "is a WebSocket; a proxy does not pass the headers Upgrade and Connection on",
    429: "too many requests; try again later",
    502: "a proxy in front of the server cannot reach it; is it running?",
    503: "is not ready, or is full; try again later",
    504: "a proxy in front of the server timed out",
}
"""Statuses without problem details, as proxies send them."""
PARSE_ERRORS = (LookupError, TypeError, ValueError, OverflowError, RecursionError)
"""What parsing raises where a response is not as expected."""

T = TypeVar("T")


@dataclass(frozen=True)
class HttpResponse:
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    """Case-insensitive."""
    body: bytes


def parse(parser: Callable[[HttpResponse], T], response: HttpResponse, path: str, server: str) -> T:
    """The result of a request to ``path``.

    Raises:
        UnavailableError: the server may be able to answer later.
        UserError: it refuses, or the response is not as expected.
    """
    if not 200 <= response.status < 300:
        raise_refusal(response, server)
    try:
        return parser(response)
    except PARSE_ERRORS as error:
        raise UserError(
            f"{server}: its answer to {path} is not in the contract ({type(error).__name__} "
            f"{error}); is it a server of this version?"
        ) from error


def raise_refusal(response: HttpResponse, server: str) -> NoReturn:
    """Raise the error of a response that is no success. Raises UserError, UnavailableError."""
    problem = _problem_detail(response.body)
    if 300 <= response.status < 400:
        location = response.headers.get("Location")
        raise UserError(f"{server}: has moved; give the address {location}")
    known = PROXY_ERRORS.get(response.status, "is it a DiffusionTalker server?")
    detail = problem or f"{server}: answers {response.status}: {known}"
    retry_after = _seconds(response.headers.get("Retry-After"))
    raise_status(response.status, detail, bool(problem), retry_after)


def raise_status(
    status: int, detail: str, is_problem: bool, retry_after: float | None = None
) -> NoReturn:
    """Raise the error of a status; ``is_problem``: it came with problem details. Raises UserError,
    UnavailableError."""
    if status in NOT_PROCESSED or (status in TRANSIENT and not is_problem):
        raise UnavailableError(detail, retry_after, not_processed=status in NOT_PROCESSED)
    raise UserError(detail)


def close_error(code: int | None, reason: str, server: str) -> UserError:
    """The error of a WebSocket that the server closed before the stream's end; None: the
    connection broke."""
    because = f": {reason}" if reason else ""
    match code:
        case 1008:
            return UserError(reason or f"{server}: refuses the stream; check its options and {KEY}")
        case 1011:
            return UserError(f"{server}: failed{because}; begin the stream again")
        case 1012:
            return UnavailableError(f"{server}: is restarting{because}; begin the stream again")
        case 1013:
            return UnavailableError(f"{server}: has too many streams{because}; try again later")
        case None | 1006:
            return UnavailableError(f"{server}: the connection was lost; begin the stream again")
    return UserError(f"{server}: closed the stream (code {code}{because}); begin another")


def _problem_detail(body: bytes) -> str | None:
    """The detail of RFC 9457's problem details, if the body is that."""
    try:
        problem = json.loads(body)
        detail = problem.get("detail") or problem.get("title")
    except (ValueError, AttributeError, RecursionError):
        return None
    return detail[:1000] if isinstance(detail, str) else None


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:  # none, or a date
        return None
    return seconds if 0 <= seconds < float("inf") else None


# Parsers of single results.


def nothing(response: HttpResponse) -> None:
    """A response without a result."""


def body(response: HttpResponse) -> bytes:
    """A response whose body is the result."""
    return response.body


def face(response: HttpResponse) -> Face:
    """``POST /v1/animate`` with the format npz."""
    where = "the server's face"
    arrays = _npz(response.body)
    names = [str(name) for name in arrays["names"].ravel()]
    values = files.numbers(arrays["coefficients"], where)
    values = files.coefficients(arkit.map_by_name(values, names, where), where)
    headers = response.headers
    notes = unquote(headers.get("X-Notes", "")).split(" | ")
    return Face(
        values,
        files.rate(arrays["fps"], where),
        _decoded(headers.get("X-Identity")),
        _decoded(headers.get("X-Emotion")),
        unquote(headers["X-Model"]),
        tuple(filter(None, notes)),
    )


def identities(response: HttpResponse) -> Identities:
    """``GET /v1/identities``."""
    found = json.loads(response.body)
    return Identities(_names(found["library"]), _names(found["saved"]))


def saved(response: HttpResponse) -> Saved:
    """``POST /v1/identities``."""
    found = json.loads(response.body)
    notes = tuple(_names(found.get("notes", ())))
    return Saved(str(found["name"]), float(found["seconds"]), str(found["nearest"]), notes)


def emotions(response: HttpResponse) -> list[str]:
    """``GET /v1/emotions``."""
    return _names(json.loads(response.body)["emotions"])


def blendshapes(response: HttpResponse) -> list[Blendshape]:
    """``GET /v1/blendshapes``."""
    listed = json.loads(response.body)["blendshapes"]
    return [Blendshape(str(one["name"]), str(one["region"]), str(one["mirror"])) for one in listed]


def models(response: HttpResponse) -> list[Model]:
    """``GET /v1/models``."""
    found = json.loads(response.body)
    return [
        Model(
            str(one["name"]),
            int(one["steps"]),
            None if one["look_ahead_ms"] is None else float(one["look_ahead_ms"]),
            str(one["precision"]),
            one["name"] == found["default"],
        )
        for one in found["models"]
    ]


def _npz(content: bytes) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(BytesIO(content)) as members:
            if sum(member.file_size for member in members.infolist()) > MAX_BYTES:
                raise ValueError("it unpacks to too much")
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            return {name: archive[name] for name in ("coefficients", "names", "fps")}
    except (
        EOFError, OSError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise ValueError(f"no .npz: {error}") from error


def _decoded(header: str | None) -> str | None:
    """A header, in which characters beyond ASCII are percent-encoded."""
    return None if header is None else unquote(header)


def _names(listed: Iterable[Any]) -> list[str]:
    return [str(name) for name in listed]
