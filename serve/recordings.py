"""Recordings as they arrive: a bounded body, raw or multipart, decoded in bounded memory."""

import asyncio
from collections.abc import AsyncIterator
from io import BytesIO

from python_multipart.multipart import parse_options_header
from serve.problems import Problem, blame
from serve.settings import LimitSettings
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from diffusiontalker import audio
from diffusiontalker.audio import SAMPLE_RATE, Sound

FIELD = "file"
"""The part of a multipart body that holds the recording."""
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


async def body_of(request: Request, limits: LimitSettings) -> bytes:
    """The recording in a request's body.

    Raises:
        Problem: too large, too slow, or a multipart body without the part ``FIELD``.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limits.bytes:
        raise _too_large(limits)
    content = bytearray()
    try:
        async with asyncio.timeout(limits.request_seconds):
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.bytes:
                    raise _too_large(limits)
    except TimeoutError as error:
        raise Problem(
            408, f"body: not here after {limits.request_seconds:g} s; send it faster", "body"
        ) from error
    except ClientDisconnect as error:
        raise Problem(400, "body: the connection was closed before its end", "body") from error
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        # Of the encodings that a caller could choose, some take minutes for a megabyte.
        if options.get(b"charset", b"utf-8").lower() != b"utf-8":
            raise Problem(
                400, "body: multipart form data is UTF-8 here, or names no charset", "body"
            )
        return await _part(request, bytes(content))
    return bytes(content)


def decode(body: bytes, limits: LimitSettings) -> Sound:
    """The recording at 16 kHz. Raises Problem."""
    with blame("body"):
        if not body:
            raise Problem(422, "body: is empty; send a recording", "body")
        sound = audio.decode(BytesIO(body), "body", limits.seconds, SAMPLE_RATE)
        samples = audio.check(sound.samples, sound.rate, "body")
        return Sound(samples, SAMPLE_RATE, sound.notes)


async def _part(request: Request, content: bytes) -> bytes:
    async def whole() -> AsyncIterator[bytes]:
        yield content

    try:
        form = await MultiPartParser(request.headers, whole(), max_files=1, max_fields=8).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError, ValueError) as error:
        raise Problem(400, f"body: not multipart form data ({error})", "body") from error
    part = form.get(FIELD)
    if not isinstance(part, UploadFile):
        raise Problem(422, f"body: no file in the part {FIELD!r}", FIELD)
    return await part.read()


def _too_large(limits: LimitSettings) -> Problem:
    return Problem(413, f"body: more than {limits.bytes} bytes; send a shorter recording", "body")
