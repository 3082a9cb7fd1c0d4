"""Starting Ray and connecting to it: one retry, and one line. Ray itself is not started."""

import signal
import threading
import time
from collections.abc import Callable

import pytest
import ray
from ray.exceptions import AuthenticationError, RaySystemError
from tests import refusals

from diffusiontalker import cluster
from diffusiontalker.errors import UserError

LATE = Exception(
    "The current node timed out during startup. This could happen because some of the raylet "
    "failed to startup or the GCS has become overloaded."
)
Calls = list[str]
Failing = Callable[..., Calls]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Let ``ray.init`` raise these errors, one after the other, and then succeed."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)

    def fail(*errors: Exception) -> Calls:
        calls: Calls = []
        left = list(errors)

        def init(*_: object, **__: object) -> None:
            calls.append("init")
            if left:
                raise left.pop(0)

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(ray, "shutdown", lambda: calls.append("shutdown"))
        return calls

    return fail


def refusal() -> str:
    def start() -> None:
        with cluster.session():
            raise AssertionError("must not come so far")

    return refusals.refusal(start)


@pytest.mark.parametrize(
    "error",
    [
        LATE,
        TimeoutError("Timed out after 30 seconds while waiting for node to startup."),
        RuntimeError("Failed to start the GCS.\nlog line\nlog line"),
        RaySystemError("System error: Broken pipe"),
        OSError(11, "Resource temporarily unavailable"),
        AssertionError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_ray_that_does_not_come_up_is_started_once_more_and_then_one_line(
    failing: Failing, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = failing(error)
    with cluster.session():
        pass
    assert calls == ["init", "shutdown", "init", "shutdown"]
    assert "once more" in capsys.readouterr().err
    calls = failing(error, error)
    assert "did not start" in refusal()
    assert calls == ["init", "shutdown", "init", "shutdown"]


def test_a_connection_that_is_open_is_used_and_left_open(
    failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = failing()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    with cluster.session():
        pass
    assert calls == []


def test_a_missing_token_is_named_with_the_mend(failing: Failing) -> None:
    calls = failing(AuthenticationError("no authentication token was found"))
    said = refusal()
    assert "RAY_AUTH_MODE=token" in said
    assert "~/.ray/auth_token" in said
    assert calls == ["init", "shutdown"]  # another attempt would not know more


def test_a_cluster_that_answers_but_does_not_let_in(
    failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setattr(cluster, "_reachable", lambda _: None)
    calls = failing(ConnectionError("Failed to connect to Ray cluster at 127.0.0.1:6379"))
    said = refusal()
    assert "127.0.0.1:6379" in said
    assert "RAY_AUTH_MODE=token" in said
    assert calls == ["init", "shutdown"]


def test_to_be_asked_to_end_is_still_the_jobs_to_hear(
    failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing()

    def init(*_: object, **__: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray's does, to its own handler

    monkeypatch.setattr(ray, "init", init)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with cluster.session():
            assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_scheduling_loop_that_still_runs_ends_before_ray(
    failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would end the process, and the error would not be shown."""
    calls = failing()
    monkeypatch.setattr(cluster, "configure", lambda: None)

    def loop() -> None:
        time.sleep(0.3)
        calls.append("loop")

    def work() -> None:
        with cluster.session():
            threading.Thread(target=loop, name="StreamingExecutor-1", daemon=True).start()
            raise UserError("no space")

    assert refusals.refusal(work) == "no space"
    assert calls[-2:] == ["loop", "shutdown"]


def test_the_scheduling_loop_of_ray_data_does_not_spin(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 4))
        now[0] += seconds

    monkeypatch.setattr(cluster.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(cluster.time, "sleep", sleep)
    loop = cluster.PacedLoop()
    loop.on_execution_step(None)
    loop.on_execution_step(None)  # a step of no length
    now[0] += 0.015
    loop.on_execution_step(None)
    now[0] += 5.0  # one that took longer than it had to
    loop.on_execution_step(None)
    assert slept == [0.0, cluster.STEP_SECONDS, 0.005, 0.0]


def test_ray_data_is_configured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.data import DataContext

    before = DataContext.get_current()
    try:
        DataContext._set_current(DataContext())
        cluster.configure()
        cluster.configure()
        found = DataContext.get_current()
        assert found.custom_execution_callback_classes == [cluster.PacedLoop]
        loop = found.execution_callback_classes[-1]()
        for name in ("before_execution_starts", "on_execution_step", "after_execution_succeeds"):
            getattr(loop, name)(None)  # as Ray calls it
        loop.after_execution_fails(None, RuntimeError())
    finally:
        DataContext._set_current(before)
