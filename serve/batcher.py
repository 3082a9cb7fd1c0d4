"""Work that is cheaper together."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Batcher(Generic[Item, Result]):
    """Batches that fill by themselves: alone, an item is a batch of one and waits for nobody; who
    comes within ``pause`` of the last batch's beginning is in the next one.

    The work is done in the loop itself: it is short, and to hand it to a thread and back costs more
    than a frame of animation. (So does ``serve.batch``, which also lets every item wait.)
    """

    def __init__(
        self, work: Callable[[list[Item]], list[Result]], most: int, pause: float = 0.0
    ) -> None:
        """``work`` gives a result for each item, in order; at most ``most`` at once; ``pause`` in
        seconds."""
        self._work, self._most, self._pause = work, most, pause
        self._next = 0.0
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
        clock = asyncio.get_running_loop().time
        while self._waiting:
            # At least once round the loop: what has come meanwhile is read, and joins.
            await asyncio.sleep(max(self._next - clock(), 0.0))
            self._next = clock() + self._pause
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            try:
                results = self._work([item for item, _ in batch])
            except Exception as error:
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            for (_, done), result in zip(batch, results, strict=True):
                if not done.done():  # its caller may have gone
                    done.set_result(result)
        self._worker = None
