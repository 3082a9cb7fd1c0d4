"""What the routes of a replica share: students, identities, limits, and the work itself."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import numpy as np
from fastapi import Depends
from serve.access import Access, Caller
from serve.batcher import Batcher
from serve.gate import Gate
from serve.identities import Identities
from serve.metrics import Metrics
from serve.problems import Problem
from serve.query import check_once
from serve.settings import ServeSettings
from serve.students import Students
from serve.turns import Turns, Wanted
from starlette.requests import HTTPConnection

from diffusiontalker.errors import UserError
from diffusiontalker.runtime.stream import Stream, push_together
from diffusiontalker.runtime.stream_batch.batch import StreamBatch
from diffusiontalker.runtime.student import Student

P = ParamSpec("P")
T = TypeVar("T")
Pushed = np.ndarray | UserError


class Service:
    """One replica's. Recordings have threads, so that a long one delays no stream; streams are
    advanced in the loop, some milliseconds at a time."""

    def __init__(self, settings: ServeSettings, students: Students) -> None:
        """Raises UserError: keys, storage or folders that cannot be used."""
        limits = settings.limits
        self.settings, self.limits, self.students = settings, limits, students
        self.access = Access(settings)
        self.identities = Identities(settings.identities)
        self.metrics = Metrics()
        told = self.metrics
        self.recordings = Gate("recordings", limits.waiting, tell=told.working.set)
        self.streams = Gate("streams", limits.streams, limits.streams_per_key, told.streams.set)
        self.uploads = Gate("uploads", limits.uploads)
        self.held = Gate("bytes of recordings", limits.held_bytes)
        self._turns = Turns(max(round(settings.replicas.num_cpus), 1))
        self._advance = Batcher(self._advance_all, settings.batch, settings.batch_pause_ms / 1000)
        self._companies: WeakValueDictionary[Student, StreamBatch] = WeakValueDictionary()

    def wanted(self) -> Wanted:
        """How long a caller waits for his recording, from now on."""
        return Wanted(self.limits.request_seconds)

    async def run(
        self,
        caller: Caller,
        wanted: Wanted,
        work: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Do work on a recording, in a thread, when it is the caller's turn.

        Raises:
            Problem: it takes longer than it is ``wanted``.
        """
        return await self._turns.run(caller.bucket, wanted, lambda: work(*args, **kwargs))

    async def fetch(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What waits for a disk or a bucket, in a thread that no recording needs.

        Raises:
            Problem: it takes longer than ``limits.request_seconds``.
        """
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                return await asyncio.to_thread(read, *args, **kwargs)
        except TimeoutError as error:
            raise Problem(503, "the server's storage does not answer", retry_after=10) from error

    def company(self, student: Student) -> StreamBatch:
        """The streams of a student, which are advanced together. Raises UserError: it has none."""
        found = self._companies.get(student)
        if found is None:
            found = self._companies[student] = student.streams()
        return found

    async def push(
        self, caller: Caller, stream: Stream, samples: np.ndarray, ahead: bool
    ) -> np.ndarray:
        """``stream.push``, together with the other streams that have just been pushed to; one that
        is ``ahead`` of real time gives way to those that are not.

        Raises:
            UserError: as ``Stream.push``.
        """
        made = await self._advance((stream, samples), caller.bucket, patient=ahead)
        if isinstance(made, UserError):
            raise made
        return made

    def _advance_all(self, pushed: list[tuple[Stream, np.ndarray]]) -> list[Pushed]:
        self.metrics.batch_size.observe(len(pushed))
        with self.metrics.stage("streams"):
            return _together(pushed)


def _together(pushed: list[tuple[Stream, np.ndarray]]) -> list[Pushed]:
    """Advance streams, those of one student as one batch."""
    made: list[Any] = [None] * len(pushed)
    for company in {stream.batch for stream, _ in pushed}:
        own = [at for at, (stream, _) in enumerate(pushed) if stream.batch is company]
        found = push_together(*zip(*(pushed[at] for at in own), strict=True))
        for at, face in zip(own, found, strict=True):
            made[at] = face
    return made


async def service_of(connection: HTTPConnection) -> Service:
    """The service that a request is for. A coroutine, for FastAPI begins a thread for whatever else
    a route depends on."""
    service: Service = connection.app.state.service
    return service


Serving = Annotated[Service, Depends(service_of)]


async def caller_of(connection: HTTPConnection, service: Serving) -> Caller:
    """Who asks, if he may. Raises Problem."""
    caller = await service.access.admit(connection)
    connection.state.caller = caller.name
    check_once(connection.query_params)
    return caller


Asking = Annotated[Caller, Depends(caller_of)]
