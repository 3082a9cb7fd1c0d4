"""Coroutines of which the first to finish cancels the others."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first_completed(*coroutines: Coroutine[Any, Any, T]) -> T:
    """The result, or the error, of the coroutine that finishes first; of several at once, of the
    one given first. The others are cancelled."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    for task in tasks:
        task.add_done_callback(_retrieve_exception)
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _retrieve_exception(task: asyncio.Task) -> None:
    # Otherwise asyncio logs the errors of cancelled tasks as never retrieved.
    if not task.cancelled():
        task.exception()
