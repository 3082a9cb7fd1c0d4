"""POST /v1/animate: an animation for a recording."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from diffusiontalker.animation import timing
from diffusiontalker.arkit import FPS
from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.runtime.conditioning import Conditioning
from diffusiontalker.runtime.student import Student
from serve import conditioning
from serve.admission.access import Caller
from serve.dependencies import CallerDependency, ServiceDependency
from serve.http import responses
from serve.http.problems import Problem, as_invalid
from serve.http.problems import responses as problem_responses
from serve.http.query_parameters import AnimationParameters
from serve.http.responses import HEADERS, MEDIA_TYPES, AnimationInfo, Format
from serve.models.students import ServedStudent
from serve.routes import request_body
from serve.scheduling.thread_pool import Deadline
from serve.service import Service

router = APIRouter()


class RecordingParameters(AnimationParameters):
    """The query of ``animate``."""

    fps: Literal["24", "25", "30", "48", "50", "60"] = "30"
    """Frames per second; other than at 30, frames are interpolated linearly."""
    format: Format = "json"
    """json (BEAT's layout), csv (Live Link Face), npz, glb; ndjson: messages as they are made."""


@router.post(
    "/v1/animate",
    summary="Animate a recording",
    responses={
        200: {
            "description": "The animation: 52 ARKit blendshape coefficients per frame.",
            "headers": HEADERS,
            "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()},
        },
        **problem_responses(400, 401, 403, 408, 413, 421, 422, 429, 500, 503, 504),
    },
    openapi_extra=request_body.OPENAPI,
    response_class=Response,
)
async def animate(
    request: Request,
    service: ServiceDependency,
    caller: CallerDependency,
    query: Annotated[RecordingParameters, Query()],
) -> Response:
    """The body is the recording: wav, flac, ogg or mp3, any rate, mono or stereo."""
    served = service.students.find(query.model, query.steps)
    async with AsyncExitStack() as stack:
        body = await stack.enter_async_context(request_body.received(request, service, caller))
        student = await service.students.load(served.name)
        request.state.model = served.name
        identity = await conditioning.identity(query.identity, service, served, student, caller)
        emotion = conditioning.emotion(query.emotion, student)
        deadline = service.new_deadline()
        start = partial(_start, service, served, student, body, identity, emotion, query, deadline)
        if query.format == "ndjson":
            info, parts = await request_body.cancel_on_disconnect(
                request, service.run_in_thread(caller, deadline, start)
            )
            # The response takes over the capacities in use, until its last line is sent.
            lines = _ndjson(service, caller, info, parts, stack.pop_all())
            return TimeLimitedResponse(
                service.limits.request_seconds, lines,
                media_type=MEDIA_TYPES["ndjson"], headers=info.headers,
            )  # fmt: skip
        info, content, frames = await request_body.cancel_on_disconnect(
            request,
            service.run_in_thread(caller, deadline, _whole, service, start, query.format, deadline),
        )
    headers = {**info.headers, "X-Frames": str(frames)}
    if query.format != "json":
        headers["Content-Disposition"] = f'attachment; filename="face.{query.format}"'
    return Response(content, media_type=MEDIA_TYPES[query.format], headers=headers)


class TimeLimitedResponse(StreamingResponse):
    """A streaming response that is cut off when its receiver takes too long to read it."""

    def __init__(self, seconds: float, parts: AsyncIterator[bytes], **options: Any) -> None:
        super().__init__(parts, **options)
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._seconds):
                await super().__call__(scope, receive, send)


def _start(
    service: Service, served: ServedStudent, student: Student, body: bytes, identity: Conditioning,
    emotion: Conditioning, query: RecordingParameters, deadline: Deadline,
) -> tuple[AnimationInfo, Iterator[np.ndarray]]:  # fmt: skip
    """Decode a recording and run the audio encoder on it; the iterator of parts (T, 52) runs the
    decoder. Raises Problem and DeadlineExceeded."""
    deadline.check()
    with service.metrics.timed("decode"):
        sound = request_body.decode(body, service.limits, deadline)
    with service.metrics.timed("hear"), as_invalid("body"):
        animation = student.animate_chunks(
            sound.samples, SAMPLE_RATE, identity, emotion, query.seed, "body",
            query.smooth_ms, query.mirror, deadline.check,
        )  # fmt: skip
    fps = int(query.fps)
    parts = timing.resampled(animation.chunks, FPS, fps)
    notes = (*sound.notes, *animation.notes)
    info = AnimationInfo(
        served.name, served.steps, animation.identity, animation.emotion, fps, notes
    )
    return info, parts


def _whole(
    service: Service, start: Callable[[], tuple[AnimationInfo, Iterator[np.ndarray]]],
    form: Format, deadline: Deadline,
) -> tuple[AnimationInfo, bytes, int]:  # fmt: skip
    """A whole response, and its number of frames. Raises Problem and DeadlineExceeded."""
    info, parts = start()
    made = []
    with service.metrics.timed("move"):
        for part in parts:
            deadline.check()
            made.append(part)
    coefficients = np.concatenate(made)
    service.metrics.count_frames(info.model, "recording", len(coefficients) * FPS // info.fps)
    with service.metrics.timed("encode"):
        return info, responses.encode(form, coefficients, info), len(coefficients)


async def _ndjson(
    service: Service, caller: Caller, info: AnimationInfo, parts: Iterator[np.ndarray],
    stack: AsyncExitStack,
) -> AsyncIterator[bytes]:  # fmt: skip
    """The lines of a response, each made in a thread of the pool. Closes ``stack`` at the end.
    One that takes too long breaks off, without the line ``end``."""
    frames, deadline = 0, service.new_deadline()

    def counted() -> Iterator[np.ndarray]:
        nonlocal frames
        for part in parts:
            frames += len(part)
            yield part

    lines = responses.ndjson_lines(counted(), info)
    async with stack:
        try:
            while (
                line := await service.run_in_thread(caller, deadline, next, lines, None)
            ) is not None:
                yield line
        except Problem as problem:
            service.metrics.count_rejected(problem.status)
        finally:
            service.metrics.count_frames(info.model, "recording", frames * FPS // info.fps)
