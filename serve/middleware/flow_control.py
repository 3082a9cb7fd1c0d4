"""Flow control of WebSockets: a window of bytes that the replica has not yet acknowledged.

Ray Serve's proxy and its replicas read a WebSocket as fast as it arrives, and queue without bound
what is not processed yet. This middleware stands in front of them, offers the ASGI extension
``EXTENSION``, and receives more only as the replica acknowledges
(``serve.websocket.receive_buffer``). Meanwhile the socket's buffers fill, and TCP slows the sender
down. Acknowledgements pass through the same queue as frames, so a peer that does not read its
frames is not read from either.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXTENSION = "diffusiontalker.taken"
"""Key in ``scope["extensions"]``, and in an acknowledgement: bytes that were processed."""
WINDOW = 512 * 1024
"""Bytes in flight of one stream; one message may go beyond it."""
MAX_MESSAGE = 256 * 1024
"""Bytes of samples in one message; the web server in front of us allows 16 MiB."""
OVERHEAD = 512
"""Bytes of memory that a message takes beside its content."""


def size(message: Message) -> int:
    """Bytes of memory that a message of a WebSocket takes while it is queued."""
    return len(message.get("bytes") or message.get("text") or "") + OVERHEAD


def is_offered(scope: Scope) -> bool:
    """Whether this middleware stands in front, and waits for acknowledgements."""
    return EXTENSION in (scope.get("extensions") or {})


def acknowledgement(taken_bytes: int) -> Message:
    """The message that acknowledges bytes; it is not sent on to the peer."""
    return {"type": "websocket.send", EXTENSION: taken_bytes}


class FlowControl:
    """ASGI middleware that bounds what a WebSocket has in flight."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "websocket":
            return await self._app(scope, receive, send)
        in_flight, disconnected, window_open = 0, False, asyncio.Event()
        window_open.set()

        async def received() -> Message:
            nonlocal in_flight
            await window_open.wait()
            if disconnected:
                return {"type": "websocket.disconnect", "code": 1006}
            message = _truncated(await receive())
            in_flight += size(message)
            if in_flight >= WINDOW:
                window_open.clear()
            return message

        async def sent(message: Message) -> None:
            nonlocal in_flight, disconnected
            if taken := message.pop(EXTENSION, 0):
                in_flight -= taken
                if in_flight < WINDOW:
                    window_open.set()
                return
            try:
                await send(message)
            except Exception:  # disconnected, which is not received while the window is closed
                disconnected = True
                window_open.set()
                raise

        extensions = {**(scope.get("extensions") or {}), EXTENSION: {}}
        await self._app({**scope, "extensions": extensions}, received, sent)


def _truncated(message: Message) -> Message:
    """A message above ``MAX_MESSAGE`` cut to one byte more, for which the replica refuses it."""
    for kind in ("bytes", "text"):
        if len(message.get(kind) or "") > MAX_MESSAGE:
            return {**message, kind: message[kind][: MAX_MESSAGE + 1]}
    return message
