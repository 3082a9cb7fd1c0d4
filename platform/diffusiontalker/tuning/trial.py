"""One trial, as Ray Tune runs it: stages of training that report to Tune epoch by epoch."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.integration.ray_train import TuneReportCallback

from diffusiontalker import cluster, pipeline, storage
from diffusiontalker.config import Settings
from diffusiontalker.errors import UserError
from diffusiontalker.training import stages as training_stages
from diffusiontalker.training.stages import Data, StageRun
from diffusiontalker.training.validation_metrics import sample_metrics
from diffusiontalker.tuning.space import TEACHER, Stage, apply, epochs_of
from diffusiontalker.tuning.trial_store import FIGURES, TRIAL

Figures = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What all trials share."""

    base: Settings
    stages: list[Stage]
    data: Data
    """Train and val alone."""
    start: Path | None
    """The model that guides the first round."""
    folder: Path
    """Every trial has a folder in it."""


def run_trial(config: dict[str, Any], plan: Plan) -> None:
    """Ray Tune's function: train a trial, or what is left of it.

    Its last figures are reported once more as its end, since an attempt that finds everything
    trained would otherwise report nothing. A mistake of the user's, such as settings that do not go
    together, is reported as infinite figures with an ``error``: to try again would not mend it.
    """
    cluster.configure()
    params, folder = config[TRIAL]["params"], plan.folder / config[TRIAL]["id"]
    try:
        last = train(plan, apply(plan.base, params), folder)
    except Exception as error:
        cause = error if isinstance(error, UserError) else cluster.user_error(error)
        if cause is None:
            raise
        worst = dict.fromkeys(FIGURES, math.inf)
        last = {"error": str(cause), "epochs": 0, "seconds": 0.0, **worst}
    tune.report({**last, "done": True})


def train(plan: Plan, settings: Settings, folder: Path) -> Figures:
    """Train every stage into ``folder``; one that was killed goes on from its last epoch.

    Returns the last figures.

    Raises:
        UserError: as the stages.
    """
    before, model = 0, plan.start
    for stage in plan.stages:
        out = folder / str(stage)
        if not storage.is_file(out / pipeline.HISTORY):
            history = _train(plan, settings, stage, model, folder, before)
            pipeline.keep_history(str(stage), out, history)  # the last file of a stage
        before, model = before + epochs_of(settings, stage), out
    last = [point for point in storage.read_json(out / pipeline.HISTORY) if "val_loss" in point][-1]
    return figures(last, before)


def _train(
    plan: Plan, settings: Settings, stage: Stage, model: Path | None, folder: Path, before: int
) -> list[dict[str, float]]:
    """Train a stage; ``before`` counts the epochs of the stages before it."""
    steps = settings.diffusion.steps if stage == TEACHER else int(stage)
    callbacks = (Report(before),) if settings.training.workers else ()
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
            return training_stages.train_teacher(settings, plan.data, place, out)
        assert model is not None
        return training_stages.train_round(settings, plan.data, model, steps, place, out)
    finally:
        for callback in callbacks:
            callback.wait()


def report(before: int, metrics: Mapping[str, Any]) -> None:
    """Report an epoch to Tune, which may end the trial here."""
    tune.report(figures(metrics, before + int(metrics["epoch"])))


class Report(TuneReportCallback):
    """The same from the controller of Ray Train's workers, which does not wait for Tune."""

    def __init__(self, before: int) -> None:
        super().__init__()
        self.before = before

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """With the metrics of every worker; those of the first count."""
        own = figures(metrics[0], self.before + int(metrics[0]["epoch"]))
        super().after_report(run_context, [own], None)

    def wait(self) -> None:
        """Until Tune has taken the last figures: a report of the trial itself beside them would
        block both for ever (Ray 2.60)."""
        while not self._training_actor_item_queue.empty():
            time.sleep(0.05)


def figures(metrics: Mapping[str, Any], epochs: int) -> Figures:
    """An epoch's figures for Tune. One that is not finite is infinitely bad."""
    own = {name: float(metrics[f"val_{name}"]) for name in FIGURES}
    return {
        **{key: value for key, value in metrics.items() if key.startswith("val_")},
        **{name: value if math.isfinite(value) else math.inf for name, value in own.items()},
        "epochs": epochs,
        "seconds": float(metrics["seconds"]),
    }
