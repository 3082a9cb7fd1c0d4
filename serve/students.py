"""The students that are served: by name or by count of steps, loaded when they are asked for."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from serve.problems import Problem
from serve.settings import ServeSettings

from diffusiontalker import storage
from diffusiontalker.audio.log_mel import look_ahead_ms
from diffusiontalker.runtime import artifact
from diffusiontalker.runtime.student import Student


@dataclass(frozen=True)
class Served:
    """What is known of a student before it is loaded."""

    name: str
    folder: Path
    steps: int
    look_ahead: int | None
    precision: str

    @property
    def look_ahead_ms(self) -> float | None:
        """Milliseconds that a stream of it is behind; None: it hears whole recordings alone."""
        return None if self.look_ahead is None else round(look_ahead_ms(self.look_ahead), 3)


async def _nobody(name: str) -> Student:
    raise LookupError(name)


class Students:
    """The students of a server."""

    def __init__(
        self, settings: ServeSettings, load: Callable[[str], Awaitable[Student]] = _nobody
    ) -> None:
        """Read the artifacts' configurations. ``load`` gives a student by its name at any time.

        Raises:
            UserError: an artifact is not there, or damaged.
        """
        self.load = load
        self.served = [_served(name, folder) for name, folder in settings.folders().items()]

    @property
    def default(self) -> Served:
        """The one that answers where none is named."""
        return self.served[0]

    def find(self, model: str | None, steps: int | None) -> Served:
        """The student of that name, or the first of so many steps.

        Raises:
            Problem: no such student.
        """
        for served in self.served:
            if model in (None, served.name) and steps in (None, served.steps):
                return served
        names = ", ".join(f"{served.name} ({served.steps} steps)" for served in self.served)
        if model is not None and all(served.name != model for served in self.served):
            raise Problem(422, f"model {model!r} is not served; there are {names}", "model")
        raise Problem(422, f"no such student of {steps} steps; there are {names}", "steps")


def _served(name: str, folder: str) -> Served:
    path = storage.location(folder)
    config = artifact.read_config(path)
    return Served(name, path, config.steps, config.look_ahead, config.precision)


def warm(student: Student) -> Student:
    """Run all graphs once, so that the first caller does not wait for it."""
    student.animate(np.zeros(16_000, np.float32), 16_000)
    return student


@cache
def fingerprint(folder: Path) -> str:
    """Names the space of a student's embeddings: they mean nothing to a student of another. Read
    once: a student that is served stays the one that was loaded."""
    digest = hashlib.sha256()
    for name in ("encoder.onnx", "personalizer.onnx"):
        digest.update(storage.read_bytes(folder / name))
    return digest.hexdigest()[:16]
