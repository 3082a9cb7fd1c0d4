"""What a sweep knows of its trials: one JSON file, from which a killed sweep goes on.

Ray Tune and Optuna are given anew what stands here; neither's own state is ever read back, so that
nothing is unpickled, and a bucket does as well as a disk.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from diffusiontalker import storage
from diffusiontalker.errors import UserError

FILE = "trials.json"
FIGURES = ("lbe", "energy_score", "upper_energy")
"""What every epoch is judged by, on validation."""
Params = dict[str, Any]
"""Settings of a trial by their dotted names."""
TRIAL = "trial"
"""Under which Ray Tune hands a trial its id and its settings."""
Point = dict[str, float | None]
"""An epoch of a trial: ``epochs``, ``seconds`` and the figures; None stands for not finite."""


class Trial(BaseModel):
    """One trial, from its first word on."""

    id: str
    """Also the name of its folder."""
    number: int
    params: Params
    state: Literal["running", "done", "pruned", "failed"] = "running"
    curve: list[Point] = []
    seconds: float = 0.0
    """From its start to its end, over all attempts."""
    error: str | None = None

    @property
    def training_seconds(self) -> float:
        """Of ``seconds``, what went into steps and validation."""
        return sum(point["seconds"] or 0.0 for point in self.curve)

    @property
    def ended(self) -> bool:
        """Nothing more will come."""
        return self.state != "running"

    def add(self, result: Mapping[str, Any]) -> None:
        """Note an epoch; one that was noted before an attempt broke off gives way."""
        names = ("epochs", "seconds", *FIGURES)
        point: Point = {name: _finite(result.get(name)) for name in names}
        others = [known for known in self.curve if known["epochs"] != point["epochs"]]
        self.curve = sorted([*others, point], key=lambda known: known["epochs"] or 0)

    def value(self, objective: str) -> float:
        """The figure of the last epoch; infinite where there is none."""
        found = self.curve[-1][objective] if self.curve else None
        return math.inf if found is None else found


class Confirmed(BaseModel):
    """The base and a finalist, trained once more with another seed."""

    trial: str
    """The finalist's id."""
    seed: int
    default: dict[str, float]
    best: dict[str, float]


class Records(BaseModel):
    """All trials of a sweep, in the order in which they began."""

    key: str
    """Hash of what makes trials comparable: base, changes, space, stage, objectives."""
    trials: list[Trial] = []
    confirmed: list[Confirmed] = []
    wall_seconds: Annotated[float, Field(ge=0)] = 0.0
    """Of the search, over all sessions."""
    slots: int = 1
    """Trials at a time."""

    @property
    def idle(self) -> float:
        """Share of the slots' time in which no trial took a step or was validated."""
        busy = sum(trial.training_seconds for trial in self.trials)
        return max(1 - busy / max(self.wall_seconds * self.slots, 1e-9), 0.0)

    def find(self, id: str) -> Trial | None:
        """The trial of that id."""
        return next((trial for trial in self.trials if trial.id == id), None)

    def in_state(self, *states: str) -> list[Trial]:
        """The trials in any of these states."""
        return [trial for trial in self.trials if trial.state in states]

    def ranked(self, objectives: Sequence[str]) -> list[Trial]:
        """The finished trials, the best first: by the mean of their objectives over the first
        trial's, which holds the base's own settings."""
        return sorted(self.in_state("done"), key=lambda trial: self._score(trial, objectives, []))

    def best(self, objectives: Sequence[str]) -> Trial | None:
        """The first of ``finalists``; where there are none, the first of ``ranked``."""

        return next(iter(self.finalists(objectives) or self.ranked(objectives)), None)

    def finalists(self, objectives: Sequence[str]) -> list[Trial]:
        """Those that were trained with other seeds too, the best in the mean over all first."""

        def score(trial: Trial) -> float:
            return self._score(trial, objectives, self.confirmations_of(trial))

        done = self.in_state("done")
        return sorted(filter(self.confirmations_of, done), key=score)

    def _score(
        self, trial: Trial, objectives: Sequence[str], confirmed: Sequence[Confirmed]
    ) -> float:
        """Over the seeds of ``confirmed``, and the search's."""
        score = 0.0
        for o in objectives:
            own = trial.value(o) + sum(one.best[o] for one in confirmed)
            base = self.trials[0].value(o) + sum(one.default[o] for one in confirmed)
            # Where the base has failed all are compared as they are.
            score += own / base if math.isfinite(base) and base > 0 else own
        return score

    def confirmations_of(self, trial: Trial) -> list[Confirmed]:
        """What came of it with other seeds."""
        return [one for one in self.confirmed if one.trial == trial.id]

    def confirmations(self, objectives: Sequence[str]) -> list[Confirmed]:
        """Those of the trial that is the best now."""
        best = self.best(objectives)
        return [] if best is None else self.confirmations_of(best)

    def front(self, objectives: Sequence[str]) -> list[Trial]:
        """The finished trials than which none is better in one objective and as good in all."""

        def beaten(one: Trial, other: Trial) -> bool:
            pairs = [(one.value(o), other.value(o)) for o in objectives]
            return all(b <= a for a, b in pairs) and any(b < a for a, b in pairs)

        done = self.in_state("done")
        return [one for one in done if not any(beaten(one, other) for other in done)]

    def write(self, folder: Path) -> None:
        """Replace the file. Raises UserError."""
        storage.write_json(folder / FILE, self.model_dump(mode="json"))


def handed(id: str, params: Params) -> dict[str, Any]:
    """What Ray Tune hands to a trial."""
    return {TRIAL: {"id": id, "params": params}}


def read(folder: Path, key: str) -> Records:
    """What a sweep left in its folder, or the beginning of one.

    Raises:
        UserError: the folder holds another sweep, or the file is damaged.
    """
    path = folder / FILE
    if not storage.is_file(path):
        return Records(key=key)
    try:
        found = TypeAdapter(Records).validate_python(storage.read_json(path))
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


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
