"""The session of one live stream: reads samples and control messages, sends frames."""

import asyncio
from typing import Any

import numpy as np
from fastapi import WebSocket, WebSocketDisconnect

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.containers.kinds import PcmGuard
from diffusiontalker.runtime.stream import Stream
from diffusiontalker.runtime.student import Student
from serve import conditioning
from serve.admission.access import Caller
from serve.http import responses
from serve.http.problems import Problem, as_invalid
from serve.models.students import ServedStudent
from serve.scheduling.cancellation import first_completed
from serve.service import Service
from serve.websocket.protocol import (
    DTYPES,
    MAX_CONTROL,
    Close,
    Pin,
    StreamQuery,
    parse_control,
    parse_samples,
)
from serve.websocket.real_time import RealTimeLimiter
from serve.websocket.receive_buffer import ReceiveBuffer

SLICE_SECONDS = 0.2
"""Audio of one stream that is processed at once; between two slices other streams are."""
LOW_PRIORITY_SECONDS = 1.0
"""A stream that is this far ahead of real time has low priority in a batch."""
MIN_SECONDS, CONTROL_SECONDS = 0.002, 0.05
"""Audio that a short message of samples, and a control message, count as in the rate limit."""
IDLE_SLACK = 1.1
"""An idle stream is closed after ``idle_seconds`` to this many times that."""


class Session:
    """One live stream and its WebSocket."""

    def __init__(
        self, socket: WebSocket, service: Service, served: ServedStudent, caller: Caller,
        student: Student, stream: Stream, query: StreamQuery,
    ) -> None:  # fmt: skip
        self._socket, self._service, self._served = socket, service, served
        self._caller, self._student, self._stream = caller, student, stream
        self._query = query
        self._check_raw = PcmGuard("samples", query.rate)
        self._buffer = ReceiveBuffer(socket)
        self._limiter = RealTimeLimiter(
            service.limits.stream_speed, asyncio.get_running_loop().time
        )

    async def run(self) -> None:
        """Until the caller ends the stream, or disconnects. Raises Problem and
        WebSocketDisconnect."""
        await first_completed(self._process(), self._buffer.fill())

    async def _process(self) -> None:
        await self._send_message(
            "ready", model=self._served.name, steps=self._served.steps, fps=FPS,
            look_ahead_ms=round(self._stream.look_ahead_ms, 3), channels=CHANNELS,
        )  # fmt: skip
        idle, now = self._service.limits.idle_seconds, asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(idle) as timeout:
                while not self._stream.closed:
                    received = await self._buffer.get()
                    # Rarely, as a timer for every message costs as much as reading it.
                    if (until := timeout.when()) is None or until < now() + idle:
                        timeout.reschedule(now() + IDLE_SLACK * idle)
                    if (samples := received.get("bytes")) is not None:
                        await self._push(samples)
                    else:
                        await self._control(received.get("text") or "")
                    await self._buffer.acknowledge()
        except TimeoutError as error:
            raise Problem(408, f"nothing came for {idle:g} s; begin another stream") from error
        await self._send_message("end", frames=self._stream.frames)
        await self._socket.close(1000)

    async def _push(self, content: bytes) -> None:
        content = self._with_following(content)
        with as_invalid("samples"):
            self._check_raw(content)
        samples = parse_samples(content, self._query.encoding)
        rate = self._query.rate
        size = round(SLICE_SECONDS * rate)
        if not len(samples):
            await self._wait_and_consume(MIN_SECONDS)
        for at in range(0, len(samples), size):
            piece, first = samples[at : at + size], self._stream.frames
            await self._wait_and_consume(max(len(piece) / rate, MIN_SECONDS))
            low_priority = self._limiter.ahead > LOW_PRIORITY_SECONDS
            with as_invalid("samples"):
                frames = await self._service.push(self._caller, self._stream, piece, low_priority)
            await self._send_frames(first, frames)

    def _with_following(self, content: bytes) -> bytes:
        """A message joined with those that wait behind it, up to a slice: so a stream that lags
        catches up."""
        itemsize = np.dtype(DTYPES[self._query.encoding]).itemsize
        left = round(SLICE_SECONDS * self._query.rate) * itemsize - len(content)
        parts = [content]
        while len(parts[-1]) % itemsize == 0:
            if (part := self._buffer.get_samples(left)) is None:
                break
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    async def _wait_and_consume(self, seconds: float) -> None:
        """Wait until so much audio may be processed, and count it."""
        if (delay := self._limiter.delay) > 0:
            await asyncio.sleep(delay)
        self._limiter.consume(seconds)

    async def _control(self, text: str) -> None:
        """Follow a control message; one that is invalid leaves the stream open."""
        await self._wait_and_consume(CONTROL_SECONDS)
        if len(text) > MAX_CONTROL:
            raise Problem(413, f"message: more than {MAX_CONTROL} characters of text", "type")
        try:
            message = parse_control(text)
            if isinstance(message, Pin):
                await self._pin(message)
        except Problem as problem:
            return await send_problem(self._socket, problem, closing=False)
        if isinstance(message, Close):
            first = self._stream.frames
            await self._send_frames(first, self._stream.close())

    async def _pin(self, pin: Pin) -> None:
        identity = emotion = None
        if pin.identity is not None:
            identity = await conditioning.identity(
                pin.identity, self._service, self._served, self._student, self._caller
            )
        if pin.emotion is not None:
            emotion = conditioning.emotion(pin.emotion, self._student)
        self._stream.pin(identity, emotion)

    async def _send_frames(self, first: int, frames: np.ndarray) -> None:
        if not len(frames):
            return
        if self._query.format == "binary":
            head = np.array([first, len(frames)], "<u4").tobytes()
            await self._socket.send_bytes(head + frames.astype("<f4").tobytes())
            return
        names = {"identity": self._stream.identity, "emotion": self._stream.emotion}
        await self._socket.send_text(responses.frames_message(first, frames, FPS, **names).decode())

    async def _send_message(self, kind: str, **content: Any) -> None:
        await self._socket.send_text(responses.message(kind, **content).decode())


async def send_problem(socket: WebSocket, problem: Problem, closing: bool) -> None:
    """Send a problem; if ``closing``, also as the close frame."""
    try:
        await socket.send_text(problem.websocket_message(closing))
        if closing:
            await socket.close(*problem.close_frame)
    except (RuntimeError, WebSocketDisconnect):
        pass  # the peer has disconnected
