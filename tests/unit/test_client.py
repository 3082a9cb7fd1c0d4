"""The client: what it asks, how it reads answers, when it asks again, and streams.

Requests meet a transport made by hand, streams a real WebSocket server in another thread. What
holds for the one client holds for the other: most tests run for both.
"""

import asyncio
import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import numpy as np
import pytest
import soundfile
from tests.ports import free_port
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.waveform import as_waveform
from diffusiontalker.client import (
    AsyncClient,
    Blendshape,
    Client,
    Frames,
    Identities,
    Model,
    Saved,
    UnavailableError,
    contract,
    retries,
)
from diffusiontalker.errors import UserError

Handler = Callable[[httpx2.Request], httpx2.Response]
FACE = np.random.default_rng(0).random((4, 52), np.float32)
NAMED = {"X-Model": "student", "X-Identity": "ann", "X-Emotion": "anger", "X-Frames": "4"}


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A call of either client: ``ask(handler, method, *arguments, **options)``."""

    def sync(handler: Handler, method: str, *arguments: Any, **options: Any) -> Any:
        settings = options.pop("settings", {})
        with Client(transport=httpx2.MockTransport(handler), **settings) as client:
            return getattr(client, method)(*arguments, **options)

    def both(handler: Handler, method: str, *arguments: Any, **options: Any) -> Any:
        async def run() -> Any:
            settings = options.pop("settings", {})
            transport = httpx2.MockTransport(handler)
            async with AsyncClient(transport=transport, **settings) as client:
                return await getattr(client, method)(*arguments, **options)

        return asyncio.run(run())

    return sync if request.param == "sync" else both


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that would have been waited before asking again."""
    waited: list[float] = []

    async def later(seconds: float) -> None:
        waited.append(seconds)

    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setattr(asyncio, "sleep", later)
    return waited


def npz(values: np.ndarray = FACE, names: Any = CHANNELS, fps: Any = 30.0) -> bytes:
    buffer = BytesIO()
    np.savez_compressed(buffer, coefficients=values, names=np.array(names), fps=fps)
    return buffer.getvalue()


def face(request: httpx2.Request) -> httpx2.Response:
    return httpx2.Response(200, content=npz(), headers=NAMED)


def problem(status: int, detail: str, **headers: str) -> httpx2.Response:
    said = {"type": "about:blank", "title": "No", "status": status, "detail": detail}
    return httpx2.Response(status, json=said, headers=headers)


class InTurn:
    """Answers, or errors, one after another; the last again and again."""

    def __init__(self, *answers: httpx2.Response | type[httpx2.RequestError]) -> None:
        self.answers, self.asked = answers, 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        if isinstance(answer, httpx2.Response):  # anew: an answer is read but once
            return httpx2.Response(
                answer.status_code, headers=answer.headers, content=answer.content
            )
        raise answer("it broke", request=request)


# what is asked


def test_a_recording_is_sent_as_it_is_with_its_options(ask: Any, tmp_path: Path) -> None:
    seen: list[httpx2.Request] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        return face(request)

    path = tmp_path / "speech.wav"
    path.write_bytes(b"RIFF and so on")
    made = ask(
        handler, "animate", path, model="student", identity={"ann": 0.7, "bob": 0.3},
        emotion="anger", seed=3, smooth_ms=12.5, mirror=True, fps=60, steps=2,
        settings={"server": "https://faces.example/talker/"},
    )  # fmt: skip
    (request,) = seen
    assert request.method == "POST"
    assert str(request.url).partition("?")[0] == "https://faces.example/talker/v1/animate"
    assert dict(request.url.params) == {
        "model": "student", "identity": "ann:0.7,bob:0.3", "emotion": "anger", "seed": "3",
        "smooth_ms": "12.5", "mirror": "true", "fps": "60", "steps": "2", "format": "npz",
    }  # fmt: skip
    assert request.content == b"RIFF and so on"
    np.testing.assert_array_equal(made.coefficients, FACE)
    assert made.coefficients.dtype == np.float32
    assert (made.fps, made.identity, made.emotion, made.model) == (30.0, "ann", "anger", "student")


def test_samples_are_sent_as_the_server_hears_them(ask: Any) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, (44_100, 2)).astype(np.float32)

    def handler(request: httpx2.Request) -> httpx2.Response:
        heard, rate = soundfile.read(BytesIO(request.content), dtype="float32")
        assert rate == 16_000
        np.testing.assert_array_equal(heard, as_waveform(samples, 44_100))
        return face(request)

    ask(handler, "animate", samples, 44_100)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        (("nowhere.wav",), {}, "nowhere.wav: no such file"),
        ((np.zeros(16_000),), {}, "samples have no rate; give it in Hz, as rate=48000"),
        ((["a"], 16_000), {}, "audio: samples of type <U1; give float or PCM"),
        ((np.zeros(16_000), "48000"), {}, "audio: rate '48000': must be a number of Hz"),
        ((b"RIFF", 16_000), {}, "rate=16000: a file has its own; leave it out, or give samples"),
        ((np.zeros(100), 16_000), {}, "audio: 0.006 s of audio; at least 0.2 s are needed"),
        ((b"RIFF",), {"emotoin": "anger"}, "unknown option 'emotoin'; did you mean 'emotion'?"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(
    ask: Any, arguments: Any, options: Any, said: str
) -> None:
    unused = InTurn()
    with pytest.raises(UserError) as told:
        ask(unused, "animate", *arguments, **options)
    assert str(told.value).endswith(said)
    assert unused.asked == 0


def test_a_download_is_the_file_as_the_server_made_it(ask: Any, tmp_path: Path) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.url.params["format"] == "glb"
        return httpx2.Response(200, content=b"glTF\0\1", headers=NAMED)

    out = tmp_path / "face.GLB"
    assert ask(handler, "download", b"RIFF", out) == out
    assert out.read_bytes() == b"glTF\0\1"

    with pytest.raises(UserError, match=r"unknown format '.fbx'; choose one of .json, .csv, .npz"):
        ask(InTurn(), "download", b"RIFF", tmp_path / "face.fbx")


def test_the_key_comes_from_the_argument_or_the_environment(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str | None] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers.get("Authorization"))
        return httpx2.Response(200, json={"emotions": []})

    monkeypatch.delenv(contract.KEY, raising=False)
    ask(handler, "emotions")
    monkeypatch.setenv(contract.KEY, "from-there")
    ask(handler, "emotions")
    ask(handler, "emotions", settings={"key": "given"})
    ask(handler, "emotions", settings={"key": ""})
    assert keys == [None, "Bearer from-there", "Bearer given", None]


def test_a_key_that_no_header_can_hold_is_refused_and_not_shown() -> None:
    for key in ("s3cret\n", "s3cret s3cret", "s3crét"):
        with pytest.raises(UserError, match=contract.KEY) as told:
            Client(key=key)
        assert "s3cr" not in str(told.value)


@pytest.mark.parametrize(
    "server",
    ["", "localhost:8000", "ftp://host", "http://", "http://host:99999", "http://host:0",
     "http://host/?a=b", "http://user:word@host", "http://a..b", "http://a b", "http://[::zz]"],
)  # fmt: skip
def test_what_is_no_address_is_refused(server: str) -> None:
    with pytest.raises(UserError, match="write it as http://host:port"):
        Client(server)


def test_every_request_has_its_timeouts(ask: Any) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.extensions["timeout"] == {"connect": 10, "read": 25, "write": 25, "pool": 25}
        return face(request)

    ask(handler, "animate", b"RIFF", settings={"timeout": 25})
    for settings in ({"timeout": 0}, {"deadline": -1}, {"timeout": float("nan")}):
        with pytest.raises(UserError, match="give seconds above 0"):
            Client(**settings)


# how answers are read


def test_channels_in_another_order_are_matched_by_name(ask: Any) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=npz(FACE[:, ::-1], CHANNELS[::-1]), headers=NAMED)

    np.testing.assert_array_equal(ask(handler, "animate", b"RIFF").coefficients, FACE)


def test_weights_have_no_name(ask: Any) -> None:
    answer = httpx2.Response(200, content=npz(), headers={"X-Model": "student"})
    made = ask(InTurn(answer), "animate", b"RIFF")
    assert (made.identity, made.emotion) == (None, None)
    assert made.notes == ()


def test_notes_of_the_server_are_kept(ask: Any) -> None:
    headers = {"X-Model": "student", "X-Notes": "cut short: 1.0 s | silent: -65 dB"}
    made = ask(InTurn(httpx2.Response(200, content=npz(), headers=headers)), "animate", b"RIFF")
    assert made.notes == ("cut short: 1.0 s", "silent: -65 dB")


def test_lists_are_typed(ask: Any) -> None:
    answers = {
        "/v1/identities": {"library": ["ann", "bob"], "saved": ["eve"]},
        "/v1/emotions": {"emotions": ["neutral", "anger"]},
        "/v1/blendshapes": {
            "fps": 30,
            "blendshapes": [{"name": "jawLeft", "region": "lip", "mirror": "jawRight"}],
        },
        "/v1/models": {
            "default": "fast",
            "models": [
                {"name": "fast", "steps": 2, "look_ahead_ms": 70.0, "precision": "int8"},
                {"name": "whole", "steps": 4, "look_ahead_ms": None, "precision": "fp32"},
            ],
        },
    }
    asked: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(f"{request.method} {request.url.raw_path.decode()}")
        return httpx2.Response(200, json=answers[request.url.path])

    assert ask(handler, "identities", "fast", 2) == Identities(["ann", "bob"], ["eve"])
    assert ask(handler, "emotions") == ["neutral", "anger"]
    assert ask(handler, "blendshapes") == [Blendshape("jawLeft", "lip", "jawRight")]
    assert ask(handler, "models") == [
        Model("fast", 2, 70.0, "int8", default=True),
        Model("whole", 4, None, "fp32", default=False),
    ]
    assert asked == [
        "GET /v1/identities?model=fast&steps=2", "GET /v1/emotions", "GET /v1/blendshapes",
        "GET /v1/models",
    ]  # fmt: skip


def test_identities_are_saved_and_forgotten(ask: Any) -> None:
    asked: list[tuple[str, str, bytes]] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append((request.method, request.url.raw_path.decode(), request.content))
        if request.method == "DELETE":
            return httpx2.Response(204)
        saved = {"name": "anna", "seconds": 9.5, "nearest": "ann", "notes": ["cut short"]}
        return httpx2.Response(201, json=saved)

    saved = ask(handler, "save_identity", "anna", b"RIFF")
    assert saved == Saved("anna", 9.5, "ann", ("cut short",))
    assert ask(handler, "forget_identity", "an/na?") is None
    assert asked == [
        ("POST", "/v1/identities?name=anna", b"RIFF"),
        ("DELETE", "/v1/identities/an%2Fna%3F", b""),
    ]


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        pytest.param(b"", NAMED, id="empty"),
        pytest.param(b"<html>hello</html>", NAMED, id="page"),
        pytest.param(npz()[:300], NAMED, id="cut"),
        pytest.param(npz(np.full((4, 52), np.nan)), NAMED, id="nan"),
        pytest.param(npz(FACE[0]), NAMED, id="one-axis"),
        pytest.param(npz(FACE[:0]), NAMED, id="no-frames"),
        pytest.param(npz(np.array([[{}] * 52])), NAMED, id="pickled"),
        pytest.param(npz(names=["jawOpen"] * 52), NAMED, id="names-twice"),
        pytest.param(npz(fps=0.0), NAMED, id="no-rate"),
        pytest.param(npz(fps="fast"), NAMED, id="rate-in-words"),
        pytest.param(npz(), {}, id="no-headers"),
        pytest.param(b"[" * 100_000, NAMED, id="deep"),
    ],
)
def test_an_answer_outside_the_contract_is_one_line(ask: Any, content: Any, headers: Any) -> None:
    with pytest.raises(UserError) as told:
        ask(InTurn(httpx2.Response(200, content=content, headers=headers)), "animate", b"RIFF")
    assert "\n" not in str(told.value)
    assert "server" in str(told.value)


ENDLESS = {"name": "a", "steps": 2, "look_ahead_ms": 10**400, "precision": "int8"}


@pytest.mark.parametrize(
    "said",
    [
        None, [], {}, {"default": "a", "models": [{"name": "a"}]}, "a",
        {"default": "a", "models": [ENDLESS]},
    ],
)  # fmt: skip
def test_a_list_outside_the_contract_is_one_line(ask: Any, said: Any) -> None:
    with pytest.raises(UserError, match=r"its answer to /v1/models is not in the contract"):
        ask(InTurn(httpx2.Response(200, json=said)), "models")


def test_an_answer_has_a_limit(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "MAX_ANSWER", 100)
    with pytest.raises(UserError, match="answers more than 100 bytes"):
        ask(face, "animate", b"RIFF")


# refusals, and when they are asked again


@pytest.mark.parametrize("status", [401, 404, 409, 413, 422, 500, 504])
def test_a_refusal_is_the_servers_own_line_and_final(
    ask: Any, waits: list[float], status: int
) -> None:
    server = InTurn(problem(status, "identity: unknown 'anne';\n did you mean 'ann'?"))
    with pytest.raises(UserError) as told:
        ask(server, "animate", b"RIFF")
    assert str(told.value) == "identity: unknown 'anne'; did you mean 'ann'?"
    assert (server.asked, waits) == (1, [])


def test_another_server_is_told_from_ours(ask: Any) -> None:
    with pytest.raises(UserError, match="answers 404: is it a DiffusionTalker server"):
        ask(InTurn(httpx2.Response(404, text="<h1>Not Found</h1>")), "models")
    moved = httpx2.Response(308, headers={"Location": "https://elsewhere/v1/models"})
    with pytest.raises(UserError, match="has moved; give the address https://elsewhere"):
        ask(InTurn(moved), "models")


@pytest.mark.parametrize(
    ("status", "word", "passing"),
    [
        (401, "credentials", False),
        (407, "credentials", False),
        (413, "takes no body of this size", False),
        (426, "Upgrade", False),
        (429, "try again later", True),
        (502, "is it running", True),
        (503, "try again later", True),
        (504, "no longer", True),
    ],
)
@pytest.mark.usefixtures("waits")
def test_what_a_proxy_on_the_way_means(ask: Any, status: int, word: str, passing: bool) -> None:
    page = httpx2.Response(status, text=f"<center><h1>{status}</h1></center><hr>nginx")
    with pytest.raises(UserError, match=f"answers {status}: .*{word}") as raised:
        ask(InTurn(page), "models")
    assert isinstance(raised.value, UnavailableError) is passing


@pytest.mark.parametrize(
    "fault",
    [
        httpx2.ConnectError,
        httpx2.ConnectTimeout,
        httpx2.ReadTimeout,
        httpx2.ReadError,
        httpx2.RemoteProtocolError,
        httpx2.Response(500, text="Internal Server Error"),
        httpx2.Response(502),
        httpx2.Response(504),
        problem(503, "the server is starting"),
        problem(429, "too many requests"),
    ],
)
def test_what_may_mend_itself_is_asked_again(ask: Any, waits: list[float], fault: Any) -> None:
    server = InTurn(fault, fault, face(httpx2.Request("POST", "http://a")))
    np.testing.assert_array_equal(ask(server, "animate", b"RIFF").coefficients, FACE)
    assert server.asked == 3
    # A quarter and half a second, and up to half a second more.
    assert len(waits) == 2
    assert 0.25 <= waits[0] <= 0.75
    assert 0.5 <= waits[1] <= 1.0


def test_retry_after_is_honoured(ask: Any, waits: list[float]) -> None:
    busy = problem(429, "too many requests", **{"Retry-After": "7"})
    ask(InTurn(busy, httpx2.Response(200, json={"emotions": []})), "emotions")
    assert len(waits) == 1
    assert 7.0 <= waits[0] <= 7.25


def test_a_wait_beyond_the_deadline_is_not_begun(ask: Any, waits: list[float]) -> None:
    busy = problem(429, "10 requests a minute; wait", **{"Retry-After": "60"})
    with pytest.raises(UnavailableError) as told:
        ask(InTurn(busy), "emotions", settings={"deadline": 30})
    assert str(told.value) == "10 requests a minute; wait"
    assert waits == []


def test_it_gives_up_with_one_line(ask: Any, waits: list[float]) -> None:
    server = InTurn(httpx2.ConnectError)
    with pytest.raises(UserError) as told:
        ask(server, "models")
    assert str(told.value) == (
        "http://127.0.0.1:8000: does not answer (it broke); is the server running there?"
    )
    assert server.asked == retries.ATTEMPTS


def test_the_deadline_ends_a_slow_answer(ask: Any) -> None:
    class Slow(httpx2.SyncByteStream, httpx2.AsyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(100):
                time.sleep(0.01)
                yield b" "

        async def __aiter__(self) -> Any:
            for part in self:
                yield part

    begun = time.monotonic()
    with pytest.raises(UnavailableError, match=r"took longer than 0.05 s"):
        ask(lambda _: httpx2.Response(200, stream=Slow()), "models", settings={"deadline": 0.05})
    assert time.monotonic() - begun < 0.8


def test_saving_is_not_asked_twice_when_it_may_have_been_done(ask: Any, waits: list[float]) -> None:
    for lost in (httpx2.ReadError, httpx2.ReadTimeout, httpx2.Response(502)):
        server = InTurn(lost)
        with pytest.raises(UnavailableError):
            ask(server, "save_identity", "anna", b"RIFF")
        assert server.asked == 1
    done = httpx2.Response(201, json={"name": "anna", "seconds": 10, "nearest": "ann"})
    for unheard in (httpx2.ConnectError, problem(503, "starting"), problem(429, "wait")):
        server = InTurn(unheard, done)
        assert ask(server, "save_identity", "anna", b"RIFF").name == "anna"


def test_ready_asks_once(ask: Any, waits: list[float]) -> None:
    assert ask(InTurn(httpx2.Response(200, json={"status": "ready"})), "ready") is True
    for away in (problem(503, "starting"), httpx2.ConnectError):
        server = InTurn(away)
        assert ask(server, "ready") is False
        assert server.asked == 1
    assert waits == []


# streams


READY = {
    "type": "ready", "model": "student", "steps": 2, "fps": 30, "look_ahead_ms": 70.0,
    "channels": list(CHANNELS),
}  # fmt: skip


def frames_message(first: int, values: np.ndarray) -> bytes:
    return struct.pack("<II", first, len(values)) + values.astype("<f4").tobytes()


def rows(first: int, count: int) -> np.ndarray:
    """Frames that tell where they stand: frame k holds k / 1000 + channel."""
    number = np.arange(first, first + count)[:, None] / 1000
    return (number + np.arange(52)).astype(np.float32)


class Talker:
    """A server that makes a frame of every 160 samples, and one more at the end."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.pins: list[dict[str, Any]] = []
        self.requests: list[Request] = []

    def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.requests.append(socket.request)
        socket.send(json.dumps(READY))
        made = 0
        for message in socket:
            if isinstance(message, bytes):
                self.heard.append(message)
                count = len(message) // 320
                if count:
                    socket.send(frames_message(made, rows(made, count)))
                made += count
                continue
            said = json.loads(message)
            if said["type"] == "close":
                socket.send(frames_message(made, rows(made, 1)))
                socket.send(json.dumps({"type": "end", "frames": made + 1}))
                return
            self.pins.append(said)
            if said.get("emotion") == "angre":
                refusal = {"type": "problem", "status": 422, "detail": "unknown emotion 'angre'"}
                socket.send(json.dumps({**refusal, "closing": False}))


@contextmanager
def serving(handler: Callable[[ServerConnection], None], **options: Any) -> Iterator[str]:
    # It hears all that comes, so that no test waits for a server that is behind.
    options |= {"subprotocols": [contract.SUBPROTOCOL], "max_queue": None}
    with serve(handler, "127.0.0.1", 0, **options) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.socket.getsockname()[1]}"
        finally:
            server.shutdown()
            thread.join()


def follow_sync(server: str, chunks: Any, **options: Any) -> list[Frames]:
    settings = options.pop("settings", {})
    with Client(server, **settings) as client:
        return list(client.stream(chunks, **options))


def follow_async(server: str, chunks: Any, **options: Any) -> list[Frames]:
    async def run() -> list[Frames]:
        settings = options.pop("settings", {})
        async with (
            AsyncClient(server, **settings) as client,
            client.stream(**options) as stream,
        ):
            for chunk in chunks:
                await stream.push(chunk)
            await stream.close()
            return [frames async for frames in stream]

    return asyncio.run(run())


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asks again without a wait; the connection keeps its own."""
    monkeypatch.setattr(retries, "_wait", lambda state: 0)


@pytest.fixture(params=[follow_sync, follow_async], ids=["sync", "async"])
def follow(request: pytest.FixtureRequest) -> Any:
    return request.param


SPEECH = np.random.default_rng(1).uniform(-0.9, 0.9, 1600).astype(np.float32)


def test_samples_go_out_and_frames_come_in(follow: Any) -> None:
    talker = Talker()
    with serving(talker) as server:
        settings = {"server": server + "/talker", "key": "a-key"}
        chunks = np.array_split(SPEECH, 5)
        made = follow(
            settings.pop("server"), chunks, settings=settings, rate=8000, identity={"ann": 1.0},
            smooth_ms=30.0, mirror=False,
        )  # fmt: skip
    assert all(frames.fps == 30 for frames in made)
    assert [frames.first for frames in made] == [0, 2, 4, 6, 8, 10]
    assert made[3].time == 0.2
    np.testing.assert_array_equal(np.concatenate([f.coefficients for f in made]), rows(0, 11))
    heard = np.frombuffer(b"".join(talker.heard), "<i2")
    np.testing.assert_allclose(heard / 32767, SPEECH, atol=0.51 / 32767)
    (request,) = talker.requests
    path = urlsplit(request.path)
    assert path.path == "/talker/v1/stream"
    assert parse_qs(path.query) == {
        "rate": ["8000"], "encoding": ["pcm16"], "format": ["binary"], "identity": ["ann:1.0"],
        "smooth_ms": ["30.0"], "mirror": ["false"],
    }  # fmt: skip
    assert request.headers["Authorization"] == "Bearer a-key"
    assert request.headers["Sec-WebSocket-Protocol"] == "diffusiontalker.v1"


def test_pcm_is_sent_without_a_change(follow: Any) -> None:
    talker = Talker()
    pcm = np.array([0, 1, -1, 32767, -32767, 12345], np.int16)
    with serving(talker) as server:
        follow(server, [pcm])
    assert b"".join(talker.heard) == pcm.astype("<i2").tobytes()


def test_long_chunks_are_cut_as_the_server_takes_them(follow: Any) -> None:
    talker = Talker()
    with serving(talker) as server:
        made = follow(server, [np.zeros(300_000, np.float32)])
    assert [len(message) for message in talker.heard] == [262_144, 262_144, 75_712]
    assert sum(len(frames.coefficients) for frames in made) == 819 + 819 + 236 + 1


def test_frames_in_another_order_are_matched_by_name(follow: Any) -> None:
    def reversed_(socket: ServerConnection) -> None:
        socket.send(json.dumps({**READY, "channels": CHANNELS[::-1]}))
        socket.recv()
        socket.send(frames_message(0, rows(0, 2)[:, ::-1]))
        socket.send('{"type": "later version"}')
        socket.send('{"type": "end", "frames": 2}')

    with serving(reversed_) as server:
        (made,) = follow(server, [])
    np.testing.assert_array_equal(made.coefficients, rows(0, 2))


def test_frames_come_while_chunks_are_still_spoken() -> None:
    """The speaker waits for what was said before: a stream that sent all first would not end."""
    seen: list[int] = []

    def speaking() -> Iterator[np.ndarray]:
        yield np.zeros(160, np.int16)
        ends = time.monotonic() + 10
        while not seen and time.monotonic() < ends:
            time.sleep(0.01)
            yield np.zeros(0, np.int16)
        yield np.zeros(160, np.int16)

    with serving(Talker()) as server, Client(server) as client:
        for frames in client.stream(speaking()):
            seen.append(frames.first)
    assert seen == [0, 1, 2]


def test_one_task_pushes_while_another_reads() -> None:
    async def run(server: str) -> list[int]:
        async with AsyncClient(server) as client, client.stream(rate=16_000) as stream:
            assert stream.ready.look_ahead_ms == 70.0
            assert (stream.ready.model, stream.ready.steps) == ("student", 2)

            async def read() -> list[int]:
                return [frames.first async for frames in stream]

            reading = asyncio.create_task(read())
            for _ in range(3):
                await stream.push(np.zeros(160, np.float32))
                await asyncio.sleep(0.01)
            await stream.close()
            return await reading

    with serving(Talker()) as server:
        assert asyncio.run(run(server)) == [0, 1, 2, 3]


class Slow:
    """A server that answers when nothing more comes, to a wrong pin at once."""

    def __init__(self) -> None:
        self.heard: list[float] = []
        """Seconds that came before each answer."""

    def __call__(self, socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        made, waiting, closed = 0, 0.0, False
        while not closed or waiting:
            try:
                message = socket.recv(0.2 if waiting else None)
            except TimeoutError:
                self.heard.append(waiting)
                count, waiting = round(30 * waiting), 0.0
                socket.send(frames_message(made, rows(made, count)))
                made += count
                continue
            if isinstance(message, bytes):
                waiting += len(message) / 32_000
            elif message == contract.CLOSE:
                closed = True
            else:
                refusal = {"type": "problem", "status": 422, "detail": "unknown emotion"}
                socket.send(json.dumps({**refusal, "closing": False}))
        socket.send(json.dumps({"type": "end", "frames": made}))


def test_no_more_is_sent_than_a_slow_server_takes(follow: Any) -> None:
    """Else pings wait behind the samples in the sockets, and the connection counts as lost."""
    slow = Slow()
    with serving(slow) as server:
        made = follow(server, [np.zeros(16_000 * 13, np.float32), np.zeros(16_000 * 4, np.float32)])
    assert sum(len(frames.coefficients) for frames in made) == 30 * 17
    assert len(slow.heard) > 1
    assert max(slow.heard) <= contract.AHEAD + contract.MAX_MESSAGE / 32_000


@pytest.mark.parametrize("together", [False, True])
def test_what_comes_while_one_pushes_is_for_who_reads(together: bool) -> None:
    async def run(server: str) -> int:
        async with AsyncClient(server) as client, client.stream() as stream:

            async def push() -> None:
                await stream.pin(emotion="angre")
                for _ in range(17):
                    await stream.push(np.zeros(16_000, np.float32))
                await stream.close()

            pushing = asyncio.create_task(push())
            if not together:
                await pushing
            with pytest.raises(UserError, match="unknown emotion"):
                await anext(stream)
            made = sum([len(frames.coefficients) async for frames in stream])
            await pushing
            return made

    with serving(Slow()) as server:
        assert asyncio.run(run(server)) == 30 * 17


def test_a_wrong_pin_is_told_and_the_stream_goes_on() -> None:
    talker = Talker()

    async def run(server: str) -> list[int]:
        async with AsyncClient(server) as client, client.stream() as stream:
            await stream.pin(identity={"ann": 0.5, "bob": 0.5}, emotion="auto")
            await stream.pin(emotion="angre")
            with pytest.raises(UserError, match="unknown emotion 'angre'"):
                await anext(stream)
            await stream.push(np.zeros(320, np.float32))
            await stream.close()
            return [frames.first async for frames in stream]

    with serving(talker) as server:
        assert asyncio.run(run(server)) == [0, 2]
    assert talker.pins == [
        {"type": "pin", "identity": {"ann": 0.5, "bob": 0.5}, "emotion": "auto"},
        {"type": "pin", "emotion": "angre"},
    ]


def test_a_refused_stream_is_the_servers_own_line(follow: Any) -> None:
    def refusing(socket: ServerConnection) -> None:
        refusal = {"type": "problem", "status": 422, "detail": "unknown identity 'anne'"}
        socket.send(json.dumps({**refusal, "closing": True}))
        socket.close(1008, "The request cannot be answered")

    with serving(refusing) as server, pytest.raises(UserError) as told:
        follow(server, [SPEECH])
    assert str(told.value) == "unknown identity 'anne'"


def test_a_refusal_before_the_handshake_is_the_servers_own_line(follow: Any) -> None:
    def refusing(socket: ServerConnection, request: Request) -> Response:
        body = json.dumps({"status": 403, "detail": "this key may not stream"}).encode()
        return Response(403, "Forbidden", Headers({"Content-Length": str(len(body))}), body)

    with (
        serving(Talker(), process_request=refusing) as server,
        pytest.raises(UserError, match=r"^this key may not stream$"),
    ):
        follow(server, [SPEECH])


@pytest.mark.usefixtures("at_once")
def test_a_full_server_is_asked_again_before_anything_is_said(follow: Any) -> None:
    talker, asked = Talker(), []

    def filling(socket: ServerConnection) -> None:
        asked.append(socket)
        if len(asked) > 2:
            return talker(socket)
        refusal = {"type": "problem", "status": 429, "detail": "too many streams"}
        socket.send(json.dumps({**refusal, "closing": True}))
        socket.close(1013, "Too much at once")

    with serving(filling) as server:
        made = follow(server, [SPEECH])
    assert sum(len(frames.coefficients) for frames in made) == 11
    assert len(asked) == 3


@pytest.mark.usefixtures("at_once")
def test_no_server_is_one_line(follow: Any) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(UnavailableError, match="is the server running there") as told:
        follow(server, [SPEECH])
    assert str(told.value).startswith(server)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("code", "said", "kind"),
    [
        (1008, "an option is wrong", UserError),
        (1011, "failed: an option is wrong; begin the stream again", UserError),
        (1012, "is restarting: an option is wrong; begin the stream again", UnavailableError),
        (1000, "closed the stream (code 1000: an option is wrong); begin another", UserError),
    ],
)
def test_a_stream_that_is_closed_early_says_why(
    follow: Any, code: int, said: str, kind: type[UserError]
) -> None:
    def closing(socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        socket.recv()
        socket.close(code, "an option is wrong")

    with serving(closing) as server, pytest.raises(UserError) as told:
        follow(server, [SPEECH])
    assert type(told.value) is kind
    assert str(told.value).endswith(said)


def test_what_was_said_before_the_close_is_told_to_who_still_pushes(follow: Any) -> None:
    def closing(socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        socket.recv()
        refusal = {"type": "problem", "status": 413, "detail": "a message of more than 10 bytes"}
        socket.send(json.dumps({**refusal, "closing": True}))
        socket.close(1009, "The request is too large")

    def speaking() -> Iterator[np.ndarray]:
        for _ in range(100):
            yield SPEECH
            time.sleep(0.01)

    with serving(closing) as server, pytest.raises(UserError, match="more than 10 bytes"):
        follow(server, speaking())


def test_a_lost_connection_is_one_line(follow: Any) -> None:
    def leaving(socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        socket.recv()
        socket.socket.shutdown(2)

    with (
        serving(leaving) as server,
        pytest.raises(UnavailableError, match="the connection was lost"),
    ):
        follow(server, [SPEECH])


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\0\0\0\0\1",
        frames_message(0, rows(0, 2))[:-1],
        frames_message(0, rows(0, 1) * np.nan),
        "no JSON",
        "[]",
        "{}",
        '{"type": "problem"}',
        json.dumps({**READY, "fps": 0}),
        json.dumps({**READY, "channels": 7}),
    ],
)
def test_a_message_outside_the_contract_is_one_line(follow: Any, message: str | bytes) -> None:
    def odd(socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        socket.recv()
        socket.send(message)
        socket.recv()

    with serving(odd) as server, pytest.raises(UserError) as told:
        follow(server, [SPEECH])
    assert server in str(told.value)
    assert "\n" not in str(told.value)


def test_mistakes_of_a_stream_are_told_at_once() -> None:
    with pytest.raises(UserError, match="unknown option 'fps'"):
        Client().stream([], fps=60)
    with pytest.raises(UserError, match="unknown option 'emotoin'; did you mean 'emotion'"):
        AsyncClient().stream(emotoin="anger")
    with pytest.raises(UserError, match="has not begun"):
        asyncio.run(AsyncClient().stream().push(SPEECH))
    with pytest.raises(UserError, match="NaN"):
        list(contract.messages(np.full(10, np.nan), 16_000))


def test_an_error_of_the_speaker_is_its_own() -> None:
    def speaking() -> Iterator[np.ndarray]:
        yield SPEECH
        raise OSError("the microphone is gone")

    with serving(Talker()) as server, Client(server) as client:  # noqa: SIM117
        with pytest.raises(OSError, match="the microphone is gone"):
            list(client.stream(speaking()))


def test_loud_samples_are_clipped() -> None:
    ((message, seconds),) = contract.messages(np.array([2.0, -2.0, 0.5]), 16_000)
    assert seconds == 3 / 16_000
    assert np.frombuffer(message, "<i2").tolist() == [32767, -32767, 16384]
