"""The papers' tables: which variants of a run, rivals and seeds are compared."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from diffusiontalker.config.run import Settings
from diffusiontalker.config.section import Count, Section

Respaced = Annotated[int, Field(ge=1, le=1000)]
RivalName = Literal[
    "faceformer", "emotalk", "facediffuser", "selftalk", "unitalker", "industrial", "regression",
    "mean_face", "retrieval",
]  # fmt: skip
RIVALS: tuple[RivalName, ...] = get_args(RivalName)


class RivalSettings(Section):
    """The other models. They are trained as long and as fast as the teacher."""

    names: tuple[RivalName, ...] = RIVALS
    width: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Of the rivals' networks; None: each as published."""
    diffusion_steps: Annotated[tuple[Respaced, ...], Field(min_length=1)] = (1000, 8)
    """Sampling steps of FaceDiffuser, which is trained with 1000."""
    industrial_steps: Respaced = 2
    """Of the industrial recipe, likewise."""


class ComparisonSettings(Section):
    """What is compared, and how often it is trained."""

    paper: Literal["v1", "v2"] | None = None
    """Whose tables; None: v1's for a configuration without emotion, else v2's."""
    preset: Literal["full", "small"] = "full"
    """small: less data and smaller rivals, whatever else was given of these; for a -min
    configuration on two cores (``docs/papers.md`` says how long it takes)."""
    seeds: Count = 3
    """Trainings of each model, with other initial weights and noise: their mean and spread."""
    tables: tuple[str, ...] | None = None
    """Those that are filled, such as steps, rivals, matching, ablation; None: all."""
    rivals: RivalSettings = RivalSettings()
    vocaset: str | None = None
    """Prepared shards of VOCASET, for the zero-shot table; None leaves it out."""


class CompareSettings(Settings):
    """All settings of ``jobs/compare.py``: those of a run, which is the reference of every variant,
    and what is compared."""

    comparison: ComparisonSettings = ComparisonSettings()

    @model_validator(mode="after")
    def _has_rounds(self) -> "CompareSettings":
        if not self.diffusion.rounds:
            raise ValueError("diffusion.rounds: name at least one; without a student there is "
                             "nothing to compare")  # fmt: skip
        return self
