"""Streams over a WebSocket: samples out, frames in, at the same time."""

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

from diffusiontalker.client import contract
from diffusiontalker.client.contract import Answer, Choice, Frames, Ready, Session, UnavailableError
from diffusiontalker.client.retries import policy
from diffusiontalker.errors import UserError

CLOSING = 5.0
"""Seconds that a connection may take to say goodbye."""


@dataclass(frozen=True)
class Opening:
    """All that a stream needs to begin."""

    url: str
    headers: dict[str, str]
    where: str
    """Names the server in errors."""
    rate: int
    """Hz of the samples."""
    timeout: float
    deadline: float

    def settings(self) -> dict[str, Any]:
        """Those of both clients of websockets; pings tell whether the server is still there."""
        return {
            "additional_headers": self.headers,
            "subprotocols": [contract.SUBPROTOCOL],
            "compression": None,  # samples and coefficients hardly shrink
            "open_timeout": self.timeout,
            "close_timeout": CLOSING,
            # No end to what waits to be read: who sends all before reading must not be stopped by
            # a server that, in turn, waits to be read.
            "max_queue": None,
        }


def unreachable(where: str, error: BaseException, unheard: bool) -> UnavailableError:
    """The error of a server that is not to be had."""
    said = str(error) or type(error).__name__
    return UnavailableError(
        f"{where}: does not answer ({said}); is the server running there?", unheard=unheard
    )


@contextmanager
def _explained(where: str) -> Iterator[None]:
    try:
        yield
    except websockets.InvalidStatus as error:
        answer = error.response
        contract.refuse(Answer(answer.status_code, answer.headers, bytes(answer.body)), where)
    except websockets.ConnectionClosed as error:
        raise _closed(error, where) from error
    except (OSError, websockets.WebSocketException) as error:  # OSError: TimeoutError too
        raise unreachable(where, error, unheard=True) from error


def _closed(error: websockets.ConnectionClosed, where: str) -> UserError:
    said = error.rcvd
    return contract.closed(said.code if said else None, said.reason if said else "", where)


def frames(opening: Opening, chunks: Iterable[np.ndarray]) -> Iterator[Frames]:
    """What arrives while ``chunks`` of samples are sent, and after the last. Raises UserError."""
    again = tenacity.Retrying(**policy(opening.deadline))
    stack, socket, session = again(_open, opening)
    with stack:
        for chunk in chunks:
            for part, seconds in contract.messages(chunk, opening.rate):
                _send(socket, session, part)
                session.sent += seconds
                while session.ahead > contract.AHEAD:
                    yield from _next(socket, session, opening.timeout)
            yield from _arrived(socket, session)
        _send(socket, session, contract.CLOSE)
        while not session.ended:
            yield from _next(socket, session, opening.timeout)


def _open(opening: Opening) -> tuple[ExitStack, synchronous.ClientConnection, Session]:
    session = Session(opening.where)
    with ExitStack() as stack, _explained(opening.where):
        socket = stack.enter_context(synchronous.connect(opening.url, **opening.settings()))
        while session.ready is None:
            session.read(socket.recv(opening.timeout))
        return stack.pop_all(), socket, session


def _send(socket: synchronous.ClientConnection, session: Session, message: str | bytes) -> None:
    with _explained(session.where):
        try:
            socket.send(message)
        except websockets.ConnectionClosed:
            # Before it closed, the server may have said why.
            while True:
                session.read(socket.recv(0))


def _next(
    socket: synchronous.ClientConnection, session: Session, timeout: float
) -> Iterator[Frames]:
    """The frames of the next message, if it holds any."""
    with _explained(session.where):
        message = socket.recv(timeout)
    if (made := session.read(message)) is not None:
        yield made


def _arrived(socket: synchronous.ClientConnection, session: Session) -> Iterator[Frames]:
    while True:
        with _explained(session.where):
            try:
                message = socket.recv(0)
            except TimeoutError:
                return
        if (made := session.read(message)) is not None:
            yield made


class AsyncStream:
    """A stream for asyncio: one task may push while another reads.

    ``async with`` begins and ends it. To iterate over it gives ``Frames`` until, after ``close``,
    all have come.
    """

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._session = Session(opening.where)
        self._stack = AsyncExitStack()
        self._socket: asynchronous.ClientConnection | None = None
        self._closing = False
        self._reading = asyncio.Lock()
        self._read: deque[Frames | UserError] = deque()
        """What was read and not yet asked for."""

    async def __aenter__(self) -> Self:
        """Begin. Raises UserError."""
        again = tenacity.AsyncRetrying(**policy(self._opening.deadline))
        await again(self._open)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    @property
    def ready(self) -> Ready:
        """What the server says of itself."""
        if self._session.ready is None:
            raise UserError("the stream has not begun; write async with client.stream(...)")
        return self._session.ready

    async def push(self, samples: np.ndarray) -> None:
        """The next samples (n,) or (n, channels), float in [-1, 1] or PCM; it waits while more
        than ``contract.AHEAD`` seconds of them are under way. Raises UserError."""
        for message, seconds in contract.messages(samples, self._opening.rate):
            await self._send(message)
            self._session.sent += seconds
            while self._is_ahead():
                await self._receive(self._opening.timeout, self._is_ahead)

    async def pin(self, identity: Choice | None = None, emotion: Choice | None = None) -> None:
        """From the next frame on, glide to another identity or emotion; "auto" follows the voice
        again. What the server refuses is raised where the frames are read, and the stream goes on.
        """
        await self._send(contract.pin(identity, emotion))

    async def close(self) -> None:
        """Nothing more will be pushed; the last frames follow. Raises UserError."""
        await self._send(contract.CLOSE)
        self._closing = True

    def __aiter__(self) -> AsyncIterator[Frames]:
        return self

    async def __anext__(self) -> Frames:
        """The next frames. Raises UserError."""
        while self._lacks():
            # Until then the server may be silent for as long as the speaker is.
            await self._receive(self._opening.timeout if self._closing else None, self._lacks)
        if not self._read:
            raise StopAsyncIteration
        if isinstance(came := self._read.popleft(), UserError):
            raise came
        return came

    def _is_ahead(self) -> bool:
        return self._session.ahead > contract.AHEAD

    def _lacks(self) -> bool:
        """Whether there is nothing to give, and more to come."""
        return not (self._read or self._session.ended)

    async def _receive(self, limit: float | None, wanted: Callable[[], bool]) -> None:
        """Keep what the next message holds, if it is still ``wanted`` when no other task reads."""
        with _explained(self._session.where):
            async with asyncio.timeout(limit), self._reading:
                if not wanted():
                    return
                message = await self._begun().recv()
        try:
            made = self._session.read(message)
        except UserError as error:
            if not self._session.goes_on:
                raise
            self._read.append(error)  # for whoever reads the frames
        else:
            self._read.extend([made] if made is not None else [])

    async def _open(self) -> None:
        opening, self._session = self._opening, Session(self._opening.where)
        async with AsyncExitStack() as stack:
            with _explained(opening.where):
                connecting = asynchronous.connect(opening.url, **opening.settings())
                self._socket = await stack.enter_async_context(connecting)
                async with asyncio.timeout(opening.timeout):
                    while self._session.ready is None:
                        self._session.read(await self._socket.recv())
            self._stack = stack.pop_all()

    async def _send(self, message: str | bytes) -> None:
        with _explained(self._session.where):
            try:
                await self._begun().send(message)
            except websockets.ConnectionClosed as error:
                try:  # Before it closed, the server may have said why.
                    while True:
                        self._session.read(await self._begun().recv())
                except websockets.ConcurrencyError:  # another task reads it
                    raise _closed(error, self._session.where) from error

    def _begun(self) -> asynchronous.ClientConnection:
        if self._socket is None:
            raise UserError("the stream has not begun; write async with client.stream(...)")
        return self._socket
