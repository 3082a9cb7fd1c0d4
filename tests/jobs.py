"""Jobs as people start them: in processes of their own, in the root of the repository."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
