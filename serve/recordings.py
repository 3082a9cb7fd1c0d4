"""Recordings as they arrive: a bounded body, raw or multipart, decoded in bounded memory."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any, TypeVar

from python_multipart.multipart import parse_options_header
from serve.access import Caller
from serve.first import first
from serve.problems import Problem, blame
from serve.service import Service
from serve.settings import LimitSettings
from serve.unread import claims_more
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from diffusiontalker.audio import SAMPLE_RATE
from diffusiontalker.audio.recording import DecodedAudio, decode_recording
from diffusiontalker.audio.waveform import as_waveform

T = TypeVar("T")
FIELD = "file"
"""The part of a multipart body that holds the recording."""
PIECE = 64 * 1024
"""Bytes of a form that are read at once."""
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
    """The recording in a request's body, whose place among ``service.recordings`` is taken when it
    is all here: who sends slowly holds up nobody. What it holds is given back at the end.

    Raises:
        Problem: too large, too slow, a multipart body without the part ``FIELD``, or no room.
    """
    if claims_more(request.headers, service.limits.bytes):
        raise _too_large(service.limits)
    service.recordings.check(caller.bucket)  # whoever is refused need not have sent it all
    with service.held.keep(caller.bucket) as hold:
        with service.uploads.enter(caller.bucket):
            body = await _body_of(request, service.limits, hold)
        with service.recordings.enter(caller.bucket):
            yield body


async def _body_of(request: Request, limits: LimitSettings, hold: Callable[[int], None]) -> bytes:
    content, clock = bytearray(), asyncio.get_running_loop().time
    begun = clock()
    try:
        async with asyncio.timeout(limits.patience_seconds) as patience:
            async for chunk in request.stream():
                content += chunk
                if len(content) > limits.bytes:
                    raise _too_large(limits)
                hold(len(chunk))
                earned = limits.patience_seconds + len(content) / limits.bytes_per_second
                patience.reschedule(begun + min(earned, limits.request_seconds))
    except TimeoutError as error:
        raise Problem(
            408, f"body: {len(content)} bytes in {clock() - begun:.0f} s; send at least "
            f"{limits.bytes_per_second} bytes a second, and all of it within "
            f"{limits.request_seconds:g} s", "body",
        ) from error  # fmt: skip
    except ClientDisconnect as error:
        raise _gone() from error
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind == b"multipart/form-data":
        # Of the encodings that a caller could choose, some take minutes for a megabyte.
        if options.get(b"charset", b"utf-8").lower() != b"utf-8":
            raise Problem(
                400, "body: multipart form data is UTF-8 here, or names no charset", "body"
            )
        return await _part(request, bytes(content))
    return bytes(content)


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the caller has gone. Raises Problem then."""

    async def gone() -> T:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        raise _gone()

    return await first(work, gone())


def decode(body: bytes, limits: LimitSettings) -> DecodedAudio:
    """The recording at 16 kHz. Raises Problem."""
    with blame("body"):
        if not body:
            raise Problem(422, "body: is empty; send a recording", "body")
        sound = decode_recording(BytesIO(body), "body", limits.seconds, SAMPLE_RATE)
        samples = as_waveform(sound.samples, sound.rate, "body")
        return DecodedAudio(samples, SAMPLE_RATE, sound.notes)


async def _part(request: Request, content: bytes) -> bytes:
    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(content), PIECE):
            yield content[at : at + PIECE]
            await asyncio.sleep(0)  # streams move while a form is read

    try:
        form = await MultiPartParser(request.headers, pieces(), max_files=1, max_fields=8).parse()  # type: ignore[arg-type]
    except (MultiPartException, KeyError, ValueError) as error:
        raise Problem(400, f"body: not multipart form data ({error})", "body") from error
    part = form.get(FIELD)
    if not isinstance(part, UploadFile):
        raise Problem(422, f"body: no file in the part {FIELD!r}", FIELD)
    return await part.read()


def _gone() -> Problem:
    return Problem(400, "body: the connection was closed before its end", "body")


def _too_large(limits: LimitSettings) -> Problem:
    return Problem(413, f"body: more than {limits.bytes} bytes; send a shorter recording", "body")
