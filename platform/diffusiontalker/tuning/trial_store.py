"""All trials of a sweep in one JSON file, from which an interrupted sweep resumes.

Ray Tune and Optuna are initialised from this file, not from their own state: ``Tuner.restore``
would unpickle, and needs a disk where this works in a bucket too.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from diffusiontalker import storage
from diffusiontalker.errors import UserError
from diffusiontalker.summary import sweep as summary
from diffusiontalker.summary.sweep import Confirmation, Params, Trial

FILE = "trials.json"
TRIAL = "trial"
"""The key of a trial's id and settings in its Ray Tune config."""


class TrialStore(BaseModel):
    """All trials of a sweep, in the order in which they were suggested."""

    key: str
    """Hash of what makes trials comparable: base, changes, space, stage, objectives."""
    trials: list[Trial] = []
    confirmed: list[Confirmation] = []
    wall_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Of the search, over all sessions."""
    slots: int = 1
    """Trials at a time."""

    @property
    def idle_share(self) -> float | None:
        """Share of the slots' time without training or validation; None before the search."""
        return summary.idle_share(self.trials, self.wall_seconds, self.slots)

    def find(self, id: str) -> Trial | None:
        """The trial of that id."""
        return next((trial for trial in self.trials if trial.id == id), None)

    def in_state(self, *states: str) -> list[Trial]:
        """The trials in any of these states."""
        return [trial for trial in self.trials if trial.state in states]

    def ranked(self, objectives: Sequence[str]) -> list[Trial]:
        """The finished trials, the best first: by the sum of their objectives relative to those of
        the first trial, which has the base's own settings."""
        return sorted(self.in_state("done"), key=lambda trial: self._score(trial, objectives, []))

    def best(self, objectives: Sequence[str]) -> Trial | None:
        """The first of ``finalists``; where there are none, the first of ``ranked``."""
        return next(iter(self.finalists(objectives) or self.ranked(objectives)), None)

    def finalists(self, objectives: Sequence[str]) -> list[Trial]:
        """Those that were trained with other seeds too, the best in the mean over seeds first."""

        def score(trial: Trial) -> float:
            return self._score(trial, objectives, self.confirmations_of(trial))

        done = self.in_state("done")
        return sorted(filter(self.confirmations_of, done), key=score)

    def _score(
        self, trial: Trial, objectives: Sequence[str], confirmed: Sequence[Confirmation]
    ) -> float:
        """Sum of the objectives relative to the base's, each over the seeds of ``confirmed`` and
        that of the search."""
        score = 0.0
        for o in objectives:
            own = trial.loss(o) + sum(_loss(one.best[o]) for one in confirmed)
            base = self.trials[0].loss(o) + sum(_loss(one.default[o]) for one in confirmed)
            # Where the base has failed, absolute values are compared.
            score += own / base if math.isfinite(base) and base > 0 else own
        return score

    def confirmations_of(self, trial: Trial) -> list[Confirmation]:
        """Those of a trial."""
        return [one for one in self.confirmed if one.trial == trial.id]

    def confirmations(self, objectives: Sequence[str]) -> list[Confirmation]:
        """Those of the best trial."""
        best = self.best(objectives)
        return [] if best is None else self.confirmations_of(best)

    def write(self, folder: Path) -> None:
        """Replace the file. Raises UserError."""
        storage.write_json(folder / FILE, self.model_dump(mode="json"))


def trial_config(id: str, params: Params) -> dict[str, Any]:
    """The Ray Tune config of a trial."""
    return {TRIAL: {"id": id, "params": params}}


def read(folder: Path, key: str) -> TrialStore:
    """The trials in the folder of a sweep; none if it is new.

    Raises:
        UserError: the folder holds another sweep, or the file is damaged.
    """
    path = folder / FILE
    if not storage.is_file(path):
        return TrialStore(key=key)
    try:
        found = TrialStore.model_validate(storage.read_json(path))
    except ValidationError as error:
        raise UserError(
            f"{path}: not the trials of a sweep; remove {folder} to start again"
        ) from error
    if found.key != key:
        raise UserError(
            f"{folder}: holds a sweep of another base, space, stage or objectives; give this one "
            "another output=..., or remove that folder"
        )
    return found


def _loss(value: float | None) -> float:
    return math.inf if value is None else value
