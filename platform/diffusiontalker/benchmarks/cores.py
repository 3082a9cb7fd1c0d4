"""CPU affinity: dedicated cores, as Kubernetes' static CPU manager gives a pod; on Linux."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from diffusiontalker.benchmarks.memory import PROC


@contextmanager
def own(held: Sequence[int], others: Iterable[int]) -> Iterator[list[int]]:
    """Pin each of the processes ``held`` to a core of its own, ``others`` and this process to the
    rest. Yields the cores of ``held``; none, with nothing changed, if there are too few. This
    process has its former affinity again at the end."""
    ours = sorted(os.sched_getaffinity(0)) if held else []
    given, rest = ours[: len(held)], ours[len(held) :]
    if not given or not rest:
        yield []
        return
    try:
        for process, core in zip(held, given, strict=True):
            _pin(process, {core})
        for process in (*others, os.getpid()):
            _pin(process, rest)
        yield given
    finally:
        _pin(os.getpid(), ours)


@contextmanager
def on(core: int | None) -> Iterator[None]:
    """Pin this thread to a core for the time of the context; None: no change."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _pin(process: int, cores: Iterable[int]) -> None:
    """Pin all threads of a process, and their future children, to these cores."""
    pinned: set[int] = set()
    # Repeated until there is no new thread: an unpinned one may have started another.
    while new := {int(path.name) for path in (PROC / str(process) / "task").glob("*")} - pinned:
        for thread in new:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)
        pinned |= new
