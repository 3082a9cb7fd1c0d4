"""Requests whose replica died are sent again to another one."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.middleware.early_refusal import MAX_BYTES, EarlyRefusal, closing, delayed

RETRIED_PATHS = ("/v1/animate",)
UPLOAD_PATHS = (*RETRIED_PATHS, "/v1/identities")
"""Where recordings are sent."""
BACKOFF = (0.1, 0.5, 2.0)
"""Seconds before the second attempt and those after it."""
MAX_BUFFERED_BYTES = 128 * 2**20
"""Bodies above ``MAX_BYTES``, and above this in all, are not buffered: they are sent once."""
MAX_BUFFERING_SECONDS = 10.0
"""So are those that take longer to arrive; a replica has a limit of its own."""


class Retries:
    """ASGI middleware. A recording and its seed always give the same animation, so to repeat the
    request is safe. Ray Serve itself repeats only requests that no replica had begun."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._will_be_refused = EarlyRefusal()
        self._buffered_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope.get("method") != "POST" or not scope["path"].endswith(UPLOAD_PATHS):
            return await self._app(scope, receive, send)
        if self._will_be_refused(Headers(raw=scope["headers"])):
            return await self._app(scope, delayed(receive), closing(send))
        if not scope["path"].endswith(RETRIED_PATHS):
            return await self._app(scope, receive, send)
        body = bytearray()
        try:
            more = await self._buffer(receive, body)
            if more is None:
                return
            first = {"type": "http.request", "body": bytes(body), "more_body": more}
            for pause in () if more else BACKOFF:
                if await self._attempt(scope, first, receive, send, last=False):
                    return
                await asyncio.sleep(pause)
            await self._attempt(scope, first, receive, send, last=True)
        finally:
            self._buffered_bytes -= len(body)

    async def _buffer(self, receive: Receive, body: bytearray) -> bool | None:
        """Whether a body continues beyond what is buffered; None: its sender has disconnected."""
        try:
            async with asyncio.timeout(MAX_BUFFERING_SECONDS):
                while len(body) <= MAX_BYTES and self._buffered_bytes <= MAX_BUFFERED_BYTES:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    body += part
                    self._buffered_bytes += len(part)
                    if not message.get("more_body"):
                        return False
        except TimeoutError:
            pass
        return True

    async def _attempt(
        self, scope: Scope, first: Message, receive: Receive, send: Send, last: bool
    ) -> bool:
        """Whether it is done: a response was sent (in the last attempt, whatever it is), or the
        caller has disconnected."""
        waiting = [first]
        # The head of a response waits for its body's first part, which is the whole body of all
        # formats but NDJSON.
        head: Message | None = None
        sent = lost = disconnected = False

        async def replayed() -> Message:
            nonlocal disconnected
            message = waiting.pop() if waiting else await receive()
            disconnected = disconnected or message["type"] == "http.disconnect"
            return message

        async def watched(message: Message) -> None:
            nonlocal head, sent, lost
            if message["type"] == "http.response.start":
                head, lost = message, not last and _is_from_proxy(message)
            elif not lost:
                if head is not None:
                    sent, start, head = True, head, None
                    await send(start)
                await send(message)

        try:
            await self._app(dict(scope), replayed, watched)
        except Exception:
            if last or sent:
                raise
        return sent or disconnected


def _is_from_proxy(start: Message) -> bool:
    """Whether Ray Serve's proxy answers for want of a replica: our errors are problem details."""
    kind = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] in (500, 502, 503) and "json" not in kind
