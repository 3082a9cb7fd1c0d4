"""A server's API in this process, without Ray Serve, and recordings to send to it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from threading import Thread

import numpy as np
import soundfile
import uvicorn
from fastapi import FastAPI
from serve.api import create_api
from serve.models.students import Students
from serve.service import Service
from serve.settings import ServeSettings
from starlette.testclient import TestClient
from starlette.types import ASGIApp
from tests.ports import free_port

from diffusiontalker.runtime.student import Student

STUDIO_KEY, GAME_KEY = "0123456789abcdef-studio", "fedcba9876543210-game"
KEYS = f"studio={STUDIO_KEY},game={GAME_KEY}"
"""A value of ``api_keys.VARIABLE``."""


@cache
def student(folder: str) -> Student:
    return Student(folder)


def application(settings: ServeSettings) -> tuple[FastAPI, Service]:
    """The application of a replica, and what its routes share."""

    async def load(name: str) -> Student:
        return student(settings.folders()[name])

    service = Service(settings, Students(settings, load))
    return create_api(service), service


@contextmanager
def serving(settings: ServeSettings) -> Iterator[TestClient]:
    """A client of the API with these settings."""
    api, _ = application(settings)
    host = {"Host": "localhost"}
    with TestClient(api, raise_server_exceptions=False, headers=host) as client:
        yield client


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """The address of an application that a thread of this process serves over TCP."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    try:
        ends = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < ends, "it does not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def speech(seconds: float, rate: int = 16_000, seed: int = 0) -> np.ndarray:
    """Noise in syllables (n,) float32, louder than silence."""
    at = np.arange(round(seconds * rate)) / rate
    noise = np.random.default_rng(seed).normal(0, 0.1, len(at))
    return (noise * (1 + np.sin(2 * np.pi * 4 * at)) / 2).astype(np.float32)


def wav(seconds: float, rate: int = 16_000, seed: int = 0, form: str = "WAV") -> bytes:
    """``speech`` as the content of a file."""
    file = BytesIO()
    soundfile.write(file, speech(seconds, rate, seed), rate, format=form)
    return file.getvalue()


def settings(folder: Path, **changes: object) -> ServeSettings:
    """A server of one student, whose saved identities lie beside it."""
    given = {"model": str(folder), "identities": str(folder.parent / "saved"), "page": False}
    return ServeSettings.model_validate({**given, **changes})
