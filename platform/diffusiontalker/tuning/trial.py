"""One trial, as Ray Tune runs it: stages of Ray Train, told to Tune epoch by epoch."""

import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ray import tune

from diffusiontalker import cluster, pipeline, storage
from diffusiontalker.config import Settings
from diffusiontalker.errors import UserError
from diffusiontalker.training import runs
from diffusiontalker.training.judge import judge
from diffusiontalker.training.runs import Data, Place
from diffusiontalker.tuning.records import FIGURES, TRIAL, Params
from diffusiontalker.tuning.space import TEACHER, Stage, apply, epochs_of
from diffusiontalker.tuning.told import Figures, Told, ToldByWorkers


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


class TrialRun(tune.Trainable):
    """Ray Tune's side of a trial: an epoch at a time, from a thread that trains.

    Not Tune's function API: Ray Train refuses to run in the process of one, and its own workers
    take as long to start as a small trial takes to train.
    """

    def setup(self, config: dict[str, Any], plan: Plan) -> None:  # type: ignore[override]
        """Begin a trial. Tune calls it in a fresh process."""
        cluster.configure()
        self.plan = plan
        self._begin(config)

    def reset_config(self, config: dict[str, Any]) -> bool:
        """Begin the next trial in the process of an ended one."""
        self.cleanup()
        self._begin(config)
        return True

    def step(self) -> dict[str, Any]:
        """Train an epoch; of the last one the figures come twice, the second time as the end."""
        return self.told.next()

    def cleanup(self) -> None:
        """End the training where it is. With workers Tune ends this process, and they with it."""
        self.told.stop()
        if not self.plan.base.training.workers:
            self.thread.join(timeout=10)

    def _begin(self, config: dict[str, Any]) -> None:
        params, folder = config[TRIAL]["params"], self.plan.folder / config[TRIAL]["id"]
        self.told: Told = ToldByWorkers() if self.plan.base.training.workers else Told()
        self.thread = threading.Thread(
            target=_guarded, args=(self.plan, params, folder, self.told), daemon=True
        )
        self.thread.start()


def _guarded(plan: Plan, params: Params, folder: Path, told: Told) -> None:
    """Train, and tell how it ended. A mistake of the user's, such as settings that do not go
    together, is told as infinite figures with an ``error``: trying again would not mend it."""
    try:
        told.end(train(plan, apply(plan.base, params), folder, told))
    except Exception as error:
        cause = error if isinstance(error, UserError) else cluster.user_error(error)
        if cause is None:
            told.fail(error)
        else:
            worst = dict.fromkeys(FIGURES, math.inf)
            told.end({"error": str(cause), "epochs": 0, "seconds": 0.0, **worst})


def train(plan: Plan, settings: Settings, folder: Path, told: Told) -> Figures:
    """Train every stage into ``folder``; one that was killed goes on from its last epoch.

    Returns the last figures.

    Raises:
        UserError: as Ray Train's runs.
    """
    before, model = 0, plan.start
    for stage in plan.stages:
        out = folder / str(stage)
        if not storage.is_file(out / pipeline.HISTORY):
            history = _train(plan, settings, stage, model, folder, partial(tell, told, before))
            pipeline.keep_history(str(stage), out, history)  # the last file of a stage
        before, model = before + epochs_of(settings, stage), out
    last = [point for point in storage.read_json(out / pipeline.HISTORY) if "val_loss" in point][-1]
    return figures(last, before)


def _train(
    plan: Plan, settings: Settings, stage: Stage, model: Path | None, folder: Path,
    told: Callable[[dict[str, Any]], None],
) -> list[dict[str, float]]:  # fmt: skip
    steps = settings.diffusion.steps if stage == TEACHER else int(stage)
    place = Place(
        folder / "train",
        str(stage),
        str(stage),
        judge=partial(judge, steps=steps, sampler=settings.diffusion.sampler),
        told=told,
    )
    out = folder / str(stage)
    if stage == TEACHER:
        return runs.train_teacher(settings, plan.data, place, out)
    assert model is not None
    return runs.train_round(settings, plan.data, model, steps, place, out)


def tell(told: Told, before: int, metrics: dict[str, Any]) -> None:
    """Hand an epoch of a stage on, ``before`` it the epochs of the stages before."""
    told.epoch(figures(metrics, before + int(metrics["epoch"])))


def figures(metrics: Mapping[str, Any], epochs: int) -> Figures:
    """What Tune is told of an epoch. A figure that is not finite is infinitely bad."""
    own = {name: float(metrics[f"val_{name}"]) for name in FIGURES}
    return {
        **{key: value for key, value in metrics.items() if key.startswith("val_")},
        **{name: value if math.isfinite(value) else math.inf for name, value in own.items()},
        "epochs": epochs,
        "seconds": float(metrics["seconds"]),
    }
