"""Early stopping of trials, and how many run at once."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from diffusiontalker.config import Settings, SweepSettings
from diffusiontalker.errors import UserError
from diffusiontalker.summary.sweep import Params
from diffusiontalker.training.reserved import reserved
from diffusiontalker.tuning.trial_store import TRIAL, TrialStore


@dataclass(frozen=True)
class EndedTrial:
    """A trial of an earlier session with what a scheduler reads of it."""

    trial_id: str


class _DefaultExempt(TrialScheduler):
    """Never stops the trial of the base's own settings, with which all others are compared."""

    default: Params

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        action: str = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if trial.config[TRIAL]["params"] == self.default else action


class _Asha(_DefaultExempt, ASHAScheduler):
    pass


class _Median(_DefaultExempt, MedianStoppingRule):
    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        action = super().on_trial_result(tune_controller, trial, result)
        if action == TrialScheduler.CONTINUE:
            self._stopped_trials.discard(trial)  # whose further results it would ignore
        return action


def scheduler(
    sweep: SweepSettings, epochs: int, store: TrialStore, default: Params
) -> TrialScheduler:
    """Ray Tune's ASHA (Li et al. 2020) or median rule (Golovin et al. 2017) on the first objective.

    It is given the results of the trials that ended in earlier sessions, and never stops the one
    of the ``default`` settings.
    """
    first = sweep.objectives[0]
    own: dict[str, Any] = {"metric": first, "mode": "min", "time_attr": "epochs"}
    if sweep.pruning == "none":
        return FIFOScheduler()
    found: _Asha | _Median
    if sweep.pruning == "asha":
        grace = min(sweep.grace, epochs)
        found = _Asha(**own, max_t=epochs, grace_period=grace, reduction_factor=sweep.reduction)
    else:
        # With a finite slice it would pause trials, which ours do not support.
        own |= {"grace_period": sweep.grace, "min_time_slice": math.inf}
        found = _Median(**own)
    found.default = default
    controller: Any = None  # Tune's, which neither uses in these calls
    for trial in store.in_state("done", "pruned"):
        for point in trial.curve:
            if point.value(first) is not None:
                ended: Any = EndedTrial(trial.id)
                found.on_trial_add(controller, ended)
                found.on_trial_complete(controller, ended, point.model_dump())
    return found


def resources(settings: Settings) -> dict[str, float]:
    """Resources of the process of a trial, without those of its workers."""
    resources = settings.resources
    if settings.training.workers:
        return {"memory": 1.0}  # a byte: Tune wants a trial to reserve something
    return {"CPU": resources.worker_cpus} | (
        {"GPU": resources.gpus_per_worker} if resources.gpu else {}
    )


def slots(
    sweep: SweepSettings, settings: Settings, cluster: Mapping[str, float],
    free: Mapping[str, float] | None = None,
) -> int:  # fmt: skip
    """Number of trials at once, such that each has room for its workers and its data tasks: what
    other jobs hold is not counted on, but for the first trial, which waits for it.

    Args:
        sweep: may limit it.
        settings: of any trial.
        cluster: its resources by name, as Ray reports them.
        free: those that nobody uses; None: all.

    Raises:
        UserError: not even one fits into the whole cluster.
    """
    need = reserved(settings)
    fit = {kind: int(cluster.get(kind, 0.0) / amount + 1e-9) for kind, amount in need.items()}
    scarce = min(fit, key=lambda kind: fit[kind])
    if fit[scarce] < 1:
        other = "resources.worker_cpus" if scarce == "CPU" else "set resources.gpu: false"
        raise UserError(
            f"a trial needs {need[scarce]:g} {scarce} and the cluster holds "
            f"{cluster.get(scarce, 0.0):g}; lower training.workers or {other} in changes, or add "
            "nodes"
        )
    now = cluster if free is None else free
    fitting = min(int(now.get(kind, 0.0) / amount + 1e-9) for kind, amount in need.items())
    fitting = max(fitting, 1)
    return min(fitting, sweep.concurrent or fitting, sweep.trials)
