"""The students that are served, found by name or by number of steps, and loaded on demand."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from diffusiontalker import storage
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.log_mel import look_ahead_ms
from diffusiontalker.runtime import artifact
from diffusiontalker.runtime.student import Student
from serve.http.problems import Problem
from serve.settings import ServeSettings


@dataclass(frozen=True)
class ServedStudent:
    """A student that may be loaded: what its configuration says."""

    name: str
    folder: Path
    steps: int
    look_ahead_ms: float | None
    """Milliseconds; None: it takes whole recordings only, and no streams."""
    precision: str


async def _not_loadable(name: str) -> Student:
    raise LookupError(name)


class Students:
    """The students of a server."""

    def __init__(
        self, settings: ServeSettings, load: Callable[[str], Awaitable[Student]] = _not_loadable
    ) -> None:
        """Read the artifacts' configurations. ``load`` gives a student by its name, and caches it.

        Raises:
            UserError: an artifact is missing or damaged.
        """
        self.load = load
        self.served = [_served(name, folder) for name, folder in settings.folders().items()]

    @property
    def default(self) -> ServedStudent:
        """The student of requests that name none."""
        return self.served[0]

    def find(self, model: str | None, steps: int | None) -> ServedStudent:
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


def _served(name: str, folder: str) -> ServedStudent:
    path = artifact.location(folder)
    config = artifact.read_config(path)
    ahead = config.look_ahead
    milliseconds = None if ahead is None else round(look_ahead_ms(ahead, config.front_end), 3)
    return ServedStudent(name, path, config.steps, milliseconds, config.precision)


def warm_up(student: Student) -> Student:
    """Run every graph once, so that the first request does not wait for it."""
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE)  # silence would be at rest
    student.animate(noise.astype(np.float32), SAMPLE_RATE)
    if student.look_ahead is not None:
        student.stream().push(noise)
    return student


@cache
def fingerprint(folder: Path) -> str:
    """Hash of the graphs that define a student's embedding space: an embedding is only valid for
    students with the same hash. Cached, as a student that is served stays the one that was
    loaded."""
    digest = hashlib.sha256()
    for name in ("encoder.onnx", "personalizer.onnx"):
        digest.update(storage.read_bytes(folder / name))
    return digest.hexdigest()[:16]
