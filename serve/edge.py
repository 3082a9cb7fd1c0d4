"""What stands before Ray Serve's own code: at its proxy or, with HAProxy, at each replica.

Switched on by the environment of whatever starts Serve:
``RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=serve.edge:middlewares``.
"""

import asyncio
import os

from serve.endings import Explained
from serve.flow import Flow
from serve.orders import Disobeyed
from serve.unread import MAX_BYTES, Unread, closing, late
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PATHS = ("/v1/animate",)
UPLOADS = (*PATHS, "/v1/identities")
"""Where recordings are sent."""
PAUSES = (0.1, 0.5, 2.0)
"""Seconds before the second try and those after it."""
MAX_HELD = 128 * 2**20
"""Bodies above ``MAX_BYTES``, and above this all together, pass through once: they are not held."""
PATIENCE = 10.0
"""Seconds: so do those that take longer to arrive. A replica says how long they may."""
UNWATCHED = (b"x-request-disconnect-disabled", b"?1")
"""The header by which Ray Serve lets a request read its own messages."""


def middlewares() -> list[Middleware]:
    """What Ray Serve calls when its proxy or a replica begins to listen."""
    haproxy = os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1"
    # The last is asked first: what it drops, those before it may write.
    return [
        Middleware(Unwatched if haproxy else Again),
        Middleware(Flow),
        Middleware(Explained),
        Middleware(Disobeyed),
    ]


class Unwatched:
    """ASGI middleware for streams, which notice themselves when their callers have gone.

    Ray Serve would read ahead of them to see it: a task more for every message, and a queue without
    end where a stream is behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "websocket":
            scope = {**scope, "headers": [*scope["headers"], UNWATCHED]}
        await self._app(scope, receive, send)


class Again:
    """ASGI middleware that asks again where a replica died and the answer is the proxy's own.

    A recording and its seed always make the same face, so asking again is safe. Ray Serve itself
    tries again only what no replica had begun.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._unread = Unread()
        self._held = 0
        """Bytes of bodies."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope.get("method") != "POST" or not scope["path"].endswith(UPLOADS):
            return await self._app(scope, receive, send)
        if self._unread(Headers(raw=scope["headers"])):
            return await self._app(scope, late(receive), closing(send))
        if not scope["path"].endswith(PATHS):
            return await self._app(scope, receive, send)
        body = bytearray()
        try:
            more = await self._read(receive, body)
            if more is None:
                return
            first = {"type": "http.request", "body": bytes(body), "more_body": more}
            for pause in () if more else PAUSES:
                if await self._try(scope, first, receive, send, last=False):
                    return
                await asyncio.sleep(pause)
            await self._try(scope, first, receive, send, last=True)
        finally:
            self._held -= len(body)

    async def _read(self, receive: Receive, body: bytearray) -> bool | None:
        """Whether there is more of a body than is held now; None: its sender has gone."""
        try:
            async with asyncio.timeout(PATIENCE):
                while len(body) <= MAX_BYTES and self._held <= MAX_HELD:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    body += part
                    self._held += len(part)
                    if not message.get("more_body"):
                        return False
        except TimeoutError:
            pass
        return True

    async def _try(
        self, scope: Scope, first: Message, receive: Receive, send: Send, last: bool
    ) -> bool:
        """Whether there is no more to do: an answer went out (on the last try, whatever it is), or
        the caller has gone."""
        waiting = [first]
        # An answer's head waits for the first of its body, which for all but NDJSON is all of it.
        head: Message | None = None
        sent = lost = gone = False

        async def replayed() -> Message:
            nonlocal gone
            message = waiting.pop() if waiting else await receive()
            gone = gone or message["type"] == "http.disconnect"
            return message

        async def watched(message: Message) -> None:
            nonlocal head, sent, lost
            if message["type"] == "http.response.start":
                head, lost = message, not last and _proxys_own(message)
            elif not lost:
                if head is not None:
                    sent, told, head = True, head, None
                    await send(told)
                await send(message)

        try:
            await self._app(dict(scope), replayed, watched)
        except Exception:
            if last or sent:
                raise
        return sent or gone


def _proxys_own(start: Message) -> bool:
    """Whether an answer is of the proxy, for want of a replica: ours are problem details."""
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] in (500, 502, 503) and "json" not in kind
