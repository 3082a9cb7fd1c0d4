"""The server's contract, version 1, without a network: what is asked, and how answers are read.

``Client`` and ``AsyncClient`` share all of it; they differ in how the bytes travel. What a server
says is checked like anything else that comes from outside.
"""

import difflib
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, NoReturn, TypedDict, TypeVar, get_type_hints
from urllib.parse import quote, urlencode, urlsplit

import numpy as np
import soundfile

from diffusiontalker import arkit, storage
from diffusiontalker.animation import files
from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.waveform import as_waveform, to_mono
from diffusiontalker.errors import UserError

SERVER = "http://127.0.0.1:8000"
KEY = "DIFFUSIONTALKER_API_KEY"
"""Environment variable: the API key, where none is given."""
SUBPROTOCOL = "diffusiontalker.v1"
MAX_ANSWER = 1 << 30
"""Bytes of an answer, and of what it unpacks to."""
MAX_MESSAGE = 256 * 1024
"""Bytes of samples that the server takes in one message."""
AHEAD = 5.0
"""Seconds of audio that may be under way before more is sent. A server that processes less than it
gets stops reading, and the pings behind those samples go unanswered, until the connection counts
as lost."""
FORMATS = ("json", "csv", "npz", "glb", "ndjson")
UNHEARD = (429, 503)
"""Statuses by which a server says that it has done nothing, and may later."""
PASSING = (500, 502, 504)
"""Those that may be others when one asks again, unless the server itself says what is wrong."""
PROXYS = {
    401: "something in front of the server wants credentials of its own",
    407: "a proxy on the way wants credentials",
    413: "something in front of the server takes no body of this size; raise its limit there, or "
    "send less",
    426: "is a WebSocket; a proxy on the way does not pass the headers Upgrade and Connection on",
    429: "is asked too often; try again later",
    502: "something in front of the server cannot reach it; is it running?",
    503: "is not ready, or has no room; try again later",
    504: "something in front of the server waits for it no longer",
}
"""What a status means where the server itself does not explain it: proxies answer in HTML."""
_ODD = (LookupError, TypeError, ValueError, OverflowError, RecursionError)
"""What reading raises where a server says what is not in the contract."""
CLOSE = json.dumps({"type": "close"})

T = TypeVar("T")
Recording = str | Path | bytes | np.ndarray
"""A path (local or ``s3://``), a file's bytes, or samples (n,) or (n, channels) with their rate."""
Choice = str | Mapping[str, float]
"""A name, ``auto``, or weights over names."""


class StreamOptions(TypedDict, total=False):
    """What may be asked of a stream; what is left out is the server's default."""

    model: str
    steps: int
    identity: Choice
    emotion: Choice
    seed: int
    smooth_ms: float
    mirror: bool


class Options(StreamOptions, total=False):
    """What may be asked of a recording."""

    fps: int
    """24, 25, 30, 48, 50 or 60."""


@dataclass(frozen=True)
class Face:
    """A face for a recording."""

    coefficients: np.ndarray
    """(frames, 52) float32, channels in ``arkit.CHANNELS``."""
    fps: float
    identity: str | None
    """The name used; None: weights were given, or nobody speaks."""
    emotion: str | None
    model: str
    notes: tuple[str, ...] = ()
    """What the server finds odd about the recording, a line each."""


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
        """Seconds of audio before the first of them."""
        return self.first / self.fps


@dataclass(frozen=True)
class Ready:
    """What a server says of a stream when it begins."""

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
    """An identity that was kept."""

    name: str
    seconds: float
    nearest: str
    """The library's entry most like it."""
    notes: tuple[str, ...] = ()
    """As in ``Face``."""


@dataclass(frozen=True)
class Blendshape:
    """A channel of the face."""

    name: str
    region: str
    mirror: str
    """Its twin on the other side, or itself."""


@dataclass(frozen=True)
class Model:
    """A student that the server has."""

    name: str
    steps: int
    look_ahead_ms: float | None
    """None: it hears whole recordings alone."""
    precision: str
    default: bool


class UnavailableError(UserError):
    """The server cannot answer now; it may later."""

    def __init__(self, message: str, after: float | None = None, unheard: bool = False) -> None:
        """``after``: seconds that the server asks to wait; ``unheard``: it has done nothing."""
        super().__init__(message)
        self.after, self.unheard = after, unheard


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    """Their names match without regard to case."""
    body: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how to read its answer."""

    method: str
    path: str
    read: Callable[[Answer], T]
    query: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    idempotent: bool = True
    """Whether it may be sent again when nobody knows what became of it."""


def address(server: str) -> str:
    """The server's address without a slash at its end. Raises UserError if it is none."""
    try:
        parts = urlsplit(server)
        host = (parts.hostname or "").encode("idna")
        good = parts.scheme in ("http", "https") and host and b" " not in host and parts.port != 0
    except ValueError:  # UnicodeError too
        good = False
    if not good or parts.query or parts.fragment or parts.username is not None:
        raise UserError(f"server {server!r}: is not an address; write it as http://host:port")
    return server.rstrip("/")


def credentials(key: str | None) -> dict[str, str]:
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


# What may be asked.


def animate(recording: Recording, rate: int | None, options: Mapping[str, Any]) -> Call[Face]:
    """Raises UserError: an unreadable recording or an unknown option."""
    return Call("POST", "/v1/animate", _face, *_asked(recording, rate, options, "npz"))


def rendering(
    recording: Recording, rate: int | None, options: Mapping[str, Any], suffix: str
) -> Call[bytes]:
    """The file of a format, as it comes. Raises UserError as ``animate``, or an unknown format."""
    kind = suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise UserError(f"unknown format {suffix!r}; choose one of .{', .'.join(FORMATS)}")
    asked = _asked(recording, rate, options, kind)
    return Call("POST", "/v1/animate", lambda answer: answer.body, *asked)


def identities(model: str | None, steps: int | None) -> Call[Identities]:
    """Names of the library and those saved."""
    return Call("GET", "/v1/identities", _tree(_identities), _present(model=model, steps=steps))


def save_identity(name: str, recording: Recording, rate: int | None) -> Call[Saved]:
    """Keep a voice. Raises UserError: an unreadable recording."""
    content = _content(recording, rate)
    return Call("POST", "/v1/identities", _tree(_saved), {"name": name}, content, idempotent=False)


def forget_identity(name: str) -> Call[None]:
    """Forget a voice."""
    path = f"/v1/identities/{quote(name, safe='')}"
    return Call("DELETE", path, lambda answer: None, idempotent=False)


def emotions(model: str | None, steps: int | None) -> Call[list[str]]:
    """Names that ``emotion`` takes."""
    return Call("GET", "/v1/emotions", _tree(_emotions), _present(model=model, steps=steps))


def blendshapes() -> Call[list[Blendshape]]:
    """The channels, in the order of the coefficients."""
    return Call("GET", "/v1/blendshapes", _tree(_blendshapes))


def models() -> Call[list[Model]]:
    """What the server serves."""
    return Call("GET", "/v1/models", _tree(_models))


READY: Call[None] = Call("GET", "/readyz", lambda answer: None)


def stream_address(server: str, rate: int, options: Mapping[str, Any]) -> str:
    """Where a stream of samples at ``rate`` Hz begins. Raises UserError: an unknown option."""
    query = _query(options, StreamOptions)
    asked = {"rate": str(rate), "encoding": "pcm16", "format": "binary"} | query
    return f"ws{server.removeprefix('http')}/v1/stream?{urlencode(asked)}"


def messages(samples: np.ndarray, rate: int) -> Iterator[tuple[bytes, float]]:
    """Samples (n,) or (n, channels), float in [-1, 1] or PCM, as 16-bit messages of a stream, each
    with its seconds.

    Raises:
        UserError: NaN, or not audio.
    """
    heard = np.clip(to_mono(samples, "stream"), -1, 1)
    content = np.rint(heard * 32767).astype("<i2").tobytes()
    for begin in range(0, len(content), MAX_MESSAGE):
        part = content[begin : begin + MAX_MESSAGE]
        yield part, len(part) / 2 / rate


def pin(identity: Choice | None, emotion: Choice | None) -> str:
    """The message that changes who speaks, and how; None leaves it as it is."""
    chosen = {
        kind: choice if isinstance(choice, str) else dict(choice)
        for kind, choice in (("identity", identity), ("emotion", emotion))
        if choice is not None
    }
    return json.dumps({"type": "pin"} | chosen)


def _asked(
    recording: Recording, rate: int | None, options: Mapping[str, Any], kind: str
) -> tuple[dict[str, str], bytes]:
    return _query(options, Options) | {"format": kind}, _content(recording, rate)


def _query(options: Mapping[str, Any], known: type) -> dict[str, str]:
    names = sorted(get_type_hints(known))
    for name in options:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
            raise UserError(f"unknown option {name!r}; {hint}")
    return _present(**options)


def _present(**options: Any) -> dict[str, str]:
    return {name: _text(value) for name, value in options.items() if value is not None}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{name}:{weight}" for name, weight in value.items())
    return str(value)


def _content(recording: Recording, rate: int | None) -> bytes:
    """The body of a request. Samples go as the server hears them: 16 kHz, mono, float32."""
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


# How answers are read.


def read(call: Call[T], answer: Answer, where: str) -> T:
    """What a call asked for.

    Raises:
        UnavailableError: the server may be able to answer later.
        UserError: it refuses, or says what is not in the contract.
    """
    if not 200 <= answer.status < 300:
        refuse(answer, where)
    try:
        return call.read(answer)
    except _ODD as error:
        said = f"{type(error).__name__} {error}"
        raise UserError(
            f"{where}: its answer to {call.path} is not in the contract ({said}); is it a server "
            "of this version?"
        ) from error


def refuse(answer: Answer, where: str) -> NoReturn:
    """Raise what an answer that is no success means. Raises UserError, UnavailableError."""
    problem = _problem(answer.body)
    if 300 <= answer.status < 400:
        raise UserError(f"{where}: has moved; give the address {answer.headers.get('Location')}")
    known = PROXYS.get(answer.status, "is it a DiffusionTalker server?")
    detail = problem or f"{where}: answers {answer.status}: {known}"
    _raise(answer.status, detail, bool(problem), _seconds(answer.headers.get("Retry-After")))


def closed(code: int | None, reason: str, where: str) -> UserError:
    """The error of a stream that the server closed before its end, or that broke off (None)."""
    said = f": {reason}" if reason else ""
    match code:
        case 1008:
            return UserError(reason or f"{where}: refuses the stream; check its options and {KEY}")
        case 1011:
            return UserError(f"{where}: failed{said}; begin the stream again")
        case 1012:
            return UnavailableError(f"{where}: is restarting{said}; begin the stream again")
        case 1013:
            return UnavailableError(f"{where}: has too many streams{said}; try again later")
        case None | 1006:
            return UnavailableError(f"{where}: the connection was lost; begin the stream again")
    return UserError(f"{where}: closed the stream (code {code}{said}); begin another")


class Session:
    """What the messages of one stream say, without its socket."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.ready: Ready | None = None
        """None until the server has said it."""
        self.ended = False
        """Whether all frames have come."""
        self.goes_on = False
        """Whether the last refusal left the stream open."""
        self.sent = 0.0
        """Seconds of audio."""
        self._came = 0
        """Frames."""
        self._channels: list[str] = []

    @property
    def ahead(self) -> float:
        """Seconds of audio that were sent, and whose frames have not come though they could."""
        if self.ready is None or self.ended:
            return 0.0
        return self.sent - self._came / self.ready.fps - self.ready.look_ahead_ms / 1000

    def read(self, message: str | bytes) -> Frames | None:
        """The frames of a message, if it holds any.

        Raises:
            UnavailableError: too many streams; try later.
            UserError: the server refuses something, or the message is not in the contract. Where
                it refuses what was pinned, the stream goes on.
        """
        try:
            if isinstance(message, bytes):
                return self._frames(message)
            self._hear(message)
            return None
        except (*_ODD, struct.error) as error:
            raise UserError(
                f"{self.where}: a message of the stream is not in the contract ({error})"
            ) from error

    def _frames(self, message: bytes) -> Frames:
        if self.ready is None:
            raise ValueError("frames before the beginning")
        first, count = struct.unpack_from("<II", message)
        values = np.frombuffer(message, "<f4", offset=8).reshape(count, len(self._channels))
        values = files.numbers(values, f"{self.where}: frame {first}")
        if tuple(self._channels) != CHANNELS:
            values = arkit.map_by_name(values, self._channels, self.where)
        self._came = first + count
        return Frames(first, values, self.ready.fps)

    def _hear(self, message: str) -> None:
        said = json.loads(message)
        match said["type"]:
            case "ready":
                fps = files.rate(said["fps"], self.where)
                ahead = float(said["look_ahead_ms"])
                self.ready = Ready(str(said["model"]), int(said["steps"]), fps, ahead)
                self._channels = [str(name) for name in said["channels"]]
            case "end":
                self.ended = True
            case "problem":
                self.goes_on = said.get("closing") is False
                _raise(int(said["status"]), str(said["detail"]), True, None)


def _raise(status: int, detail: str, problem: bool, after: float | None) -> NoReturn:
    if status in UNHEARD or (status in PASSING and not problem):
        raise UnavailableError(detail, after, unheard=status in UNHEARD)
    raise UserError(detail)


def _problem(body: bytes) -> str | None:
    """The detail of RFC 9457's problem details, if the body is that."""
    try:
        said = json.loads(body)
        detail = said.get("detail") or said.get("title")
    except (ValueError, AttributeError, RecursionError):
        return None
    return detail[:1000] if isinstance(detail, str) else None


def _seconds(text: str | None) -> float | None:
    try:
        seconds = float(text or "")
    except ValueError:  # none, or a date
        return None
    return seconds if 0 <= seconds < float("inf") else None


def _face(answer: Answer) -> Face:
    where = "the server's face"
    arrays = _arrays(answer.body)
    names = [str(name) for name in arrays["names"].ravel()]
    values = files.numbers(arrays["coefficients"], where)
    values = files.coefficients(arkit.map_by_name(values, names, where), where)
    return Face(
        values,
        files.rate(arrays["fps"], where),
        answer.headers.get("X-Identity"),
        answer.headers.get("X-Emotion"),
        answer.headers["X-Model"],
        tuple(note for note in answer.headers.get("X-Notes", "").split(" | ") if note),
    )


def _arrays(body: bytes) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(BytesIO(body)) as members:
            if sum(member.file_size for member in members.infolist()) > MAX_ANSWER:
                raise ValueError("it unpacks to too much")
        with np.load(BytesIO(body), allow_pickle=False) as archive:
            return {name: archive[name] for name in ("coefficients", "names", "fps")}
    except (
        EOFError, OSError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error,
    ) as error:  # fmt: skip
        raise ValueError(f"no .npz: {error}") from error


def _tree(pick: Callable[[Any], T]) -> Callable[[Answer], T]:
    return lambda answer: pick(json.loads(answer.body))


def _identities(said: Any) -> Identities:
    return Identities(_names(said["library"]), _names(said["saved"]))


def _saved(said: Any) -> Saved:
    notes = tuple(_names(said.get("notes", ())))
    return Saved(str(said["name"]), float(said["seconds"]), str(said["nearest"]), notes)


def _emotions(said: Any) -> list[str]:
    return _names(said["emotions"])


def _blendshapes(said: Any) -> list[Blendshape]:
    listed = said["blendshapes"]
    return [Blendshape(str(one["name"]), str(one["region"]), str(one["mirror"])) for one in listed]


def _models(said: Any) -> list[Model]:
    return [
        Model(
            str(one["name"]),
            int(one["steps"]),
            None if one["look_ahead_ms"] is None else float(one["look_ahead_ms"]),
            str(one["precision"]),
            one["name"] == said["default"],
        )
        for one in said["models"]
    ]


def _names(listed: Iterable[Any]) -> list[str]:
    return [str(name) for name in listed]
