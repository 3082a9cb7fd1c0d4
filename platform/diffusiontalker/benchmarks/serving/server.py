"""A server started with the real command for a measurement: Ray, Serve and replicas."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from diffusiontalker.benchmarks import cores, memory
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.artifact import SHIPPED

READY_TIMEOUT = 180.0
"""Seconds until a server is ready."""
COMMAND = [sys.executable, "-m", "ray.serve.scripts", "run"]


ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # By default Ray's workers have the lowest scheduling priority.
    "RAY_worker_niceness": "0",
    # One thread for I/O and inference: handing each message to another costs as much again.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.middleware:middlewares",
}


def proxy() -> str:
    """The proxy in front of the replicas: Ray Serve's own, or HAProxy."""
    return "HAProxy" if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1" else "Ray Serve's proxy"


@dataclass(frozen=True)
class Server:
    """A running server."""

    url: str
    process: int
    core: int | None = None
    """Dedicated to the first replica, if any."""

    @property
    def own_cores(self) -> bool:
        """Whether each replica has a dedicated core."""
        return self.core is not None

    def replicas(self) -> list[int]:
        """Process ids of the replicas."""
        return [child for child in memory.family(self.process) if "ServeReplica" in _name(child)]

    def others(self) -> list[int]:
        """Ids of the other processes, Ray's and the proxy's."""
        return sorted(set(memory.family(self.process)) - set(self.replicas()))

    def replicas_bytes(self) -> int:
        """Memory of the replicas (proportional set size)."""
        return sum(map(memory.proportional, self.replicas()))


@contextmanager
def running(model: str, replicas: int, batch: int, own_cores: bool) -> Iterator[Server]:
    """Serve an artifact without rate limits. With ``own_cores`` each replica has a dedicated core,
    if one is left for the rest.

    Raises:
        UserError: it does not start, or the application is not in this folder.
    """
    if not Path("serve/app.py").is_file():
        raise UserError("serve/app.py is not here; run this in the project's folder")
    port = _free_port()
    args: dict[str, Any] = {
        "model": model if "://" in model or model == SHIPPED else str(Path(model).resolve()),
        "page": False,
        "batch": batch,
        "limits": {"requests_per_minute": 10**9, "streams": 1000, "streams_per_key": 1000},
        "replicas": {"min_replicas": replicas, "max_replicas": replicas},
    }
    config = {
        "http_options": {"host": "127.0.0.1", "port": port},
        "logging_config": {"log_level": "WARNING"},
        "applications": [{"name": "student", "import_path": "serve.app:build", "args": args}],
    }
    with tempfile.TemporaryDirectory(prefix="serve-") as name:
        path, log = Path(name) / "serve.yaml", Path(name) / "log"
        path.write_text(yaml.safe_dump(config))
        with log.open("wb") as out:
            process = subprocess.Popen(
                [*COMMAND, str(path)], stdout=out, stderr=out, start_new_session=True,
                env={**os.environ, **ENVIRONMENT},
            )  # fmt: skip
        try:
            url = f"http://127.0.0.1:{port}"
            server, held = Server(url, process.pid), []
            _wait(partial(_answers, url), process, log)
            if own_cores and sys.platform == "linux":
                # The server is ready when the first replica is.
                _wait(lambda: len(server.replicas()) >= replicas, process, log)
                held = server.replicas()
            with cores.own(held, server.others()) as given:
                yield replace(server, core=given[0]) if given else server
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop a server by SIGINT, then kill what is left: an HAProxy may outlive Ray and keep ports
    that the next server needs."""
    family = {child: _name(child) for child in memory.family(process.pid)}
    process.send_signal(signal.SIGINT)
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for child, name in family.items():
        if name and _name(child) == name:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5):
            return True
    except OSError:
        return False


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return
        time.sleep(0.5)
    output = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
    raise UserError(f"the server did not start; its last output: {output[0][:300]}")


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
