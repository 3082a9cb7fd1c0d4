"""A recording of training steps by ``torch.profiler``, for chrome://tracing or Perfetto."""

import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from diffusiontalker import storage
from diffusiontalker.training.fit import OnStep

WAIT = 3
"""Steps before the recording, in which memory and kernels settle."""


class StepProfiler:
    """Records some steps of a worker, once, and writes them to ``path``, on disk or in S3."""

    def __init__(self, steps: int, path: Path, on_step: OnStep | None = None) -> None:
        """``on_step``: called first."""
        self.steps, self.path, self.on_step = steps, path, on_step
        self.count = 0
        self.profile: profile | None = None

    def __call__(self, epoch: int, step: int, windows: int, loss: float) -> None:
        """A step is done. Raises UserError if the recording cannot be written."""
        if self.on_step is not None:
            self.on_step(epoch, step, windows, loss)
        self.count += 1
        if self.count == WAIT:
            kinds = [ProfilerActivity.CPU]
            if torch.cuda.is_available():
                kinds.append(ProfilerActivity.CUDA)
            self.profile = profile(activities=kinds, record_shapes=True)
            self.profile.start()
        elif self.count == WAIT + self.steps and self.profile is not None:
            self.profile.stop()
            self._write(self.profile)
            self.profile = None

    def _write(self, recorded: profile) -> None:
        with tempfile.TemporaryDirectory(prefix="diffusiontalker-") as folder:
            recorded.export_chrome_trace(str(Path(folder) / self.path.name))
            storage.make_folder(self.path.parent)
            storage.store(Path(folder), self.path.parent)
