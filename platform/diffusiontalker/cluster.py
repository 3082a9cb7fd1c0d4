"""Reaching Ray: the cluster a job was submitted to, or one of our own on this machine."""

import logging
import os
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from diffusiontalker.errors import UserError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nobody asked for reports to strangers

import ray
from ray.exceptions import AuthenticationError

LOCAL = "local"
"""The address of a Ray that is started for the job, on this machine alone."""
FULL = "No space left on device"
"""What the system says of a full disk, through whichever library wrote."""
_SAID = re.compile(r"diffusiontalker\.errors\.UserError: (.+)")
"""A ``UserError`` as a traceback ends with it."""
_RETRIES = re.compile(r"\s+Failed to [\w ]+ after \d+/\d+ attempts .*", re.DOTALL)
"""What Ray Data appends to the message of an error that it passes on."""
TOKEN = (
    "export RAY_AUTH_MODE=token, and give ~/.ray/auth_token the token that the cluster's head has "
    "there"
)
"""How to pass a cluster's authentication."""
IDLE_MS = 300_000
"""How long a worker without work is kept."""
STARTING = 16
"""Workers that may start at the same time."""
BUFFER = 1 << 30
"""Bytes of read-ahead that a stream of data may hold in Ray's object store: without a bound it
grows with the set until the store is full."""


@contextmanager
def session() -> Iterator[None]:
    """Connect for the length of a job, and find the user's mistake in what Ray raises.

    ``RAY_ADDRESS`` (which ``ray job submit`` sets) names a cluster; without it a private one is
    started on this machine.

    Raises:
        UserError: the cluster cannot be reached, or work on it failed with a ``UserError``.
    """
    address = os.environ.get("RAY_ADDRESS", LOCAL)
    options: dict[str, Any] = {}
    if address == LOCAL:
        options = {
            "num_cpus": local_cpus(),
            # Ray ends a worker that had nothing to do for a second, and the next task waits for a
            # new one, which has to import everything again: a tenth of an epoch of short clips.
            # And it warns of "8 worker processes" where every stage of ours has a dozen.
            "_system_config": {
                "idle_worker_killing_time_threshold_ms": IDLE_MS,
                "worker_maximum_startup_concurrency": STARTING,
            },
        }
        # A process for each run, to ask whether this machine is about to be taken away.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
        # The end of a run is seen after half a second; by itself Ray looks every two.
        os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.5")
    logging.getLogger("ray").setLevel(logging.ERROR)
    _reachable(address)
    with _own_sigterm():
        _connect(address, options)
    configure()
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        cause = user_error(error)
        if cause is None:
            raise
        raise cause from error
    finally:
        ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Afterwards SIGTERM does what it did before: Ray's own handler aborts the process with a trace
    of its stack, and nothing that the process has begun is ended."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if callable(before) and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def local_cpus() -> int:
    """CPUs of a Ray of our own: the stream of data gets one, on a machine with one core too."""
    return max(os.cpu_count() or 1, 2)


def _connect(address: str, options: dict[str, Any]) -> None:
    """``ray.init``; where it starts a Ray of our own, once more if that does not come up in time,
    as happens on a busy machine. Raises UserError."""
    attempts = 2 if address == LOCAL else 1
    for left in reversed(range(attempts)):
        try:
            ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **options)
            return
        except Exception as error:  # Ray has a dozen kinds for this, a bare Exception among them
            ray.shutdown()
            if not left or isinstance(error, AuthenticationError):
                raise UserError(_refused(address, error)) from error
            print(f"Ray did not start ({_first_line(error)}); trying once more", file=sys.stderr)


def _refused(address: str, error: Exception) -> str:
    """One line for what ``ray.init`` raised, with the mend that is the likeliest."""
    if isinstance(error, AuthenticationError):
        return f"Ray at {address!r} asks for a token and none is known here; {TOKEN}"
    if address == LOCAL:
        return (
            f"Ray did not start on this machine, twice: {_first_line(error)}; if the machine is "
            "busy, run the same again; /tmp/ray/session_latest/logs says more"
        )
    # Of a token that is wrong or missing, Ray says no more than that it failed to connect.
    return (
        f"cannot connect to Ray at {address!r}: {_first_line(error)}; if the cluster asks for a "
        f"token, {TOKEN}"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")


def _reachable(address: str) -> None:
    """Ask a cluster's port once: Ray itself would keep trying for minutes."""
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


def user_error(error: BaseException) -> UserError | None:
    """The ``UserError`` at the bottom of what Ray raised, or a full disk, if there is one.

    Ray hands on most errors as objects, and some, of its workers' workers, as a traceback's text.
    """
    chain = _chain(error)
    said = [str(e) for e in chain if isinstance(e, UserError) and not hasattr(e, "cause")]
    # A traceback ends with the outermost error.
    said += [text for e in chain for text in reversed(_SAID.findall(str(e)))]
    if said:
        return UserError(_RETRIES.sub("", said[0]))
    if any(FULL in str(e) for e in chain):
        return UserError(f"the disk is full: {FULL.lower()}; free some, then run the same again")
    return None


def _chain(error: BaseException) -> list[BaseException]:
    """An error and all that led to it, each once."""
    pending = [error]
    found: list[BaseException] = []
    while pending:
        one = pending.pop()
        if any(one is other for other in found):
            continue
        found.append(one)
        # RayTaskError, ray.train's ControllerError and its WorkerGroupError keep it in attributes.
        inner = [one.__cause__, one.__context__, getattr(one, "cause", None)]
        inner.append(getattr(one, "controller_failure", None))
        inner += list(getattr(one, "worker_failures", {}).values())
        pending.extend(e for e in inner if isinstance(e, BaseException))
    return found


def configure() -> None:
    """Ray Data in one order, within ``BUFFER``, and without bars and plans: ours say what people
    need. For every process that starts a stream of data; what it starts inherits it."""
    import ray.data
    from ray.data import ExecutionResources

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources.for_limits(
        object_store_memory=BUFFER
    )
    for name in ("ray.data", "ray.train", "ray.data._internal.execution.streaming_executor"):
        logging.getLogger(name).setLevel(logging.ERROR)
