"""Peak memory of this process and its descendants, Ray's workers and object store included."""

import os
import threading
from pathlib import Path
from types import TracebackType

INTERVAL = 0.2
"""Seconds between two samples."""
PROC = Path("/proc")


class Peak:
    """Maximum memory while the context is open, sampled by a thread.

    Sum of proportional set sizes, in which a page shared by several processes counts once.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Peak":
        self.sample()
        self._thread.start()
        return self

    def sample(self) -> None:
        """Take one sample."""
        now = sum(map(proportional, family(os.getpid())))
        self.bytes = max(self.bytes, now)

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL):
            self.sample()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()


def family(root: int, proc: Path = PROC) -> list[int]:
    """Ids of a process and all its descendants, from Linux's ``proc``."""
    children: dict[int, list[int]] = {}
    for folder in proc.glob("[0-9]*"):
        parent = _parent(folder)
        if parent is not None:
            children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for process in found:  # grows while it is read
        found += children.get(process, [])
    return found


def _parent(folder: Path) -> int | None:
    try:
        # The name, in parentheses, may hold anything; state and parent follow it.
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None  # it has just ended


def proportional(process: int, proc: Path = PROC) -> int:
    """Proportional set size in bytes; 0 of a process that has ended."""
    try:
        lines = (proc / str(process) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
