"""TensorBoard's event files of one run, on disk or in S3."""

import math
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import hparams, scalar

from diffusiontalker import storage
from diffusiontalker.errors import UserError

FOLDER = "tensorboard"
"""In the folder of a run or a sweep; holds a folder per stage or trial."""
STORE_EVERY = 60.0
"""Seconds between two uploads to S3, of which the first is that of the first scalars."""


class EventFiles:
    """Scalars of one run. A failure to write them is printed once, and ends nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = tempfile.TemporaryDirectory() if storage.is_remote(folder) else None
        # Not tensorboardX's SummaryWriter: its thread dies of a full disk, and its queue then
        # blocks for ever.
        self.writer: EventsWriter | None = None
        self.last = 0
        self.stored = -math.inf
        self.closed = self.failed = False
        self.lock = threading.Lock()

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Add the scalars that are finite. A step that is not after the last one, and the first of
        a session, hide later ones: those of a run that was ended beyond its last checkpoint."""
        with self._guarded() as is_open:
            if not is_open:
                return
            if self.writer is None or step < self.last:
                self._open(step)
            for name, value in scalars.items():
                if math.isfinite(value):
                    self._write(step, summary=scalar(name, value))
            self.last = step
            assert self.writer is not None
            self.writer.flush()
            if time.monotonic() - self.stored > STORE_EVERY:
                self._store()

    def add_hparams(self, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Add what the HParams view compares: settings and results of a run with scalars."""
        with self._guarded() as is_open:
            if is_open and self.writer is not None:
                for part in hparams(hparam_dict=dict(params), metric_dict=dict(metrics)):
                    self._write(0, summary=part)

    def close(self) -> None:
        """Write the rest; what is added later is left out."""
        with self._guarded() as is_open:
            if is_open and self.writer is not None:
                self.writer.close()
                self._store()
        self.closed = True

    def _open(self, step: int) -> None:
        if self.writer is not None:
            self.writer.close()
        folder = Path(self.scratch.name) if self.scratch else self.folder
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard's own file names are unique only to the second.
        self.writer = EventsWriter(str(folder / "events"), f".{uuid.uuid4().hex[:8]}")
        self._write(step, session_log=SessionLog(status=SessionLog.START))

    def _write(self, step: int, **content: Any) -> None:
        assert self.writer is not None
        self.writer.write_event(Event(step=step, wall_time=time.time(), **content))

    def _store(self) -> None:
        if self.scratch:
            self.stored = time.monotonic()
            storage.store(Path(self.scratch.name), self.folder)

    @contextmanager
    def _guarded(self) -> Iterator[bool]:
        """Whether more may be written."""
        with self.lock:
            try:
                yield not self.closed
            except (UserError, OSError) as error:
                if not self.failed:
                    print(f"{self.folder}: curves are incomplete ({error})", flush=True)
                self.failed = True
