"""TensorBoard's event files of one run, on disk or in S3."""

import math
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from diffusiontalker import storage
from diffusiontalker.errors import UserError

FOLDER = "tensorboard"
"""In the folder of a run or a sweep; holds a folder per stage or trial."""
STORE_EVERY = 60.0
"""Seconds between two uploads to S3."""


class EventFiles:
    """Scalars of one run. A failure to write them is printed once, and ends nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = tempfile.TemporaryDirectory() if storage.is_remote(folder) else None
        self.writer: SummaryWriter | None = None
        self.last = 0
        self.stored = time.monotonic()
        self.closed = self.failed = False
        self.lock = threading.Lock()

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Add the scalars that are finite. A step that is not after the last one, and the first of
        a session, hide later ones: those of a run that was ended beyond its last checkpoint."""
        with self._guarded():
            if self.writer is not None and step < self.last:
                self.writer.close()
                self.writer = None
            if self.writer is None:
                self.writer = SummaryWriter(
                    self.scratch.name if self.scratch else str(self.folder),
                    purge_step=step,
                    # TensorBoard's own file names are unique only to the second.
                    filename_suffix=f".{uuid.uuid4().hex[:8]}",
                )
            for name, value in scalars.items():
                if math.isfinite(value):
                    self.writer.add_scalar(name, value, step)
            self.last = step
            self.writer.flush()
            if self.scratch and time.monotonic() - self.stored > STORE_EVERY:
                self._store()

    def add_hparams(self, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Add what the HParams view compares: settings and results of a run with scalars."""
        with self._guarded():
            assert self.writer is not None, "a run without scalars"
            for part in hparams(hparam_dict=dict(params), metric_dict=dict(metrics)):
                self.writer.file_writer.add_summary(part)

    def close(self) -> None:
        """Write the rest; what is added later is left out."""
        with self._guarded():
            if self.writer is not None:
                self.writer.close()  # before it is stored: only this empties the writer's queue
                self._store()
            self.closed = True

    def _store(self) -> None:
        if self.scratch:
            storage.store(Path(self.scratch.name), self.folder)
            self.stored = time.monotonic()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        with self.lock:
            if self.closed:
                return
            try:
                yield
            except (UserError, OSError) as error:
                if not self.failed:
                    print(f"{self.folder}: curves are incomplete ({error})", flush=True)
                self.failed = True
