"""What a stream may have under way between the network and its replica: bytes for which the replica
has not yet said that it took them.

Ray Serve's proxy and its replicas read a WebSocket as fast as it comes, and keep without an end
what is not processed yet. This middleware stands before them, offers the ASGI extension
``EXTENSION``, and reads on only as the replica acknowledges. Meanwhile the socket fills, and TCP
slows the sender down. Acknowledgements pass where frames do, so whoever does not read his frames is
not read from either.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXTENSION = "diffusiontalker.taken"
"""Among ``scope["extensions"]``, and the key of an acknowledgement: the weight that was taken."""
WINDOW = 512 * 1024
"""Bytes under way of one stream, and one message more."""
LARGEST_MESSAGE = 256 * 1024
"""Bytes of samples in one message; the server before us allows 16 MiB."""
OVERHEAD = 512
"""Bytes that a message costs beside its content."""


def weight(message: Message) -> int:
    """Bytes that a message of a WebSocket takes while it waits."""
    return len(message.get("bytes") or message.get("text") or "") + OVERHEAD


def offered(scope: Scope) -> bool:
    """Whether someone before us waits for acknowledgements."""
    return EXTENSION in (scope.get("extensions") or {})


def acknowledgement(taken: int) -> Message:
    """Tells that so many bytes were taken; a message that sends nothing."""
    return {"type": "websocket.send", EXTENSION: taken}


class Flow:
    """ASGI middleware that bounds what a WebSocket has under way."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] != "websocket":
            return await self._app(scope, receive, send)
        under_way, gone, free = 0, False, asyncio.Event()
        free.set()

        async def received() -> Message:
            nonlocal under_way
            await free.wait()
            if gone:
                return {"type": "websocket.disconnect", "code": 1006}
            message = _cut(await receive())
            under_way += weight(message)
            if under_way >= WINDOW:
                free.clear()
            return message

        async def sent(message: Message) -> None:
            nonlocal under_way, gone
            if taken := message.pop(EXTENSION, 0):
                under_way -= taken
                if under_way < WINDOW:
                    free.set()
                return
            try:
                await send(message)
            except Exception:  # the peer has gone, though nobody reads the socket
                gone = True
                free.set()
                raise

        extensions = {**(scope.get("extensions") or {}), EXTENSION: {}}
        await self._app({**scope, "extensions": extensions}, received, sent)


def _cut(message: Message) -> Message:
    """A message that will be refused for its size travels without most of it."""
    for kind in ("bytes", "text"):
        if len(message.get(kind) or "") > LARGEST_MESSAGE:
            return {**message, kind: message[kind][: LARGEST_MESSAGE + 1]}
    return message
