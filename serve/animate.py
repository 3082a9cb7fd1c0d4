"""POST /v1/animate: a recording in, a face out."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import Field
from serve import choices, faces, recordings
from serve.access import Caller
from serve.faces import HEADERS, MEDIA_TYPES, Format, Made
from serve.problems import Problem, blame, responses
from serve.query import Asked
from serve.service import Asking, Service, Serving
from serve.students import Served
from serve.turns import Wanted
from starlette.types import Receive, Scope, Send

from diffusiontalker.animation import timing
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.runtime.conditioning import AUTO, Conditioning
from diffusiontalker.runtime.student import Student

router = APIRouter()
LARGEST_SEED = 2**53 - 1
"""What JSON's readers keep exactly."""


class WhichStudent(Asked):
    """The student that is asked."""

    model: Annotated[str, Field(max_length=64)] | None = None
    """Name of a student; without it, the first."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """The first student of so many sampling steps."""


class Performing(WhichStudent):
    """How the face is to be made."""

    identity: Annotated[str, Field(pattern=choices.PATTERN)] = AUTO
    """auto, a name, a saved identity, or weights over names such as ann:0.7,bob:0.3."""
    emotion: Annotated[str, Field(pattern=choices.PATTERN)] = AUTO
    """auto, a name, or weights over names."""
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED)] = 0
    """Another seed, another performance of the same speech."""
    smooth_ms: Annotated[float, Field(ge=0, le=500, allow_inf_nan=False)] = 0.0
    """Time constant of an average over time; lip closures are kept."""
    mirror: bool = False
    """Swap left and right."""


class Options(Performing):
    """The query of ``animate``."""

    fps: Literal["24", "25", "30", "48", "50", "60"] = "30"
    """Frames per second; but at 30, frames lie on the lines between those that the student made."""
    format: Format = "json"
    """json (BEAT's layout), csv (Live Link Face), npz, glb; ndjson: messages as they are made."""


@router.post(
    "/v1/animate",
    summary="Animate a recording",
    responses={
        200: {
            "description": "The face: 52 ARKit blendshape coefficients per frame.",
            "headers": HEADERS,
            "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()},
        },
        **responses(400, 401, 403, 408, 413, 421, 422, 429, 500, 503, 504),
    },
    openapi_extra=recordings.OPENAPI,
    response_class=Response,
)
async def animate(
    request: Request, service: Serving, caller: Asking, options: Annotated[Options, Query()]
) -> Response:
    """The body is the recording: wav, flac, ogg or mp3, any rate, mono or stereo."""
    served = service.students.find(options.model, options.steps)
    async with AsyncExitStack() as inside:
        body = await inside.enter_async_context(recordings.received(request, service, caller))
        student = await service.students.load(served.name)
        request.state.model = served.name
        identity = await choices.identity(options.identity, service, served, student, caller)
        emotion = choices.emotion(options.emotion, student)
        wanted = service.wanted()
        begin = partial(_begin, service, served, student, body, identity, emotion, options, wanted)
        if options.format == "ndjson":
            made, parts = await recordings.while_there(request, service.run(caller, wanted, begin))
            # Begun, so the gate is left when the last line has gone.
            lines = _lines(service, caller, made, parts, inside.pop_all())
            kind = MEDIA_TYPES["ndjson"]
            return Timed(
                service.limits.request_seconds, lines, media_type=kind, headers=made.headers
            )
        made, content, frames = await recordings.while_there(
            request, service.run(caller, wanted, _whole, service, begin, options.format, wanted)
        )
    headers = {**made.headers, "X-Frames": str(frames)}
    if options.format != "json":
        headers["Content-Disposition"] = f'attachment; filename="face.{options.format}"'
    return Response(content, media_type=MEDIA_TYPES[options.format], headers=headers)


class Timed(StreamingResponse):
    """An answer in parts that a caller may not take for ever to read."""

    def __init__(self, seconds: float, parts: AsyncIterator[bytes], **more: Any) -> None:
        super().__init__(parts, **more)
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it. It ends without an end where the time is up."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)


def _begin(
    service: Service, served: Served, student: Student, body: bytes, identity: Conditioning,
    emotion: Conditioning, asked: Options, wanted: Wanted,
) -> tuple[Made, Iterator[np.ndarray]]:  # fmt: skip
    """Decode and hear the recording. Raises Problem and Late."""
    wanted.check()
    with service.metrics.stage("decode"):
        sound = recordings.decode(body, service.limits)
    with service.metrics.stage("hear"), blame("body"):
        begun = student.animate_chunks(
            sound.samples, SAMPLE_RATE, identity, emotion, asked.seed, "body",
            asked.smooth_ms, asked.mirror, wanted.check,
        )  # fmt: skip
    fps = int(asked.fps)
    parts = timing.resampled(begun.chunks, FPS, fps)
    notes = (*sound.notes, *begun.notes)
    return Made(served.name, served.steps, begun.identity, begun.emotion, fps, notes), parts


def _whole(
    service: Service, begin: Callable[[], tuple[Made, Iterator[np.ndarray]]], form: Format,
    wanted: Wanted,
) -> tuple[Made, bytes, int]:  # fmt: skip
    """The answer, and how many frames it holds. Raises Problem and Late."""
    made, parts = begin()
    faces_made = []
    with service.metrics.stage("move"):
        for part in parts:
            wanted.check()
            faces_made.append(part)
    face = np.concatenate(faces_made)
    service.metrics.heard(made.model, "recording", len(face) * FPS // made.fps)
    with service.metrics.stage("encode"):
        return made, faces.encode(form, face, made), len(face)


async def _lines(
    service: Service, caller: Caller, made: Made, parts: Iterator[np.ndarray],
    inside: AsyncExitStack,
) -> AsyncIterator[bytes]:  # fmt: skip
    """The answer line by line, each made where recordings are. Leaves ``inside`` at the end. One
    that takes too long breaks off, without the line that ends it."""
    count, wanted = 0, service.wanted()

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for part in parts:
            count += len(part)
            yield part

    lines = faces.lines(counted(), made)
    async with inside:
        try:
            while (line := await service.run(caller, wanted, next, lines, None)) is not None:
                yield line
        except Problem as problem:
            service.metrics.refused(problem.status)
        finally:
            service.metrics.heard(made.model, "recording", count * FPS // made.fps)
