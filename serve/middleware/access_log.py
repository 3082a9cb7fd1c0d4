"""Access log: one JSON line per request and stream, without addresses, API keys, names of
identities, or audio. It stands inside the application, unlike the other middleware."""

import asyncio
import json
import logging
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("ray.serve")
NOT_LOGGED = ("/healthz", "/readyz", "/metrics")
"""Probes, which come every few seconds."""


class AccessLog:
    """ASGI middleware. Routes set ``request.state``: caller, model, frames."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] not in ("http", "websocket") or scope["path"] in NOT_LOGGED:
            return await self._app(scope, receive, send)
        start, status = perf_counter(), 0
        scope.setdefault("state", {})

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "websocket.close":
                status = message.get("code", 1000)
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body"):
                # The loop writes to the socket in its next round: send first, then log.
                await asyncio.sleep(0)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            status = status or 500  # what stands outside answers so
            raise
        finally:
            route = scope.get("route")
            line = {
                "event": "access",
                "method": scope.get("method", "WS"),
                # The template, as a path may hold a name.
                "route": getattr(route, "path", "(none)"),
                "status": status,
                "ms": round(1000 * (perf_counter() - start), 1),
                **{
                    key: scope["state"][key]
                    for key in ("caller", "model", "frames")
                    if key in scope["state"]
                },
            }
            logger.info(json.dumps(line))
