"""Recordings that a replica will refuse for their key or their length: until it has, nothing of
their bodies is read. It alone knows all limits, and words the refusal."""

import asyncio
import os

from serve.access import VARIABLE, digest, key_of, keys_from
from serve.settings import LimitSettings
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Send

from diffusiontalker.errors import UserError

MAX_BYTES = LimitSettings().bytes
"""What a replica takes, unless its settings allow more."""
GRACE = 1.0
"""Seconds that a replica has to refuse a body before it is read after all."""


class Unread:
    """Knows by their headers which requests those are."""

    def __init__(self) -> None:
        """Read the keys, where the environment has them."""
        try:
            self._keys = keys_from(os.environ.get(VARIABLE, ""))
        except UserError:  # no application is built with them
            self._keys = {}

    def __call__(self, headers: Headers) -> bool:
        """Whether a request is one of them."""
        if claims_more(headers, MAX_BYTES):
            return True
        return bool(self._keys) and digest(key_of(headers) or "") not in self._keys


def claims_more(headers: Headers, most: int) -> bool:
    """Whether a body is longer than ``most`` bytes, as its sender says."""
    length = headers.get("content-length", "").lstrip("0")
    if not (length.isascii() and length.isdigit()):
        return False
    # Python makes no number of thousands of digits.
    return len(length) > len(str(most)) or int(length) > most


def late(receive: Receive) -> Receive:
    """``receive`` after ``GRACE``: a caller who asks before he sends (``Expect: 100-continue``) is
    refused before."""
    waited = False

    async def received() -> Message:
        nonlocal waited
        if not waited:
            await asyncio.sleep(GRACE)
            waited = True
        return await receive()

    return received


def closing(send: Send) -> Send:
    """``send`` for an answer that ends its connection: the body may still be on its way."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return sent
