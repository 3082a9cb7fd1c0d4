"""The protocol of ``WS /v1/stream``: parameters, control messages, and sample formats."""

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator

from diffusiontalker.runtime.stream import USUAL_RATES
from serve.http.problems import Problem
from serve.http.query_parameters import AnimationParameters, parse_json
from serve.middleware.flow_control import MAX_MESSAGE

MAX_CONTROL = 16 * 1024
"""Characters of a control message."""
DTYPES = {"pcm16": "<i2", "float32": "<f4"}


class StreamQuery(AnimationParameters):
    """The query of a stream."""

    rate: int = 16_000
    """Sample rate in Hz, one of ``USUAL_RATES``."""
    encoding: Literal["pcm16", "float32"] = "pcm16"
    """Of the samples: little-endian, mono."""
    format: Literal["json", "binary"] = "json"
    """Of the frames; binary: number of the first and count (uint32), float32; little-endian."""

    @field_validator("rate")
    @classmethod
    def _supported(cls, rate: int) -> int:
        # The resamplers of arbitrary rates have filters of megabytes.
        if rate not in USUAL_RATES:
            raise ValueError(f"{rate} Hz is none of {', '.join(map(str, USUAL_RATES))}")
        return rate


class _ControlMessage(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Pin(_ControlMessage):
    """Change identity or emotion; the stream moves to them gradually."""

    type: Literal["pin"]
    identity: str | dict[str, float] | None = None
    emotion: str | dict[str, float] | None = None


class Close(_ControlMessage):
    """The end of the samples."""

    type: Literal["close"]


_CONTROL: TypeAdapter[Pin | Close] = TypeAdapter(
    Annotated[Pin | Close, Field(discriminator="type")]
)


def parse_control(text: str) -> Pin | Close:
    """A control message. Raises Problem."""
    try:
        return _CONTROL.validate_python(parse_json(text))
    except (ValueError, RecursionError) as error:
        detail = f"message: {_reason(error)}; send pin or close, or samples as bytes"
        raise Problem(422, detail[:300], "type") from error


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return ": ".join((*map(str, first["loc"][-1:]), first["msg"]))


def parse_samples(content: bytes, encoding: str) -> np.ndarray:
    """Samples (n,) of a binary message. Raises Problem."""
    dtype = np.dtype(DTYPES[encoding])
    if len(content) > MAX_MESSAGE:
        raise Problem(413, f"samples: a message of more than {MAX_MESSAGE} bytes; send less")
    if len(content) % dtype.itemsize:
        raise Problem(
            422, f"samples: {len(content)} bytes are no whole number of {encoding}", "samples"
        )
    return np.frombuffer(content, dtype)
