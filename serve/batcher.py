"""Work that is cheaper together."""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
PATIENT = 8
"""Items in a batch that could wait, so that it stays short for those that could not."""


@dataclass
class _Waiting(Generic[Item, Result]):
    item: Item
    key: str
    patient: bool
    done: asyncio.Future[Result]


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
        self._waiting: list[_Waiting[Item, Result]] = []
        self._worker: asyncio.Task[None] | None = None

    async def __call__(self, item: Item, key: str = "", patient: bool = False) -> Result:
        """The result of an item. Where not all fit into a batch, keys take turns; of those that
        are ``patient`` a batch holds ``PATIENT``. Raises what ``work`` raises."""
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(item, key, patient, done))
        if self._worker is None:
            self._worker = asyncio.create_task(self._run())
        return await done

    async def _run(self) -> None:
        clock = asyncio.get_running_loop().time
        while self._waiting:
            # At least once round the loop: what has come meanwhile is read, and joins.
            await asyncio.sleep(max(self._next - clock(), 0.0))
            self._next = clock() + self._pause
            batch = self._batch()
            if not batch:
                continue
            try:
                results = self._work([each.item for each in batch])
            except Exception as error:
                for each in batch:
                    each.done.set_exception(error)
                continue
            for each, result in zip(batch, results, strict=True):
                each.done.set_result(result)
        self._worker = None

    def _batch(self) -> list[_Waiting[Item, Result]]:
        """Who is next; the others go on waiting, but for those whose callers have gone."""
        waiting = [each for each in self._waiting if not each.done.done()]
        prompt = _in_turns([each for each in waiting if not each.patient])
        patient = _in_turns([each for each in waiting if each.patient])[:PATIENT]
        # One place is not theirs: nobody waits for ever.
        prompt = prompt[: max(self._most - bool(patient), 1)]
        batch = prompt + patient[: max(self._most - len(prompt), 0)]
        chosen = set(map(id, batch))
        self._waiting = [each for each in waiting if id(each) not in chosen]
        return batch


def _in_turns(waiting: list[_Waiting[Item, Result]]) -> list[_Waiting[Item, Result]]:
    """The first of each key, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    ranks = []
    for each in waiting:
        ranks.append(seen[each.key])
        seen[each.key] += 1
    return [waiting[at] for at in sorted(range(len(waiting)), key=ranks.__getitem__)]
