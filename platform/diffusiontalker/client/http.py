"""The client, sync and async: one request after another, or a stream."""

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
from diffusiontalker.client import contract, stream
from diffusiontalker.client.contract import (
    SERVER,
    Answer,
    Blendshape,
    Call,
    Face,
    Frames,
    Identities,
    Model,
    Options,
    Recording,
    Saved,
    StreamOptions,
    UnavailableError,
)
from diffusiontalker.client.retries import policy
from diffusiontalker.errors import UserError

CONNECT = 10.0
"""Seconds that a connection may take to come about."""
T = TypeVar("T")


class _Base:
    """What both clients know: where the server is, the key, and how long to wait."""

    def __init__(self, server: str, key: str | None, timeout: float, deadline: float) -> None:
        if not (timeout > 0 and deadline > 0):
            raise UserError(f"timeout {timeout}, deadline {deadline}: give seconds above 0")
        self.server = contract.address(server)
        self.timeout, self.deadline = timeout, deadline
        self._headers = contract.credentials(key)

    def _request(self, call: Call[Any], ends: float) -> dict[str, Any]:
        """What httpx2 sends, within what is left of the time."""
        left = min(self.timeout, max(ends - time.monotonic(), 0.001))
        return {
            "method": call.method,
            "url": self.server + call.path,
            "params": call.query,
            "content": call.content,
            "headers": self._headers,
            "timeout": httpx2.Timeout(left, connect=min(CONNECT, left)),
        }

    def _keep(self, body: bytearray, part: bytes, ends: float) -> None:
        body += part
        if len(body) > contract.MAX_ANSWER:
            raise UserError(f"{self.server}: answers more than {contract.MAX_ANSWER} bytes")
        if time.monotonic() > ends:
            raise UnavailableError(
                f"{self.server}: its answer took longer than {self.deadline:g} s"
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except httpx2.InvalidURL as error:
            raise UserError(f"server {self.server!r}: is not an address ({error})") from error
        except httpx2.RequestError as error:
            # Before a connection there is, nothing was heard.
            unheard = isinstance(
                error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.PoolTimeout
            )
            raise stream.unreachable(self.server, error, unheard) from error

    def _opening(self, rate: int, options: StreamOptions) -> stream.Opening:
        url = contract.stream_address(self.server, rate, options)
        return stream.Opening(url, self._headers, self.server, rate, self.timeout, self.deadline)


class Client(_Base):
    """A client for programs that wait. Threads may share it; ``with`` or ``close`` ends it.

    Requests that fail in passing (no connection, 429, 503, and a 500, 502 or 504 that the server
    itself did not explain) are sent again after a growing wait, or the one that the server asks
    for. To ask twice does no harm: the same recording and seed give the same face.
    """

    def __init__(
        self,
        server: str = SERVER,
        key: str | None = None,
        timeout: float = 60.0,
        deadline: float = 300.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        """Open nothing yet.

        Args:
            server: address, with the route prefix if there is one.
            key: API key; None takes it from ``DIFFUSIONTALKER_API_KEY``, if that is set.
            timeout: longest silence of the server, in seconds.
            deadline: longest that a request may take in all, in seconds.
            transport: another way to the server than TCP.

        Raises:
            UserError: the address or the key cannot be one.
        """
        super().__init__(server, key, timeout, deadline)
        self._http = httpx2.Client(transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close what is open."""
        self._http.close()

    def animate(
        self, recording: Recording, rate: int | None = None, **options: Unpack[Options]
    ) -> Face:
        """Animate a recording.

        Args:
            recording: a path (local or ``s3://``), the bytes of a file (wav, flac, ogg or mp3), or
                samples (n,) or (n, channels), float in [-1, 1] or integer PCM.
            rate: Hz of samples; a file has its own.
            options: ``contract.Options``: model, steps, identity, emotion, seed, smooth_ms,
                mirror, fps.

        Raises:
            UserError: what the server refuses, in its words; a bad recording; an unknown option.
            UnavailableError: a UserError too: the server did not answer until the deadline.
        """
        return self._ask(contract.animate(recording, rate, options))

    def download(
        self,
        recording: Recording,
        out: str | Path,
        rate: int | None = None,
        **options: Unpack[Options],
    ) -> Path:
        """Animate a recording into a file: .csv (Live Link Face), .json, .npz, .glb or .ndjson.

        Returns the file's location. Raises UserError as ``animate``, or it cannot be written.
        """
        path = storage.location(out)
        content = self._ask(contract.rendering(recording, rate, options, path.suffix))
        storage.write_bytes(path, content)
        return path

    def stream(
        self,
        chunks: Iterable[np.ndarray],
        rate: int = SAMPLE_RATE,
        **options: Unpack[StreamOptions],
    ) -> Iterator[Frames]:
        """The face of speech as it comes.

        After each chunk, samples (n,) or (n, channels) at ``rate`` Hz, come the frames that have
        arrived until then, and after the last one all that are left.

        Raises:
            UserError: as ``animate``; an UnavailableError too where the connection is lost.
        """
        return stream.frames(self._opening(rate, options), chunks)

    def identities(self, model: str | None = None, steps: int | None = None) -> Identities:
        """The identities that may be named. Raises UserError."""
        return self._ask(contract.identities(model, steps))

    def save_identity(self, name: str, recording: Recording, rate: int | None = None) -> Saved:
        """Keep the voice of a recording (3 to 60 s) under a name. Raises UserError."""
        return self._ask(contract.save_identity(name, recording, rate))

    def forget_identity(self, name: str) -> None:
        """Forget a voice that was kept. Raises UserError."""
        self._ask(contract.forget_identity(name))

    def emotions(self, model: str | None = None, steps: int | None = None) -> list[str]:
        """The emotions that may be named. Raises UserError."""
        return self._ask(contract.emotions(model, steps))

    def blendshapes(self) -> list[Blendshape]:
        """The channels of a face, in the order of the coefficients. Raises UserError."""
        return self._ask(contract.blendshapes())

    def models(self) -> list[Model]:
        """The students that the server has. Raises UserError."""
        return self._ask(contract.models())

    def ready(self) -> bool:
        """Whether the server answers and takes requests; asked once. Raises UserError."""
        try:
            self._once(contract.READY, time.monotonic() + CONNECT)
        except UnavailableError:
            return False
        return True

    def _ask(self, call: Call[T]) -> T:
        again = tenacity.Retrying(**policy(self.deadline, call.idempotent))
        return again(self._once, call, time.monotonic() + self.deadline)

    def _once(self, call: Call[T], ends: float) -> T:
        body = bytearray()
        with self._explained(), self._http.stream(**self._request(call, ends)) as response:
            for part in response.iter_bytes():
                self._keep(body, part, ends)
        answer = Answer(response.status_code, response.headers, bytes(body))
        return contract.read(call, answer, self.server)


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
        """Close what is open."""
        await self._http.aclose()

    async def animate(
        self, recording: Recording, rate: int | None = None, **options: Unpack[Options]
    ) -> Face:
        """As ``Client.animate``. Raises UserError."""
        return await self._ask(await asyncio.to_thread(contract.animate, recording, rate, options))

    async def download(
        self,
        recording: Recording,
        out: str | Path,
        rate: int | None = None,
        **options: Unpack[Options],
    ) -> Path:
        """As ``Client.download``. Raises UserError."""
        path = storage.location(out)
        call = await asyncio.to_thread(contract.rendering, recording, rate, options, path.suffix)
        await asyncio.to_thread(storage.write_bytes, path, await self._ask(call))
        return path

    def stream(
        self, rate: int = SAMPLE_RATE, **options: Unpack[StreamOptions]
    ) -> stream.AsyncStream:
        """A stream of samples at ``rate`` Hz, for ``async with``. Raises UserError."""
        return stream.AsyncStream(self._opening(rate, options))

    async def identities(self, model: str | None = None, steps: int | None = None) -> Identities:
        """As ``Client.identities``. Raises UserError."""
        return await self._ask(contract.identities(model, steps))

    async def save_identity(
        self, name: str, recording: Recording, rate: int | None = None
    ) -> Saved:
        """As ``Client.save_identity``. Raises UserError."""
        return await self._ask(
            await asyncio.to_thread(contract.save_identity, name, recording, rate)
        )

    async def forget_identity(self, name: str) -> None:
        """As ``Client.forget_identity``. Raises UserError."""
        await self._ask(contract.forget_identity(name))

    async def emotions(self, model: str | None = None, steps: int | None = None) -> list[str]:
        """As ``Client.emotions``. Raises UserError."""
        return await self._ask(contract.emotions(model, steps))

    async def blendshapes(self) -> list[Blendshape]:
        """As ``Client.blendshapes``. Raises UserError."""
        return await self._ask(contract.blendshapes())

    async def models(self) -> list[Model]:
        """As ``Client.models``. Raises UserError."""
        return await self._ask(contract.models())

    async def ready(self) -> bool:
        """As ``Client.ready``. Raises UserError."""
        try:
            await self._once(contract.READY, time.monotonic() + CONNECT)
        except UnavailableError:
            return False
        return True

    async def _ask(self, call: Call[T]) -> T:
        again = tenacity.AsyncRetrying(**policy(self.deadline, call.idempotent))
        return await again(self._once, call, time.monotonic() + self.deadline)

    async def _once(self, call: Call[T], ends: float) -> T:
        body = bytearray()
        with self._explained():
            async with self._http.stream(**self._request(call, ends)) as response:
                async for part in response.aiter_bytes():
                    self._keep(body, part, ends)
        answer = Answer(response.status_code, response.headers, bytes(body))
        return contract.read(call, answer, self.server)
