"""What the routes of a replica share: students, identities, capacities, threads and batches."""

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar
from weakref import WeakValueDictionary

import numpy as np

from diffusiontalker.errors import UserError
from diffusiontalker.runtime.stream import Stream, push_together
from diffusiontalker.runtime.stream_batch.batch import StreamBatch
from diffusiontalker.runtime.student import Student
from serve.admission.access import AccessControl, Caller
from serve.admission.capacity import Capacity
from serve.http.problems import Problem
from serve.metrics import Metrics
from serve.models.saved_identities import SavedIdentities
from serve.models.students import Students
from serve.scheduling.batcher import Batcher
from serve.scheduling.shared_result import SharedResult
from serve.scheduling.thread_pool import Deadline, FairThreadPool
from serve.settings import ServeSettings

P = ParamSpec("P")
T = TypeVar("T")
PushResult = np.ndarray | UserError
METRICS_SECONDS = 1.0
"""How long the metrics of all nodes, once collected, are given to all who request them."""


class Service:
    """One per replica. Recordings are processed in threads, so that a long one delays no stream;
    live streams are advanced in the event loop, some milliseconds at a time."""

    def __init__(self, settings: ServeSettings, students: Students) -> None:
        """Raises UserError: keys, storage or folders that cannot be used."""
        limits = settings.limits
        self.settings, self.limits, self.students = settings, limits, students
        self.access = AccessControl(settings)
        self.identities = SavedIdentities(settings.identities)
        self.metrics = Metrics()
        self.node_metrics: SharedResult[bytes] = SharedResult(METRICS_SECONDS)
        self.recordings = Capacity("recordings", limits.waiting, on_change=self.metrics.working.set)
        self.streams = Capacity(
            "streams", limits.streams, limits.streams_per_key, self.metrics.streams.set
        )
        self.uploads = Capacity("uploads", limits.uploads)
        self.body_bytes = Capacity("bytes of recordings", limits.held_bytes)
        self._threads = FairThreadPool(max(round(settings.replicas.num_cpus), 1))
        self._batcher = Batcher(self._push_all, settings.batch, settings.batch_pause_ms / 1000)
        self._stream_batches: WeakValueDictionary[Student, StreamBatch] = WeakValueDictionary()

    def new_deadline(self) -> Deadline:
        """Of a recording whose work begins now."""
        return Deadline(self.limits.request_seconds)

    async def run_in_thread(
        self,
        caller: Caller,
        deadline: Deadline,
        work: Callable[P, T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Process a recording in a thread, when it is the caller's turn.

        Raises:
            Problem: 504, the deadline has passed.
        """
        return await self._threads.run(caller.id, deadline, lambda: work(*args, **kwargs))

    async def run_io(self, read: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Blocking input and output, in a thread beside those of recordings.

        Raises:
            Problem: 503, it takes longer than ``limits.request_seconds``.
        """
        try:
            async with asyncio.timeout(self.limits.request_seconds):
                return await asyncio.to_thread(read, *args, **kwargs)
        except TimeoutError as error:
            raise Problem(503, "the server's storage does not answer", retry_after=10) from error

    def stream_batch(self, student: Student) -> StreamBatch:
        """The live streams of a student, advanced as one batch. Raises UserError: it takes no
        streams."""
        found = self._stream_batches.get(student)
        if found is None:
            found = self._stream_batches[student] = student.streams()
        return found

    async def push(
        self, caller: Caller, stream: Stream, samples: np.ndarray, low_priority: bool
    ) -> np.ndarray:
        """``stream.push``, in one batch with other streams that have just been pushed to.

        Raises:
            UserError: as ``Stream.push``.
        """
        result = await self._batcher((stream, samples), caller.id, low_priority)
        if isinstance(result, UserError):
            raise result
        return result

    def _push_all(self, pushed: list[tuple[Stream, np.ndarray]]) -> list[PushResult]:
        self.metrics.batch_size.observe(len(pushed))
        with self.metrics.timed("streams"):
            return _push_by_student(pushed)


def _push_by_student(pushed: list[tuple[Stream, np.ndarray]]) -> list[PushResult]:
    """Push samples to streams, those of one student as one batch; results in the same order."""
    results: list[Any] = [None] * len(pushed)
    for batch in {stream.batch for stream, _ in pushed}:
        rows = [row for row, (stream, _) in enumerate(pushed) if stream.batch is batch]
        found = push_together(*zip(*(pushed[row] for row in rows), strict=True))
        for row, result in zip(rows, found, strict=True):
            results[row] = result
    return results
