"""Which trials are ended early, and how many run at once."""

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
from diffusiontalker.training.ray_data import READER_CPUS
from diffusiontalker.tuning.trial_store import TRIAL, Params, Records


@dataclass(frozen=True)
class Past:
    """A trial of an earlier session, as far as a scheduler looks."""

    trial_id: str


class _Sparing(TrialScheduler):
    """Lets one trial come to its end, whatever the rule says: what all others are compared with."""

    spared: Params

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        action: str = super().on_trial_result(tune_controller, trial, result)
        return TrialScheduler.CONTINUE if trial.config[TRIAL]["params"] == self.spared else action


class _Asha(_Sparing, ASHAScheduler):
    pass


class _Median(_Sparing, MedianStoppingRule):
    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        action = super().on_trial_result(tune_controller, trial, result)
        if action == TrialScheduler.CONTINUE:
            self._stopped_trials.discard(trial)  # of what it has ended it would not hear again
        return action


def scheduler(
    sweep: SweepSettings, epochs: int, records: Records, default: Params
) -> TrialScheduler:
    """Ray Tune's ASHA (Li et al. 2020) or median rule (Golovin et al. 2017) on the first objective.

    It is told of the trials that ended before, as if it had seen them, and spares ``default``.
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
        # It would pause a trial as long as it knows few others and one waits: ours cannot pause.
        own |= {"grace_period": sweep.grace, "min_time_slice": math.inf}
        found = _Median(**own)
    found.spared = default
    nobody: Any = None  # Tune's controller, for which neither asks here
    for trial in records.in_state("done", "pruned"):
        for point in trial.curve:
            if point[first] is not None:
                past: Any = Past(trial.id)
                found.on_trial_add(nobody, past)
                found.on_trial_complete(nobody, past, point)
    return found


def resources(settings: Settings) -> dict[str, float]:
    """What Ray reserves for the process of a trial itself: its workers ask for their own."""
    resources = settings.resources
    if settings.training.workers:
        return {"memory": 1.0}  # a byte: Tune wants a trial to reserve something
    return {"CPU": resources.worker_cpus} | ({"GPU": 1.0} if resources.gpu else {})


def slots(sweep: SweepSettings, settings: Settings, cluster: Mapping[str, float]) -> int:
    """How many trials run at once, so that each gets its workers and its data.

    Args:
        sweep: may ask for fewer.
        settings: of any trial.
        cluster: what Ray says the cluster holds.

    Raises:
        UserError: not even one fits.
    """
    resources, workers = settings.resources, max(settings.training.workers, 1)
    need = {"CPU": workers * resources.worker_cpus + READER_CPUS}
    if resources.gpu:
        need["GPU"] = float(workers)
    fit = {kind: int(cluster.get(kind, 0.0) / amount + 1e-9) for kind, amount in need.items()}
    scarce = min(fit, key=lambda kind: fit[kind])
    if fit[scarce] < 1:
        other = "resources.worker_cpus" if scarce == "CPU" else "set resources.gpu: false"
        raise UserError(
            f"a trial needs {need[scarce]:g} {scarce} and the cluster holds "
            f"{cluster.get(scarce, 0.0):g}; lower training.workers or {other} in changes, or add "
            "nodes"
        )
    return min(fit[scarce], sweep.concurrent or fit[scarce], sweep.trials)
