"""The Ray Tune trainable: trains the stages of one trial and reports to Tune after each epoch."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from diffusiontalker import cluster, storage
from diffusiontalker.config import Settings
from diffusiontalker.corpus.manifest import CorpusFolder
from diffusiontalker.errors import UserError
from diffusiontalker.pipeline.training import HISTORY, keep_history
from diffusiontalker.ray_errors import user_error
from diffusiontalker.summary.sweep import METRICS, MISSED_CLOSURES
from diffusiontalker.training import stages as training_stages
from diffusiontalker.training.stage_run import StageRun
from diffusiontalker.training.validation_metrics import (
    BILABIALS,
    OPEN_BILABIALS,
    sample_metrics,
)
from diffusiontalker.tuning.space import TEACHER, Stage, apply, epochs_of
from diffusiontalker.tuning.trial_store import TRIAL

Figures = dict[str, Any]
"""What is reported to Tune: ``METRICS``, ``epochs``, ``seconds`` and all ``val_*``."""


@dataclass(frozen=True)
class TrialSetup:
    """What all trials of a sweep share."""

    base: Settings
    stages: list[Stage]
    data: CorpusFolder
    """Without the test splits."""
    start: Path | None
    """The model that the first round is distilled from; None where trials train the teacher."""
    folder: Path
    """Each trial has a folder of its id in it."""


def run_trial(config: dict[str, Any], setup: TrialSetup) -> None:
    """The function trainable: train a trial, or what is left of it.

    Its last figures are reported a second time at its end, since an attempt that finds every stage
    trained would otherwise report nothing. A UserError, such as settings that contradict each
    other, is reported as infinite figures with an ``error``: retrying would not help.
    """
    cluster.configure()
    params, folder = config[TRIAL]["params"], setup.folder / config[TRIAL]["id"]
    try:
        last = train(setup, apply(setup.base, params), folder)
    except Exception as error:
        cause = error if isinstance(error, UserError) else user_error(error)
        if cause is None:
            raise
        worst: Figures = dict.fromkeys(METRICS, math.inf)
        last = {"error": str(cause), "epochs": 0, "seconds": 0.0, **worst}
    tune.report({**last, "done": True})


def train(setup: TrialSetup, settings: Settings, folder: Path) -> Figures:
    """Train every stage into ``folder``, an interrupted one from its last epoch.

    Returns:
        The figures of the last epoch.

    Raises:
        UserError: as the stages.
    """
    before, model = 0, setup.start
    for stage in setup.stages:
        out = folder / str(stage)
        if not storage.is_file(out / HISTORY):
            history = _train(setup, settings, stage, model, folder, before)
            keep_history(str(stage), out, history)  # the last file of a stage
        before, model = before + epochs_of(settings, stage), out
    last = [point for point in storage.read_json(out / HISTORY) if "val_loss" in point][-1]
    return figures(last, before)


def _train(
    setup: TrialSetup,
    settings: Settings,
    stage: Stage,
    model: Path | None,
    folder: Path,
    before: int,
) -> list[dict[str, float]]:
    """Train a stage; ``before`` counts the epochs of the stages before it."""
    steps = settings.diffusion.steps if stage == TEACHER else int(stage)
    # Tune itself starts a trial again that lost its workers. A controller that did would reserve
    # CPUs anew while Tune ends the trial, and nobody would release them (Ray 2.60).
    resources = settings.resources.model_copy(update={"max_failures": 0})
    settings = settings.model_copy(update={"resources": resources})
    callbacks = (ReportCallback(before),) if settings.training.workers else ()
    place = StageRun(
        folder / "train",
        str(stage),
        str(stage),
        metrics=partial(sample_metrics, steps=steps, sampler=settings.diffusion.sampler),
        on_epoch=partial(report, before),
        callbacks=callbacks,
    )
    out = folder / str(stage)
    try:
        if stage == TEACHER:
            return training_stages.train_teacher(settings, setup.data, place, out)
        assert model is not None
        return training_stages.train_round(settings, setup.data, model, steps, place, out)
    finally:
        for callback in callbacks:
            callback.wait()


def report(before: int, metrics: Mapping[str, Any]) -> None:
    """Report an epoch to Tune, which may end the trial here."""
    tune.report(figures(metrics, before + int(metrics["epoch"])))


class ReportCallback(TuneReportCallback):
    """``report`` from the controller of Ray Train's workers, which does not wait for Tune."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.before = before

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Given the metrics of every worker, reports those of the first after an epoch."""
        if "val_loss" not in metrics[0]:
            return  # a checkpoint within an epoch
        own = figures(metrics[0], self.before + int(metrics[0]["epoch"]))
        super().after_report(run_context, [own], None)

    def wait(self) -> None:
        """Until Tune has taken the last figures: a report of the trial itself beside them would
        block both for ever (Ray 2.60)."""
        while not self._training_actor_item_queue.empty():
            time.sleep(0.05)


def figures(metrics: Mapping[str, Any], epochs: int) -> Figures:
    """The figures of an epoch for Tune; NaN becomes infinity, the worst. ``missed_closures`` is
    there only if the validation split has phoneme times."""
    own = {name: float(metrics[f"val_{name}"]) for name in METRICS if name != MISSED_CLOSURES}
    if bilabials := metrics.get(f"val_{BILABIALS}"):
        own[MISSED_CLOSURES] = metrics[f"val_{OPEN_BILABIALS}"] / bilabials
    return {
        **{key: value for key, value in metrics.items() if key.startswith("val_")},
        **{name: value if math.isfinite(value) else math.inf for name, value in own.items()},
        "epochs": epochs,
        "seconds": float(metrics["seconds"]),
    }
