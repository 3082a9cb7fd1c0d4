"""Threads that callers share by turns."""

import asyncio
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

from serve.problems import Problem

T = TypeVar("T")


class Late(Exception):  # noqa: N818
    """Nobody waits for this work any more."""


class Wanted:
    """Until when the result of some work is wanted; the work asks between two steps."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._until = seconds, monotonic() + seconds

    @property
    def left(self) -> float:
        """Seconds."""
        return self._until - monotonic()

    def end(self) -> None:
        """It is wanted no longer."""
        self._until = 0.0

    def check(self) -> None:
        """Raises Late: it is not."""
        if self.left <= 0:
            raise Late


class Turns:
    """Whoever waits, keys take turns: a key with a hundred recordings delays another's first by
    one. Those of one key come in their order."""

    def __init__(self, workers: int) -> None:
        self._pool = ThreadPoolExecutor(workers, "recordings")
        self._free = workers
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, key: str, wanted: Wanted, work: Callable[[], T]) -> T:
        """The result of work in a thread. Whoever is cancelled ends ``wanted``, and his thread is
        given to others when the work has noticed.

        Raises:
            Problem: it takes longer than it is wanted.
        """
        try:
            async with asyncio.timeout(wanted.left):
                await self._turn(key)
                doing = asyncio.get_running_loop().run_in_executor(self._pool, work)
                doing.add_done_callback(self._done)
                return await asyncio.shield(doing)
        except (TimeoutError, Late) as error:
            raise Problem(
                504, f"not done after {wanted.seconds:g} s; send a shorter recording"
            ) from error
        except BaseException:
            wanted.end()
            raise

    async def _turn(self, key: str) -> None:
        if self._free:
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # it had just come
                self._next()
            raise

    def _done(self, doing: asyncio.Future) -> None:
        doing.exception()  # whoever waited for it may have gone
        self._next()

    def _next(self) -> None:
        while self._waiting:
            key, of_key = next(iter(self._waiting.items()))
            del self._waiting[key]
            turn = of_key.popleft()
            if of_key:
                self._waiting[key] = of_key  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
