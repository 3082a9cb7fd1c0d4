"""TensorBoard's event files of one run, on disk or in S3."""

import math
import tempfile
import uuid
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from diffusiontalker import storage

FOLDER = "tensorboard"
"""In the folder of a run or a sweep; holds a folder per stage or trial."""


class EventFiles:
    """Scalars of one run; ``folder`` receives them at each ``flush``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scratch = tempfile.TemporaryDirectory() if storage.is_remote(folder) else None
        self.writer: SummaryWriter | None = None

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Add the scalars that are finite. The first step hides later ones of other files: those of
        a run that was ended beyond its last checkpoint."""
        if self.writer is None:
            # TensorBoard's own file names are unique only to the second.
            self.writer = SummaryWriter(
                self.scratch.name if self.scratch else str(self.folder),
                purge_step=step,
                filename_suffix=f".{uuid.uuid4().hex[:8]}",
            )
        for name, value in scalars.items():
            if math.isfinite(value):
                self.writer.add_scalar(name, value, step)

    def add_hparams(self, params: Mapping[str, object], metrics: Mapping[str, float]) -> None:
        """Add what the HParams view compares: settings and results of the run."""
        assert self.writer is not None, "a run without scalars"
        for part in hparams(hparam_dict=dict(params), metric_dict=dict(metrics)):
            self.writer.file_writer.add_summary(part)

    def flush(self) -> None:
        """Write what was added so far."""
        if self.writer is not None:
            self.writer.flush()
            if self.scratch:
                storage.store(Path(self.scratch.name), self.folder)

    def close(self) -> None:
        """Write the rest."""
        self.flush()
        if self.writer is not None:
            self.writer.close()
