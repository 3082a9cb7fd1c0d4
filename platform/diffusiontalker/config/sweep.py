"""The settings of ``jobs/sweep.py``: a hyperparameter search."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from diffusiontalker.config.section import Count, Section, Seed
from diffusiontalker.config.trees import dotted

Objective = Literal["lbe", "energy_score", "upper_energy", "missed_closures"]


class Spread(Section):
    """A range of numbers, both bounds included."""

    kind: Literal["uniform", "log_uniform", "int"]
    """log_uniform: uniform in the logarithm, as for weights and learning rates."""
    low: float
    high: float

    @model_validator(mode="after")
    def _in_order(self) -> "Spread":
        if self.low >= self.high:
            raise ValueError(f"low must be below high, not {self.low:g} and {self.high:g}")
        if self.kind == "log_uniform" and self.low <= 0:
            raise ValueError(f"a log_uniform range starts above 0, not at {self.low:g}")
        if self.kind == "int" and not (self.low.is_integer() and self.high.is_integer()):
            raise ValueError("the bounds of an int must be whole numbers")
        return self


class Choice(Section):
    """One of several values."""

    kind: Literal["choice"]
    choices: Annotated[tuple[str | bool | int | float, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _distinct(self) -> "Choice":
        if len(set(self.choices)) < len(self.choices):
            raise ValueError("one of the choices stands twice")
        return self


Distribution = Annotated[Spread | Choice, Field(discriminator="kind")]


class SweepSettings(Section):
    """All settings of ``jobs/sweep.py``."""

    base: str = "configs/quickstart.yaml"
    """The run whose settings are swept. Its stages (corpus, features, a teacher for rounds to start
    from) are taken from its output folder, or run there."""
    output: str = "runs/sweep"
    """Folder or s3:// prefix of the sweep; what lies there of another sweep is never replaced."""
    stage: Literal["teacher", "round", "chain"] = "teacher"
    """What a trial trains. round: the one of ``steps``, from a teacher or student of the base's own
    settings; chain: the teacher and every round."""
    steps: Count | None = None
    """Which round; None: the last."""
    changes: dict[str, Any] = Field(default_factory=dict)
    """Settings of every trial that differ from the base, such as training.teacher.epochs: 4."""
    space: Annotated[dict[str, Distribution], Field(min_length=1)]
    """The search space: a distribution for each setting by its name, such as losses.teacher.exp."""
    objectives: Annotated[tuple[Objective, ...], Field(min_length=1, max_length=2)] = (
        "energy_score",
    )
    """Metrics to minimise on the validation split: lip error, energy score of the face or of its
    upper part, in coefficients; share of p, b, m in which the lips do not close. Two span a Pareto
    front."""
    trials: Annotated[int, Field(ge=2, le=10_000)] = 40
    """Settings to try; the first is the base's own."""
    search: Literal["tpe", "random"] = "tpe"
    pruning: Literal["asha", "median", "none"] = "asha"
    """Rule by which trials are ended early, on the first objective."""
    grace: Count = 1
    """Epochs before a trial may be ended."""
    reduction: Annotated[int, Field(ge=2)] = 3
    """asha: of so many trials one goes on at each rung."""
    concurrent: Count | None = None
    """Trials at a time, at most; None: as many as the cluster holds."""
    max_failures: Annotated[int, Field(ge=0)] = 2
    """Times that a trial may lose its process and go on."""
    confirm: Annotated[int, Field(ge=0)] = 1
    """Other seeds with which the base and the finalists are trained once more, to the end: the best
    of many trials is also the luckiest."""
    finalists: Count = 3
    """So many of the best trials; the winner is the best of them over all seeds."""
    seed: Seed = 0
    """Of the search; trials all train with the base's own."""
    mlflow: str | None = None
    """Tracking address of MLflow, such as sqlite:///mlflow.db, if trials are to be logged there."""

    @model_validator(mode="before")
    @classmethod
    def _by_dotted_names(cls, given: Any) -> Any:
        """Flatten both, which may be given with dotted keys or as sections."""
        if not isinstance(given, dict):
            return given
        flat = {
            key: dotted(given[key], ends)
            for key, ends in (("changes", ()), ("space", ("kind", "choices", "low", "high")))
            if isinstance(given.get(key), dict)
        }
        return given | flat

    @model_validator(mode="after")
    def _two_objectives(self) -> "SweepSettings":
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError("objectives name one figure twice")
        if self.objectives == ("missed_closures",):
            raise ValueError(
                "objectives: a mouth that never opens misses no closure; give a second one, such "
                "as energy_score"
            )
        return self
