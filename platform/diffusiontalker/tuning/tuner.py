"""Run trials through Ray Tune, with its own output, logs and signal handling switched off."""

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ray import tune

from diffusiontalker import storage
from diffusiontalker.config import Settings, SweepSettings
from diffusiontalker.summary.sweep import Params, Trial
from diffusiontalker.tuning import schedulers
from diffusiontalker.tuning.trial import TrialSetup, run_trial
from diffusiontalker.tuning.trial_store import TRIAL, trial_config

# The job handles SIGINT: Tune's handler would end the sweep as if it were complete.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
# SweepCallback prints the progress.
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
# Tune's logs per trial, a pickle among them, are not read; TensorBoardWriter and trials.json
# replace them.
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
# Lost processes and errors appear in the states of the trials.
logging.getLogger("ray.tune").setLevel(logging.CRITICAL)


def run_trials(
    setup: TrialSetup, folder: Path, callbacks: list[tune.Callback], max_failures: int,
    tune_config: tune.TuneConfig, points: Mapping[str, Params] | None = None,
    stop: tune.Stopper | None = None,
) -> None:  # fmt: skip
    """Run the trials that the search of ``tune_config`` suggests, or all of ``points`` by id."""
    grid = [trial_config(id, params)[TRIAL] for id, params in (points or {}).items()]
    tune.Tuner(
        tune.with_resources(
            tune.with_parameters(run_trial, setup=setup), schedulers.resources(setup.base)
        ),
        param_space={TRIAL: tune.grid_search(grid)} if grid else {},
        tune_config=tune_config,
        run_config=tune.RunConfig(
            # Unique: under a name that exists, Tune would mix the logs of two sessions.
            name=f"tune-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}",
            **_storage(folder),
            callbacks=callbacks,
            failure_config=tune.FailureConfig(max_failures=max_failures),
            # Training keeps its own checkpoints.
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            stop=stop,
            verbose=0,
        ),
    ).fit()


def _storage(folder: Path) -> dict[str, Any]:
    """Ray Tune's arguments for keeping its state in ``folder``, local or in S3."""
    if not storage.is_remote(folder):
        return {"storage_path": str(folder)}
    filesystem, path = storage.for_arrow(folder)
    return {"storage_filesystem": filesystem, "storage_path": path}


def run_name(trial: Trial) -> str:
    """The name of a trial in TensorBoard."""
    return f"trial-{trial.number:03d}"


def can_reuse_actors(base: Settings) -> bool:
    """Whether a trial may run in the process of an earlier one: not where that has workers, which
    would stay alive."""
    return base.training.workers == 0


def mlflow_callbacks(sweep: SweepSettings) -> list[tune.Callback]:
    """A logger to MLflow, if the sweep asks for one."""
    if sweep.mlflow is None:
        return []
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    return [MLflowLoggerCallback(tracking_uri=sweep.mlflow, experiment_name="diffusiontalker")]
