"""What one caller can do to all others, without Ray Serve: nothing for long."""

import asyncio
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import numpy as np
import pytest
from serve import edge, flow
from serve.api import create_api
from serve.batcher import PATIENT, Batcher
from serve.gate import Gate
from serve.inbox import MOST
from serve.pace import BURST, Pace
from serve.problems import Problem
from serve.service import Service
from serve.students import Students
from serve.turns import Late, Turns, Wanted
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests import served
from tests.asgi import Peer, recording, scope, upload
from tests.served import speech, wav
from tests.students import random_student

from diffusiontalker.runtime.graphs import Graphs
from diffusiontalker.runtime.student import Student

KEYS = "studio=0123456789abcdef-studio,game=fedcba9876543210-game"
STUDIO, GAME = "0123456789abcdef-studio", "fedcba9876543210-game"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_student(tmp_path_factory.mktemp("load") / "student")


def application(folder, **limits: object) -> tuple[ASGIApp, Service]:
    settings = served.settings(folder, limits=limits)

    async def load(name: str) -> Student:
        return served.student(str(folder))

    service = Service(settings, Students(settings, load))
    return create_api(settings, service), service


# streams


def proxied(app: ASGIApp) -> ASGIApp:
    """Behind our middleware and something that reads and keeps like Ray Serve's proxy: all."""

    async def eager(scope: Scope, receive: Receive, send: Send) -> None:
        incoming: asyncio.Queue[Message] = asyncio.Queue()
        outgoing: asyncio.Queue[Message] = asyncio.Queue()

        async def read() -> None:
            while True:
                incoming.put_nowait(message := await receive())
                if message["type"] == "websocket.disconnect":
                    return

        async def write() -> None:
            while True:
                await send(await outgoing.get())
                outgoing.task_done()

        tasks = [asyncio.create_task(read()), asyncio.create_task(write())]
        try:
            await app(scope, incoming.get, outgoing.put)
            await outgoing.join()
        finally:
            for task in tasks:
                task.cancel()

    wrapped: ASGIApp = eager
    for middleware in edge.middlewares():
        wrapped = middleware.cls(wrapped, *middleware.args, **middleware.kwargs)
    return wrapped


def spoken(seconds: float, message: float = 0.1) -> list[Message]:
    sound = (speech(seconds) * 32767).astype("<i2")
    return [
        {"type": "websocket.connect"},
        *(
            {"type": "websocket.receive", "bytes": part.tobytes()}
            for part in np.array_split(sound, round(seconds / message))
        ),
    ]


def streaming(app: ASGIApp, peer: Peer, query: str = "") -> asyncio.Task[None]:
    return asyncio.create_task(
        app(scope("websocket", "/v1/stream", query), peer.receive, peer.send)
    )


def frames(peer: Peer) -> int:
    return sum(len(said["coefficients"]) for said in peer.texts if said["type"] == "frames")


def test_a_stream_that_sends_faster_than_it_is_processed_is_not_read_from(folder) -> None:
    speed, seconds = 4.0, 1.0

    async def scenario() -> tuple[int, int]:
        app, _ = application(folder, stream_speed=speed)
        peer = Peer(spoken(120.0))
        stream = streaming(proxied(app), peer)
        await asyncio.sleep(seconds)
        found = peer.read, frames(peer)
        stream.cancel()
        with suppress(asyncio.CancelledError):
            await stream
        return found

    read, made = asyncio.run(scenario())
    assert 30 < made <= 30 * (BURST + speed * (seconds + 0.5))
    assert flow.WINDOW // 2 < read <= flow.WINDOW + 32_000 * made / 30 + 200_000
    assert read < 120 * 32_000 / 2


def test_who_does_not_read_his_frames_is_not_read_from(folder) -> None:
    class Deaf(Peer):
        async def send(self, message: Message) -> None:
            if len(self.got) >= 5:
                await asyncio.Event().wait()
            await super().send(message)

    async def scenario() -> int:
        app, _ = application(folder, stream_speed=1000.0)
        peer = Deaf(spoken(120.0))
        stream = streaming(proxied(app), peer)
        await asyncio.sleep(1.0)
        stream.cancel()
        with suppress(asyncio.CancelledError):
            await stream
        return peer.read

    assert asyncio.run(scenario()) <= flow.WINDOW + 5 * 6400 + 6400


def test_all_of_it_is_answered_in_the_end(folder) -> None:
    async def scenario() -> Peer:
        app, _ = application(folder, stream_speed=100.0)
        peer = Peer([*spoken(60.0), {"type": "websocket.receive", "text": '{"type": "close"}'}])
        await asyncio.wait_for(streaming(proxied(app), peer), 60)
        return peer

    peer = asyncio.run(scenario())
    assert frames(peer) == 60 * 30
    assert peer.texts[-1] == {"type": "end", "frames": 1800}
    assert not any(flow.EXTENSION in message for message in peer.got)


def test_nothing_is_made_for_a_peer_that_has_gone(folder) -> None:
    async def scenario() -> int:
        app, service = application(folder)
        made: list[int] = []
        service.metrics.heard = lambda model, kind, count: made.append(count)  # type: ignore[method-assign]
        peer = Peer([*spoken(60.0), {"type": "websocket.disconnect", "code": 1001}])
        await asyncio.wait_for(streaming(app, peer), 60)
        assert service.streams.inside == 0
        return sum(made)

    assert asyncio.run(scenario()) < 30 * 5


def test_a_peer_that_cannot_be_sent_to_has_gone_though_nobody_reads_it() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            got.append(message)
            if len(got) == flow.WINDOW // 100_000 + 1:
                with suppress(OSError):
                    await send({"type": "websocket.send", "text": "frames"})

    async def send(message: Message) -> None:
        raise OSError("it has gone")

    async def scenario() -> None:
        peer = Peer([{"type": "websocket.receive", "bytes": bytes(100_000)}] * 100)
        await flow.Flow(app)(scope("websocket", "/"), peer.receive, send)

    got: list[Message] = []
    asyncio.run(asyncio.wait_for(scenario(), 5))
    assert len(got) == flow.WINDOW // 100_000 + 1


def test_what_is_too_large_does_not_travel() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(await receive())

    got: list[Message] = []
    peer = Peer([{"type": "websocket.receive", "bytes": bytes(2**24), "text": None}])
    asyncio.run(flow.Flow(app)(scope("websocket", "/"), peer.receive, peer.send))
    assert len(got[0]["bytes"]) == flow.LARGEST_MESSAGE + 1


def test_where_nothing_slows_it_down_a_stream_that_is_too_fast_is_closed(folder) -> None:
    async def scenario() -> Peer:
        app, _ = application(folder, stream_speed=1.0)
        peer = Peer(spoken(2 * MOST / 32_000, message=1.0))
        await asyncio.wait_for(streaming(app, peer), 60)
        return peer

    peer = asyncio.run(scenario())
    assert (peer.texts[-1]["type"], peer.texts[-1]["status"]) == ("problem", 429)
    assert peer.got[-1]["code"] == 1013


def test_messages_that_hold_nothing_are_not_free(folder) -> None:
    pin = {"type": "websocket.receive", "text": '{"type": "pin", "emotion": "anger"}'}

    async def scenario() -> float:
        app, _ = application(folder, stream_speed=100.0)
        peer = Peer([
            {"type": "websocket.connect"}, *[pin] * 400,
            {"type": "websocket.receive", "text": '{"type": "close"}'},
        ])  # fmt: skip
        begun = time.monotonic()
        await streaming(app, peer)
        return time.monotonic() - begun

    assert asyncio.run(scenario()) > (400 * 0.05 - 2 * BURST) / 100


def test_a_pace_is_a_multiple_of_real_time_after_a_burst() -> None:
    now = 100.0
    pace = Pace(4.0, lambda: now)
    pace.spend(BURST)
    assert (pace.wait, pace.ahead) == (0.0, BURST)
    pace.spend(8.0)
    assert (pace.wait, pace.ahead) == (2.0, 10.0)
    now += 2.0
    assert (pace.wait, pace.ahead) == (0.0, 8.0)
    now += 1000.0  # a pause is not saved up
    pace.spend(BURST + 4.0)
    assert (pace.wait, pace.ahead) == (1.0, BURST + 4.0)


def batches(*items: tuple[str, bool], most: int = 64) -> list[list[int]]:
    """How items of these keys, which are patient or not, are put into batches."""

    async def scenario() -> None:
        batcher = Batcher(work, most)
        await asyncio.gather(*(batcher(at, key, late) for at, (key, late) in enumerate(items)))

    def work(batch: list[int]) -> list[int]:
        done.append(batch)
        return batch

    done: list[list[int]] = []
    asyncio.run(scenario())
    return done


def test_who_is_ahead_of_real_time_does_not_make_the_others_batch_long() -> None:
    ahead = [("fast", True)] * 40
    first, *rest = batches(*ahead, ("slow", False), ("slow", False))
    assert first == [40, 41, *range(PATIENT)]
    assert sum(map(len, rest)) == 40 - PATIENT


def test_keys_take_turns_in_batches() -> None:
    assert batches(*[("many", True)] * 20, ("one", True))[0] == [0, 20, *range(1, PATIENT - 1)]
    assert batches(*[("many", False)] * 5, ("one", False), most=2) == [[0, 5], [1, 2], [3, 4]]


# recordings


def held_up(body: bytes) -> Peer:
    """One that sends all but the end."""
    return Peer([{"type": "http.request", "body": body, "more_body": True}])


def test_slow_uploads_shut_nobody_out(folder, monkeypatch) -> None:
    monkeypatch.setenv("DIFFUSIONTALKER_API_KEYS", KEYS)

    async def scenario() -> tuple[list[int], int]:
        app, service = application(folder, request_seconds=30.0)
        slow = [held_up(b"R") for _ in range(90)]
        tasks = [
            asyncio.create_task(
                app(scope("http", "/v1/animate", key=GAME), peer.receive, peer.send)
            )  # type: ignore[arg-type]
            for peer in slow
        ]
        await asyncio.sleep(0.5)
        assert service.recordings.inside == 0
        answer = await recording(app, Peer(upload(wav(1.0))), STUDIO)
        refused = [peer.status for peer in slow if peer.got]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert service.uploads.inside == service.held.inside == 0
        return refused, answer.status

    refused, answered = asyncio.run(scenario())
    assert answered == 200
    assert set(refused) == {429}
    assert len(refused) >= 90 - 64


def test_an_upload_has_a_least_speed(folder) -> None:
    async def trickle(peer: Peer) -> None:
        while True:
            await asyncio.sleep(0.02)
            peer.say({"type": "http.request", "body": b"x", "more_body": True})

    async def scenario() -> Peer:
        app, service = application(folder, patience_seconds=0.2, request_seconds=20.0)
        peer = held_up(b"R")
        sending = asyncio.create_task(trickle(peer))
        await asyncio.wait_for(recording(app, peer), 5)
        sending.cancel()
        assert service.uploads.inside == service.held.inside == 0
        return peer

    assert asyncio.run(scenario()).status == 408


def test_a_slow_upload_that_keeps_to_the_least_speed_is_taken(folder) -> None:
    async def scenario() -> Peer:
        app, _ = application(folder, patience_seconds=0.2, bytes_per_second=50_000)
        peer = Peer()

        async def send() -> None:
            for part in upload(wav(1.0), parts=10):  # 32 kB in half a second
                await asyncio.sleep(0.05)
                peer.say(part)

        sending = asyncio.create_task(send())
        await recording(app, peer)
        await sending
        return peer

    assert asyncio.run(scenario()).status == 200


def test_bodies_together_have_a_bound(folder, monkeypatch) -> None:
    monkeypatch.setenv("DIFFUSIONTALKER_API_KEYS", KEYS)

    async def scenario() -> list[int]:
        app, service = application(folder, held_bytes=400_000)
        slow = [held_up(bytes(100_000)) for _ in range(5)]
        tasks = [
            asyncio.create_task(
                app(scope("http", "/v1/animate", key=GAME), peer.receive, peer.send)
            )  # type: ignore[arg-type]
            for peer in slow
        ]
        await asyncio.sleep(0.2)
        assert service.held.inside == 300_000
        answer = await recording(app, Peer(upload(wav(1.0))), STUDIO)
        statuses = [peer.status for peer in slow if peer.got]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [answer.status, *statuses]

    assert asyncio.run(scenario()) == [200, 429, 429]


def test_a_key_leaves_places_for_others() -> None:
    gate = Gate("recordings", 64)

    def fill(key: str, inside: ExitStack) -> int:
        for count in range(100):
            try:
                inside.enter_context(gate.enter(key))
            except Problem:
                return count
        raise AssertionError("no end")

    with ExitStack() as inside:
        assert [fill(key, inside) for key in "abcde"] == [48, 12, 3, 1, 0]
        assert gate.inside == 64
    assert gate.inside == 0


def test_keys_take_turns_with_recordings() -> None:
    async def scenario() -> list[str]:
        turns = Turns(1)
        order: list[str] = []

        def work(name: str) -> Callable[[], None]:
            def done() -> None:
                time.sleep(0.01)
                order.append(name)

            return done

        names = ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
        await asyncio.gather(*(turns.run(name[0], Wanted(5.0), work(name)) for name in names))
        return order

    assert asyncio.run(scenario()) == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


def test_work_that_is_too_late_is_not_begun_and_gives_its_thread_back() -> None:
    async def scenario() -> None:
        turns = Turns(1)
        begun: list[str] = []

        def endless(wanted: Wanted) -> None:
            while True:
                time.sleep(0.01)
                wanted.check()

        long = Wanted(0.2)
        with pytest.raises(Problem) as late:
            await asyncio.gather(
                turns.run("a", long, lambda: endless(long)),
                turns.run("a", Wanted(0.1), lambda: begun.append("never")),
            )
        assert late.value.status == 504
        await turns.run("b", Wanted(5.0), lambda: begun.append("b"))
        assert begun == ["b"]

    asyncio.run(scenario())


def test_a_recording_nobody_waits_for_is_given_up(folder, monkeypatch) -> None:
    """Sixty chunks of 0.1 s, whose caller goes, or is too late, after a few."""
    heard: list[float] = []
    encode = Graphs.encode

    def slowly(self: Graphs, *given: object):
        time.sleep(0.1)
        heard.append(time.monotonic())
        return encode(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Graphs, "encode", slowly)

    async def scenario(goes: bool, **limits: float) -> int:
        heard.clear()
        app, service = application(folder, **limits)
        peer = Peer(upload(wav(600.0, 8000)))
        asking = asyncio.create_task(recording(app, peer))
        while len(heard) < 2 and not asking.done():
            await asyncio.sleep(0.02)
        if goes:
            peer.say({"type": "http.disconnect"})
        await asyncio.wait_for(asking, 30)
        assert service.recordings.inside == service.held.inside == 0
        # Its thread is free: another is animated at once.
        assert (await recording(app, Peer(upload(wav(1.0))))).status == 200
        return len(heard)

    assert asyncio.run(scenario(goes=True)) < 40
    assert asyncio.run(scenario(goes=False, request_seconds=2.0)) < 40


def test_hearing_asks_before_every_ten_seconds_whether_to_go_on(folder) -> None:
    student, asked = served.student(str(folder)), []

    def check() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise Late

    with pytest.raises(Late):
        student.animate_chunks(speech(60.0), 16_000, check=check)
    asked.clear()
    with pytest.raises(Late):
        student.recognise(speech(60.0), 16_000, check=check)
