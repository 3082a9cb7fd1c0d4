"""Work that ends when other work does."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first(*works: Coroutine[Any, Any, T]) -> T:
    """The result of what ends first, or its error; of several at once, that of the one named
    first. The others are cancelled."""
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(_seen)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _seen(task: asyncio.Task) -> None:
    # An error of those that were too late is nobody's.
    if not task.cancelled():
        task.exception()
