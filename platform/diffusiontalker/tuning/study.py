"""Optuna: the search algorithm, the study for its dashboard, importance and Pareto front."""

import contextlib
import math
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState
from ray.tune.search.optuna import OptunaSearch

from diffusiontalker import storage
from diffusiontalker.config import SweepSettings
from diffusiontalker.errors import UserError
from diffusiontalker.summary.sweep import Params, Trial
from diffusiontalker.tuning import space
from diffusiontalker.tuning.trial_store import TrialStore, trial_config

NAME = "sweep"
FILE = "study.db"
STARTUP = 10
"""Random trials before TPE starts to model the objective; of a short sweep a quarter."""
MIN_TRIALS = 8
"""Importance needs as many ended trials; our choice."""
optuna.logging.set_verbosity(optuna.logging.WARNING)


class ResumableSearch(OptunaSearch):
    """Ray Tune's search, but each suggestion carries an id: the first ones have those of the trials
    that were running when the sweep was interrupted."""

    def __init__(self, interrupted: list[str], **options: Any) -> None:
        super().__init__(**options)
        self._interrupted = list(interrupted)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The config of Tune's next trial."""
        params = super().suggest(trial_id)
        if params is None:
            return None
        return trial_config(self._interrupted.pop(0) if self._interrupted else trial_id, params)


def search(sweep: SweepSettings, store: TrialStore, default: Params) -> ResumableSearch:
    """A search over the ended trials. It first suggests those that were running when the sweep was
    interrupted, or, in a new sweep, the base's own settings."""
    running = store.in_state("running")
    first = [trial.params for trial in running] if store.trials else [default]
    names: list[str] = list(sweep.objectives)
    memory = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        storage=memory, study_name=NAME, directions=["minimize"] * len(names)
    )
    for trial in store.in_state("done", "pruned", "failed"):
        study.add_trial(frozen_trial(sweep, trial, pruned=False))
    return ResumableSearch(
        [trial.id for trial in running],
        space=space.distributions(sweep),
        metric=names,
        mode=["min"] * len(names),
        points_to_evaluate=first,
        sampler=sampler(sweep, len(store.trials)),
        storage=memory,
        study_name=NAME,
    )


def sampler(sweep: SweepSettings, begun: int) -> optuna.samplers.BaseSampler:
    """TPE or random search. Its seed depends on the number of trials ``begun``, so that a resumed
    sweep does not repeat its draws."""
    seed = sweep.seed + 1000 * begun
    if sweep.search == "random":
        return optuna.samplers.RandomSampler(seed)
    startup = max(min(STARTUP, sweep.trials // 4), 2)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)


def frozen_trial(sweep: SweepSettings, trial: Trial, pruned: bool = True) -> FrozenTrial:
    """An ended trial as Optuna's type.

    Args:
        sweep: which has its search space.
        trial: the trial.
        pruned: whether a trial that was stopped early is PRUNED; else it is COMPLETE with its last
            metrics, as Ray Tune reports it.
    """
    values = [trial.loss(objective) for objective in sweep.objectives]
    state = TrialState.COMPLETE
    if trial.state == "failed":
        state = TrialState.FAIL
    elif trial.state == "pruned" and pruned:
        state = TrialState.PRUNED
    single = len(values) == 1
    steps = {
        point.epochs: value
        for point in trial.curve
        if (value := point.value(sweep.objectives[0])) is not None
    }
    return optuna.trial.create_trial(
        state=state,
        # Optuna allows values only for complete trials, and curves only with one objective.
        values=values if state == TrialState.COMPLETE else None,
        params=trial.params,
        distributions=space.distributions(sweep),
        intermediate_values=steps if single else None,
        user_attrs={"id": trial.id, "seconds": trial.seconds, "error": trial.error},
    )


class StudyFile:
    """The ended trials as an Optuna study in SQLite, for optuna-dashboard and Optuna's own tools.

    Raises:
        UserError: the file cannot be read or written.
    """

    def __init__(self, sweep: SweepSettings, folder: Path) -> None:
        self.sweep, self.target = sweep, folder / FILE
        self.scratch = tempfile.TemporaryDirectory() if storage.is_remote(folder) else None
        self.file = Path(self.scratch.name) / FILE if self.scratch else self.target
        with self._explain_errors():
            self.study = optuna.create_study(
                storage=f"sqlite:///{self.file}", study_name=NAME, load_if_exists=True,
                directions=["minimize"] * len(sweep.objectives),
            )  # fmt: skip

    def update(self, store: TrialStore) -> None:
        """Add the trials that have ended since. Raises UserError."""
        with self._explain_errors():
            known = {trial.user_attrs.get("id") for trial in self.study.trials}
            new = [trial for trial in store.trials if trial.ended and trial.id not in known]
            for trial in new:
                self.study.add_trial(frozen_trial(self.sweep, trial))
        if new and self.scratch:
            storage.write_bytes(self.target, self.file.read_bytes())

    @contextlib.contextmanager
    def _explain_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of Optuna, SQLAlchemy or SQLite
            reason = str(error).splitlines()[0][:200]
            raise UserError(
                f"{self.file}: not usable as a study ({reason}); remove it, and it is made again"
            ) from error


def importance(sweep: SweepSettings, store: TrialStore) -> dict[str, dict[str, float | None]]:
    """By objective, the share of its variance that each setting explains (functional ANOVA, Hutter
    et al. 2014). Empty where there are too few trials, or all have the same result."""
    ended = [
        trial
        for trial in store.in_state("done", "pruned")
        if all(math.isfinite(trial.loss(objective)) for objective in sweep.objectives)
    ]
    if len(ended) < MIN_TRIALS:
        return {}
    study = _study(sweep, ended)
    evaluator = FanovaImportanceEvaluator(seed=sweep.seed)
    return {
        objective: {**get_param_importances(study, evaluator=evaluator, target=partial(_value, k))}
        for k, objective in enumerate(sweep.objectives)
        if len({trial.loss(objective) for trial in ended}) > 1
    }


def pareto_front(sweep: SweepSettings, store: TrialStore) -> list[str]:
    """Ids of the finished trials that no other dominates in the objectives."""
    front = _study(sweep, store.in_state("done")).best_trials
    return [trial.user_attrs["id"] for trial in front]


def _study(sweep: SweepSettings, trials: list[Trial]) -> optuna.Study:
    """A study in memory in which all trials are complete."""
    study = optuna.create_study(directions=["minimize"] * len(sweep.objectives))
    for trial in trials:
        study.add_trial(frozen_trial(sweep, trial, pruned=False))
    return study


def _value(k: int, trial: FrozenTrial) -> float:
    return float(trial.values[k])
