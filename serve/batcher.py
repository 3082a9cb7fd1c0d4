"""Work that is cheaper together: whoever comes while a batch is under way is in the next one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Batches that fill by themselves, and wait for nobody: alone, an item is a batch of one; under
    load they grow until the work keeps up. (``serve.batch`` waits for a time, and costs more than
    a frame of animation for each item.)"""

    def __init__(self, work: Callable[[list[Item]], Awaitable[list[Result]]], most: int) -> None:
        """``work`` gives a result for each item, in order; at most ``most`` at once."""
        self._work, self._most = work, most
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item) -> Result:
        """The result of an item. Raises what ``work`` raises."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        if self._worker is None:
            self._worker = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results = await self._work([item for item, _ in batch])
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():  # its caller may have gone
                    done.set_result(result)
        self._worker = None
