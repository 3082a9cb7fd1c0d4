"""Which trials are ended early, and how many run at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import (
    ASHAScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from diffusiontalker.config import Settings, SweepSettings
from diffusiontalker.errors import UserError
from diffusiontalker.tuning.records import Records

DATA_CPUS = 0.5
"""What a trial's stream of data asks for beside its workers: without it none would ever step."""


@dataclass(frozen=True)
class Past:
    """A trial of an earlier session, as far as a scheduler looks."""

    trial_id: str


def scheduler(sweep: SweepSettings, epochs: int, records: Records) -> TrialScheduler:
    """Ray Tune's ASHA (Li et al. 2020) or median rule (Golovin et al. 2017) on the first objective.

    It is told of the trials that ended before, as if it had seen them.
    """
    first = sweep.objectives[0]
    own: dict[str, Any] = {"metric": first, "mode": "min", "time_attr": "epochs"}
    if sweep.pruning == "none":
        return FIFOScheduler()
    found: TrialScheduler
    if sweep.pruning == "asha":
        grace = min(sweep.grace, epochs)
        found = ASHAScheduler(
            **own, max_t=epochs, grace_period=grace, reduction_factor=sweep.reduction
        )
    else:
        found = MedianStoppingRule(**own, grace_period=sweep.grace)
    for trial in records.in_state("done", "pruned"):
        for point in trial.curve:
            if point[first] is not None:
                past = Past(trial.id)
                found.on_trial_add(None, past)  # type: ignore[arg-type]
                found.on_trial_complete(None, past, point)  # type: ignore[arg-type]
    return found


def resources(settings: Settings) -> dict[str, float]:
    """What Ray reserves for the process of a trial itself: its workers ask for their own."""
    training = settings.training
    if training.workers:
        return {"CPU": 0.0}
    return {"CPU": training.worker_cpus} | ({"GPU": 1.0} if training.gpu else {})


def slots(sweep: SweepSettings, settings: Settings, cluster: Mapping[str, float]) -> int:
    """How many trials run at once, so that each gets its workers and its data.

    Args:
        sweep: may ask for fewer.
        settings: of any trial.
        cluster: what Ray says the cluster holds.

    Raises:
        UserError: not even one fits.
    """
    training = settings.training
    workers = max(training.workers, 1)
    need = {"CPU": workers * training.worker_cpus + DATA_CPUS}
    if training.gpu:
        need["GPU"] = float(workers)
    fit = {kind: int(cluster.get(kind, 0.0) / amount + 1e-9) for kind, amount in need.items()}
    scarce = min(fit, key=lambda kind: fit[kind])
    if fit[scarce] < 1:
        raise UserError(
            f"a trial needs {need[scarce]:g} {scarce}s and the cluster holds "
            f"{cluster.get(scarce, 0.0):g}; lower training.workers or training.worker_cpus in "
            "changes, or add nodes"
        )
    return min(fit[scarce], sweep.concurrent or fit[scarce], sweep.trials)
