"""Every refusal in one shape: problem details (RFC 9457), one line that names the field."""

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

from diffusiontalker.errors import UserError

MEDIA_TYPE = "application/problem+json"
TITLES = {
    400: "The request is malformed",
    401: "An API key is needed",
    403: "This is not allowed",
    404: "There is no such thing",
    405: "This method is not allowed here",
    408: "The request took too long to arrive",
    409: "This conflicts with what is saved",
    413: "The request is too large",
    421: "This server does not go by that name",
    422: "The request cannot be answered",
    426: "This is a WebSocket",
    429: "Too much at once",
    500: "The server failed",
    503: "The server is not ready",
    504: "The answer took too long",
}
CODES = {413: 1009, 429: 1013, 500: 1011, 503: 1012}
"""Close codes of streams by a problem's status; all others are 1008."""
LONGEST_REASON = 123
"""Bytes that RFC 6455 leaves for the reason of a close."""
logger = logging.getLogger("ray.serve")


class ProblemDetails(BaseModel):
    """RFC 9457, and ``field``: the part of the request that is wrong."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    field: str | None = None


class Problem(Exception):  # noqa: N818
    """A refusal on its way to the caller."""

    def __init__(
        self, status: int, detail: str, field: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.retry_after = status, retry_after
        self.details = ProblemDetails(
            title=TITLES[status], status=status, detail=detail, field=field
        )

    def message(self, closing: bool) -> str:
        """The message of a stream; ``closing``: it is the last."""
        return json.dumps({**self.details.model_dump(), "type": "problem", "closing": closing})

    @property
    def close(self) -> tuple[int, str]:
        """Code and reason with which a stream closes over it."""
        reason = self.details.detail.encode(errors="replace")[:LONGEST_REASON]
        return CODES.get(self.status, 1008), reason.decode(errors="ignore")


@contextmanager
def blame(field: str) -> Iterator[None]:
    """A ``UserError`` inside is a 422 that names the field."""
    try:
        yield
    except UserError as error:
        raise Problem(422, str(error), field) from error


def unready(error: UserError) -> Problem:
    """A ``UserError`` that is no caller's: a folder, a bucket or a student of the operator's. What
    is wrong with it is for the log alone."""
    logger.error("%s", error)
    return Problem(503, "the server cannot do this now; its log says why", retry_after=10)


def invalid(error: Mapping[str, Any]) -> Problem:
    """One of pydantic's errors as a 422 that names the field, if it is of one."""
    field = str(error["loc"][-1]) if error["loc"] else None
    said = str(error["msg"]).removeprefix("Value error, ")
    return Problem(422, f"{field or 'request'}: {said}", field)


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of these refusals."""
    return {
        status: {
            "description": TITLES[status],
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}},
        }
        for status in statuses
    }


def install(api: FastAPI) -> None:
    """Answer every refusal and every failure of ``api`` with problem details."""

    @api.exception_handler(Problem)
    async def refused(request: Request, problem: Problem) -> JSONResponse:
        return told(request, problem)

    @api.exception_handler(UserError)
    async def mistake(request: Request, error: UserError) -> JSONResponse:
        return told(request, unready(error))

    @api.exception_handler(RequestValidationError)
    async def unfit(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        # FastAPI puts the part of the request before the field: query, path, body.
        return told(request, invalid({**first, "loc": first["loc"][1:]}))

    @api.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        status = error.status_code if error.status_code in TITLES else 400
        allowed = (error.headers or {}).get("Allow")
        hint = f"; use {allowed}" if allowed else ""
        detail = f"{request.method} {request.url.path}: {error.detail}{hint}"
        response = told(request, Problem(status, detail))
        response.headers.update(error.headers or {})
        return response

    @api.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        logger.error("a request failed", exc_info=error)
        return told(request, Problem(500, "the server failed; its log says why"))


def told(request: Request, problem: Problem) -> JSONResponse:
    """The response of a refusal, which is counted."""
    request.app.state.service.metrics.refused(problem.status)
    headers = {"Retry-After": str(problem.retry_after)} if problem.retry_after else {}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(problem.details.model_dump(), problem.status, headers, MEDIA_TYPE)
