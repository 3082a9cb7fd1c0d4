"""Uploads that a replica will refuse by their headers (API key, length) are not read before it has
done so. The replica decides, as it alone has all limits and error messages."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Send

from diffusiontalker.errors import UserError
from serve.admission import api_keys
from serve.http.content_length import declares_more_than
from serve.settings import LimitSettings

MAX_BYTES = LimitSettings().bytes
"""Body that a replica accepts, unless its settings allow more."""
READ_DELAY = 1.0
"""Seconds that a replica has to refuse a body before it is read after all."""


class EarlyRefusal:
    """Tells by the headers whether a request will be refused."""

    def __init__(self) -> None:
        """Read the keys, where the environment has them."""
        try:
            self._keys = api_keys.from_environment()
        except UserError:  # no application starts with such keys
            self._keys = {}

    def __call__(self, headers: Headers) -> bool:
        """Whether it probably will."""
        if declares_more_than(MAX_BYTES, headers):
            return True
        key = api_keys.key_of(headers) or ""
        return bool(self._keys) and api_keys.digest(key) not in self._keys


def delayed(receive: Receive) -> Receive:
    """``receive`` after ``READ_DELAY``: with ``Expect: 100-continue`` the body is not even sent."""
    waited = False

    async def received() -> Message:
        nonlocal waited
        if not waited:
            await asyncio.sleep(READ_DELAY)
            waited = True
        return await receive()

    return received


def closing(send: Send) -> Send:
    """``send`` of a response after which the connection closes: the body may still be on its way,
    and would be taken for the next request."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message["headers"], (b"connection", b"close")]}
        await send(message)

    return sent
