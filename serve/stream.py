"""WS /v1/stream: samples in as they are spoken, frames out, a stated look-ahead behind."""

import asyncio
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, HTTPException, WebSocket, WebSocketDisconnect
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from serve import choices, faces
from serve.access import PROTOCOL, Caller
from serve.animate import Performing
from serve.first import first
from serve.flow import LARGEST_MESSAGE
from serve.inbox import Inbox
from serve.pace import Pace
from serve.problems import Problem, blame, invalid, unready
from serve.query import parsed
from serve.service import Service, Serving, caller_of
from serve.students import Served

from diffusiontalker.arkit import CHANNELS, FPS
from diffusiontalker.containers.kinds import PcmGuard
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.stream import Stream
from diffusiontalker.runtime.student import Student

router = APIRouter()
LARGEST_CONTROL = 16 * 1024
"""Characters of a message that is no samples."""
TURN_SECONDS = 0.2
"""Of one stream's samples that are heard at once: between two turns the others have theirs."""
AHEAD_SECONDS = 1.0
"""A stream that is so far ahead of real time gives way to those that are not."""
LEAST_SECONDS, CONTROL_SECONDS = 0.002, 0.05
"""What a message counts for that holds less audio, and one that holds none."""
RATES = (
    8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 176_400,
    192_000,
)  # fmt: skip
"""Hz; others have resamplers of megabytes, which nobody should make us build."""
SLACK = 1.1
"""A stream is closed when nothing came for ``idle_seconds`` to so many times that."""
DTYPES = {"pcm16": "<i2", "float32": "<f4"}


class Options(Performing):
    """The query of a stream."""

    rate: int = 16_000
    """Sample rate in Hz, one of ``RATES``."""
    encoding: Literal["pcm16", "float32"] = "pcm16"
    """Of the samples: little-endian, mono."""
    format: Literal["json", "binary"] = "json"
    """Of the frames; binary: number of the first and count (uint32), float32; little-endian."""

    @field_validator("rate")
    @classmethod
    def _usual(cls, rate: int) -> int:
        if rate not in RATES:
            raise ValueError(f"{rate} Hz is none of {', '.join(map(str, RATES))}")
        return rate


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Pin(_Message):
    """From the next frame on, glide to another identity or emotion."""

    type: Literal["pin"]
    identity: str | dict[str, float] | None = None
    emotion: str | dict[str, float] | None = None


class Close(_Message):
    """No more samples."""

    type: Literal["close"]


CONTROL: TypeAdapter[Pin | Close] = TypeAdapter(Annotated[Pin | Close, Field(discriminator="type")])


@router.websocket("/v1/stream")
async def stream(socket: WebSocket, service: Serving) -> None:
    """Samples in binary messages, ``pin`` and ``close`` in text; frames come as they are ready."""
    offered = [name.strip() for name in socket.headers.get("sec-websocket-protocol", "").split(",")]
    await socket.accept(PROTOCOL if PROTOCOL in offered else None)
    try:
        async with asyncio.timeout(service.limits.stream_seconds):
            await _serve(socket, service)
    except TimeoutError:
        most = service.limits.stream_seconds
        await _end(socket, service, Problem(408, f"a stream may last {most:g} s; begin another"))
    except Problem as problem:
        await _end(socket, service, problem)
    except UserError as error:
        await _end(socket, service, unready(error))
    except WebSocketDisconnect:
        pass


@router.get("/v1/stream", include_in_schema=False)
async def no_stream() -> None:
    """A request that is none for a WebSocket, or no longer. Raises HTTPException."""
    raise HTTPException(
        426, "is a WebSocket; open it with ws:// or wss://, and let a proxy in between pass the "
        "headers Upgrade and Connection on", {"Upgrade": "websocket", "Connection": "Upgrade"},
    )  # fmt: skip


async def _serve(socket: WebSocket, service: Service) -> None:
    caller = await caller_of(socket, service)
    options = _options(socket)
    served = service.students.find(options.model, options.steps)
    with service.streams.enter(caller.bucket):
        socket.state.model = served.name
        student = await service.students.load(served.name)
        identity = await choices.identity(options.identity, service, served, student, caller)
        emotion = choices.emotion(options.emotion, student)
        with blame("model"):
            begun = Stream(
                service.company(student), options.rate, identity, emotion, options.seed,
                options.smooth_ms, options.mirror,
            )  # fmt: skip
        session = Session(socket, service, served, caller, student, begun, options)
        try:
            await session.run()
        finally:
            socket.state.frames = begun.frames
            service.metrics.heard(served.name, "stream", begun.frames)


def _options(socket: WebSocket) -> Options:
    try:
        return Options.model_validate(dict(socket.query_params))
    except ValidationError as error:
        raise invalid(error.errors()[0]) from error


class Session:
    """One stream and its socket."""

    def __init__(
        self, socket: WebSocket, service: Service, served: Served, caller: Caller,
        student: Student, begun: Stream, options: Options,
    ) -> None:  # fmt: skip
        self._socket, self._service, self._served = socket, service, served
        self._caller, self._student, self._stream = caller, student, begun
        self._options = options
        self._door = PcmGuard("samples", options.rate)
        self._inbox = Inbox(socket)
        self._pace = Pace(service.limits.stream_speed, asyncio.get_running_loop().time)

    async def run(self) -> None:
        """Until the caller closes, or goes. Raises Problem and WebSocketDisconnect."""
        await first(self._work(), self._inbox.fill())

    async def _work(self) -> None:
        await self._say(
            "ready", model=self._served.name, steps=self._served.steps, fps=FPS,
            look_ahead_ms=round(self._stream.look_ahead_ms, 3), channels=CHANNELS,
        )  # fmt: skip
        idle, now = self._service.limits.idle_seconds, asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(idle) as patience:
                while not self._stream.closed:
                    received = await self._inbox.take()
                    # Put off now and then: a timer for every message costs as much as reading it.
                    if (until := patience.when()) is None or until < now() + idle:
                        patience.reschedule(now() + SLACK * idle)
                    if (samples := received.get("bytes")) is not None:
                        await self._push(samples)
                    else:
                        await self._control(received.get("text") or "")
                    await self._inbox.acknowledge()
        except TimeoutError as error:
            raise Problem(408, f"nothing came for {idle:g} s; begin another stream") from error
        await self._say("end", frames=self._stream.frames)
        await self._socket.close(1000)

    async def _push(self, content: bytes) -> None:
        content = self._joined(content)
        with blame("samples"):
            self._door(content)
        samples = samples_of(content, self._options.encoding)
        rate = self._options.rate
        turn = round(TURN_SECONDS * rate)
        if not len(samples):
            await self._spend(LEAST_SECONDS)
        for at in range(0, len(samples), turn):
            piece, first = samples[at : at + turn], self._stream.frames
            await self._spend(max(len(piece) / rate, LEAST_SECONDS))
            ahead = self._pace.ahead > AHEAD_SECONDS
            with blame("samples"):
                face = await self._service.push(self._caller, self._stream, piece, ahead)
            await self._send(first, face)

    def _joined(self, content: bytes) -> bytes:
        """A message, and what waits behind it while it is short: whoever is behind catches up."""
        size = np.dtype(DTYPES[self._options.encoding]).itemsize
        left = round(TURN_SECONDS * self._options.rate) * size - len(content)
        parts = [content]
        while len(parts[-1]) % size == 0 and (part := self._inbox.follow(left)) is not None:
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    async def _spend(self, seconds: float) -> None:
        """Wait until so much may be processed."""
        if (wait := self._pace.wait) > 0:
            await asyncio.sleep(wait)
        self._pace.spend(seconds)

    async def _control(self, text: str) -> None:
        await self._spend(CONTROL_SECONDS)
        if len(text) > LARGEST_CONTROL:
            raise Problem(413, f"message: more than {LARGEST_CONTROL} characters of text", "type")
        try:
            message = CONTROL.validate_python(parsed(text))
        except (ValueError, RecursionError) as error:
            said = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            detail = f"message: {said}; send pin or close, or samples as bytes"
            return await _refuse(self._socket, Problem(422, detail[:300], "type"), False)
        if isinstance(message, Close):
            first = self._stream.frames
            return await self._send(first, self._stream.close())
        try:
            await self._pin(message)
        except Problem as problem:
            await _refuse(self._socket, problem, False)

    async def _pin(self, pin: Pin) -> None:
        identity = emotion = None
        if pin.identity is not None:
            identity = await choices.identity(
                pin.identity, self._service, self._served, self._student, self._caller
            )
        if pin.emotion is not None:
            emotion = choices.emotion(pin.emotion, self._student)
        self._stream.pin(identity, emotion)

    async def _send(self, first: int, face: np.ndarray) -> None:
        if not len(face):
            return
        if self._options.format == "binary":
            head = np.array([first, len(face)], "<u4").tobytes()
            await self._socket.send_bytes(head + face.astype("<f4").tobytes())
            return
        who = {"identity": self._stream.identity, "emotion": self._stream.emotion}
        await self._socket.send_text(faces.frames(first, face, FPS, **who).decode())

    async def _say(self, kind: str, **content: Any) -> None:
        await self._socket.send_text(faces.message(kind, **content).decode())


def samples_of(content: bytes, encoding: str) -> np.ndarray:
    """Samples (n,) of a message. Raises Problem."""
    dtype = np.dtype(DTYPES[encoding])
    if len(content) > LARGEST_MESSAGE:
        raise Problem(413, f"samples: a message of more than {LARGEST_MESSAGE} bytes; send less")
    if len(content) % dtype.itemsize:
        raise Problem(
            422, f"samples: {len(content)} bytes are no whole number of {encoding}", "samples"
        )
    return np.frombuffer(content, dtype)


async def _end(socket: WebSocket, service: Service, problem: Problem) -> None:
    service.metrics.refused(problem.status)
    await _refuse(socket, problem, True)


async def _refuse(socket: WebSocket, problem: Problem, closing: bool) -> None:
    """Say what is wrong; and close, if it is the end."""
    try:
        await socket.send_text(problem.message(closing))
        if closing:
            await socket.close(*problem.close)
    except (RuntimeError, WebSocketDisconnect):
        pass  # it has gone
