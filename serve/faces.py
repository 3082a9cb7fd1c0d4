"""A face as an answer: whole, in a file's format, or message by message."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

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
PART = 300
"""Frames that are written as JSON together."""
_TEXT = {"type": "string"}
HEADERS = {
    "X-Model": {"description": "The student.", "schema": _TEXT},
    "X-Identity": {"description": "Whose face; absent: weights, or nobody.", "schema": _TEXT},
    "X-Emotion": {"description": "Likewise.", "schema": _TEXT},
    "X-Frames": {"description": "How many; absent in NDJSON.", "schema": {"type": "integer"}},
    "X-Notes": {
        "description": "What is odd about the recording (its end is missing, nobody speaks in it, "
        "its channels cancel each other out), by ' | '; absent: nothing.",
        "schema": _TEXT,
    },
}
"""Of an answer, for OpenAPI."""


@dataclass(frozen=True)
class Made:
    """Who speaks, in which frames."""

    model: str
    steps: int
    identity: str | None
    emotion: str | None
    fps: int
    notes: tuple[str, ...] = ()
    """What is odd about the recording, a line each."""

    @property
    def headers(self) -> dict[str, str]:
        """The same as headers, in ASCII."""
        told = {
            "X-Model": self.model, "X-Identity": self.identity, "X-Emotion": self.emotion,
            "X-Notes": " | ".join(self.notes),
        }  # fmt: skip
        return {
            key: value.encode("ascii", "replace").decode() for key, value in told.items() if value
        }


def encode(form: Format, coefficients: np.ndarray, made: Made) -> bytes:
    """Coefficients (T, 52) as the body of an answer."""
    if form == "json":
        told: dict[str, Any] = {
            "model": made.model, "identity": made.identity, "emotion": made.emotion,
            "notes": made.notes,
        }  # fmt: skip
        # In parts: while one is written nothing else runs, and no stream moves.
        head = orjson.dumps({**told, **beat.layout(coefficients[:0], made.fps)})
        parts = [
            (b"," if at else b"")
            + orjson.dumps(beat.frames(coefficients[at : at + PART], made.fps, at))[1:-1]
            for at in range(0, len(coefficients), PART)
        ]
        return b"".join((head.removesuffix(b"]}"), *parts, b"]}"))
    return writers.encode(f".{form}", coefficients, made.fps)


def lines(parts: Iterator[np.ndarray], made: Made) -> Iterator[bytes]:
    """Parts (T, 52) as NDJSON: a line that begins, one per part, and one that ends."""
    told = {"model": made.model, "steps": made.steps, "fps": made.fps}
    named = {"identity": made.identity, "emotion": made.emotion, "notes": made.notes}
    yield message("start", **told, **named, channels=CHANNELS) + b"\n"
    first = 0
    for part in parts:
        yield frames(first, part, made.fps) + b"\n"
        first += len(part)
    yield message("end", frames=first) + b"\n"


def frames(first: int, coefficients: np.ndarray, fps: int, **more: Any) -> bytes:
    """The message of frames (T, 52), the first of which has the number ``first``."""
    rows = np.round(coefficients, DECIMALS)
    return message("frames", first=first, time=round(first / fps, 6), **more, coefficients=rows)


def message(kind: str, **content: Any) -> bytes:
    """A message as JSON."""
    return orjson.dumps({"type": kind, **content}, option=orjson.OPT_SERIALIZE_NUMPY)
