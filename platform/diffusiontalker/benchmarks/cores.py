"""Cores for processes to themselves, as Kubernetes' static CPU manager gives to a pod; on Linux."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from diffusiontalker.benchmarks.memory import PROC


@contextmanager
def own(held: Sequence[int], others: Iterable[int]) -> Iterator[list[int]]:
    """A core each for the processes ``held``; the rest for ``others`` and for this process, which
    has all again at the end. Gives the cores of ``held``: none, and changes nothing, where there is
    no core left for the rest."""
    ours = sorted(os.sched_getaffinity(0)) if held else []
    given, rest = ours[: len(held)], ours[len(held) :]
    if not given or not rest:
        yield []
        return
    try:
        for process, core in zip(held, given, strict=True):
            _keep(process, {core})
        for process in (*others, os.getpid()):
            _keep(process, rest)
        yield given
    finally:
        _keep(os.getpid(), ours)


@contextmanager
def on(core: int | None) -> Iterator[None]:
    """This thread on a core for a while; None: wherever it was."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _keep(process: int, cores: Iterable[int]) -> None:
    """All threads of a process, and those that they begin, to these cores; none if it has ended."""
    kept: set[int] = set()
    # Looked up again until none is new, for one that is not kept yet may begin another.
    while new := {int(path.name) for path in (PROC / str(process) / "task").glob("*")} - kept:
        for thread in new:
            with suppress(ProcessLookupError):
                os.sched_setaffinity(thread, cores)
        kept |= new
