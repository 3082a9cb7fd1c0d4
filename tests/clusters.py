"""A Ray cluster that asks for a token, and jobs that are submitted to it."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tests.jobs import ROOT, Done, Process
from tests.ports import answers, free_port

RAY = [sys.executable, "-m", "ray.scripts.scripts"]
SYSTEM = (
    '{"idle_worker_killing_time_threshold_ms": 300000, "worker_maximum_startup_concurrency": 16}'
)
"""As ``diffusiontalker.cluster`` starts a private Ray: the imports of an idle worker are kept."""


@dataclass(frozen=True)
class Cluster:
    """A head node: where jobs are submitted to, and the environment to do so, token included."""

    address: str
    environment: dict[str, str]

    def submit(self, *arguments: str, **more: str) -> Done:
        """A job from its start to its end; ``more`` is environment."""
        return subprocess.run(
            self._command(*arguments),
            cwd=ROOT, env=self.environment | more, capture_output=True, text=True, timeout=550,
        )  # fmt: skip

    def start(self, log: IO[str], *arguments: str) -> Process:
        """``submit`` in a process of its own, with what the job prints in ``log``."""
        return subprocess.Popen(
            self._command(*arguments),
            cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def _command(self, *arguments: str) -> list[str]:
        submit = ["job", "submit", "--address", self.address, "--", sys.executable]
        return [*RAY, *submit, *arguments]


@contextmanager
def head(home: Path, environment: dict[str, str]) -> Iterator[Cluster]:
    """A head node on free loopback ports, started in a ``home`` without a token."""
    # Ray's sockets have paths of at most 107 characters, so its folder must be a short one.
    temporary = Path("/tmp") / f"dt-{uuid.uuid4().hex[:8]}"
    own = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    own |= {
        "HOME": str(home), "RAY_AUTH_MODE": "token", "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
        "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0", "RAY_worker_niceness": "0",
        **environment,
    }  # fmt: skip
    token = [*RAY, "get-auth-token", "--generate"]
    subprocess.run(token, env=own, check=True, capture_output=True)
    assert (home / ".ray" / "auth_token").is_file()
    dashboard = free_port()
    # --block, and stopped by its process group: `ray stop` would end every cluster of the machine.
    process = subprocess.Popen(
        [*RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={free_port()}",
         f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", "--num-cpus=2",
         f"--dashboard-agent-listen-port={free_port()}",  # or other clusters here would hold it
         f"--temp-dir={temporary}", f"--system-config={SYSTEM}", "--disable-usage-stats"],
        cwd=ROOT, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    cluster = Cluster(f"http://127.0.0.1:{dashboard}", own)
    try:
        deadline = time.monotonic() + 120
        # To ask by a job takes seconds of CPU each time.
        while not answers(dashboard) and time.monotonic() < deadline:
            assert process.poll() is None, "the cluster did not start"
            time.sleep(0.1)
        while cluster.submit("-c", "pass").returncode != 0:
            assert process.poll() is None, "the cluster did not start"
            assert time.monotonic() < deadline, "the cluster did not start in time"
            time.sleep(1)
        yield cluster
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
        shutil.rmtree(temporary, ignore_errors=True)
