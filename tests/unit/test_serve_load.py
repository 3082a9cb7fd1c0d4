"""Fairness under load, without Ray Serve: no caller blocks the others."""

import asyncio
import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import yaml
from serve import middleware
from serve.admission.api_keys import VARIABLE
from serve.admission.capacity import Capacity
from serve.http.problems import Problem
from serve.middleware import flow_control
from serve.middleware.flow_control import FlowControl
from serve.models.students import Students, warm_up
from serve.routes import request_body
from serve.scheduling.batcher import MAX_LOW_PRIORITY, Batcher
from serve.scheduling.thread_pool import Deadline, DeadlineExceeded, FairThreadPool
from serve.service import Service
from serve.settings import LimitSettings
from serve.websocket.real_time import BURST, RealTimeLimiter
from serve.websocket.receive_buffer import MAX_BYTES
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from tests import served
from tests.asgi import Peer, recording, scope, upload
from tests.served import GAME_KEY, KEYS, STUDIO_KEY, speech, wav
from tests.students import random_student

from diffusiontalker.runtime.graphs import Graphs
from diffusiontalker.runtime.student import Student


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_student(tmp_path_factory.mktemp("load") / "student")


def application(folder, **limits: object) -> tuple[ASGIApp, Service]:
    return served.application(served.settings(folder, limits=limits))


# students


def test_warming_up_runs_every_graph(folder, monkeypatch: pytest.MonkeyPatch) -> None:
    student, run = Student(folder), set()
    for name in ("encode", "personalise", "modulate", "decode", "frame"):
        own = getattr(Graphs, name)
        monkeypatch.setattr(
            Graphs, name, lambda *args, name=name, own=own: (run.add(name), own(*args))[1]
        )
    warm_up(student)
    assert run == {"encode", "personalise", "modulate", "decode", "frame"}


def test_the_look_ahead_is_that_of_the_students_own_window(folder, tmp_path) -> None:
    other = shutil.copytree(folder, tmp_path / "student")
    config = yaml.safe_load((other / "config.yaml").read_text())
    config["front_end"]["window"] = 400
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    stated = Students(served.settings(other)).default.look_ahead_ms
    assert stated == Student(other).stream().look_ahead_ms == 62.5


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
    for each in middleware.middlewares():
        wrapped = each.cls(wrapped, *each.args, **each.kwargs)
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
    assert flow_control.WINDOW // 2 < read <= flow_control.WINDOW + 32_000 * made / 30 + 200_000
    assert read < 120 * 32_000 / 2


def test_a_peer_that_does_not_read_its_frames_is_not_read_from(folder) -> None:
    class NotReading(Peer):
        async def send(self, message: Message) -> None:
            if len(self.got) >= 5:
                await asyncio.Event().wait()
            await super().send(message)

    async def scenario() -> int:
        app, _ = application(folder, stream_speed=1000.0)
        peer = NotReading(spoken(120.0))
        stream = streaming(proxied(app), peer)
        await asyncio.sleep(1.0)
        stream.cancel()
        with suppress(asyncio.CancelledError):
            await stream
        return peer.read

    assert asyncio.run(scenario()) <= flow_control.WINDOW + 5 * 6400 + 6400


def test_all_samples_are_answered_in_the_end(folder) -> None:
    async def scenario() -> Peer:
        app, _ = application(folder, stream_speed=100.0)
        peer = Peer([*spoken(60.0), {"type": "websocket.receive", "text": '{"type": "close"}'}])
        await asyncio.wait_for(streaming(proxied(app), peer), 60)
        return peer

    peer = asyncio.run(scenario())
    assert frames(peer) == 60 * 30
    assert peer.texts[-1] == {"type": "end", "frames": 1800}
    assert not any(flow_control.EXTENSION in message for message in peer.got)


def test_no_frames_are_made_for_a_disconnected_peer(folder) -> None:
    async def scenario() -> int:
        app, service = application(folder)
        made: list[int] = []
        service.metrics.count_frames = lambda model, kind, count: made.append(count)  # type: ignore[method-assign]
        peer = Peer([*spoken(60.0), {"type": "websocket.disconnect", "code": 1001}])
        await asyncio.wait_for(streaming(app, peer), 60)
        assert service.streams.used == 0
        return sum(made)

    assert asyncio.run(scenario()) < 30 * 5


def test_a_failed_send_ends_a_stream_that_is_not_read_from() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            got.append(message)
            if len(got) == flow_control.WINDOW // 100_000 + 1:
                with suppress(OSError):
                    await send({"type": "websocket.send", "text": "frames"})

    async def send(message: Message) -> None:
        raise OSError("it has gone")

    async def scenario() -> None:
        peer = Peer([{"type": "websocket.receive", "bytes": bytes(100_000)}] * 100)
        await FlowControl(app)(scope("websocket", "/"), peer.receive, send)

    got: list[Message] = []
    asyncio.run(asyncio.wait_for(scenario(), 5))
    assert len(got) == flow_control.WINDOW // 100_000 + 1


def test_a_message_that_is_too_large_is_truncated() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append(await receive())

    got: list[Message] = []
    peer = Peer([{"type": "websocket.receive", "bytes": bytes(2**24), "text": None}])
    asyncio.run(FlowControl(app)(scope("websocket", "/"), peer.receive, peer.send))
    assert len(got[0]["bytes"]) == flow_control.MAX_MESSAGE + 1


def test_without_flow_control_a_stream_that_is_too_fast_is_closed(folder) -> None:
    async def scenario() -> Peer:
        app, _ = application(folder, stream_speed=1.0)
        peer = Peer(spoken(2 * MAX_BYTES / 32_000, message=1.0))
        await asyncio.wait_for(streaming(app, peer), 60)
        return peer

    peer = asyncio.run(scenario())
    assert (peer.texts[-1]["type"], peer.texts[-1]["status"]) == ("problem", 429)
    assert peer.got[-1]["code"] == 1013


def test_control_messages_count_in_the_rate_limit(folder) -> None:
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


def test_a_stream_is_limited_to_a_multiple_of_real_time_after_a_burst() -> None:
    now = 100.0
    limiter = RealTimeLimiter(4.0, lambda: now)
    limiter.consume(BURST)
    assert (limiter.delay, limiter.ahead) == (0.0, BURST)
    limiter.consume(8.0)
    assert (limiter.delay, limiter.ahead) == (2.0, 10.0)
    now += 2.0
    assert (limiter.delay, limiter.ahead) == (0.0, 8.0)
    now += 1000.0  # a pause is not saved up
    limiter.consume(BURST + 4.0)
    assert (limiter.delay, limiter.ahead) == (1.0, BURST + 4.0)


def batches(*items: tuple[str, bool], most: int = 64) -> list[list[int]]:
    """How items of (caller, low priority) are put into batches."""

    async def scenario() -> None:
        batcher = Batcher(work, most)
        await asyncio.gather(*(batcher(at, key, low) for at, (key, low) in enumerate(items)))

    def work(batch: list[int]) -> list[int]:
        done.append(batch)
        return batch

    done: list[list[int]] = []
    asyncio.run(scenario())
    return done


def test_low_priority_does_not_make_a_batch_long() -> None:
    ahead = [("fast", True)] * 40
    first, *rest = batches(*ahead, ("slow", False), ("slow", False))
    assert first == [40, 41, *range(MAX_LOW_PRIORITY)]
    assert sum(map(len, rest)) == 40 - MAX_LOW_PRIORITY


def test_batches_are_round_robin_over_keys() -> None:
    assert batches(*[("many", True)] * 20, ("one", True))[0] == [
        0,
        20,
        *range(1, MAX_LOW_PRIORITY - 1),
    ]
    assert batches(*[("many", False)] * 5, ("one", False), most=2) == [[0, 5], [1, 2], [3, 4]]


# recordings


def held_up(body: bytes) -> Peer:
    """A peer that sends all but the end of its body."""
    return Peer([{"type": "http.request", "body": body, "more_body": True}])


@pytest.mark.parametrize(
    ("limits", "count", "size", "refused"),
    [({"uploads": 64}, 90, 1, 42), ({"held_bytes": 400_000}, 5, 100_000, 2)],
    ids=["uploads", "bytes"],
)
def test_slow_uploads_do_not_block_others(
    folder, monkeypatch, limits: dict[str, int], count: int, size: int, refused: int
) -> None:
    """One key gets three quarters of the uploads, or of the bytes, and the rest is for others."""
    monkeypatch.setenv(VARIABLE, KEYS)

    async def scenario() -> tuple[int, list[int]]:
        app, service = application(folder, **limits)
        slow = [held_up(bytes(size)) for _ in range(count)]
        tasks = [asyncio.create_task(recording(app, peer, GAME_KEY)) for peer in slow]
        await asyncio.sleep(0.3)
        assert service.recordings.used == 0
        assert service.uploads.used == count - refused
        assert service.body_bytes.used == (count - refused) * size
        answer = await recording(app, Peer(upload(wav(1.0))), STUDIO_KEY)
        statuses = [peer.status for peer in slow if peer.got]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert service.uploads.used == service.body_bytes.used == 0
        return answer.status, statuses

    assert asyncio.run(scenario()) == (200, [429] * refused)


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
        assert service.uploads.used == service.body_bytes.used == 0
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


def test_a_key_leaves_capacity_for_others() -> None:
    capacity = Capacity("recordings", 64)

    def fill(key: str, inside: ExitStack) -> int:
        for count in range(100):
            try:
                inside.enter_context(capacity.acquire(key))
            except Problem:
                return count
        raise AssertionError("no end")

    with ExitStack() as inside:
        assert [fill(key, inside) for key in "abcde"] == [48, 12, 3, 1, 0]
        assert capacity.used == 64
    assert capacity.used == 0


def test_threads_are_round_robin_over_keys() -> None:
    async def scenario() -> list[str]:
        threads = FairThreadPool(1)
        order: list[str] = []

        def work(name: str) -> Callable[[], None]:
            def done() -> None:
                time.sleep(0.01)
                order.append(name)

            return done

        names = ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
        await asyncio.gather(*(threads.run(name[0], Deadline(5.0), work(name)) for name in names))
        return order

    assert asyncio.run(scenario()) == ["a1", "a2", "b1", "c1", "a3", "b2", "a4"]


def test_work_past_its_deadline_is_not_begun_and_frees_its_thread() -> None:
    async def scenario() -> None:
        threads = FairThreadPool(1)
        begun: list[str] = []

        def endless(deadline: Deadline) -> None:
            while True:
                time.sleep(0.01)
                deadline.check()

        long = Deadline(0.2)
        with pytest.raises(Problem) as late:
            await asyncio.gather(
                threads.run("a", long, lambda: endless(long)),
                threads.run("a", Deadline(0.1), lambda: begun.append("never")),
            )
        assert late.value.status == 504
        await threads.run("b", Deadline(5.0), lambda: begun.append("b"))
        assert begun == ["b"]

    asyncio.run(scenario())


def test_a_recording_without_a_caller_is_cancelled(folder, monkeypatch) -> None:
    """Sixty chunks of 0.1 s, of which a few are done when its caller disconnects, or at its
    deadline."""
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
        assert service.recordings.used == service.body_bytes.used == 0
        # Its thread is free: another is animated at once.
        assert (await recording(app, Peer(upload(wav(1.0))))).status == 200
        return len(heard)

    assert asyncio.run(scenario(goes=True)) < 40
    assert asyncio.run(scenario(goes=False, request_seconds=2.0)) < 40


def test_decoding_checks_the_deadline_between_blocks() -> None:
    deadline = Deadline(60.0)
    content = wav(60.0)
    assert len(request_body.decode(content, LimitSettings(), deadline).samples) == 960_000
    deadline.cancel()
    with pytest.raises(DeadlineExceeded):
        request_body.decode(content, LimitSettings(), deadline)


def test_the_audio_encoder_checks_the_deadline_every_ten_seconds(folder) -> None:
    student, asked = served.student(str(folder)), []

    def check() -> None:
        asked.append(True)
        if len(asked) == 3:
            raise DeadlineExceeded

    with pytest.raises(DeadlineExceeded):
        student.animate_chunks(speech(60.0), 16_000, check=check)
    asked.clear()
    with pytest.raises(DeadlineExceeded):
        student.recognise(speech(60.0), 16_000, check=check)
