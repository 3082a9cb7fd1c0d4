"""The load that a server is measured with: what counts, what is refused, what is late."""

import asyncio
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import numpy as np
import pytest
from aiohttp import web
from rich.console import Console
from tests.ports import free_port
from tests.students import random_student

from diffusiontalker.benchmarks.serving import load
from diffusiontalker.benchmarks.serving import run as serving
from diffusiontalker.benchmarks.serving import table as serving_table
from diffusiontalker.benchmarks.serving.load import PUSH, LoadResult
from diffusiontalker.runtime.student import Student


@pytest.fixture(scope="module")
def student(tmp_path_factory) -> Student:
    return Student(random_student(tmp_path_factory.mktemp("served") / "student"))


@contextmanager
def hosted(**routes) -> Iterator[str]:
    """A server of these handlers by path, in a thread."""
    app = web.Application()
    app.add_routes([web.route("*", f"/{path}", handler) for path, handler in routes.items()])
    port, ready, done = free_port(), threading.Event(), threading.Event()

    async def host() -> None:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        ready.set()
        await asyncio.to_thread(done.wait)
        await runner.cleanup()

    thread = threading.Thread(target=lambda: asyncio.run(host()))
    thread.start()
    try:
        assert ready.wait(10)
        yield f"http://127.0.0.1:{port}"
    finally:
        done.set()
        thread.join(30)


def test_answers_are_counted_by_what_they_are() -> None:
    answers = iter([200, 200, 429, 500, 200])

    async def ask(request: web.Request) -> web.Response:
        assert await request.read() == b"speech"
        return web.Response(status=next(answers, 200), headers={"Retry-After": "0"}, text="said")

    with hosted(ask=ask) as url:
        outcome = load.run(load.open_loop(f"{url}/ask", b"speech", 50, 0.1))
    told = outcome.report()
    assert (told["answered"], told["refused"], told["failed"]) == (3, 1, 1)
    assert told["failures"] == ["500: said"]


def test_a_server_that_is_away_fails_and_does_not_raise() -> None:
    outcome = load.run(load.open_loop(f"http://127.0.0.1:{free_port()}/ask", b"", 50, 0.1))
    assert outcome.report()["failures"] == ["ClientConnectorError"]
    assert outcome.report()["p99_ms"] is None


def test_callers_of_a_closed_loop_wait_for_their_answers() -> None:
    inside = most = 0

    async def ask(request: web.Request) -> web.Response:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.02)
        inside -= 1
        return web.Response(text="said")

    with hosted(ask=ask) as url:
        outcome = load.run(load.closed_loop(f"{url}/ask", b"", 3, 0.2))
    assert most == 3
    assert min(outcome.latencies) >= 0.02


def test_a_lone_caller_keeps_his_connection_and_waits_for_every_answer() -> None:
    answers, callers = iter([200, 429, 500]), set()

    async def ask(request: web.Request) -> web.Response:
        assert await request.read() == b"speech"
        callers.add(request.transport.get_extra_info("peername"))
        await asyncio.sleep(0.02)
        return web.Response(status=next(answers, 200), text="said")

    with hosted(ask=ask) as url:
        outcome = load.sequential(f"{url}/ask", b"speech", 0.2)
    assert len(callers) == 1
    assert min(outcome.latencies) >= 0.02
    assert (outcome.refused, outcome.failed) == (1, ["500: said"])
    assert 3 <= len(outcome.latencies) + 2 <= 10


def test_a_lone_caller_of_a_server_that_is_away_says_so() -> None:
    outcome = load.sequential(f"http://127.0.0.1:{free_port()}/ask", b"", 0.1)
    assert (outcome.latencies, outcome.failed) == ([], ["ConnectionRefusedError"])


def test_an_open_loop_counts_from_when_a_request_was_due() -> None:
    """The first answers late and holds up nobody; a closed loop would hide that."""
    number = 0

    async def ask(request: web.Request) -> web.Response:
        nonlocal number
        number += 1
        await asyncio.sleep(0.3 if number == 1 else 0)
        return web.Response(text="said")

    with hosted(ask=ask) as url:
        begun = perf_counter()
        outcome = load.run(load.open_loop(f"{url}/ask", b"", 100, 0.2))
    assert perf_counter() - begun >= 0.3
    assert len(outcome.latencies) == 20
    assert sum(latency >= 0.3 for latency in outcome.latencies) == 1


def test_a_push_is_late_by_the_time_its_frames_took(student) -> None:
    samples = np.zeros(10 * PUSH, np.int16)
    after = load.frames_after(student, samples)
    # 70 ms of look-ahead: two pushes complete the first frame, and 40 ms hold 1.2 frames.
    assert after[0] == 0
    assert (after[1:] > 0).all()
    assert set(np.diff(after[1:])) == {1, 2}
    delay = 0.05

    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "ready"})
        stream = student.stream()
        async for message in socket:
            if message.type is web.WSMsgType.TEXT:
                break
            first = stream.frames
            face = stream.push(np.frombuffer(message.data, "<i2"))
            await asyncio.sleep(delay)
            if len(face):
                head = np.array([first, len(face)], "<u4").tobytes()
                await socket.send_bytes(head + face.tobytes())
        await socket.send_json({"type": "end"})
        await socket.close()
        return socket

    with hosted(talk=talk) as url:
        outcome = load.run(load.streams(f"{url}/talk", samples, after, 2, warm=0.0, spread=0.0))
    assert outcome.report()["failed"] == 0
    assert len(outcome.latencies) == 2 * np.count_nonzero(after)
    assert delay <= np.median(outcome.latencies)


def test_a_stream_that_is_refused_is_counted(student) -> None:
    async def talk(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"type": "problem", "status": 429})
        await socket.close()
        return socket

    samples = np.zeros(3 * PUSH, np.int16)
    with hosted(talk=talk) as url:
        outcome = load.run(
            load.streams(f"{url}/talk", samples, load.frames_after(student, samples), 2, 0.0)
        )
    assert (outcome.refused, outcome.failed) == (2, [])


def take(p99: float | None, answered: int = 200, refused: int = 0) -> dict:
    return {"p99_ms": p99, "answered": answered, "refused": refused, "failed": 0}


@pytest.mark.parametrize(
    ("takes", "p99", "held"),
    [
        ([take(40), take(90), take(45)], 45, True),  # the machine stood still once
        ([take(40), take(90), take(60)], 60, False),
        ([take(40), take(45), take(None, answered=0)], 45, False),
        ([take(40), take(41), take(42, refused=1)], 41, False),
        ([take(40), take(41), take(42, answered=180)], 41, False),
        ([take(None, answered=0)] * 3, None, False),
    ],
)
def test_streams_are_held_in_the_median_of_takes(takes, p99, held) -> None:
    found = serving.median_take(takes, expected=200)
    assert (found["p99_ms"], found["held"]) == (p99, held)
    assert found["p99_ms_of_takes"] == [take["p99_ms"] for take in takes]


def report() -> dict:
    told = {"per_second": 40.0, "p50_ms": 20.0, "p95_ms": 30.0, "p99_ms": 40.0,
            "answered": 400, "refused": 0, "failed": 0, "failures": []}  # fmt: skip
    return {
        "machine": {"processor": "A CPU", "cores": 2, "python": "3.11"},
        "settings": {"recording": 10.0},
        "proxy": "HAProxy",
        "load_average": {"before": [0.1], "after": [0.2]},
        "alone": {
            "turns": 30,
            "in_a_row_ms": 15.0,
            "runtime_ms": 16.0,
            "served_ms": 20.5,
            "overhead_ms": 4.0,
        },
        "recordings": [
            {"replicas": 1, "own_cores": True, "loop": "closed", "callers": 1, **told},
            {"replicas": 2, "own_cores": False, "loop": "open", "share": 0.8, **told},
        ],
        "streams": [
            {"replicas": 1, "batch": 64, "streams": 50, "held": True, **told},
            {"replicas": 1, "batch": 64, "streams": 100, "held": False, **told},
            {"replicas": 2, "batch": 64, "streams": 100, "held": True, **told},
        ],
        "soak": {"seconds": 600, "share": 0.8, **told, "mb_before": 100.0, "mb_after": 120.0},
    }


def test_aims_are_judged_by_the_right_figures() -> None:
    found = {aim.name: (aim.value, aim.met) for aim in serving.aims(report())}
    assert found == {
        "ms that serving adds to a request at p50, one caller": (4.0, True),
        "streams in real time of one replica": (50, False),
        "soak: failed or refused": (0, True),
        "soak: memory after, of that before": (1.2, False),
    }


def test_what_is_printed_names_every_load() -> None:
    told = {**report(), "aims": serving.aims(report())}
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(serving_table.table(told))
    text = console.export_text()
    for word in ("1 caller", "open, 80% of the most", "50 streams", "100 streams, not held"):
        assert word in text
    lines = "\n".join(serving_table.lines(told))
    assert "100 MB before and 120 MB after" in lines
    assert "share, but for one each that replicas have to themselves where there are 1," in lines
    for case in told["recordings"]:
        case["own_cores"] = False
    assert "2 cores that callers, proxy and replicas share, load" in "\n".join(
        serving_table.lines(told)
    )
    assert "MISSED streams in real time of one replica" in lines


def test_outcomes_have_percentiles_in_milliseconds() -> None:
    told = LoadResult(seconds=2.0, latencies=[0.01] * 98 + [0.1, 0.2]).report()
    assert told["per_second"] == 50
    assert told["p50_ms"] == pytest.approx(10)
    assert told["p99_ms"] > 90
