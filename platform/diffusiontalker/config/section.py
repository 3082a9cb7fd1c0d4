"""The base class of every group of settings, and the types of their values."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from diffusiontalker.config.trees import merged

Weight = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0)]


class Section(BaseModel):
    """A group of settings: unknown keys are errors, values are frozen once read.

    An empty section means its defaults, and so does every key that a section leaves out, where
    the defaults are those of the section's place: ``model.student.decoder`` has its own.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _over_defaults(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        defaults = {
            name: field.default.model_dump(exclude_unset=True)
            for name, field in cls.model_fields.items()
            if isinstance(field.default, Section)
        }
        return {
            key: merged(defaults[key], value) if key in defaults else value
            for key, value in given.items()
        }
