"""The page at ``/``: the files of web/, and the head that it shows."""

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
WEB = Path(__file__).parents[1] / "web"
POLICY = "; ".join(
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
    """Show the page, after all other routes. Its packages come by ``npm ci`` in web/."""
    if not (WEB / "index.html").is_file():
        logger.warning("%s: the page is not here; nothing is shown at /", WEB)
        return
    head = cache(head_glb)

    @api.get("/head.glb", include_in_schema=False)
    def face() -> Response:
        return Response(head(), media_type="model/gltf-binary")

    api.router.routes.append(_Last("/", _Guarded(_Files(directory=WEB, html=True))))


class _Last(Mount):
    """Asked only where no other route has the path: not for other methods of theirs, which are
    refused with the right ones, and not for streams."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As of a route that would rather not."""
        match, child = super().matches(scope)
        if scope["type"] != "http":
            return Match.NONE, {}
        return (Match.PARTIAL if match is Match.FULL else match), child


class _Files(StaticFiles):
    """All but ``student/``, where a page without a server has its artifact: to hand that out is not
    what a key is for."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Raises nothing: what is not to be had is not there."""
        if Path(path).parts[:1] == ("student",):
            return "", None
        return super().lookup_path(path)


class _Guarded:
    """Files with a content security policy."""

    def __init__(self, files: ASGIApp) -> None:
        self._files = files

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"content-security-policy", POLICY.encode()),
                    (b"x-content-type-options", b"nosniff"),
                ]
            await send(message)

        await self._files(scope, receive, guarded)
