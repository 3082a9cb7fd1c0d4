"""The student over HTTP: `serve run serve.app:build model=runs/quickstart/student`."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from ray import serve

from diffusiontalker import audio
from diffusiontalker.animation import beat
from diffusiontalker.errors import UserError
from diffusiontalker.runtime.student import Student
from diffusiontalker.runtime.voice import AUTO

MAX_BYTES = 32 * 2**20
"""Largest body of a request."""
MAX_SECONDS = 600.0
"""Longest recording of a request."""

api = FastAPI(title="DiffusionTalker student", docs_url=None, redoc_url=None)


class Options(BaseModel):
    """What `serve run serve.app:build key=value` takes."""

    model_config = ConfigDict(extra="forbid")

    model: str
    """Folder of an artifact."""
    max_replicas: Annotated[int, Field(ge=1)] = 4


@api.exception_handler(UserError)
async def _mistake(request: Request, error: UserError) -> JSONResponse:
    problem = {"title": "The request cannot be answered", "status": 422, "detail": str(error)}
    return JSONResponse(problem, 422, media_type="application/problem+json")


@serve.deployment(
    max_ongoing_requests=8,
    max_queued_requests=64,
    graceful_shutdown_timeout_s=30,
    ray_actor_options={"num_cpus": 1},
)
@serve.ingress(api)
class StudentService:
    """One replica: one loaded artifact."""

    def __init__(self, model: str) -> None:
        self.student = Student(model)

    @api.get("/healthz")
    async def health(self) -> dict[str, str]:
        """Whether the replica answers."""
        return {"status": "ok"}

    @api.get("/v1/choices")
    async def choices(self) -> dict[str, list[str]]:
        """Identities and emotions that a request may name."""
        return {"identities": self.student.identities, "emotions": self.student.emotions}

    @api.post("/v1/animate")
    async def animate(
        self,
        request: Request,
        identity: str = AUTO,
        emotion: str = AUTO,
        seed: Annotated[int, Query(ge=0, lt=2**63)] = 0,
    ) -> dict[str, Any]:
        """Animate the recording in the body (wav, flac, ogg or mp3); answers BEAT's JSON layout."""
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BYTES:
                raise UserError(f"body: more than {MAX_BYTES} bytes; send a shorter recording")
        face = await run_in_threadpool(self._animate, bytes(body), identity, emotion, seed)
        return face

    def _animate(self, body: bytes, identity: str, emotion: str, seed: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "body"
            path.write_bytes(body)
            try:
                samples, rate = audio.load(path, MAX_SECONDS)
            except UserError as error:
                raise UserError(str(error).replace(str(path), "body")) from error
        face = self.student.animate(samples, rate, identity, emotion, seed, where="body")
        return {
            "identity": face.identity,
            "emotion": face.emotion,
            **beat.layout(face.coefficients, face.fps),
        }


def build(options: Options) -> serve.Application:
    """The application, from the command line or a Serve configuration file."""
    scaling = {
        "min_replicas": 1,
        "max_replicas": options.max_replicas,
        "target_ongoing_requests": 2,
    }
    return StudentService.options(autoscaling_config=scaling).bind(options.model)
