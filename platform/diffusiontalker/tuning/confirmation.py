"""Confirmation of the finalists: they and the base are trained again with other seeds."""

import math
from itertools import islice, takewhile
from pathlib import Path
from typing import Any

import ray
from ray import tune

from diffusiontalker import storage
from diffusiontalker.config import SweepSettings, fingerprint
from diffusiontalker.summary.run import Figure
from diffusiontalker.summary.sweep import METRICS, Confirmation, Params
from diffusiontalker.training.progress import StageDisplay
from diffusiontalker.tuning import schedulers, space
from diffusiontalker.tuning.callbacks import LocalCallback
from diffusiontalker.tuning.tensorboard import TensorBoardWriter
from diffusiontalker.tuning.trial import TrialSetup
from diffusiontalker.tuning.trial_store import TRIAL, TrialStore
from diffusiontalker.tuning.tuner import can_reuse_actors, run_name, run_trials


def confirm(sweep: SweepSettings, setup: TrialSetup, store: TrialStore, folder: Path) -> None:
    """Train the base and the finalists, the best trials that beat it, with each further seed, to
    the end, and add the results to the store. What the store has already is not repeated."""
    default = space.defaults(sweep, setup.base)
    better = takewhile(lambda trial: trial.params != default, store.ranked(sweep.objectives))
    seeds = [setup.base.training.seed + 1 + k for k in range(sweep.confirm)]
    confirmed = {(one.trial, one.seed) for one in store.confirmed}
    bases = {one.seed: one.default for one in store.confirmed}
    missing = [
        (trial, seed)
        for trial in islice(better, sweep.finalists)
        for seed in seeds
        if (trial.id, seed) not in confirmed
    ]
    if not missing:
        return

    def id_of(params: Params, seed: int) -> str:
        return f"confirm-{fingerprint(params, seed)}"

    wanted = [("base", default, seed) for _, seed in missing if seed not in bases]
    wanted += [(run_name(trial), trial.params, seed) for trial, seed in missing]
    points = {id_of(params, seed): {**params, space.SEED: seed} for _, params, seed in wanted}
    names = {id_of(params, seed): f"{name}-seed-{seed}" for name, params, seed in wanted}
    slots = schedulers.slots(sweep, setup.base, ray.cluster_resources())
    with StageDisplay("confirm") as display:
        final = FinalMetrics(display, len(points))
        run_trials(
            setup, folder, [final, TensorBoardWriter(folder, names.__getitem__)],
            sweep.max_failures,
            tune.TuneConfig(
                max_concurrent_trials=slots, reuse_actors=can_reuse_actors(setup.base)
            ),
            points,
        )  # fmt: skip
    for trial, seed in missing:
        base = bases.get(seed) or final.metrics.get(id_of(default, seed))
        best = final.metrics.get(id_of(trial.params, seed))
        if base is not None and best is not None:
            one = Confirmation(trial=trial.id, seed=seed, default=base, best=best)
            store.confirmed.append(one)
    store.write(folder)
    storage.remove_folder(setup.folder)


class FinalMetrics(LocalCallback):
    """Collects the metrics of each trial's last epoch, and counts the trials that have ended."""

    def __init__(self, display: StageDisplay, total: int) -> None:
        self.display, self.total = display, total
        self.metrics: dict[str, dict[str, Figure]] = {}
        """By trial id; none of a trial that failed or diverged."""
        self.ended = 0

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        """An epoch is done."""
        found = {name: float(result[name]) for name in METRICS if name in result}
        if all(map(math.isfinite, found.values())):
            self.metrics[trial.config[TRIAL]["id"]] = {**found}
        else:  # diverged: the metrics of its earlier epochs do not count either
            self.metrics.pop(trial.config[TRIAL]["id"], None)

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has failed, and has no attempt left."""
        self.metrics.pop(trial.config[TRIAL]["id"], None)
        self.on_trial_complete(iteration, trials, trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """A trial has ended."""
        self.ended += 1
        self.display.count(self.ended, self.total)
