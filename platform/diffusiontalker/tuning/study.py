"""Optuna's side: what a search knows of earlier trials, the study for its dashboard, importance."""

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
from diffusiontalker.tuning import space
from diffusiontalker.tuning.trial_store import Params, Records, Trial, handed

NAME = "sweep"
FILE = "study.db"
STARTUP = 10
"""Trials drawn at random before TPE has something to go by; of a short sweep a quarter."""
ENOUGH = 8
"""Ended trials below which importance would be chance."""
optuna.logging.set_verbosity(optuna.logging.WARNING)


class Search(OptunaSearch):
    """Ray Tune's, but each suggestion has an id: those that a killed sweep left come first, under
    the ids that they had."""

    def __init__(self, left: list[str], **options: Any) -> None:
        super().__init__(**options)
        self._left = list(left)

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The settings of Tune's next trial, and its id in our records."""
        params = super().suggest(trial_id)
        if params is None:
            return None
        return handed(self._left.pop(0) if self._left else trial_id, params)


def search(sweep: SweepSettings, records: Records, default: Params) -> Search:
    """Knows the ended trials; suggests those that were running when the sweep was killed before all
    others, or the base's own settings."""
    running = records.in_state("running")
    first = [trial.params for trial in running] if records.trials else [default]
    names: list[str] = list(sweep.objectives)
    memory = optuna.storages.InMemoryStorage()
    study = optuna.create_study(
        storage=memory, study_name=NAME, directions=["minimize"] * len(names)
    )
    for trial in records.in_state("done", "pruned", "failed"):
        study.add_trial(frozen(sweep, trial, pruned=False))
    return Search(
        [trial.id for trial in running],
        space=space.distributions(sweep),
        metric=names,
        mode=["min"] * len(names),
        points_to_evaluate=first,
        sampler=sampler(sweep, len(records.trials)),
        storage=memory,
        study_name=NAME,
    )


def sampler(sweep: SweepSettings, begun: int) -> optuna.samplers.BaseSampler:
    """TPE, or random draws; of a sweep that goes on another seed, lest it draw the same again."""
    seed = sweep.seed + 1000 * begun
    if sweep.search == "random":
        return optuna.samplers.RandomSampler(seed)
    startup = max(min(STARTUP, sweep.trials // 4), 2)
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=startup, constant_liar=True)


def frozen(sweep: SweepSettings, trial: Trial, pruned: bool = True) -> FrozenTrial:
    """An ended trial in Optuna's words.

    Args:
        sweep: whose space it is of.
        trial: the trial.
        pruned: say so of one that was ended early. Ray Tune does not: there its last figures count.
    """
    values = [trial.value(objective) for objective in sweep.objectives]
    state = TrialState.COMPLETE
    if trial.state == "failed":
        state = TrialState.FAIL
    elif trial.state == "pruned" and pruned:
        state = TrialState.PRUNED
    single = len(values) == 1
    steps = {
        int(point["epochs"] or 0): value
        for point in trial.curve
        if (value := point[sweep.objectives[0]]) is not None
    }
    return optuna.trial.create_trial(
        state=state,
        # Optuna keeps values of complete trials alone, and curves of one objective alone.
        values=values if state == TrialState.COMPLETE else None,
        params=trial.params,
        distributions=space.distributions(sweep),
        intermediate_values=steps if single else None,
        user_attrs={"id": trial.id, "seconds": trial.seconds, "error": trial.error},
    )


class Study:
    """The ended trials as an SQLite file, for optuna-dashboard and Optuna's own tools.

    Raises:
        UserError: the file cannot be read or written.
    """

    def __init__(self, sweep: SweepSettings, folder: Path) -> None:
        self.sweep, self.target = sweep, folder / FILE
        self.scratch = tempfile.TemporaryDirectory() if storage.is_remote(folder) else None
        self.file = Path(self.scratch.name) / FILE if self.scratch else self.target
        with self._explained():
            self.study = optuna.create_study(
                storage=f"sqlite:///{self.file}", study_name=NAME, load_if_exists=True,
                directions=["minimize"] * len(sweep.objectives),
            )  # fmt: skip

    def update(self, records: Records) -> None:
        """Add what has ended since. Raises UserError."""
        with self._explained():
            known = {trial.user_attrs.get("id") for trial in self.study.trials}
            new = [trial for trial in records.trials if trial.ended and trial.id not in known]
            for trial in new:
                self.study.add_trial(frozen(self.sweep, trial))
        if new and self.scratch:
            storage.write_bytes(self.target, self.file.read_bytes())

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of Optuna, SQLAlchemy or SQLite
            reason = str(error).splitlines()[0][:200]
            raise UserError(
                f"{self.file}: not usable as a study ({reason}); remove it, and it is made again"
            ) from error


def importance(sweep: SweepSettings, records: Records) -> dict[str, dict[str, float]]:
    """By objective, the share of its variance that each setting explains (functional ANOVA, Hutter
    et al. 2014). Empty where there are too few trials, or all fared alike."""
    study = optuna.create_study(directions=["minimize"] * len(sweep.objectives))
    for trial in records.in_state("done", "pruned"):
        if all(math.isfinite(trial.value(objective)) for objective in sweep.objectives):
            study.add_trial(frozen(sweep, trial, pruned=False))
    values = [trial.values for trial in study.trials]
    if len(values) < ENOUGH:
        return {}
    return {
        objective: get_param_importances(
            study, evaluator=FanovaImportanceEvaluator(seed=sweep.seed),
            target=partial(_value, k),
        )
        for k, objective in enumerate(sweep.objectives)
        if len({one[k] for one in values}) > 1
    }  # fmt: skip


def _value(k: int, trial: FrozenTrial) -> float:
    return float(trial.values[k])
