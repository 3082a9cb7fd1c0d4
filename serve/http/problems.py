"""Errors as problem details (RFC 9457): one line that names the field."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from diffusiontalker.errors import UserError

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "The request is malformed",
    401: "An API key is required",
    403: "Not allowed",
    404: "Not found",
    405: "The method is not allowed",
    408: "The request took too long to arrive",
    409: "Conflict with a saved identity",
    413: "The request is too large",
    421: "Unknown host name",
    422: "The request is invalid",
    426: "This is a WebSocket",
    429: "Too many requests",
    500: "Internal error",
    503: "The server is not ready",
    504: "The work took too long",
}
CLOSE_CODES = {413: 1009, 429: 1013, 500: 1011, 503: 1012}
"""WebSocket close codes by a problem's status; all others are 1008."""
MAX_CLOSE_REASON = 123
"""Bytes of the reason in a close frame (RFC 6455)."""
logger = logging.getLogger("ray.serve")


class ProblemDetails(BaseModel):
    """RFC 9457, and ``field``: the part of the request that is wrong."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None


class Problem(Exception):  # noqa: N818
    """An error that the caller gets as problem details."""

    def __init__(
        self, status: int, detail: str, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.retry_after = status, retry_after
        self.details = ProblemDetails(
            title=TITLES[status], status=status, detail=detail, field=field
        )

    def websocket_message(self, closing: bool) -> str:
        """The problem as a message; ``closing``: the connection closes after it."""
        return json.dumps({**self.details.model_dump(), "type": "problem", "closing": closing})

    @property
    def close_frame(self) -> tuple[int, str]:
        """Code and reason with which a WebSocket is closed."""
        reason = self.details.detail.encode(errors="replace")[:MAX_CLOSE_REASON]
        return CLOSE_CODES.get(self.status, 1008), reason.decode(errors="ignore")


@contextmanager
def as_invalid(field: str) -> Iterator[None]:
    """A ``UserError`` inside becomes a 422 Problem that names the field."""
    try:
        yield
    except UserError as error:
        raise Problem(422, str(error), field) from error


def operator_problem(error: UserError) -> Problem:
    """A ``UserError`` that the operator must mend (a folder, a bucket, a student): 503, and the
    message goes into the log alone."""
    logger.error("%s", error)
    return Problem(503, "the server cannot do this now; the cause is in its log", retry_after=10)


def validation_problem(error: Mapping[str, Any]) -> Problem:
    """One of pydantic's errors as a 422 that names the field, if there is one."""
    field = str(error["loc"][-1]) if error["loc"] else None
    message = str(error["msg"]).removeprefix("Value error, ")
    return Problem(422, f"{field or 'request'}: {message}", field)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of responses with these statuses."""
    return {
        status: {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in statuses
    }


def install(api: FastAPI) -> None:
    """Answer every error of ``api`` with problem details. What is added to ``api`` afterwards, such
    as CORS headers, applies to them too."""

    @api.exception_handler(Problem)
    async def problem(request: Request, problem: Problem) -> JSONResponse:
        return problem_response(request, problem)

    @api.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> JSONResponse:
        return problem_response(request, operator_problem(error))

    @api.exception_handler(RequestValidationError)
    async def validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        # FastAPI puts the part of the request before the field: query, path, body.
        return problem_response(request, validation_problem({**first, "loc": first["loc"][1:]}))

    @api.exception_handler(HTTPException)
    async def http_exception(request: Request, error: HTTPException) -> JSONResponse:
        status = error.status_code if error.status_code in TITLES else 400
        allowed = (error.headers or {}).get("Allow")
        hint = f"; use {allowed}" if allowed else ""
        detail = f"{request.method} {request.url.path}: {error.detail}{hint}"
        response = problem_response(request, Problem(status, detail))
        response.headers.update(error.headers or {})
        return response

    api.add_middleware(_InternalErrors)


class _InternalErrors:
    """ASGI middleware: an unexpected exception becomes a 500, and is raised again. (Starlette's
    handler of exceptions stands outside all middleware, where CORS headers are not added.)"""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        started = scope["type"] != "http"

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if not started:
                logger.error("a request failed", exc_info=error)
                failed = Problem(500, "internal error; the cause is in the server's log")
                await problem_response(Request(scope), failed)(scope, receive, send)
            raise


def problem_response(request: Request, problem: Problem) -> JSONResponse:
    """The response of an error, which is counted."""
    request.app.state.service.metrics.count_rejected(problem.status)
    headers = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem.details.model_dump(), problem.status, headers, MEDIA_TYPE)
