"""Request headers by which Ray Serve can be controlled: callers may not send them."""

import os
import re

from starlette.types import ASGIApp, Receive, Scope, Send

SESSION = os.environ.get("RAY_SERVE_SESSION_ID_HEADER_KEY", "x-session-id")
CONTROL_HEADERS = frozenset(
    name.lower().replace("_", "-").encode()
    for name in (
        "x-request-timeout-seconds",  # shortens a request's timeout, or removes it
        "x-request-disconnect-disabled",
        "serve-multiplexed-model-id",  # this and the session choose a replica
        SESSION,
    )
)
"""Ray Serve takes ``_`` for ``-`` in some of them."""
ROUTER_PREFIX = b"x-serve-router-"
"""Prefix of the headers that Ray Serve's own routers set."""
TRACING_HEADERS = {
    b"x-request-id": re.compile(rb"[!-~]{1,128}"),
    b"traceparent": re.compile(rb"[!-~]{1,128}"),
    b"tracestate": re.compile(rb"[ -~]{1,512}"),
}
"""They name a request in logs and traces, and pass if their values are printable."""
NO_DISCONNECT_WATCH = (b"x-request-disconnect-disabled", b"?1")


class DropControlHeaders:
    """ASGI middleware. It is the outermost, so that others may set such headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if "headers" in scope:
            kept = [pair for pair in scope["headers"] if _is_harmless(*pair)]
            scope = {**scope, "headers": kept}
        await self._app(scope, receive, send)


class NoDisconnectWatch:
    """ASGI middleware for WebSockets, whose sessions notice a disconnect themselves.

    To notice it, Ray Serve would read ahead of them: one more task for every message, and an
    unbounded queue where a session is slow.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "websocket":
            scope = {**scope, "headers": [*scope["headers"], NO_DISCONNECT_WATCH]}
        await self._app(scope, receive, send)


def _is_harmless(name: bytes, value: bytes) -> bool:
    normalized = name.lower().replace(b"_", b"-")
    if normalized in CONTROL_HEADERS or normalized.startswith(ROUTER_PREFIX):
        return False
    pattern = TRACING_HEADERS.get(normalized)
    return pattern is None or pattern.fullmatch(value) is not None
