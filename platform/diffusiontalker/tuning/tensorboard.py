"""The curves of every trial for TensorBoard, once each and by its number.

Not Ray Tune's own logger: it begins a folder of its own for every session of a sweep, named by an
id, so that a trial that goes on is there twice; and it counts epochs anew.
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
from diffusiontalker.tuning.callbacks import Local
from diffusiontalker.tuning.trial_store import FIGURES, TRIAL

FOLDER = "tensorboard"
"""In a sweep's output: a folder a trial, whatever sessions it took."""


class Boards(Local):
    """Writes every epoch of the trials that Ray Tune runs, and with its last their settings.

    Args:
        folder: the sweep's, local or in S3.
        name: what TensorBoard calls a trial, from the trial's id.
    """

    def __init__(self, folder: Path, name: Callable[[str], str]) -> None:
        self.target, self.name = folder / FOLDER, name
        self.scratch = tempfile.TemporaryDirectory() if storage.is_remote(folder) else None
        self.root = Path(self.scratch.name) if self.scratch else self.target
        self.writers: dict[str, SummaryWriter] = {}
        self.last: dict[str, dict[str, float]] = {}
        """The figures of each trial's last epoch."""

    def on_trial_result(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, result: dict[str, Any],
        **info: Any,
    ) -> None:  # fmt: skip
        """An epoch of a trial is done; of the last one Tune hears twice."""
        id = trial.config[TRIAL]["id"]
        if "error" in result or self.last.get(id, {}).get("epochs") == result["epochs"]:
            return
        if id not in self.writers:
            # The names of its files differ by the second alone.
            self.writers[id] = SummaryWriter(
                str(self.root / self.name(id)), filename_suffix=f".{uuid.uuid4().hex[:8]}"
            )
        found = {
            key: float(value)
            for key, value in result.items()
            if (key in FIGURES or key.startswith("val_")) and math.isfinite(value)
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
