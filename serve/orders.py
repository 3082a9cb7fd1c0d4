"""Headers that Ray Serve obeys: what a caller sends in them does not reach it."""

import os
import re

from starlette.types import ASGIApp, Receive, Scope, Send

SESSION = os.environ.get("RAY_SERVE_SESSION_ID_HEADER_KEY", "x-session-id")
ORDERS = frozenset(
    name.lower().replace("_", "-").encode()
    for name in (
        "x-request-timeout-seconds",  # cuts a request short, or lets it last for ever
        "x-request-disconnect-disabled",
        "serve-multiplexed-model-id",  # these two choose a replica
        SESSION,
    )
)
"""Ray Serve takes ``_`` for ``-`` in some of them."""
ROUTERS = b"x-serve-router-"
"""Beginning of those that its own routers write."""
LABELS = {
    b"x-request-id": re.compile(rb"[!-~]{1,128}"),
    b"traceparent": re.compile(rb"[!-~]{1,128}"),
    b"tracestate": re.compile(rb"[ -~]{1,512}"),
}
"""What names a request in logs and traces is kept if it can be printed."""


class Disobeyed:
    """ASGI middleware that drops them. It stands before all that writes them itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if "headers" in scope:
            kept = [pair for pair in scope["headers"] if _harmless(*pair)]
            scope = {**scope, "headers": kept}
        await self._app(scope, receive, send)


def _harmless(name: bytes, value: bytes) -> bool:
    plain = name.lower().replace(b"_", b"-")
    if plain in ORDERS or plain.startswith(ROUTERS):
        return False
    label = LABELS.get(plain)
    return label is None or label.fullmatch(value) is not None
