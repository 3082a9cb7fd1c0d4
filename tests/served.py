"""A server's API in this process, without Ray Serve, and recordings to send to it."""

from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import soundfile
from serve.api import create_api
from serve.service import Service
from serve.settings import ServeSettings
from serve.students import Students
from starlette.testclient import TestClient

from diffusiontalker.runtime.student import Student


@cache
def student(folder: str) -> Student:
    return Student(folder)


@contextmanager
def serving(settings: ServeSettings):
    """A client of the API with these settings."""

    async def load(name: str) -> Student:
        return student(settings.folders()[name])

    service = Service(settings, Students(settings, load))
    api, host = create_api(settings, service), {"Host": "localhost"}
    with TestClient(api, raise_server_exceptions=False, headers=host) as client:
        yield client


def speech(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """Noise in syllables (n,) float32: nobody's voice, and loud enough."""
    time = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.1, len(time))
    return (noise * (1 + np.sin(2 * np.pi * 4 * time)) / 2).astype(np.float32)


def wav(seconds: float, rate: int = 16_000, seed: int = 0, form: str = "WAV") -> bytes:
    """``speech`` as the content of a file."""
    file = BytesIO()
    soundfile.write(file, speech(seconds, rate, seed), rate, format=form)
    return file.getvalue()


def settings(folder: Path, **changes: object) -> ServeSettings:
    """A server of one student, whose saved identities lie beside it."""
    given = {"model": str(folder), "identities": str(folder.parent / "saved"), "page": False}
    return ServeSettings.model_validate({**given, **changes})
