"""Load generators: sequential, closed-loop and open-loop requests, and streams in real time."""

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import numpy as np
import uvloop

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.runtime.student import Student

PUSH_SECONDS = 0.04
PUSH = round(PUSH_SECONDS * SAMPLE_RATE)
"""Samples of a push."""
SPREAD = 1.0
"""Seconds over which the starts of streams are spread. Every fifth push completes two frames, and
every tenth frame updates the voice: the phases of independent callers differ."""
PATIENCE = aiohttp.ClientTimeout(total=60)
Json = dict[str, Any]


@dataclass
class LoadResult:
    """Latencies and errors of a load."""

    seconds: float = 0.0
    """Duration."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of each response."""
    refused: int = 0
    """Answered with 429."""
    failed: list[str] = field(default_factory=list)
    """Every other error as text."""

    def report(self) -> Json:
        """Rate, percentiles in milliseconds, and errors, as in ``serve.json``."""
        marks = [50, 95, 99]
        found: list[float | None] = [None] * len(marks)
        if self.latencies:
            found = (np.percentile(self.latencies, marks) * 1000).tolist()
        return {
            "per_second": len(self.latencies) / max(self.seconds, 1e-9),
            **{f"p{mark}_ms": value for mark, value in zip(marks, found, strict=True)},
            "answered": len(self.latencies),
            "refused": self.refused,
            "failed": len(self.failed),
            "failures": sorted(set(self.failed))[:5],
        }


def sequential(url: str, body: bytes, seconds: float) -> LoadResult:
    """One caller, one request after the other. With ``http.client``: the client's time counts as
    the server's here, and an asynchronous client takes a millisecond more."""
    place, result = urlsplit(url), LoadResult()
    connection = HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE.total)
    begun = perf_counter()
    try:
        while perf_counter() - begun < seconds:
            since = perf_counter()
            connection.request("POST", place.path, body)
            answer = connection.getresponse()
            content = answer.read()
            _count(result, answer.status, content, since)
    except (HTTPException, OSError) as error:
        result.failed.append(type(error).__name__)
    finally:
        connection.close()
    result.seconds = perf_counter() - begun
    return result


async def closed_loop(url: str, body: bytes, callers: int, seconds: float) -> LoadResult:
    """``callers`` callers, each of which sends a request as soon as it has the last response."""
    result = LoadResult()
    async with aiohttp.ClientSession(timeout=PATIENCE) as session:
        begun = perf_counter()

        async def caller() -> None:
            while perf_counter() - begun < seconds:
                await _post(session, url, body, perf_counter(), result)

        await asyncio.gather(*(caller() for _ in range(callers)))
        result.seconds = perf_counter() - begun
    return result


async def open_loop(
    url: str, body: bytes, rate: float, seconds: float,
    progress: Callable[[int], object] = lambda done: None,
) -> LoadResult:  # fmt: skip
    """Poisson arrivals at ``rate`` a second, whether or not earlier requests have been answered;
    latencies count from the time at which a request was due."""
    due = np.cumsum(np.random.default_rng(0).exponential(1 / rate, round(rate * seconds)))
    result, tasks = LoadResult(), []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=PATIENCE, connector=connector) as session:
        begun = perf_counter()
        for number, moment in enumerate(due):
            await asyncio.sleep(max(begun + moment - perf_counter(), 0))
            tasks.append(asyncio.create_task(_post(session, url, body, begun + moment, result)))
            progress(number + 1)
        await asyncio.gather(*tasks)
        result.seconds = perf_counter() - begun
    return result


async def _post(
    session: aiohttp.ClientSession, url: str, body: bytes, since: float, result: LoadResult
) -> None:
    try:
        async with session.post(url, data=body) as answer:
            content = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        result.failed.append(type(error).__name__)
        return
    _count(result, answer.status, content, since)
    if answer.status == 429:
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))


def _count(result: LoadResult, status: int, content: bytes, since: float) -> None:
    if status == 200:
        result.latencies.append(perf_counter() - since)
    elif status == 429:
        result.refused += 1
    else:
        result.failed.append(f"{status}: {content[:80].decode(errors='replace')}")


def frames_after(student: Student, samples: np.ndarray) -> np.ndarray:
    """Number of frames (pushes,) that a stream has returned after each push of the samples (n,)."""
    stream, found = student.stream(), []
    for at in range(0, len(samples) - PUSH + 1, PUSH):
        stream.push(samples[at : at + PUSH])
        found.append(stream.frames)
    return np.array(found)


async def streams(
    url: str, samples: np.ndarray, after: np.ndarray, count: int, warm: float,
    spread: float = SPREAD,
) -> LoadResult:  # fmt: skip
    """``count`` streams in real time, which start at random within ``spread`` seconds.

    Args:
        url: of WS /v1/stream.
        samples: (n,) int16 at 16 kHz, the same for every stream.
        after: ``frames_after`` of the samples: the latency of a frame counts from the push that
            completes it.
        count: of streams.
        warm: seconds after the start of the last stream in which latencies do not count; those
            after the end of the first stream do not count either.
    """
    result = LoadResult()
    moments = np.random.default_rng(0).uniform(0, spread, count)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        begun = perf_counter() + 1.0
        counted = begun + spread + warm, begun + len(after) * PUSH_SECONDS
        await asyncio.gather(
            *(_stream(session, url, samples, after, begun + m, counted, result) for m in moments)
        )
        result.seconds = counted[1] - counted[0]
    return result


async def _stream(
    session: aiohttp.ClientSession, url: str, samples: np.ndarray, after: np.ndarray,
    begin: float, counted: tuple[float, float], result: LoadResult,
) -> None:  # fmt: skip
    due = begin + PUSH_SECONDS * np.arange(len(after))
    try:
        async with session.ws_connect(url, autoping=True) as socket:
            first: Json = await socket.receive_json()
            if first["type"] != "ready":
                result.refused += first.get("status") == 429
                result.failed += [] if first.get("status") == 429 else [str(first)]
                return
            receiver = asyncio.create_task(_receive(socket, due, after, counted, result))
            for number, moment in enumerate(due):
                await asyncio.sleep(max(moment - perf_counter(), 0))
                at = number * PUSH
                await socket.send_bytes(samples[at : at + PUSH].tobytes())
            await socket.send_str('{"type": "close"}')
            async with asyncio.timeout(30):
                await receiver
    except (aiohttp.ClientError, TimeoutError, TypeError) as error:
        result.failed.append(type(error).__name__)


async def _receive(
    socket: aiohttp.ClientWebSocketResponse, due: np.ndarray, after: np.ndarray,
    counted: tuple[float, float], result: LoadResult,
) -> None:  # fmt: skip
    async for message in socket:
        now = perf_counter()
        if message.type is not aiohttp.WSMsgType.BINARY:
            return  # the closing message
        first, frames = np.frombuffer(message.data[:8], "<u4")
        push = int(np.searchsorted(after, first + frames))
        if push < len(due) and counted[0] <= due[push] < counted[1]:
            result.latencies.append(now - due[push])


def run(load: Awaitable[LoadResult]) -> LoadResult:
    """Run a load to its end in an event loop of its own."""

    async def whole() -> LoadResult:
        return await load

    # The callers share the machine with the server and should use little of it; freezing avoids
    # pauses of the garbage collector over imported modules.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(whole())
