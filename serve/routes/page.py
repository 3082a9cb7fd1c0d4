"""The web page at ``/``: the files of web/, and the head that it shows."""

import logging
import os
from functools import cache
from pathlib import Path

from fastapi import FastAPI, Response
from starlette.routing import Match, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffusiontalker.animation.heads import head_glb

logger = logging.getLogger("ray.serve")
WEB = Path(__file__).parents[2] / "web"
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'",  # inline: the import map
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self' blob: data:",
        "worker-src 'self' blob:",
        "frame-ancestors 'none'",
    )
)
"""Nothing is fetched from elsewhere: the page works without a network."""


def install(api: FastAPI) -> None:
    """Add the page, after all other routes. Its packages are installed by ``npm ci`` in web/."""
    if not (WEB / "index.html").is_file():
        logger.warning("%s: the page is not here; nothing is shown at /", WEB)
        return
    head = cache(head_glb)

    @api.get("/head.glb", include_in_schema=False)
    def head_file() -> Response:
        return Response(head(), media_type="model/gltf-binary")

    api.router.routes.append(_Fallback("/", _SecurityHeaders(_PageFiles(directory=WEB, html=True))))


class _Fallback(Mount):
    """A mount for paths that no other route has. A wrong method on another route's path is still
    refused with the allowed ones, and WebSockets are not matched."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """At most partially, so that other routes take precedence."""
        match, child = super().matches(scope)
        if scope["type"] != "http":
            return Match.NONE, {}
        return (Match.PARTIAL if match is Match.FULL else match), child


class _PageFiles(StaticFiles):
    """All files but ``student/``, where a page without a server has its artifact: API keys do not
    give access to models."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Files of ``student/`` are reported as missing."""
        if Path(path).parts[:1] == ("student",):
            return "", None
        return super().lookup_path(path)


class _SecurityHeaders:
    """Adds a content security policy to responses."""

    def __init__(self, files: ASGIApp) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._files(scope, receive, with_headers)
