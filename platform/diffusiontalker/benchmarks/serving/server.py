"""A server of the real command, for a measurement: Ray, Serve and replicas on this machine."""

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

PATIENCE = 180.0
"""Seconds until a server is ready."""
COMMAND = [sys.executable, "-m", "ray.serve.scripts", "run"]


ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray's workers step back behind everything else on the machine; a server should not.
    "RAY_worker_niceness": "0",
    # One thread reads, advances streams and answers: to hand each message over costs as much again.
    "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.middleware:middlewares",
}


def proxy() -> str:
    """What stands between the network and the replicas: Ray Serve's own proxy, or HAProxy."""
    return "HAProxy" if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1" else "Ray Serve's proxy"


@dataclass(frozen=True)
class Server:
    """A running one."""

    url: str
    process: int
    core: int | None = None
    """That the first replica has to itself, if it has one."""

    @property
    def own_cores(self) -> bool:
        """Whether its replicas have cores to themselves."""
        return self.core is not None

    def replicas(self) -> list[int]:
        """Its replicas' processes."""
        return [child for child in memory.family(self.process) if "ServeReplica" in _name(child)]

    def others(self) -> list[int]:
        """Its other processes: Ray's, and the proxy's."""
        return sorted(set(memory.family(self.process)) - set(self.replicas()))

    def replicas_bytes(self) -> int:
        """What its replicas hold in memory."""
        return sum(map(memory.proportional, self.replicas()))


@contextmanager
def running(model: str, replicas: int, batch: int, own_cores: bool) -> Iterator[Server]:
    """Serve an artifact, without a limit on how often may be asked. With ``own_cores`` each replica
    has a core to itself, where one is left for the rest.

    Raises:
        UserError: it does not start, or the application is not in this folder.
    """
    if not Path("serve/app.py").is_file():
        raise UserError("serve/app.py is not here; run this in the project's folder")
    port = _free_port()
    args: dict[str, Any] = {
        "model": str(Path(model).resolve()) if "://" not in model else model,
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
                # One may answer before the last has begun.
                _wait(lambda: len(server.replicas()) >= replicas, process, log)
                held = server.replicas()
            with cores.own(held, server.others()) as given:
                yield replace(server, core=given[0]) if given else server
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server as Ctrl-C does, and then what is left: an HAProxy may outlive its Ray and keep
    ports that the next one needs."""
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
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        if ready():
            return
        time.sleep(0.5)
    said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
    raise UserError(f"the server did not start; its last output: {said[0][:300]}")


def _name(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
