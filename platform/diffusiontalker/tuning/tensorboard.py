"""TensorBoard logs of the trials, one run per trial, named by its number.

Ray Tune's own logger creates a folder per session of a sweep, named by an id: a resumed trial would
appear twice, with its epochs counted from 1 again.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial as TuneTrial

from diffusiontalker.event_files import FOLDER, EventFiles
from diffusiontalker.summary.sweep import METRICS
from diffusiontalker.tuning.callbacks import LocalCallback
from diffusiontalker.tuning.trial_store import TRIAL


class TensorBoardWriter(LocalCallback):
    """Writes scalars after each epoch, and HParams at the end of a trial.

    Args:
        folder: the sweep's, local or in S3.
        name: maps the id of a trial to the name of its run.
    """

    def __init__(self, folder: Path, name: Callable[[str], str]) -> None:
        self.folder, self.name = folder / FOLDER, name
        self.files: dict[str, EventFiles] = {}
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
        if id not in self.files:
            self.files[id] = EventFiles(self.folder / self.name(id))
        found = {
            key: float(value)
            for key, value in result.items()
            if key in METRICS or key.startswith("val_")
        }
        self.files[id].add(found, int(result["epochs"]))
        self.last[id] = {"epochs": result["epochs"], **found}

    def on_trial_complete(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial has ended."""
        own = trial.config[TRIAL]
        files = self.files.pop(own["id"], None)
        if files is None:
            return
        files.add_hparams(own["params"], self.last[own["id"]])
        files.close()

    def on_trial_error(
        self, iteration: int, trials: list[TuneTrial], trial: TuneTrial, **info: Any
    ) -> None:
        """A trial has failed, and has no attempt left."""
        self.on_trial_complete(iteration, trials, trial)
