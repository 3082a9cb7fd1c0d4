"""Dynamic batching, in which a single item does not wait."""

import asyncio

import pytest
from serve.scheduling.batcher import Batcher
from serve.scheduling.shared_result import SharedResult

INTERVAL = 0.05


class Work:
    """Doubles, and notes the batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


def test_items_within_the_interval_form_the_next_batch() -> None:
    async def scenario() -> tuple[list[list[int]], list[int], float]:
        work = Work()
        batcher = Batcher(work, 8, INTERVAL)
        clock = asyncio.get_running_loop().time
        begun = clock()
        first = await batcher(1)  # alone: at once
        alone = clock() - begun
        rest = await asyncio.gather(batcher(2), later(batcher, 3), batcher(4))
        return work.batches, [first, *rest], alone

    async def later(batcher: Batcher[int, int], item: int) -> int:
        await asyncio.sleep(INTERVAL / 5)
        return await batcher(item)

    batches, results, alone = asyncio.run(scenario())
    assert results == [2, 4, 6, 8]
    assert batches == [[1], [2, 4, 3]]
    assert alone < INTERVAL


def test_a_batch_has_a_maximum_size() -> None:
    async def scenario() -> list[list[int]]:
        work = Work()
        batcher = Batcher(work, 2)
        assert await asyncio.gather(*map(batcher, range(5))) == [0, 2, 4, 6, 8]
        return work.batches

    assert [len(batch) for batch in asyncio.run(scenario())] == [2, 2, 1]


def test_an_error_is_raised_for_its_batch_alone() -> None:
    async def scenario() -> list[int | BaseException]:
        batcher = Batcher(Work(), 2)
        return await asyncio.gather(*map(batcher, (1, 13, 2, 3)), return_exceptions=True)

    one, two, *others = asyncio.run(scenario())
    assert isinstance(one, ValueError)
    assert isinstance(two, ValueError)
    assert others == [4, 6]


def test_a_cancelled_item_does_not_disturb_the_others() -> None:
    async def scenario() -> int:
        batcher = Batcher(Work(), 8, INTERVAL)
        await batcher(0)
        gone, there = asyncio.create_task(batcher(1)), asyncio.create_task(batcher(2))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        return await there

    assert asyncio.run(scenario()) == 4


def test_a_shared_result_is_computed_once_for_all_who_ask() -> None:
    async def all_of_them() -> tuple[list[int], list[object], int]:
        shared, runs = SharedResult[int](0.05), 0

        async def work() -> int:
            nonlocal runs
            runs += 1
            await asyncio.sleep(0.02)
            return runs

        async def failing() -> int:
            raise ValueError("no")

        first = asyncio.create_task(shared.get(work))
        others = [asyncio.create_task(shared.get(work)) for _ in range(9)]
        await asyncio.sleep(0.01)
        first.cancel()  # who disconnects takes nothing from the others
        together = await asyncio.gather(*others)
        together.append(await shared.get(work))  # it is recent
        await asyncio.sleep(0.06)
        later = await shared.get(work)
        await asyncio.sleep(0.06)
        failures = await asyncio.gather(
            *(shared.get(failing) for _ in range(3)), return_exceptions=True
        )
        return together, failures, later

    together, failures, later = asyncio.run(all_of_them())
    assert together == [1] * 10
    assert later == 2
    assert [type(failure) for failure in failures] == [ValueError] * 3
