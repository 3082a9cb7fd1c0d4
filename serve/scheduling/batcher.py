"""Dynamic batching: requests that arrive close together are processed in one call."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
MAX_LOW_PRIORITY = 8
"""Items of low priority in a batch, so that it stays short for the others."""


@dataclass
class _Pending(Generic[Item, Result]):
    item: Item
    caller: str
    low_priority: bool
    result: asyncio.Future[Result]


class Batcher(Generic[Item, Result]):
    """Collects items into batches. A single item is a batch of one and does not wait; items that
    arrive within ``interval`` of the start of the last batch form the next one.

    The work is done in the event loop itself: it is short, and to hand it to a thread and back
    costs more than a frame of animation. (So does ``serve.batch``, in which every item waits.)
    """

    def __init__(
        self,
        work: Callable[[list[Item]], list[Result]],
        max_size: int,
        interval: float = 0.0,
    ) -> None:
        """``work`` gives a result for each item, in order; ``interval`` in seconds, between the
        starts of two batches."""
        self._work, self._max_size, self._interval = work, max_size, interval
        self._next_start = 0.0
        self._pending: list[_Pending[Item, Result]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item, caller: str = "", low_priority: bool = False) -> Result:
        """The result of an item. Where not all fit into a batch, they are taken round-robin over
        callers, and at most ``MAX_LOW_PRIORITY`` of low priority. Raises what ``work`` raises."""
        result: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._pending.append(_Pending(item, caller, low_priority, result))
        if self._worker is None:
            self._worker = asyncio.create_task(self._run())
        return await result

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._pending:
            # At least one round of the loop: messages that have arrived are read, and join.
            await asyncio.sleep(max(self._next_start - clock(), 0.0))
            self._next_start = clock() + self._interval
            batch = self._next_batch()
            if not batch:
                continue
            try:
                results = self._work([each.item for each in batch])
            except Exception as error:
                for each in batch:
                    each.result.set_exception(error)
                continue
            for each, result in zip(batch, results, strict=True):
                each.result.set_result(result)
        self._worker = None

    def _next_batch(self) -> list[_Pending[Item, Result]]:
        """Remove the next batch from what is pending, and what was cancelled."""
        pending = [each for each in self._pending if not each.result.done()]
        high = _round_robin([each for each in pending if not each.low_priority])
        low = _round_robin([each for each in pending if each.low_priority])[:MAX_LOW_PRIORITY]
        # One place is kept for low priority, so that it does not starve.
        high = high[: max(self._max_size - bool(low), 1)]
        batch = high + low[: max(self._max_size - len(high), 0)]
        chosen = set(map(id, batch))
        self._pending = [each for each in pending if id(each) not in chosen]
        return batch


def _round_robin(pending: list[_Pending[Item, Result]]) -> list[_Pending[Item, Result]]:
    """The first of each caller, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    ranks = []
    for each in pending:
        ranks.append(seen[each.caller])
        seen[each.caller] += 1
    return [pending[at] for at in sorted(range(len(pending)), key=ranks.__getitem__)]
