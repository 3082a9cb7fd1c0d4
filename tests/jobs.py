"""Jobs as people start them: in processes of their own, in the root of the repository."""

import contextlib
import importlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from diffusiontalker import cli

ROOT = Path(__file__).parents[1]
Process = subprocess.Popen[bytes]
Done = subprocess.CompletedProcess[str]


def command(job: str, *arguments: object) -> list[str]:
    """That of ``jobs/JOB.py``."""
    return [sys.executable, f"jobs/{job}.py", *map(str, arguments)]


def environment(**more: str) -> dict[str, str]:
    """This process's, without the address of a cluster: a job starts a Ray of its own."""
    return {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} | more


def run(job: str, *arguments: object, before: tuple[str, ...] = (), **more: str) -> Done:
    """A job from its start to its end, behind the words of another command ``before`` it."""
    return subprocess.run(
        [*before, *command(job, *arguments)],
        cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=500,
    )  # fmt: skip


def call(job: str, *arguments: object) -> Done:
    """``run`` in this process, and in the session of Ray that it has: both are quick then."""
    function = getattr(importlib.import_module(f"jobs.{job}"), job)
    before, status = signal.getsignal(signal.SIGTERM), 0
    with (
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(sys, "argv", [f"jobs/{job}.py", *map(str, arguments)])
        try:
            cli.main(function, resumes=True)
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            signal.signal(signal.SIGTERM, before)
    return subprocess.CompletedProcess(sys.argv, status, out.getvalue(), err.getvalue())


def start(log: Path, job: str, *arguments: object) -> Process:
    """A job in a group of processes of its own, whose output is appended to ``log``."""
    with log.open("ab") as file:
        return subprocess.Popen(
            command(job, *arguments),
            cwd=ROOT, env=environment(), stdout=file, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip


def wait_for(
    condition: Callable[[], object], process: Process, log: Path, seconds: float = 300
) -> None:
    """Until a job that runs has come so far."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def kill(process: Process) -> None:
    """A job and all that it has started in its group, at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def mistake(done: Done) -> str:
    """The one line with which a job ended for a mistake of its user's."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line
