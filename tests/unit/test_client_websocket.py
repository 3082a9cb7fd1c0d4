"""The client's streams, with a real WebSocket server in another thread.

Most tests run for both clients, synchronous and asynchronous.
"""

import asyncio
import json
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from tests.ports import free_port
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from diffusiontalker.arkit import CHANNELS
from diffusiontalker.client import AsyncClient, Client, Frames, UnavailableError, retries
from diffusiontalker.client.requests import SUBPROTOCOL
from diffusiontalker.client.stream_protocol import (
    CLOSE,
    MAX_AHEAD,
    MAX_MESSAGE,
    sample_messages,
)
from diffusiontalker.errors import UserError

READY = {
    "type": "ready", "model": "student", "steps": 2, "fps": 30, "look_ahead_ms": 70.0,
    "channels": list(CHANNELS),
}  # fmt: skip


def frames_message(first: int, values: np.ndarray) -> bytes:
    return struct.pack("<II", first, len(values)) + values.astype("<f4").tobytes()


def rows(first: int, count: int) -> np.ndarray:
    """Frame k holds k / 1000 + channel."""
    number = np.arange(first, first + count)[:, None] / 1000
    return (number + np.arange(52)).astype(np.float32)


class FakeServer:
    """A server that makes a frame of every 160 samples, and one more at the end."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.pins: list[dict[str, Any]] = []
        self.requests: list[Request] = []

    def __call__(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        self.requests.append(socket.request)
        socket.send(json.dumps(READY))
        made = 0
        for message in socket:
            if isinstance(message, bytes):
                self.received.append(message)
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
    # An unbounded queue, so that no test waits for a server that lags.
    options |= {"subprotocols": [SUBPROTOCOL], "max_queue": None}
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
    """Retries without a wait; the connection keeps its own timeouts."""
    monkeypatch.setattr(retries, "_wait", lambda state: 0)


@pytest.fixture(params=[follow_sync, follow_async], ids=["sync", "async"])
def follow(request: pytest.FixtureRequest) -> Any:
    return request.param


SPEECH = np.random.default_rng(1).uniform(-0.9, 0.9, 1600).astype(np.float32)


def test_samples_go_out_and_frames_come_in(follow: Any) -> None:
    fake = FakeServer()
    with serving(fake) as server:
        settings = {"server": server + "/prefix", "key": "a-key"}
        chunks = np.array_split(SPEECH, 5)
        made = follow(
            settings.pop("server"), chunks, settings=settings, rate=8000, identity={"ann": 1.0},
            smooth_ms=30.0, mirror=False,
        )  # fmt: skip
    assert all(frames.fps == 30 for frames in made)
    assert [frames.first for frames in made] == [0, 2, 4, 6, 8, 10]
    assert made[3].time == 0.2
    np.testing.assert_array_equal(np.concatenate([f.coefficients for f in made]), rows(0, 11))
    heard = np.frombuffer(b"".join(fake.received), "<i2")
    np.testing.assert_allclose(heard / 32767, SPEECH, atol=0.51 / 32767)
    (request,) = fake.requests
    path = urlsplit(request.path)
    assert path.path == "/prefix/v1/stream"
    assert parse_qs(path.query) == {
        "rate": ["8000"], "encoding": ["pcm16"], "format": ["binary"], "identity": ["ann:1.0"],
        "smooth_ms": ["30.0"], "mirror": ["false"],
    }  # fmt: skip
    assert request.headers["Authorization"] == "Bearer a-key"
    assert request.headers["Sec-WebSocket-Protocol"] == "diffusiontalker.v1"


def test_pcm_is_sent_without_a_change(follow: Any) -> None:
    fake = FakeServer()
    pcm = np.array([0, 1, -1, 32767, -32767, 12345], np.int16)
    with serving(fake) as server:
        follow(server, [pcm])
    assert b"".join(fake.received) == pcm.astype("<i2").tobytes()


def test_long_chunks_are_cut_as_the_server_takes_them(follow: Any) -> None:
    fake = FakeServer()
    with serving(fake) as server:
        made = follow(server, [np.zeros(300_000, np.float32)])
    assert [len(message) for message in fake.received] == [262_144, 262_144, 75_712]
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


def test_frames_arrive_while_chunks_are_sent() -> None:
    """The source waits for frames: a stream that sent everything first would not end."""
    seen: list[int] = []

    def chunks() -> Iterator[np.ndarray]:
        yield np.zeros(160, np.int16)
        ends = time.monotonic() + 10
        while not seen and time.monotonic() < ends:
            time.sleep(0.01)
            yield np.zeros(0, np.int16)
        yield np.zeros(160, np.int16)

    with serving(FakeServer()) as server, Client(server) as client:
        for frames in client.stream(chunks()):
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

    with serving(FakeServer()) as server:
        assert asyncio.run(run(server)) == [0, 1, 2, 3]


class Slow:
    """A server that answers when no more samples arrive, and to a wrong pin at once."""

    def __init__(self) -> None:
        self.received: list[float] = []
        """Seconds of audio before each answer."""

    def __call__(self, socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        made, waiting, closed = 0, 0.0, False
        while not closed or waiting:
            try:
                message = socket.recv(0.2 if waiting else None)
            except TimeoutError:
                self.received.append(waiting)
                count, waiting = round(30 * waiting), 0.0
                socket.send(frames_message(made, rows(made, count)))
                made += count
                continue
            if isinstance(message, bytes):
                waiting += len(message) / 32_000
            elif message == CLOSE:
                closed = True
            else:
                refusal = {"type": "problem", "status": 422, "detail": "unknown emotion"}
                socket.send(json.dumps({**refusal, "closing": False}))
        socket.send(json.dumps({"type": "end", "frames": made}))


def test_no_more_is_sent_than_a_slow_server_takes(follow: Any) -> None:
    """Otherwise pings wait behind the samples, and the connection counts as lost."""
    slow = Slow()
    with serving(slow) as server:
        made = follow(server, [np.zeros(16_000 * 13, np.float32), np.zeros(16_000 * 4, np.float32)])
    assert sum(len(frames.coefficients) for frames in made) == 30 * 17
    assert len(slow.received) > 1
    assert max(slow.received) <= MAX_AHEAD + MAX_MESSAGE / 32_000


@pytest.mark.parametrize("together", [False, True])
def test_frames_received_while_pushing_are_kept_for_the_reader(together: bool) -> None:
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


def test_a_wrong_pin_is_raised_and_the_stream_continues() -> None:
    fake = FakeServer()

    async def run(server: str) -> list[int]:
        async with AsyncClient(server) as client, client.stream() as stream:
            await stream.pin(identity={"ann": 0.5, "bob": 0.5}, emotion="auto")
            await stream.pin(emotion="angre")
            with pytest.raises(UserError, match="unknown emotion 'angre'"):
                await anext(stream)
            await stream.push(np.zeros(320, np.float32))
            await stream.close()
            return [frames.first async for frames in stream]

    with serving(fake) as server:
        assert asyncio.run(run(server)) == [0, 2]
    assert fake.pins == [
        {"type": "pin", "identity": {"ann": 0.5, "bob": 0.5}, "emotion": "auto"},
        {"type": "pin", "emotion": "angre"},
    ]


def test_a_refused_stream_has_the_servers_detail(follow: Any) -> None:
    def refusing(socket: ServerConnection) -> None:
        refusal = {"type": "problem", "status": 422, "detail": "unknown identity 'anne'"}
        socket.send(json.dumps({**refusal, "closing": True}))
        socket.close(1008, "The request cannot be answered")

    with serving(refusing) as server, pytest.raises(UserError) as told:
        follow(server, [SPEECH])
    assert str(told.value) == "unknown identity 'anne'"


def test_a_refused_handshake_has_the_servers_detail(follow: Any) -> None:
    def refusing(socket: ServerConnection, request: Request) -> Response:
        body = json.dumps({"status": 403, "detail": "this key may not stream"}).encode()
        return Response(403, "Forbidden", Headers({"Content-Length": str(len(body))}), body)

    with (
        serving(FakeServer(), process_request=refusing) as server,
        pytest.raises(UserError, match=r"^this key may not stream$"),
    ):
        follow(server, [SPEECH])


@pytest.mark.usefixtures("at_once")
def test_a_full_server_is_retried_before_anything_is_sent(follow: Any) -> None:
    fake, asked = FakeServer(), []

    def filling(socket: ServerConnection) -> None:
        asked.append(socket)
        if len(asked) > 2:
            return fake(socket)
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
    with pytest.raises(UnavailableError, match="running") as told:
        follow(server, [SPEECH])
    assert str(told.value).startswith(server)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("code", "word", "kind"),
    [
        (1008, "", UserError),
        (1011, "failed", UserError),
        (1012, "restarting", UnavailableError),
        (1000, "1000", UserError),
    ],
)
def test_a_stream_that_is_closed_early_has_the_reason(
    follow: Any, code: int, word: str, kind: type[UserError]
) -> None:
    def closing(socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        socket.recv()
        socket.close(code, "an option is wrong")

    with serving(closing) as server, pytest.raises(UserError) as told:
        follow(server, [SPEECH])
    assert type(told.value) is kind
    assert "an option is wrong" in str(told.value)
    assert word in str(told.value)


def test_a_problem_before_the_close_is_raised_while_pushing(follow: Any) -> None:
    def closing(socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        socket.recv()
        refusal = {"type": "problem", "status": 413, "detail": "a message of more than 10 bytes"}
        socket.send(json.dumps({**refusal, "closing": True}))
        socket.close(1009, "The request is too large")

    def chunks() -> Iterator[np.ndarray]:
        for _ in range(100):
            yield SPEECH
            time.sleep(0.01)

    with serving(closing) as server, pytest.raises(UserError, match="10 bytes"):
        follow(server, chunks())


def test_a_lost_connection_is_one_line(follow: Any) -> None:
    def leaving(socket: ServerConnection) -> None:
        socket.send(json.dumps(READY))
        socket.recv()
        socket.socket.shutdown(2)

    with (
        serving(leaving) as server,
        pytest.raises(UnavailableError, match="lost"),
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


def test_mistakes_of_a_stream_are_raised_at_once() -> None:
    with pytest.raises(UserError, match="fps"):
        Client().stream([], fps=60)
    with pytest.raises(UserError, match="'emotion'"):
        AsyncClient().stream(emotoin="anger")
    with pytest.raises(UserError, match="async with"):
        asyncio.run(AsyncClient().stream().push(SPEECH))
    with pytest.raises(UserError, match="NaN"):
        list(sample_messages(np.full(10, np.nan), 16_000))


def test_an_error_of_the_source_is_raised_as_it_is() -> None:
    def chunks() -> Iterator[np.ndarray]:
        yield SPEECH
        raise OSError("the microphone is gone")

    with (
        serving(FakeServer()) as server,
        Client(server) as client,
        pytest.raises(OSError, match="the microphone is gone"),
    ):
        list(client.stream(chunks()))


def test_loud_samples_are_clipped() -> None:
    ((message, seconds),) = sample_messages(np.array([2.0, -2.0, 0.5]), 16_000)
    assert seconds == 3 / 16_000
    assert np.frombuffer(message, "<i2").tolist() == [32767, -32767, 16384]
