"""The same job on a cluster: `ray start --head`, `ray job submit`, token authentication."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest
from tests.tiny import CONFIG, OVERRIDES

ROOT = Path(__file__).parents[2]
RAY = [sys.executable, "-m", "ray.scripts.scripts"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head node on free loopback ports with its own token; yields address and environment."""
    # Ray's sockets have paths of at most 107 characters, so its folder must be a short one.
    temporary = Path("/tmp") / f"dt-{uuid.uuid4().hex[:8]}"
    token = tmp_path_factory.mktemp("token") / "token"
    token.write_text(uuid.uuid4().hex + uuid.uuid4().hex)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    dashboard = free_port()
    # --block, and stopped by its process group: `ray stop` would end every cluster of the machine.
    head = subprocess.Popen(
        [*RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={free_port()}",
         f"--dashboard-port={dashboard}", "--dashboard-host=127.0.0.1", "--num-cpus=2",
         f"--temp-dir={temporary}", "--disable-usage-stats"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    address = f"http://127.0.0.1:{dashboard}"
    try:
        deadline = time.monotonic() + 120
        while submit((address, environment), "-c", "pass").returncode != 0:
            assert head.poll() is None, "the cluster did not start"
            assert time.monotonic() < deadline, "the cluster did not start in time"
            time.sleep(2)
        yield address, environment
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
        shutil.rmtree(temporary, ignore_errors=True)


def submit(cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    address, environment = cluster
    return subprocess.run(
        [*RAY, "job", "submit", "--address", address, "--", sys.executable, *arguments],
        cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550,
    )  # fmt: skip


def test_distill_runs_as_a_submitted_job(cluster, tmp_path) -> None:
    output = tmp_path / "run"
    done = submit(
        cluster, "jobs/distill.py", "--config", CONFIG, f"output={output}", *OVERRIDES,
        "diffusion={steps: 4, rounds: [2]}", "evaluation.teacher_steps=[4, 2]",
        "training.teacher={epochs: 1, passes: 1, batch: 8}",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((output / "summary.json").read_text())
    assert {(r["name"], r["steps"]) for r in summary["rows"]} == {
        ("teacher", 4), ("teacher", 2), ("student-2", 2)
    }  # fmt: skip
    assert (output / "student" / "student.onnx").is_file()
    assert (output / "report.html").is_file()


def test_a_mistake_fails_the_job_with_one_line(cluster, tmp_path) -> None:
    done = submit(cluster, "jobs/distill.py", f"output={tmp_path}", "losses.lipp=2")
    assert done.returncode != 0
    assert "did you mean 'lip'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout


def test_without_the_token_the_cluster_refuses(cluster, tmp_path) -> None:
    address, environment = cluster
    stranger = tmp_path / "token"
    stranger.write_text("0" * 64)
    done = subprocess.run(
        [*RAY, "job", "submit", "--address", address, "--", sys.executable, "-c", "print(1)"],
        cwd=ROOT, env={**environment, "RAY_AUTH_TOKEN_PATH": str(stranger)},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode != 0
