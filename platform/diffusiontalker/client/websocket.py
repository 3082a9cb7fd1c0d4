"""Streams over a WebSocket, synchronous and asynchronous: samples out, frames in."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import tenacity
import websockets
from websockets.asyncio import client as asynchronous
from websockets.sync import client as synchronous

from diffusiontalker.client.requests import SUBPROTOCOL
from diffusiontalker.client.responses import HttpResponse, close_error, raise_refusal
from diffusiontalker.client.retries import policy
from diffusiontalker.client.stream_protocol import (
    CLOSE,
    MAX_AHEAD,
    StreamProtocol,
    pin_message,
    sample_messages,
)
from diffusiontalker.client.types import Frames, NameOrWeights, Ready, UnavailableError
from diffusiontalker.errors import UserError

CLOSE_TIMEOUT = 5.0
"""Seconds for the closing handshake."""


@dataclass(frozen=True)
class StreamRequest:
    """How a stream is opened."""

    url: str
    headers: dict[str, str]
    server: str
    """Names it in errors."""
    rate: int
    """Hz of the samples."""
    timeout: float
    deadline: float

    def connect_options(self) -> dict[str, Any]:
        """Of both clients of websockets, whose pings detect a lost connection."""
        return {
            "additional_headers": self.headers,
            "subprotocols": [SUBPROTOCOL],
            "compression": None,  # samples and coefficients hardly shrink
            "open_timeout": self.timeout,
            "close_timeout": CLOSE_TIMEOUT,
            # Unbounded: a caller that sends everything before it reads must not be blocked by a
            # server that, in turn, waits until its frames are read.
            "max_queue": None,
        }


def unreachable(server: str, error: BaseException, connected: bool) -> UnavailableError:
    """The error of a server that does not answer."""
    reason = str(error) or type(error).__name__
    return UnavailableError(
        f"{server}: does not answer ({reason}); is the server running there?",
        not_processed=not connected,
        connected=connected,
    )


@contextmanager
def _user_errors(server: str) -> Iterator[None]:
    """Errors of the connection as UserError."""
    try:
        yield
    except websockets.InvalidStatus as error:
        response = error.response
        raise_refusal(
            HttpResponse(response.status_code, response.headers, bytes(response.body)), server
        )
    except websockets.ConnectionClosed as error:
        raise _closed(error, server) from error
    except (OSError, websockets.WebSocketException) as error:  # OSError: TimeoutError too
        raise unreachable(server, error, connected=False) from error


def _closed(error: websockets.ConnectionClosed, server: str) -> UserError:
    frame = error.rcvd
    return close_error(frame.code if frame else None, frame.reason if frame else "", server)


def frames(request: StreamRequest, chunks: Iterable[np.ndarray]) -> Iterator[Frames]:
    """Frames that arrive while ``chunks`` of samples are sent, and after the last. Raises
    UserError."""
    retrying = tenacity.Retrying(**policy(request.deadline))
    stack, socket, protocol = retrying(_open, request)
    with stack:
        for chunk in chunks:
            for message, seconds in sample_messages(chunk, request.rate):
                _send(socket, protocol, message)
                protocol.sent_seconds += seconds
                while protocol.ahead > MAX_AHEAD:
                    yield from _next(socket, protocol, request.timeout)
            yield from _arrived(socket, protocol)
        _send(socket, protocol, CLOSE)
        while not protocol.ended:
            yield from _next(socket, protocol, request.timeout)


def _open(
    request: StreamRequest,
) -> tuple[ExitStack, synchronous.ClientConnection, StreamProtocol]:
    protocol = StreamProtocol(request.server)
    with ExitStack() as stack, _user_errors(request.server):
        socket = stack.enter_context(synchronous.connect(request.url, **request.connect_options()))
        while protocol.ready is None:
            protocol.receive(socket.recv(request.timeout))
        return stack.pop_all(), socket, protocol


def _send(
    socket: synchronous.ClientConnection, protocol: StreamProtocol, message: str | bytes
) -> None:
    with _user_errors(protocol.server):
        try:
            socket.send(message)
        except websockets.ConnectionClosed:
            # The server may have sent the reason before it closed the connection.
            while True:
                protocol.receive(socket.recv(0))


def _next(
    socket: synchronous.ClientConnection, protocol: StreamProtocol, timeout: float
) -> Iterator[Frames]:
    """The frames of the next message, if it holds any."""
    with _user_errors(protocol.server):
        message = socket.recv(timeout)
    if (received := protocol.receive(message)) is not None:
        yield received


def _arrived(socket: synchronous.ClientConnection, protocol: StreamProtocol) -> Iterator[Frames]:
    """The frames of messages that have already arrived."""
    while True:
        with _user_errors(protocol.server):
            try:
                message = socket.recv(0)
            except TimeoutError:
                return
        if (received := protocol.receive(message)) is not None:
            yield received


class AsyncStream:
    """A stream for asyncio: one task may push while another reads.

    ``async with`` opens and closes it. To iterate over it gives ``Frames`` until, after ``close``,
    all have arrived.
    """

    def __init__(self, request: StreamRequest) -> None:
        self._request = request
        self._protocol = StreamProtocol(request.server)
        self._stack = AsyncExitStack()
        self._socket: asynchronous.ClientConnection | None = None
        self._closing = False
        self._receiving = asyncio.Lock()
        self._received: deque[Frames | UserError] = deque()
        """Frames and errors that the caller has not yet read."""

    async def __aenter__(self) -> Self:
        """Open the stream. Raises UserError."""
        retrying = tenacity.AsyncRetrying(**policy(self._request.deadline))
        await retrying(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def ready(self) -> Ready:
        """The server's first message."""
        if self._protocol.ready is None:
            raise UserError("the stream has not begun; write async with client.stream(...)")
        return self._protocol.ready

    async def push(self, samples: np.ndarray) -> None:
        """Send the next samples (n,) or (n, channels), float in [-1, 1] or PCM; waits while more
        than ``MAX_AHEAD`` seconds of them are unanswered. Raises UserError."""
        for message, seconds in sample_messages(samples, self._request.rate):
            await self._send(message)
            self._protocol.sent_seconds += seconds
            while self._is_ahead():
                await self._receive(self._request.timeout, self._is_ahead)

    async def pin(
        self, identity: NameOrWeights | None = None, emotion: NameOrWeights | None = None
    ) -> None:
        """Move gradually to another identity or emotion; "auto" follows the voice again. Where the
        server refuses it, the error is raised where frames are read, and the stream stays open."""
        await self._send(pin_message(identity, emotion))

    async def close(self) -> None:
        """End the samples; the last frames follow. Raises UserError."""
        await self._send(CLOSE)
        self._closing = True

    def __aiter__(self) -> AsyncIterator[Frames]:
        return self

    async def __anext__(self) -> Frames:
        """The next frames. Raises UserError."""
        while self._must_receive():
            # Before ``close`` there is no timeout: the caller may pause, and then no frames come.
            timeout = self._request.timeout if self._closing else None
            await self._receive(timeout, self._must_receive)
        if not self._received:
            raise StopAsyncIteration
        if isinstance(received := self._received.popleft(), UserError):
            raise received
        return received

    def _is_ahead(self) -> bool:
        return self._protocol.ahead > MAX_AHEAD

    def _must_receive(self) -> bool:
        """Whether there is nothing to return, and more will arrive."""
        return not (self._received or self._protocol.ended)

    async def _receive(self, timeout: float | None, is_needed: Callable[[], bool]) -> None:
        """Receive a message, unless another task has done so and it ``is_needed`` no longer."""
        with _user_errors(self._protocol.server):
            async with asyncio.timeout(timeout), self._receiving:
                if not is_needed():
                    return
                message = await self._opened().recv()
        try:
            received = self._protocol.receive(message)
        except UserError as error:
            if not self._protocol.is_open_after_problem:
                raise
            self._received.append(error)
        else:
            self._received.extend([received] if received is not None else [])

    async def _open(self) -> None:
        request, self._protocol = self._request, StreamProtocol(self._request.server)
        async with AsyncExitStack() as stack:
            with _user_errors(request.server):
                connecting = asynchronous.connect(request.url, **request.connect_options())
                self._socket = await stack.enter_async_context(connecting)
                async with asyncio.timeout(request.timeout):
                    while self._protocol.ready is None:
                        self._protocol.receive(await self._socket.recv())
            self._stack = stack.pop_all()

    async def _send(self, message: str | bytes) -> None:
        with _user_errors(self._protocol.server):
            try:
                await self._opened().send(message)
            except websockets.ConnectionClosed as error:
                try:  # The server may have sent the reason before it closed the connection.
                    while True:
                        self._protocol.receive(await self._opened().recv())
                except websockets.ConcurrencyError:  # another task receives it
                    raise _closed(error, self._protocol.server) from error

    def _opened(self) -> asynchronous.ClientConnection:
        if self._socket is None:
            raise UserError("the stream has not begun; write async with client.stream(...)")
        return self._socket
