"""The client over HTTP: requests, responses and retries, with a transport in place of a server.

Most tests run for both clients, synchronous and asynchronous.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
from tests.refusals import refusal

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.audio.waveform import as_waveform
from diffusiontalker.client import (
    AsyncClient,
    Blendshape,
    Client,
    Identities,
    Model,
    Saved,
    UnavailableError,
    responses,
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


# requests


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


def test_samples_are_sent_at_the_servers_rate(ask: Any) -> None:
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
        (("nowhere.wav",), {}, "nowhere.wav"),
        ((np.zeros(16_000),), {}, "rate="),
        ((["a"], 16_000), {}, "<U1"),
        ((np.zeros(16_000), "48000"), {}, "'48000'"),
        ((b"RIFF", 16_000), {}, "rate=16000"),
        ((np.zeros(100), 16_000), {}, "0.2 s"),
        ((b"RIFF",), {"emotoin": "anger"}, "'emotion'"),
    ],
)
def test_mistakes_are_raised_before_anything_is_sent(
    ask: Any, arguments: Any, options: Any, said: str
) -> None:
    unused = InTurn()
    assert said in refusal(lambda: ask(unused, "animate", *arguments, **options))
    assert unused.asked == 0


def test_a_download_is_the_file_as_the_server_made_it(ask: Any, tmp_path: Path) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.url.params["format"] == "glb"
        return httpx2.Response(200, content=b"glTF\0\1", headers=NAMED)

    out = tmp_path / "face.GLB"
    assert ask(handler, "download", b"RIFF", out) == out
    assert out.read_bytes() == b"glTF\0\1"

    with pytest.raises(UserError, match=r"\.fbx.*\.npz"):
        ask(InTurn(), "download", b"RIFF", tmp_path / "face.fbx")


def test_the_key_comes_from_the_argument_or_the_environment(
    ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[str | None] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        keys.append(request.headers.get("Authorization"))
        return httpx2.Response(200, json={"emotions": []})

    monkeypatch.delenv(responses.KEY, raising=False)
    ask(handler, "emotions")
    monkeypatch.setenv(responses.KEY, "from-there")
    ask(handler, "emotions")
    ask(handler, "emotions", settings={"key": "given"})
    ask(handler, "emotions", settings={"key": ""})
    assert keys == [None, "Bearer from-there", "Bearer given", None]


def test_a_key_that_no_header_can_hold_is_refused_and_not_shown() -> None:
    for key in ("s3cret\n", "s3cret s3cret", "s3crét"):
        with pytest.raises(UserError, match=responses.KEY) as told:
            Client(key=key)
        assert "s3cr" not in str(told.value)


@pytest.mark.parametrize(
    "server",
    ["", "localhost:8000", "ftp://host", "http://", "http://host:99999", "http://host:0",
     "http://host/?a=b", "http://user:word@host", "http://a..b", "http://a b", "http://[::zz]"],
)  # fmt: skip
def test_what_is_no_address_is_refused(server: str) -> None:
    with pytest.raises(UserError, match="http://host:port"):
        Client(server)


def test_every_request_has_its_timeouts(ask: Any) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        assert request.extensions["timeout"] == {"connect": 10, "read": 25, "write": 25, "pool": 25}
        return face(request)

    ask(handler, "animate", b"RIFF", settings={"timeout": 25})
    for settings in ({"timeout": 0}, {"deadline": -1}, {"timeout": float("nan")}):
        with pytest.raises(UserError, match="deadline"):
            Client(**settings)


# responses


def test_channels_in_another_order_are_matched_by_name(ask: Any) -> None:
    def handler(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=npz(FACE[:, ::-1], CHANNELS[::-1]), headers=NAMED)

    np.testing.assert_array_equal(ask(handler, "animate", b"RIFF").coefficients, FACE)


def test_weights_have_no_name(ask: Any) -> None:
    answer = httpx2.Response(200, content=npz(), headers={"X-Model": "student"})
    made = ask(InTurn(answer), "animate", b"RIFF")
    assert (made.identity, made.emotion) == (None, None)
    assert made.notes == ()


def test_names_beyond_ascii_are_percent_encoded_in_headers(ask: Any) -> None:
    headers = {"X-Model": "student", "X-Identity": "Zo%C3%AB 50%25", "X-Notes": "caf%C3%A9 | b"}
    made = ask(InTurn(httpx2.Response(200, content=npz(), headers=headers)), "animate", b"RIFF")
    assert (made.identity, made.notes) == ("Zoë 50%", ("café", "b"))


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
    answer = InTurn(httpx2.Response(200, content=content, headers=headers))
    assert "server" in refusal(lambda: ask(answer, "animate", b"RIFF"))


ENDLESS = {"name": "a", "steps": 2, "look_ahead_ms": 10**400, "precision": "int8"}


@pytest.mark.parametrize(
    "said",
    [
        None, [], {}, {"default": "a", "models": [{"name": "a"}]}, "a",
        {"default": "a", "models": [ENDLESS]},
    ],
)  # fmt: skip
def test_a_list_outside_the_contract_is_one_line(ask: Any, said: Any) -> None:
    with pytest.raises(UserError, match="/v1/models"):
        ask(InTurn(httpx2.Response(200, json=said)), "models")


def test_an_answer_has_a_limit(ask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(responses, "MAX_BYTES", 100)
    with pytest.raises(UserError, match="100 bytes"):
        ask(face, "animate", b"RIFF")


# refusals and retries


@pytest.mark.parametrize("status", [401, 404, 409, 413, 422, 500, 504])
def test_a_refusal_has_the_servers_detail_and_is_final(
    ask: Any, waits: list[float], status: int
) -> None:
    server = InTurn(problem(status, "identity: unknown 'anne';\n did you mean 'ann'?"))
    assert (
        refusal(lambda: ask(server, "animate", b"RIFF"))
        == "identity: unknown 'anne'; did you mean 'ann'?"
    )
    assert (server.asked, waits) == (1, [])


def test_another_server_is_recognised(ask: Any) -> None:
    with pytest.raises(UserError, match="404"):
        ask(InTurn(httpx2.Response(404, text="<h1>Not Found</h1>")), "models")
    moved = httpx2.Response(308, headers={"Location": "https://elsewhere/v1/models"})
    with pytest.raises(UserError, match="https://elsewhere"):
        ask(InTurn(moved), "models")


@pytest.mark.parametrize(
    ("status", "word", "passing"),
    [
        (401, "credentials", False),
        (407, "credentials", False),
        (413, "bodies of this size", False),
        (426, "Upgrade", False),
        (429, "try again", True),
        (502, "is it running", True),
        (503, "try again", True),
        (504, "timed out", True),
    ],
)
@pytest.mark.usefixtures("waits")
def test_errors_of_a_proxy(ask: Any, status: int, word: str, passing: bool) -> None:
    page = httpx2.Response(status, text=f"<center><h1>{status}</h1></center><hr>nginx")
    with pytest.raises(UserError, match=f"{status}.*{word}") as raised:
        ask(InTurn(page), "models", settings={"deadline": 0.5})
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
def test_a_transient_error_is_retried(ask: Any, waits: list[float], fault: Any) -> None:
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


def test_a_retry_after_the_deadline_is_not_waited_for(ask: Any, waits: list[float]) -> None:
    busy = problem(429, "10 requests a minute; wait", **{"Retry-After": "60"})
    with pytest.raises(UnavailableError) as told:
        ask(InTurn(busy), "emotions", settings={"deadline": 30})
    assert str(told.value) == "10 requests a minute; wait"
    assert waits == []


def test_the_last_attempt_raises_one_line(ask: Any, waits: list[float]) -> None:
    server = InTurn(httpx2.ConnectError)
    message = refusal(lambda: ask(server, "models"))
    assert "http://127.0.0.1:8000" in message
    assert "it broke" in message
    assert server.asked == retries.ATTEMPTS


def test_a_server_that_restarts_is_waited_for(ask: Any, waits: list[float]) -> None:
    models = httpx2.Response(200, json={"models": []})
    for down in (
        # a proxy takes the connection, and has nobody to pass it on to
        [httpx2.RemoteProtocolError] * 12,
        [httpx2.RemoteProtocolError, *[httpx2.ConnectError] * 12],
        [httpx2.Response(502)] * 12,
    ):
        server = InTurn(*down, models)
        assert ask(server, "models") == []
        assert server.asked == len(down) + 1


def test_a_server_that_has_answered_is_waited_for_without_a_connection(
    waits: list[float],
) -> None:
    models = httpx2.Response(200, json={"models": []})
    server = InTurn(models, *[httpx2.ConnectError] * 12, models)
    with Client(transport=httpx2.MockTransport(server)) as client:
        assert client.models() == client.models() == []
    assert server.asked == 14


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
    with pytest.raises(UnavailableError, match=r"0\.05 s"):
        ask(lambda _: httpx2.Response(200, stream=Slow()), "models", settings={"deadline": 0.05})
    assert time.monotonic() - begun < 0.8


def test_saving_is_not_repeated_if_it_may_have_been_processed(ask: Any, waits: list[float]) -> None:
    for lost in (httpx2.ReadError, httpx2.ReadTimeout, httpx2.Response(502)):
        server = InTurn(lost)
        with pytest.raises(UnavailableError):
            ask(server, "save_identity", "anna", b"RIFF")
        assert server.asked == 1
    done = httpx2.Response(201, json={"name": "anna", "seconds": 10, "nearest": "ann"})
    for failure in (httpx2.ConnectError, problem(503, "starting"), problem(429, "wait")):
        server = InTurn(failure, done)
        assert ask(server, "save_identity", "anna", b"RIFF").name == "anna"


def test_ready_asks_once(ask: Any, waits: list[float]) -> None:
    assert ask(InTurn(httpx2.Response(200, json={"status": "ready"})), "ready") is True
    for away in (problem(503, "starting"), httpx2.ConnectError):
        server = InTurn(away)
        assert ask(server, "ready") is False
        assert server.asked == 1
    assert waits == []
