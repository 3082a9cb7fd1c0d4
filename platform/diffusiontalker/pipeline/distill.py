"""The chain of a run from the corpus to the report."""

from pathlib import Path

from diffusiontalker.config import Settings
from diffusiontalker.pipeline.data import prepare_data
from diffusiontalker.pipeline.delivery import deliver
from diffusiontalker.pipeline.evaluation import evaluate_all
from diffusiontalker.pipeline.progress_file import planned
from diffusiontalker.pipeline.run import Run
from diffusiontalker.pipeline.training import train_all


def distill(settings: Settings) -> Path:
    """Run the chain of ``settings``; returns the run's folder.

    Raises:
        UserError: whatever the user can mend, in one line; what was done stays done.
    """
    run = Run(settings, planned(settings))
    run.describe()
    data = prepare_data(run)
    models = train_all(run, data)
    deliver(run, data, models, evaluate_all(run, data, models))
    return run.root
