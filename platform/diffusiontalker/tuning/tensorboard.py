"""TensorBoard logs of the trials, one run per trial, named by its number.

Ray Tune's own logger creates a folder per session of a sweep, named by an id: a resumed trial would
appear twice, with its epochs counted from 1 again.
"""

import math
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from tensorboardX import SummaryWriter
from tensorboardX.summary import hparams

from diffusiontalker import storage
from diffusiontalker.summary.sweep import METRICS
from diffusiontalker.tuning.callbacks import LocalCallback
from diffusiontalker.tuning.trial_store import TRIAL

FOLDER = "tensorboard"
"""In a sweep's output; holds a folder per trial."""


class TensorBoardWriter(LocalCallback):
    """Writes scalars after each epoch, and HParams at the end of a trial.

    Args:
        folder: the sweep's, local or in S3.
        name: maps the id of a trial to the name of its run.
    """

    def __init__(self, folder: Path, name: Callable[[str], str]) -> None:
        self.target, self.name = folder / FOLDER, name
        self.scratch = tempfile.TemporaryDirectory() if storage.is_remote(folder) else None
        self.root = Path(self.scratch.name) if self.scratch else self.target
        self.writers: dict[str, SummaryWriter] = {}
        self.last: dict[str, dict[str, float]] = {}
        """The scalars of each trial's last epoch."""

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any],
        **info: Any,
    ) -> None:  # fmt: skip
        """An epoch of a trial is done; the last one is reported twice."""
        id = trial.config[TRIAL]["id"]
        if "error" in result or self.last.get(id, {}).get("epochs") == result["epochs"]:
            return
        if id not in self.writers:
            # Its own file names are unique only to the second.
            self.writers[id] = SummaryWriter(
                str(self.root / self.name(id)), filename_suffix=f".{uuid.uuid4().hex[:8]}"
            )
        found = {
            key: float(value)
            for key, value in result.items()
            if (key in METRICS or key.startswith("val_")) and math.isfinite(value)
        }
        for key, value in found.items():
            self.writers[id].add_scalar(key, value, int(result["epochs"]))
        self.writers[id].flush()
        self.last[id] = {"epochs": result["epochs"], **found}

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial has ended."""
        own = trial.config[TRIAL]
        writer = self.writers.pop(own["id"], None)
        if writer is None:
            return
        for part in hparams(hparam_dict=own["params"], metric_dict=self.last[own["id"]]):
            writer.file_writer.add_summary(part)
        writer.close()
        if self.scratch:
            name = self.name(own["id"])
            storage.store(self.root / name, self.target / name)

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial has failed, and has no attempt left."""
        self.on_trial_complete(iteration, trials, trial)
