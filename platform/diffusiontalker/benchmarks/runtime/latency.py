"""Wall time of calls: of many subjects in turns, of a stream push by push."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import numpy as np

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.evaluation.streaming import PUSH
from diffusiontalker.runtime.student import Student

TURN = 0.25
"""Least seconds of a turn."""
PAUSE = 0.1
"""Seconds between two turns: threads of the previous one spin for a while after their work."""
WARM_UP = 5
"""Seconds of speech for a warm-up stream before the measured one."""
Call = Callable[[], object]


def interleaved(
    calls: Mapping[str, Call], repeats: int, progress: Callable[[float, str], None]
) -> dict[str, list[float]]:
    """Wall seconds of every call in each of ``repeats`` turns.

    All have a turn before any has the next, so that other load on the machine affects all alike.
    A warm-up round comes first.

    Args:
        calls: by name.
        repeats: turns of each.
        progress: called before each turn, with the share done and the name.
    """
    found: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(repeats + 1):
        for place, (name, call) in enumerate(calls.items()):
            progress((number + place / len(calls)) / (repeats + 1), name)
            time.sleep(PAUSE)
            found[name].append(turn(call))
    return {name: seconds[1:] for name, seconds in found.items()}


def turn(call: Call) -> float:
    """Median wall seconds of calls one after another, for a quarter of a second.

    The first is left out, unless it is the only one: a short call would be slowed by caches that
    the other subjects have emptied, a long one is not.
    """
    seconds: list[float] = []
    while sum(seconds) < TURN:
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return median(seconds[1:] or seconds)


def pushes(student: Student, samples: np.ndarray) -> list[float]:
    """Milliseconds of every push of 40 ms of samples (n,) at 16 kHz into a stream."""
    _push_all(student, samples[: WARM_UP * SAMPLE_RATE])
    return _push_all(student, samples)


def _push_all(student: Student, samples: np.ndarray) -> list[float]:
    stream = student.stream(SAMPLE_RATE)
    found = []
    for begin in range(0, len(samples) - PUSH + 1, PUSH):
        part = samples[begin : begin + PUSH]
        started = time.perf_counter()
        stream.push(part)
        found.append(1000 * (time.perf_counter() - started))
    return found


def distribution(milliseconds: Sequence[float]) -> dict[str, float]:
    """Mean, percentiles and maximum of the pushes, and streams per core."""
    mean = float(np.mean(milliseconds))
    p50, p95, p99 = np.percentile(milliseconds, [50, 95, 99]).tolist()
    return {
        "mean_ms": mean,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
        "max_ms": max(milliseconds),
        "streams_per_core": 1000 * PUSH / SAMPLE_RATE / mean,
    }
