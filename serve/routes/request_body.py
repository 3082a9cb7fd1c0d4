"""Request bodies that hold a recording: received within limits, raw or multipart, and decoded."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, TypeVar

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.recording import DecodedAudio, decode_recording
from diffusiontalker.audio.waveform import as_waveform
from serve.admission.access import Caller
from serve.http.content_length import declares_more_than
from serve.http.problems import Problem, as_invalid
from serve.scheduling.cancellation import first_completed
from serve.scheduling.thread_pool import Deadline
from serve.service import Service
from serve.settings import LimitSettings

T = TypeVar("T")
FIELD = "file"
"""The part of a multipart body that holds the recording."""
PARSED_BYTES = 64 * 1024
"""Bytes of a multipart body that are parsed at once, between other work of the event loop."""
OPENAPI = {
    "requestBody": {
        "required": True,
        "description": "A recording: wav, flac, ogg or mp3, any rate, mono or stereo.",
        "content": {
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "audio/*": {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {FIELD: {"type": "string", "format": "binary"}},
                }
            },
        },
    }
}


@asynccontextmanager
async def received(request: Request, service: Service, caller: Caller) -> AsyncIterator[bytes]:
    """The recording in a request's body. It counts as one of ``service.recordings`` only when all
    of it has arrived, so that slow uploads do not block others, and until the context ends.

    Raises:
        Problem: too large, too slow, a multipart body without the part ``FIELD``, or no capacity.
    """
    if declares_more_than(service.limits.bytes, request.headers):
        raise _too_large(service.limits)
    service.recordings.check(caller.id)  # before the body is sent in vain
    with service.body_bytes.reserve(caller.id) as take_bytes:
        with service.uploads.acquire(caller.id):
            body = await _read_body(request, service.limits, take_bytes)
        with service.recordings.acquire(caller.id):
            yield body


async def _read_body(
    request: Request, limits: LimitSettings, take_bytes: Callable[[int], None]
) -> bytes:
    content, clock = bytearray(), asyncio.get_running_loop().time
    start = clock()
    try:
        async with asyncio.timeout(limits.patience_seconds) as timeout:
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.bytes:
                    raise _too_large(limits)
                take_bytes(len(chunk))
                allowed = limits.patience_seconds + len(content) / limits.bytes_per_second
                timeout.reschedule(start + min(allowed, limits.request_seconds))
    except TimeoutError as error:
        raise Problem(
            408, f"body: {len(content)} bytes in {clock() - start:.0f} s; send at least "
            f"{limits.bytes_per_second} bytes a second, and all of it within "
            f"{limits.request_seconds:g} s", "body",
        ) from error  # fmt: skip
    except ClientDisconnect as error:
        raise _disconnected() from error
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        # Some of the encodings that a caller could choose take minutes to decode a megabyte.
        if options.get(b"charset", b"utf-8").lower() != b"utf-8":
            raise Problem(
                400, "body: multipart form data is UTF-8 here, or names no charset", "body"
            )
        return await _multipart_file(request, bytes(content))
    return bytes(content)


async def cancel_on_disconnect(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the caller disconnects. Raises Problem
    then."""

    async def disconnected() -> T:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        raise _disconnected()

    return await first_completed(work, disconnected())


def decode(body: bytes, limits: LimitSettings, deadline: Deadline) -> DecodedAudio:
    """The recording at 16 kHz. Raises Problem and DeadlineExceeded."""
    with as_invalid("body"):
        if not body:
            raise Problem(422, "body: is empty; send a recording", "body")
        sound = decode_recording(
            BytesIO(body), "body", limits.seconds, SAMPLE_RATE, check=deadline.check
        )
        samples = as_waveform(sound.samples, sound.rate, "body")
        return DecodedAudio(samples, SAMPLE_RATE, sound.notes)


async def _multipart_file(request: Request, content: bytes) -> bytes:
    async def pieces() -> AsyncGenerator[bytes, None]:
        for at in range(0, len(content), PARSED_BYTES):
            yield content[at : at + PARSED_BYTES]
            await asyncio.sleep(0)  # lets live streams be processed in between

    try:
        form = await MultiPartParser(request.headers, pieces(), max_files=1, max_fields=8).parse()
    except (MultiPartException, KeyError, ValueError) as error:
        raise Problem(400, f"body: not multipart form data ({error})", "body") from error
    part = form.get(FIELD)
    if not isinstance(part, UploadFile):
        raise Problem(422, f"body: no file in the part {FIELD!r}", FIELD)
    return await part.read()


def _disconnected() -> Problem:
    return Problem(400, "body: the connection was closed before its end", "body")


def _too_large(limits: LimitSettings) -> Problem:
    return Problem(413, f"body: more than {limits.bytes} bytes; send a shorter recording", "body")
