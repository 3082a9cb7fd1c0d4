"""The client, synchronous and asynchronous."""

import asyncio
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar, Unpack

import httpx2
import numpy as np
import tenacity

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.client import requests, responses, websocket
from diffusiontalker.client.requests import SERVER, HttpRequest
from diffusiontalker.client.responses import HttpResponse
from diffusiontalker.client.retries import policy
from diffusiontalker.client.types import (
    Blendshape,
    Face,
    Frames,
    Identities,
    Model,
    Recording,
    RecordingOptions,
    Saved,
    StreamOptions,
    UnavailableError,
)
from diffusiontalker.client.websocket import AsyncStream, StreamRequest
from diffusiontalker.errors import UserError

CONNECT_TIMEOUT = 10.0
"""Seconds to open a connection."""
T = TypeVar("T")


class _Base:
    """What both clients share: the server's address, the API key, and timeouts."""

    def __init__(self, server: str, key: str | None, timeout: float, deadline: float) -> None:
        if not (timeout > 0 and deadline > 0):
            raise UserError(f"timeout {timeout}, deadline {deadline}: give seconds above 0")
        self.server = requests.check_address(server)
        self.timeout, self.deadline = timeout, deadline
        self._headers = requests.authorization(key)
        self._answered = False
        """Whether the server has answered any request."""

    def _arguments(self, request: HttpRequest[Any], deadline: float) -> dict[str, Any]:
        """Of ``httpx2.Client.stream``; ``deadline`` is a time of the monotonic clock."""
        left = min(self.timeout, max(deadline - time.monotonic(), 0.001))
        return {
            "method": request.method,
            "url": self.server + request.path,
            "params": request.query,
            "content": request.content,
            "headers": self._headers,
            "timeout": httpx2.Timeout(left, connect=min(CONNECT_TIMEOUT, left)),
        }

    def _append(self, body: bytearray, part: bytes, deadline: float) -> None:
        """Add the next part of a response. Raises UserError: it is too long, or too late."""
        body += part
        if len(body) > responses.MAX_BYTES:
            raise UserError(f"{self.server}: answers more than {responses.MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{self.server}: its answer took longer than {self.deadline:g} s"
            )

    @contextmanager
    def _user_errors(self) -> Iterator[None]:
        """Errors of the connection as UserError."""
        try:
            yield
        except httpx2.InvalidURL as error:
            raise UserError(f"server {self.server!r}: is not an address ({error})") from error
        except httpx2.RequestError as error:
            not_connected = isinstance(
                error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
            )
            raise websocket.unreachable(self.server, error, not not_connected) from error

    def _stream_request(self, rate: int, options: StreamOptions) -> StreamRequest:
        url = requests.stream_url(self.server, rate, options)
        return StreamRequest(url, self._headers, self.server, rate, self.timeout, self.deadline)

    def _result(self, request: HttpRequest[T], response: httpx2.Response, body: bytearray) -> T:
        self._answered = True
        received = HttpResponse(response.status_code, response.headers, bytes(body))
        return responses.parse(request.parser, received, request.path, self.server)


class Client(_Base):
    """The synchronous client. Threads may share it; ``with`` or ``close`` ends it.

    Requests that fail for a transient reason (no connection, 429, 503, and 500, 502 or 504 without
    problem details) are repeated with exponential backoff, or after ``Retry-After``, until the
    deadline; a few times only where no server was ever reached. To repeat one is safe: the same
    recording and seed give the same animation.
    """

    def __init__(
        self,
        server: str = SERVER,
        key: str | None = None,
        timeout: float = 60.0,
        deadline: float = 300.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Without a connection yet.

        Args:
            server: address, with the route prefix if there is one.
            key: API key; None takes it from ``DIFFUSIONTALKER_API_KEY``, if that is set.
            timeout: longest wait for the next bytes, in seconds.
            deadline: longest duration of a request with all its repetitions, in seconds.
            transport: used in place of TCP.

        Raises:
            UserError: the address or the key is invalid.
        """
        super().__init__(server, key, timeout, deadline)
        self._http = httpx2.Client(transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def animate(
        self, recording: Recording, rate: int | None = None, **options: Unpack[RecordingOptions]
    ) -> Face:
        """Animate a recording.

        Args:
            recording: a path (local or ``s3://``), the bytes of a file (wav, flac, ogg or mp3), or
                samples (n,) or (n, channels), float in [-1, 1] or integer PCM.
            rate: Hz of samples; a file has its own.
            options: ``types.RecordingOptions``: model, steps, identity, emotion, seed, smooth_ms,
                mirror, fps.

        Raises:
            UserError: the server's refusal; a bad recording; an unknown option.
            UnavailableError: a UserError too: no answer before the deadline.
        """
        return self._send(requests.animate(recording, rate, options))

    def download(
        self,
        recording: Recording,
        out: str | Path,
        rate: int | None = None,
        **options: Unpack[RecordingOptions],
    ) -> Path:
        """Animate a recording into a file: .csv (Live Link Face), .json, .npz, .glb or .ndjson.

        Returns the file's location. Raises UserError as ``animate``, or it cannot be written.
        """
        path = storage.location(out)
        content = self._send(requests.animate_file(recording, rate, options, path.suffix))
        storage.write_bytes(path, content)
        return path

    def stream(
        self,
        chunks: Iterable[np.ndarray],
        rate: int = SAMPLE_RATE,
        **options: Unpack[StreamOptions],
    ) -> Iterator[Frames]:
        """Animate a live stream.

        After each chunk, samples (n,) or (n, channels) at ``rate`` Hz, it yields the frames that
        have arrived by then, and after the last one all that are left.

        Raises:
            UserError: as ``animate``; an UnavailableError too where the connection is lost.
        """
        return websocket.frames(self._stream_request(rate, options), chunks)

    def identities(self, model: str | None = None, steps: int | None = None) -> Identities:
        """The names that ``identity`` takes. Raises UserError."""
        return self._send(requests.identities(model, steps))

    def save_identity(self, name: str, recording: Recording, rate: int | None = None) -> Saved:
        """Save the voice of a recording (3 to 60 s) as an identity. Raises UserError."""
        return self._send(requests.save_identity(name, recording, rate))

    def forget_identity(self, name: str) -> None:
        """Delete a saved identity. Raises UserError."""
        self._send(requests.forget_identity(name))

    def emotions(self, model: str | None = None, steps: int | None = None) -> list[str]:
        """The names that ``emotion`` takes. Raises UserError."""
        return self._send(requests.emotions(model, steps))

    def blendshapes(self) -> list[Blendshape]:
        """The channels, in the order of the coefficients. Raises UserError."""
        return self._send(requests.blendshapes())

    def models(self) -> list[Model]:
        """The students of the server. Raises UserError."""
        return self._send(requests.models())

    def ready(self) -> bool:
        """Whether the server accepts requests; without a retry. Raises UserError."""
        try:
            self._send_once(requests.READY, time.monotonic() + CONNECT_TIMEOUT)
        except UnavailableError:
            return False
        return True

    def _send(self, request: HttpRequest[T]) -> T:
        retrying = tenacity.Retrying(**policy(self.deadline, request.idempotent, self._answered))
        return retrying(self._send_once, request, time.monotonic() + self.deadline)

    def _send_once(self, request: HttpRequest[T], deadline: float) -> T:
        body, arguments = bytearray(), self._arguments(request, deadline)
        with self._user_errors(), self._http.stream(**arguments) as response:
            for part in response.iter_bytes():
                self._append(body, part, deadline)
        return self._result(request, response, body)


class AsyncClient(_Base):
    """``Client`` for asyncio: the same methods, awaited; ``async with`` or ``aclose`` ends it."""

    def __init__(
        self,
        server: str = SERVER,
        key: str | None = None,
        timeout: float = 60.0,
        deadline: float = 300.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """As ``Client``. Raises UserError."""
        super().__init__(server, key, timeout, deadline)
        self._http = httpx2.AsyncClient(transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def animate(
        self, recording: Recording, rate: int | None = None, **options: Unpack[RecordingOptions]
    ) -> Face:
        """As ``Client.animate``. Raises UserError."""
        return await self._send(await asyncio.to_thread(requests.animate, recording, rate, options))

    async def download(
        self,
        recording: Recording,
        out: str | Path,
        rate: int | None = None,
        **options: Unpack[RecordingOptions],
    ) -> Path:
        """As ``Client.download``. Raises UserError."""
        path = storage.location(out)
        request = await asyncio.to_thread(
            requests.animate_file, recording, rate, options, path.suffix
        )
        await asyncio.to_thread(storage.write_bytes, path, await self._send(request))
        return path

    def stream(self, rate: int = SAMPLE_RATE, **options: Unpack[StreamOptions]) -> AsyncStream:
        """A stream of samples at ``rate`` Hz, for ``async with``. Raises UserError."""
        return AsyncStream(self._stream_request(rate, options))

    async def identities(self, model: str | None = None, steps: int | None = None) -> Identities:
        """As ``Client.identities``. Raises UserError."""
        return await self._send(requests.identities(model, steps))

    async def save_identity(
        self, name: str, recording: Recording, rate: int | None = None
    ) -> Saved:
        """As ``Client.save_identity``. Raises UserError."""
        return await self._send(
            await asyncio.to_thread(requests.save_identity, name, recording, rate)
        )

    async def forget_identity(self, name: str) -> None:
        """As ``Client.forget_identity``. Raises UserError."""
        await self._send(requests.forget_identity(name))

    async def emotions(self, model: str | None = None, steps: int | None = None) -> list[str]:
        """As ``Client.emotions``. Raises UserError."""
        return await self._send(requests.emotions(model, steps))

    async def blendshapes(self) -> list[Blendshape]:
        """As ``Client.blendshapes``. Raises UserError."""
        return await self._send(requests.blendshapes())

    async def models(self) -> list[Model]:
        """As ``Client.models``. Raises UserError."""
        return await self._send(requests.models())

    async def ready(self) -> bool:
        """As ``Client.ready``. Raises UserError."""
        try:
            await self._send_once(requests.READY, time.monotonic() + CONNECT_TIMEOUT)
        except UnavailableError:
            return False
        return True

    async def _send(self, request: HttpRequest[T]) -> T:
        retrying = tenacity.AsyncRetrying(
            **policy(self.deadline, request.idempotent, self._answered)
        )
        return await retrying(self._send_once, request, time.monotonic() + self.deadline)

    async def _send_once(self, request: HttpRequest[T], deadline: float) -> T:
        body, arguments = bytearray(), self._arguments(request, deadline)
        with self._user_errors():
            async with self._http.stream(**arguments) as response:
                async for part in response.aiter_bytes():
                    self._append(body, part, deadline)
        return self._result(request, response, body)
