"""A result that many requests share, so that their number does not multiply the work."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class SharedResult(Generic[T]):
    """The result, or the failure, of the last piece of work: requests that come while it runs, or
    up to ``seconds`` after its end, do not start another."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._until = seconds, 0.0
        self._task: asyncio.Task[T] | None = None

    async def get(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Raises what ``work`` raises."""
        loop = asyncio.get_running_loop()
        if self._task is None or (self._task.done() and loop.time() >= self._until):
            self._task = loop.create_task(work())
            self._task.add_done_callback(self._done)
        return await asyncio.shield(self._task)  # others still wait where a caller disconnects

    def _done(self, task: asyncio.Task[T]) -> None:
        self._until = task.get_loop().time() + self._seconds
        if not task.cancelled():
            task.exception()  # otherwise asyncio logs a failure for which nobody waits any more
