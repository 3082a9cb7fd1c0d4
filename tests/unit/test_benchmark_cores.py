"""A process that has a core to itself: who may use which."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from diffusiontalker.benchmarks import cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="cores are chosen on Linux only")
of_two_cores = pytest.mark.skipif(
    sys.platform == "linux" and len(os.sched_getaffinity(0)) < 2, reason="there is one core"
)


@contextmanager
def sleeper() -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()
        process.stdin.close()


@of_two_cores
def test_a_process_has_a_core_to_itself_and_the_rest_keeps_off() -> None:
    ours = os.sched_getaffinity(0)
    first = min(ours)
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        with sleeper() as held, sleeper() as other, cores.own([held], [other]) as given:
            assert given == [first]
            assert os.sched_getaffinity(held) == {first}
            assert os.sched_getaffinity(other) == ours - {first}
            assert os.sched_getaffinity(thread.native_id) == ours - {first}
            with cores.on(first):
                assert os.sched_getaffinity(0) == {first}
            assert os.sched_getaffinity(0) == ours - {first}
        assert os.sched_getaffinity(0) == os.sched_getaffinity(thread.native_id) == ours
    finally:
        stop.set()
        thread.join()


def test_all_share_where_no_core_is_left() -> None:
    ours = os.sched_getaffinity(0)
    with sleeper() as held, cores.own([held] * len(ours), []) as given:
        assert given == []
        assert os.sched_getaffinity(held) == os.sched_getaffinity(0) == ours


def test_all_share_where_nobody_is_to_have_one() -> None:
    ours = os.sched_getaffinity(0)
    with sleeper() as other, cores.own([], [other]) as given, cores.on(None):
        assert given == []
        assert os.sched_getaffinity(other) == os.sched_getaffinity(0) == ours


@of_two_cores
def test_a_process_that_has_ended_is_passed_over() -> None:
    with sleeper() as held:
        pass
    with cores.own([held], [held]) as given:
        assert len(given) == 1
