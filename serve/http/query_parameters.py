"""Query parameters and control messages; unknown and repeated names are refused."""

import difflib
import json
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError
from starlette.datastructures import QueryParams

from diffusiontalker.runtime.conditioning import AUTO
from serve.http.problems import Problem

MAX_SEED = 2**53 - 1
"""Largest integer that JavaScript represents exactly."""
CHOICE_PATTERN = r"^[^\x00-\x1f]{1,1000}$"


class QueryParameters(BaseModel):
    """Base of the models of queries: an unknown parameter is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _suggest_known(cls, given: Any) -> Any:
        """Name the parameter closest to an unknown one."""
        names = list(cls.model_fields)
        for name in given if isinstance(given, dict) else ():
            if name not in names:
                near = difflib.get_close_matches(str(name)[:80], names, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(names)}"
                error = PydanticCustomError(
                    "unknown_option", "is no option; {hint}", {"hint": hint}
                )
                raise ValidationError.from_exception_data(
                    cls.__name__, [InitErrorDetails(type=error, loc=(str(name)[:80],), input=None)]
                )
        return given


class StudentParameters(QueryParameters):
    """Which student."""

    model: Annotated[str, Field(max_length=64)] | None = None
    """Name of a student; without it, the first."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """The first student of so many sampling steps."""


class AnimationParameters(StudentParameters):
    """Conditioning, sampling and post-processing, of recordings and streams alike."""

    identity: Annotated[str, Field(pattern=CHOICE_PATTERN)] = AUTO
    """auto, a name, a saved identity, or weights over names such as ann:0.7,bob:0.3."""
    emotion: Annotated[str, Field(pattern=CHOICE_PATTERN)] = AUTO
    """auto, a name, or weights over names."""
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    """Another seed, another performance of the same speech."""
    smooth_ms: Annotated[float, Field(ge=0, le=500, allow_inf_nan=False)] = 0.0
    """Time constant of a moving average; lip closures are kept."""
    mirror: bool = False
    """Swap left and right."""


def check_unique(query: QueryParams) -> None:
    """FastAPI reads only the last of repeated parameters; here they are an error. Raises
    Problem."""
    seen = set()
    for name, _ in query.multi_items():
        if name in seen:
            raise Problem(422, f"{name[:80]}: is given twice; give it once", name[:80])
        seen.add(name)


def parse_json(text: str) -> Any:
    """JSON whose objects have no repeated keys. Raises ValueError and RecursionError."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is there twice")
        return found

    return json.loads(text, object_pairs_hook=unique)
