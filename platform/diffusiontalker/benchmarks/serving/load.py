"""Callers of a server: one after the other, at a given rate, and as streams in real time."""

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
"""Samples."""
SPREAD = 1.0
"""Seconds within which streams begin. Every fifth push completes two frames, and every tenth frame
looks at the voice anew: callers who know nothing of each other do not keep step in that."""
PATIENCE = aiohttp.ClientTimeout(total=60)
Json = dict[str, Any]


@dataclass
class Outcome:
    """What came of a load."""

    seconds: float = 0.0
    """That it lasted."""
    latencies: list[float] = field(default_factory=list)
    """Seconds of each answer."""
    refused: int = 0
    """Answered with 429."""
    failed: list[str] = field(default_factory=list)
    """Everything else, in words."""

    def report(self) -> Json:
        """Rates and percentiles in milliseconds."""
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


def alone(url: str, body: bytes, seconds: float) -> Outcome:
    """One caller who waits for each answer. By ``http.client``: what the client takes counts as the
    server's here, and one for many callers takes a millisecond more."""
    place, outcome = urlsplit(url), Outcome()
    connection = HTTPConnection(place.hostname or "", place.port, timeout=PATIENCE.total)
    begun = perf_counter()
    try:
        while perf_counter() - begun < seconds:
            since = perf_counter()
            connection.request("POST", place.path, body)
            answer = connection.getresponse()
            content = answer.read()
            _count(outcome, answer.status, content, since)
    except (HTTPException, OSError) as error:
        outcome.failed.append(type(error).__name__)
    finally:
        connection.close()
    outcome.seconds = perf_counter() - begun
    return outcome


async def closed(url: str, body: bytes, callers: int, seconds: float) -> Outcome:
    """So many callers, each of whom asks again as soon as he has his answer."""
    outcome = Outcome()
    async with aiohttp.ClientSession(timeout=PATIENCE) as session:
        begun = perf_counter()

        async def caller() -> None:
            while perf_counter() - begun < seconds:
                await _ask(session, url, body, perf_counter(), outcome)

        await asyncio.gather(*(caller() for _ in range(callers)))
        outcome.seconds = perf_counter() - begun
    return outcome


async def opened(
    url: str, body: bytes, rate: float, seconds: float,
    say: Callable[[int], object] = lambda done: None,
) -> Outcome:  # fmt: skip
    """Requests at random moments, ``rate`` a second in the mean, whether or not the earlier ones
    have been answered: latencies count from the moment that a request was due."""
    due = np.cumsum(np.random.default_rng(0).exponential(1 / rate, round(rate * seconds)))
    outcome, tasks = Outcome(), []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=PATIENCE, connector=connector) as session:
        begun = perf_counter()
        for number, moment in enumerate(due):
            await asyncio.sleep(max(begun + moment - perf_counter(), 0))
            tasks.append(asyncio.create_task(_ask(session, url, body, begun + moment, outcome)))
            say(number + 1)
        await asyncio.gather(*tasks)
        outcome.seconds = perf_counter() - begun
    return outcome


async def _ask(
    session: aiohttp.ClientSession, url: str, body: bytes, since: float, outcome: Outcome
) -> None:
    try:
        async with session.post(url, data=body) as answer:
            content = await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        outcome.failed.append(type(error).__name__)
        return
    _count(outcome, answer.status, content, since)
    if answer.status == 429:
        await asyncio.sleep(float(answer.headers.get("Retry-After", 1)))


def _count(outcome: Outcome, status: int, content: bytes, since: float) -> None:
    if status == 200:
        outcome.latencies.append(perf_counter() - since)
    elif status == 429:
        outcome.refused += 1
    else:
        outcome.failed.append(f"{status}: {content[:80].decode(errors='replace')}")


def frames_after(student: Student, samples: np.ndarray) -> np.ndarray:
    """Frames that a stream has given after each push (pushes,) of ``PUSH`` samples (n,) PCM."""
    stream, found = student.stream(), []
    for at in range(0, len(samples) - PUSH + 1, PUSH):
        stream.push(samples[at : at + PUSH])
        found.append(stream.frames)
    return np.array(found)


async def streams(
    url: str, samples: np.ndarray, after: np.ndarray, count: int, warm: float,
    spread: float = SPREAD,
) -> Outcome:  # fmt: skip
    """So many streams in real time, begun at random moments within ``spread`` seconds.

    Args:
        url: of WS /v1/stream.
        samples: (n,) int16 at 16 kHz, the same for each.
        after: ``frames_after`` of them: a frame's latency counts from the push that it needed.
        count: of streams.
        warm: seconds since the last of them began whose latencies do not count. Nor do those after
            the first has ended.
    """
    outcome = Outcome()
    moments = np.random.default_rng(0).uniform(0, spread, count)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        begun = perf_counter() + 1.0
        counted = begun + spread + warm, begun + len(after) * PUSH_SECONDS
        await asyncio.gather(
            *(_talk(session, url, samples, after, begun + m, counted, outcome) for m in moments)
        )
        outcome.seconds = counted[1] - counted[0]
    return outcome


async def _talk(
    session: aiohttp.ClientSession, url: str, samples: np.ndarray, after: np.ndarray,
    begin: float, counted: tuple[float, float], outcome: Outcome,
) -> None:  # fmt: skip
    due = begin + PUSH_SECONDS * np.arange(len(after))
    try:
        async with session.ws_connect(url, autoping=True) as socket:
            said: Json = await socket.receive_json()
            if said["type"] != "ready":
                outcome.refused += said.get("status") == 429
                outcome.failed += [] if said.get("status") == 429 else [str(said)]
                return
            hear = asyncio.create_task(_hear(socket, due, after, counted, outcome))
            for number, moment in enumerate(due):
                await asyncio.sleep(max(moment - perf_counter(), 0))
                at = number * PUSH
                await socket.send_bytes(samples[at : at + PUSH].tobytes())
            await socket.send_str('{"type": "close"}')
            async with asyncio.timeout(30):
                await hear
    except (aiohttp.ClientError, TimeoutError, TypeError) as error:
        outcome.failed.append(type(error).__name__)


async def _hear(
    socket: aiohttp.ClientWebSocketResponse, due: np.ndarray, after: np.ndarray,
    counted: tuple[float, float], outcome: Outcome,
) -> None:  # fmt: skip
    async for message in socket:
        now = perf_counter()
        if message.type is not aiohttp.WSMsgType.BINARY:
            return  # the end
        first, frames = np.frombuffer(message.data[:8], "<u4")
        push = int(np.searchsorted(after, first + frames))
        if push < len(due) and counted[0] <= due[push] < counted[1]:
            outcome.latencies.append(now - due[push])


def run(load: Awaitable[Outcome]) -> Outcome:
    """Wait for a load."""

    async def whole() -> Outcome:
        return await load

    # Callers share the machine with the server: the fewer of its cycles they take the better. And
    # none may pause to look through what was loaded for garbage.
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(whole())
