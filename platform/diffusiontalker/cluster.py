"""Connecting to Ray: the cluster a job was submitted to, or a private one on this machine."""

import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusiontalker.errors import UserError
from diffusiontalker.ray_errors import user_error

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no usage reports

import ray
from ray.exceptions import AuthenticationError

LOCAL = "local"
"""The address of a private Ray, which is started on this machine for the job."""
TOKEN = (
    "export RAY_AUTH_MODE=token, and give ~/.ray/auth_token the token that the cluster's head has "
    "there"
)
"""How to authenticate at a cluster."""
EXECUTOR, EXECUTOR_SECONDS = "StreamingExecutor-", 30.0
"""How Ray Data names the threads of its scheduling loops, and how long each is waited for."""
IDLE_MS = 300_000
"""Milliseconds before an idle worker is ended."""
STARTING = 16
"""Workers that may start at the same time."""
STEP_SECONDS = 0.02
"""The shortest step of Ray Data's scheduling loop."""
BUFFER = 1 << 30
"""Bytes of read-ahead of a Ray Data pipeline in the object store: without a limit it grows with the
data set until the store is full."""


@contextmanager
def session() -> Iterator[None]:
    """A connection to Ray for a job; a ``UserError`` of a worker is raised as one here.

    ``RAY_ADDRESS`` (which ``ray job submit`` sets) names a cluster; without it a private one is
    started on this machine. A connection that this process has already is used, and stays open.

    Raises:
        UserError: the cluster cannot be reached, or work on it failed with a ``UserError``.
    """
    owned = not ray.is_initialized()
    if owned:
        _open()
    configure()
    try:
        yield
    except Exception as error:
        # What a task raised is a UserError, too, whose text is a traceback.
        cause = None if type(error) is UserError else user_error(error)
        if cause is None:
            raise
        raise cause from error
    finally:
        if owned:
            _wait_for_executors()
            ray.shutdown()


def _wait_for_executors() -> None:
    """Wait for the scheduling loops of Ray Data. An iteration that ends early waits two seconds for
    its own, and one that finds Ray gone ends the process, before an error is shown."""
    for thread in threading.enumerate():
        if thread.name.startswith(EXECUTOR):
            thread.join(EXECUTOR_SECONDS)


def _open() -> None:
    """Connect to the cluster of ``RAY_ADDRESS``, or start a private one. Raises UserError."""
    address = os.environ.get("RAY_ADDRESS", LOCAL)
    options: dict[str, Any] = {}
    if address == LOCAL:
        options = {
            "num_cpus": local_cpus(),
            # With its dashboard, which takes 3 s of CPU to start: it serves the state API, by which
            # Ray Train finds out that a trial has ended and frees the CPUs of its workers.
            # Ray ends a worker that was idle for a second, and the next task waits for a new one,
            # which imports everything again: a tenth of an epoch of short clips. And it warns of
            # "8 worker processes" where each of our stages has a dozen.
            "_system_config": {
                "idle_worker_killing_time_threshold_ms": IDLE_MS,
                "worker_maximum_startup_concurrency": STARTING,
            },
        }
        # A process per training run that polls whether the machine is about to be preempted.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # The end of a run is seen after half a second; by itself Ray looks every two.
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    logging.getLogger("ray").setLevel(logging.ERROR)
    _reachable(address)
    with _own_sigterm():
        _connect(address, options)


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Restore the SIGTERM handler afterwards: Ray installs one that aborts the process with a stack
    trace, without ending its child processes."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def local_cpus() -> int:
    """CPUs of a private Ray, at least 2: reading the data needs one beside training."""
    return max(os.cpu_count() or 1, 2)


def _connect(address: str, options: dict[str, Any]) -> None:
    """``ray.init``; a private Ray that does not start in time, as happens on a busy machine, is
    tried a second time. Raises UserError."""
    attempts = 2 if address == LOCAL else 1
    for left in reversed(range(attempts)):
        try:
            ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
            return
        except Exception as error:  # Ray raises a dozen types here, a bare Exception among them
            ray.shutdown()
            if not left or isinstance(error, AuthenticationError):
                raise UserError(_refused(address, error)) from error
            print(f"Ray did not start ({_first_line(error)}); trying once more", file=sys.stderr)


def _refused(address: str, error: Exception) -> str:
    """One line for what ``ray.init`` raised, with the likeliest remedy."""
    if isinstance(error, AuthenticationError):
        return f"Ray at {address!r} asks for a token and none is known here; {TOKEN}"
    if address == LOCAL:
        return (
            f"Ray did not start on this machine, twice: {_first_line(error)}; if the machine is "
            "busy, run the same again; /tmp/ray/session_latest/logs says more"
        )
    # For a wrong or missing token Ray reports no more than a failed connection.
    return (
        f"cannot connect to Ray at {address!r}: {_first_line(error)}; if the cluster asks for a "
        f"token, {TOKEN}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _reachable(address: str) -> None:
    """Connect to a cluster's port once: Ray itself would retry for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # "local", "auto"
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UserError(
            f"no Ray cluster answers at {address!r} ({error.strerror or error}); start one with "
            "`ray start --head`, or unset RAY_ADDRESS to use this machine alone"
        ) from error


class PacedLoop:
    """Ray Data's scheduling loop, at most once in ``STEP_SECONDS``.

    The loop waits for tasks with output. Where all tasks have some and none is wanted yet, as when
    training is slower than reading, it does not wait at all, and takes two thirds of a core from
    the training workers (Ray 2.60). This is an ``ExecutionCallback``, whose module is private.
    """

    def __init__(self) -> None:
        self._last = 0.0

    def on_execution_step(self, executor: object) -> None:
        """Called after every step: wait for the rest of the time that one takes at least."""
        time.sleep(max(self._last + STEP_SECONDS - time.monotonic(), 0.0))
        self._last = time.monotonic()

    def before_execution_starts(self, executor: object) -> None:
        """Nothing to do."""

    def after_execution_succeeds(self, executor: object) -> None:
        """Nothing to do."""

    def after_execution_fails(self, executor: object, error: Exception) -> None:
        """Nothing to do."""


def configure() -> None:
    """Ray Data with a fixed order, at most ``BUFFER`` of read-ahead, and without its own progress
    bars and plans. For every process that starts a Ray Data pipeline; its workers inherit it."""
    import ray.data
    from ray.data import ExecutionResources

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    callbacks: list[Any] = context.custom_execution_callback_classes
    if PacedLoop not in callbacks:
        callbacks.append(PacedLoop)
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        object_store_memory=BUFFER
    )
    for name in ("ray.data", "ray.train", "ray.data._internal.execution.streaming_executor"):
        logging.getLogger(name).setLevel(logging.ERROR)
