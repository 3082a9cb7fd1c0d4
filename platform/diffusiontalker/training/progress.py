"""Progress of long stages: one live line in a terminal, a few lines in a log.

Workers report to a small actor, which the driver polls and displays. Workers' own output would
arrive late, prefixed and in bulk on a cluster.
"""

import json
import resource
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType

import ray
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from diffusiontalker.summary.durations import clock
from diffusiontalker.training.epoch import on_this_node

LOG_EVERY = 20.0
"""Seconds between two lines of one stage where output is no terminal."""
EVERY_STEPS = 5
"""Training steps between two messages to the progress board."""


Point = dict[str, float]
"""A point of a training curve: its ``step``, losses and other figures."""


class ProgressBoard:
    """What each stage last reported: its progress, lines to print, points of its curves."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[float, str]] = {}
        self.lines: dict[str, list[str]] = {}
        self.points: dict[str, list[Point]] = {}

    def put(self, stage: str, share: float, text: str) -> None:
        """Report that ``share`` (0-1) of the stage is done."""
        self.entries[stage] = (share, text)

    def print_line(self, stage: str, line: str) -> None:
        """Have a line printed."""
        self.lines.setdefault(stage, []).append(line)

    def add_point(self, stage: str, point: Point) -> None:
        """Add a point to the stage's curves."""
        self.points.setdefault(stage, []).append(point)

    def get(
        self, stage: str, lines: int = 0, points: int = 0
    ) -> tuple[tuple[float, str] | None, list[str], list[Point]]:
        """The last ``put`` of the stage, and its lines and points after the first of each."""
        return (
            self.entries.get(stage),
            self.lines.get(stage, [])[lines:],
            self.points.get(stage, [])[points:],
        )


class StepProgress:
    """Reports the training steps of a stage, on rank 0 of its workers."""

    def __init__(
        self, board: ray.actor.ActorHandle, stage: str, epochs: int, steps_per_epoch: int,
        workers: int,
    ) -> None:  # fmt: skip
        self.board, self.stage, self.workers = board, stage, workers
        self.epochs, self.steps_per_epoch = epochs, steps_per_epoch
        self.epoch, self.started, self.windows = -1, 0.0, 0

    def __call__(self, epoch: int, step: int, windows: int, loss: float) -> None:
        """Report that ``step`` of ``epoch`` is done, with ``windows`` windows on this worker."""
        if epoch != self.epoch:  # a resumed run begins within one
            self.epoch, self.started, self.windows = epoch, time.monotonic(), 0
        self.windows += windows
        if step % EVERY_STEPS:
            return
        share = (epoch + min(step / self.steps_per_epoch, 1.0)) / self.epochs
        text = f"epoch {epoch + 1}/{self.epochs}, loss {loss:.4f}, {self.rate:.0f} windows/s"
        self.board.put.remote(self.stage, share, text)

    @property
    def rate(self) -> float:
        """Windows in a second in this epoch, of all workers."""
        return self.windows * self.workers / max(time.monotonic() - self.started, 1e-9)

    def add_point(self, point: Point) -> None:
        """Report a point of the run's history, with throughput and memory of this worker."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        own = {"windows_per_second": self.rate, "peak_memory_mb": peak}
        self.board.add_point.remote(self.stage, point | own)


def start_progress_board() -> ray.actor.ActorHandle:
    """A ``ProgressBoard`` as an actor that reserves no CPU, on the driver's node: others may be
    lost."""
    board: ray.actor.ActorHandle = on_this_node(ProgressBoard)
    return board


class JsonLog:
    """Prints the progress of a run as a JSON object a line, for programs that collect logs."""

    def __init__(self, run: str) -> None:
        """``run``: its output."""
        self.run = run

    def write(self, stage: str, event: str, **more: object) -> None:
        """Print an event of a stage."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "run": self.run, "stage": stage, "event": event} | more
        print(json.dumps(line), flush=True)


class StageDisplay:
    """Displays the progress of a stage; a context manager around it."""

    def __init__(
        self, stage: str, board: ray.actor.ActorHandle | None = None,
        on_point: Callable[[Point], None] | None = None,
        on_update: Callable[[float, str], None] | None = None, log: JsonLog | None = None,
    ) -> None:  # fmt: skip
        """``on_point``: called with each point of the curves that the board receives;
        ``on_update``: with each share that is done, and its text; ``log``: takes the place of lines
        for people."""
        self.stage = stage
        self.board = board
        self.on_point, self.on_update, self.log = on_point, on_update, log
        self.last = (0.0, "")
        """Share and text that were reported last."""
        self.seen = [0, 0]
        """Lines and points that were taken from the board."""
        self.live = sys.stdout.isatty() and log is None
        self.console = Console(soft_wrap=True)
        self.started = time.monotonic()
        self.logged = self.started
        self.stop = threading.Event()
        self.bar: Progress | None = None
        self.thread: threading.Thread | None = None

    def __enter__(self) -> "StageDisplay":
        if self.live:
            self.bar = Progress(
                TextColumn(f"{self.stage:<12}"),
                BarColumn(24),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(elapsed_when_finished=False),
                TextColumn("{task.description}"),
                console=self.console,
            )
            self.bar.start()
            self.task = self.bar.add_task("", total=1.0)
        elif self.log is not None:
            self.log.write(self.stage, "started")
        else:
            self.print_line(f"{self.stage:<12} started")
        if self.board is not None:
            self.thread = threading.Thread(target=self._follow, daemon=True)
            self.thread.start()
        return self

    def update(self, share: float, text: str = "") -> None:
        """Show that ``share`` (0-1) is done."""
        self.last = (share, text)
        if self.on_update is not None:
            self.on_update(share, text)
        if self.bar is not None:
            self.bar.update(self.task, completed=share, description=text)
        elif time.monotonic() - self.logged > LOG_EVERY:
            self.logged = time.monotonic()
            if self.log is not None:
                self.log.write(self.stage, "progress", share=round(share, 4), text=text)
                return
            spent = self.logged - self.started
            left = f"{clock(spent / share - spent)} left" if share > 0.02 else ""
            self.print_line(
                f"{self.stage:<12} {share:4.0%} {', '.join(filter(None, (text, left)))}"
            )

    def count(self, done: int, total: int) -> None:
        """``update`` for countable work."""
        self.update(done / total, f"{done} of {total}")

    def print_line(self, line: str) -> None:
        """Print a whole line."""
        if self.log is not None:
            self.log.write(self.stage, "message", text=" ".join(line.split()))
            return
        self.console.print(line, highlight=False, markup=False)

    def _follow(self) -> None:
        while not self.stop.wait(1.0):
            self._poll()
        self._poll()

    def _poll(self) -> None:
        # A failure to display progress must not end the stage; what was not taken comes again.
        try:
            entry, lines, points = ray.get(
                self.board.get.remote(self.stage, *self.seen),  # type: ignore[union-attr]
                timeout=5,
            )
            for line in lines:
                self.seen[0] += 1
                self.print_line(line)
            for point in points:
                self.seen[1] += 1
                if self.log is not None:
                    self.log.write(self.stage, "metrics", rank=0, **point)
                if self.on_point is not None:
                    self.on_point(point)
            if entry is not None:
                self.update(*entry)
            elif self.on_update is not None:
                self.on_update(*self.last)  # a sign of life
        except Exception:
            return

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop.set()
        if self.thread is not None:
            self.thread.join(timeout=6)
        if self.bar is not None:
            self.bar.stop()
        if self.log is not None:
            seconds = round(time.monotonic() - self.started, 1)
            self.log.write(self.stage, "failed" if error else "done", seconds=seconds)
        elif error is None:
            self.print_line(f"{self.stage:<12} done in {clock(time.monotonic() - self.started)}")
