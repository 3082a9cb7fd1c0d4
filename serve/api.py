"""The HTTP interface: routes, refusals, the page. Plain FastAPI, which Ray Serve hosts."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from serve import animate, catalogue, health, page, problems, stream
from serve.faces import HEADERS
from serve.log import AccessLog
from serve.problems import ProblemDetails
from serve.service import Service
from serve.settings import ServeSettings
from starlette.middleware.cors import CORSMiddleware

from diffusiontalker import __version__

TITLE = "DiffusionTalker"
DESCRIPTION = """Speech in, 52 ARKit blendshape coefficients per frame out.

`WS /v1/stream` takes samples as they are spoken: binary messages in, messages of frames out. Its
query takes `rate`, `encoding` (pcm16, float32), `format` (json, binary), and `model`, `steps`,
`identity`, `emotion`, `seed`, `smooth_ms`, `mirror` as `/v1/animate` does; text messages
`{"type": "pin", "emotion": ...}` change the face on its way, `{"type": "close"}` ends it."""


def create_api(settings: ServeSettings, service: Service) -> FastAPI:
    """The application of one replica."""
    api = FastAPI(
        title=TITLE, description=DESCRIPTION, version=__version__, docs_url=None, redoc_url=None
    )
    api.state.service = service
    problems.install(api)
    for router in (animate.router, stream.router, catalogue.router, health.router):
        api.include_router(router)
    if settings.page:
        page.install(api)
    if settings.cors_origins:
        api.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.cors_origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type"],
            expose_headers=[*HEADERS, "Retry-After"],
        )
    api.add_middleware(AccessLog)
    api.openapi = cache(lambda: _openapi(api))  # type: ignore[method-assign]
    return api


def _openapi(api: FastAPI) -> dict[str, Any]:
    """FastAPI's description, with the keys and the problem details that it does not know of."""
    told = get_openapi(
        title=api.title, version=api.version, description=api.description, routes=api.routes
    )
    parts = told.setdefault("components", {})
    parts.setdefault("schemas", {})["ProblemDetails"] = ProblemDetails.model_json_schema()
    parts["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in told["paths"].items():
        for operation in methods.values():
            if path not in ("/healthz", "/readyz"):
                operation["security"] = [{"key": []}, {}]
    return told
