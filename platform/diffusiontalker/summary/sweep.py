"""``sweep.json`` and the trials of ``trials.json``: what a search for settings found.

Field names are the keys of the JSON. NaN and infinity become None, since JSON has neither; keys of
other releases are ignored.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Field, computed_field

from diffusiontalker.config import Choice, Objective, Spread
from diffusiontalker.summary.run import Figure

METRICS: tuple[str, ...] = get_args(Objective)
"""Measured on the validation split after every epoch of a trial; low is good."""
MISSED_CLOSURES = "missed_closures"
"""The one of them that needs phoneme times."""
Params = dict[str, Any]
"""Settings of a trial by their dotted names."""


class CurvePoint(BaseModel):
    """The validation metrics after an epoch of a trial."""

    epochs: int
    """Trained so far, over all stages of the trial."""
    seconds: Figure = None
    """Of training and validation, of this epoch alone."""
    lbe: Figure = None
    energy_score: Figure = None
    upper_energy: Figure = None
    missed_closures: Figure = None
    """1 - ``closure``; None without phoneme times."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def epoch(self) -> int:
        """``epochs`` under the name that ``sweep.json`` has beside it."""
        return self.epochs

    def value(self, metric: str) -> float | None:
        """One of ``METRICS``."""
        found: float | None = getattr(self, metric)
        return found


class Trial(BaseModel):
    """One trial of a sweep."""

    id: str
    """Also the name of its folder."""
    number: int
    """In the order of the suggestions; 0 has the base's own settings."""
    params: Params
    state: Literal["running", "done", "pruned", "failed"] = "running"
    curve: list[CurvePoint] = []
    """By epochs."""
    seconds: float = 0.0
    """From its start to its end, over all attempts."""
    error: str | None = None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def training_seconds(self) -> float:
        """The part of ``seconds`` that was spent in training steps and validation."""
        return sum(point.seconds or 0.0 for point in self.curve)

    @property
    def ended(self) -> bool:
        """Whether it is done, pruned or failed."""
        return self.state != "running"

    @property
    def epochs(self) -> int:
        """Epochs trained so far."""
        return self.curve[-1].epochs if self.curve else 0

    def result(self, metric: str) -> float | None:
        """A metric after the last epoch; None where there is none."""
        return self.curve[-1].value(metric) if self.curve else None

    def loss(self, metric: str) -> float:
        """``result``, or infinity."""
        found = self.result(metric)
        return math.inf if found is None else found

    def add(self, result: Mapping[str, Any]) -> None:
        """Add an epoch from what was reported to Ray Tune; one of the same number, of an attempt
        that broke off, is replaced."""
        names = ("seconds", *METRICS)
        known = {name: result.get(name) for name in names}
        figures = {name: v if isinstance(v, int | float) else None for name, v in known.items()}
        point = CurvePoint(epochs=result["epochs"], **figures)
        others = [one for one in self.curve if one.epochs != point.epochs]
        self.curve = sorted([*others, point], key=lambda one: one.epochs)


class Confirmation(BaseModel):
    """The metrics of the base and of a finalist, both trained again with another seed."""

    trial: str
    """The finalist's id."""
    seed: int
    default: dict[str, Figure]
    best: dict[str, Figure]


class Finalist(BaseModel):
    """A trial that was trained with other seeds too."""

    number: int
    mean: Figure
    """Of the first objective, over all seeds."""
    seeds: int


class SweepSummary(BaseModel):
    """``sweep.json``, all that ``sweep.html`` shows."""

    name: str
    """The sweep's output folder."""
    base: str
    """The configuration of the run whose settings are searched."""
    stage: Literal["teacher", "round", "chain"]
    search: Literal["tpe", "random"]
    pruning: Literal["asha", "median", "none"]
    objectives: tuple[Objective, ...]
    """One or two, the first of which decides."""
    space: dict[str, Spread | Choice]
    default: Params
    """The base's own values of what is searched."""
    trials: list[Trial]
    importance: dict[str, dict[str, Figure]] = {}
    """By objective, the share of its variance that each setting explains; may be empty."""
    best: str | None = None
    """Id of the best finished trial."""
    pareto: list[str] = []
    """Ids of the finished trials on the Pareto front of the objectives."""
    wall_seconds: float
    """Of the search, over all sessions."""
    slots: Annotated[int, Field(ge=1)]
    """Trials at a time."""
    finalists: list[Finalist] = []
    """The best first."""
    confirmed: list[Confirmation] = []
    """Of the best trial, by seed."""

    @property
    def best_trial(self) -> Trial | None:
        """The best finished trial; None if there is none with a result in the first objective."""
        found = next((trial for trial in self.trials if trial.id == self.best), None)
        return None if found is None or found.result(self.objectives[0]) is None else found

    @property
    def default_trial(self) -> Trial | None:
        """The trial of the base's own settings, in whatever state it is."""
        return next((trial for trial in self.trials if trial.number == 0), None)

    @property
    def idle_share(self) -> float | None:
        """As the function of that name."""
        return idle_share(self.trials, self.wall_seconds, self.slots)


def idle_share(trials: Iterable[Trial], wall_seconds: float, slots: int) -> float | None:
    """The share of the slots' time, 0 to 1, without training or validation; None before it began.

    Args:
        trials: all of the sweep.
        wall_seconds: of the search.
        slots: trials at a time.
    """
    if wall_seconds <= 0:
        return None
    busy = sum(trial.training_seconds for trial in trials)
    return max(1 - busy / (wall_seconds * slots), 0.0)
