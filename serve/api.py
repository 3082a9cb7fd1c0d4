"""The FastAPI application of one replica: routes, errors, the page, OpenAPI."""

from functools import cache
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from diffusiontalker import __version__
from serve.http import problems
from serve.http.problems import ProblemDetails
from serve.http.responses import HEADERS
from serve.middleware.access_log import AccessLog
from serve.routes import animate, catalogue, health, identities, page, websocket
from serve.service import Service

TITLE = "DiffusionTalker"
DESCRIPTION = """Speech in, 52 ARKit blendshape coefficients per frame out.

`WS /v1/stream` is a live stream: samples in binary messages in, messages of frames out. Its query
takes `rate`, `encoding` (pcm16, float32), `format` (json, binary), and `model`, `steps`,
`identity`, `emotion`, `seed`, `smooth_ms`, `mirror` as `/v1/animate` does; text messages
`{"type": "pin", "emotion": ...}` change identity and emotion, `{"type": "close"}` ends it."""
ROUTERS = (
    animate.router, websocket.router, catalogue.router, identities.router, health.router,
)  # fmt: skip


def create_api(service: Service) -> FastAPI:
    """The application of one replica. The middleware that is added last is outermost."""
    api = FastAPI(
        title=TITLE, description=DESCRIPTION, version=__version__, docs_url=None, redoc_url=None
    )
    api.state.service = service
    problems.install(api)
    for router in ROUTERS:
        api.include_router(router)
    settings = service.settings
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
    """FastAPI's description, with API keys and problem details added."""
    schema = get_openapi(
        title=api.title, version=api.version, description=api.description, routes=api.routes
    )
    components = schema.setdefault("components", {})
    components.setdefault("schemas", {})["ProblemDetails"] = ProblemDetails.model_json_schema()
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            if path not in ("/healthz", "/readyz"):
                operation["security"] = [{"key": []}, {}]
    return schema
