"""A thread pool that callers share fairly, and deadlines of its work."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

from serve.http.problems import Problem

T = TypeVar("T")
THREAD_NAME = "recordings"


class DeadlineExceeded(Exception):  # noqa: N818
    """The deadline of this work has passed, or its caller has disconnected."""


class Deadline:
    """Until when a result is needed. The work calls ``check`` between two of its steps."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._until = seconds, monotonic() + seconds

    @property
    def remaining(self) -> float:
        """Seconds."""
        return self._until - monotonic()

    def cancel(self) -> None:
        """The result is not needed any more."""
        self._until = 0.0

    def check(self) -> None:
        """Raises DeadlineExceeded."""
        if self.remaining <= 0:
            raise DeadlineExceeded


class FairThreadPool:
    """Waiting work is scheduled round-robin over callers, and first in, first out within one: a
    caller with a hundred recordings delays another's by one."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, THREAD_NAME)
        self._free = workers
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, caller: str, deadline: Deadline, work: Callable[[], T]) -> T:
        """The result of ``work``, run in a thread. Cancelling this coroutine cancels ``deadline``;
        the thread is free again when the work has checked it.

        Raises:
            Problem: 504, the deadline has passed.
        """
        try:
            async with asyncio.timeout(deadline.remaining):
                await self._acquire_thread(caller)
                running = asyncio.get_running_loop().run_in_executor(self._pool, work)
                running.add_done_callback(self._finished)
                return await asyncio.shield(running)
        except (TimeoutError, DeadlineExceeded) as error:
            raise Problem(
                504, f"not done after {deadline.seconds:g} s; send a shorter recording"
            ) from error
        except BaseException:
            deadline.cancel()
            raise

    async def _acquire_thread(self, caller: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # a thread had just been assigned
                self._release_thread()
            raise

    def _finished(self, running: asyncio.Future) -> None:
        running.exception()  # retrieved here, as the coroutine that waited may be cancelled
        self._release_thread()

    def _release_thread(self) -> None:
        while self._waiting:
            caller, queue = next(iter(self._waiting.items()))
            del self._waiting[caller]
            turn = queue.popleft()
            if queue:
                self._waiting[caller] = queue  # behind all other callers
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
