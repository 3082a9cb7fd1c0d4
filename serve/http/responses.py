"""An animation as a response: a whole file in one of the formats, or JSON messages."""

import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import numpy as np
import orjson

from diffusiontalker.animation import beat, writers
from diffusiontalker.arkit import CHANNELS

Format = Literal["json", "csv", "npz", "glb", "ndjson"]
MEDIA_TYPES: dict[Format, str] = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "npz": "application/x-npz",
    "glb": "model/gltf-binary",
    "ndjson": "application/x-ndjson",
}
DECIMALS = 5
JSON_FRAMES = 300
"""Frames that are written as JSON at once."""
HEADER_CHARACTERS = string.punctuation.replace("%", "") + " "
"""Those that stand in a header as they are, with letters and digits."""
_TEXT = {"type": "string"}
_ENCODED = "Percent-encoded UTF-8 where it is not ASCII."
HEADERS = {
    "X-Model": {"description": "The student.", "schema": _TEXT},
    "X-Identity": {
        "description": f"The identity used; absent: weights, or no speech. {_ENCODED}",
        "schema": _TEXT,
    },
    "X-Emotion": {"description": f"Likewise the emotion. {_ENCODED}", "schema": _TEXT},
    "X-Frames": {"description": "How many; absent in NDJSON.", "schema": {"type": "integer"}},
    "X-Notes": {
        "description": "What is unusual about the recording (its end is missing, it is silent, its "
        f"channels cancel each other out), by ' | '; absent: nothing. {_ENCODED}",
        "schema": _TEXT,
    },
}
"""Of a response, for OpenAPI."""


@dataclass(frozen=True)
class AnimationInfo:
    """What was used to make an animation."""

    model: str
    steps: int
    identity: str | None
    """A name of the library; None: weights, an embedding, or no speech."""
    emotion: str | None
    fps: int
    notes: tuple[str, ...] = ()
    """What is unusual about the recording, a line each."""

    @property
    def headers(self) -> dict[str, str]:
        """As headers of a response, which are ASCII: other characters are percent-encoded."""
        values = {
            "X-Model": self.model, "X-Identity": self.identity, "X-Emotion": self.emotion,
            "X-Notes": " | ".join(self.notes),
        }  # fmt: skip
        return {key: quote(value, HEADER_CHARACTERS) for key, value in values.items() if value}


def encode(form: Format, coefficients: np.ndarray, info: AnimationInfo) -> bytes:
    """Coefficients (T, 52) as a file."""
    if form == "json":
        fields: dict[str, Any] = {
            "model": info.model, "identity": info.identity, "emotion": info.emotion,
            "notes": info.notes,
        }  # fmt: skip
        # In parts: orjson holds the GIL, and live streams wait meanwhile.
        head = orjson.dumps({**fields, **beat.layout(coefficients[:0], info.fps)})
        parts = [
            (b"," if at else b"")
            + orjson.dumps(beat.frames(coefficients[at : at + JSON_FRAMES], info.fps, at))[1:-1]
            for at in range(0, len(coefficients), JSON_FRAMES)
        ]
        return b"".join((head.removesuffix(b"]}"), *parts, b"]}"))
    return writers.encode(f".{form}", coefficients, info.fps)


def ndjson_lines(parts: Iterator[np.ndarray], info: AnimationInfo) -> Iterator[bytes]:
    """Parts (T, 52) as NDJSON: a line ``start``, one ``frames`` for each part, one ``end``."""
    yield message(
        "start", model=info.model, steps=info.steps, fps=info.fps, identity=info.identity,
        emotion=info.emotion, notes=info.notes, channels=CHANNELS,
    ) + b"\n"  # fmt: skip
    first = 0
    for part in parts:
        yield frames_message(first, part, info.fps) + b"\n"
        first += len(part)
    yield message("end", frames=first) + b"\n"


def frames_message(first: int, coefficients: np.ndarray, fps: int, **more: Any) -> bytes:
    """The message of frames (T, 52), the first of which is number ``first``."""
    rows = np.round(coefficients, DECIMALS)
    return message("frames", first=first, time=round(first / fps, 6), **more, coefficients=rows)


def message(kind: str, **content: Any) -> bytes:
    """A message as JSON."""
    return orjson.dumps({"type": kind, **content}, option=orjson.OPT_SERIALIZE_NUMPY)
