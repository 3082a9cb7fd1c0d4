"""Request headers that would control Ray Serve."""

import asyncio

import pytest
from ray.serve._private import constants
from serve.middleware.ray_headers import (
    CONTROL_HEADERS,
    ROUTER_PREFIX,
    DropControlHeaders,
)
from starlette.types import Receive, Scope, Send


def passed(*headers: tuple[bytes, bytes], kind: str = "http") -> list[tuple[bytes, bytes]]:
    """Those that reach the application."""
    found: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope)

    scope = {"type": kind, "headers": list(headers)}
    asyncio.run(DropControlHeaders(app)(scope, None, None))  # type: ignore[arg-type]
    assert scope["headers"] == list(headers)  # the server's own are as they were
    return found[0]["headers"]


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "name",
    [
        b"x-request-timeout-seconds", b"x-request-disconnect-disabled", b"X-Session-Id",
        b"x_session_id", b"serve_multiplexed_model_id", b"serve-multiplexed-model-id",
        b"x-serve-router-replica",
    ],
)  # fmt: skip
def test_control_headers_are_dropped(name: bytes, kind: str) -> None:
    host = (b"host", b"here")
    assert passed(host, (name, b"1"), kind=kind) == [host]


@pytest.mark.parametrize("name", [b"x-request-id", b"traceparent", b"tracestate"])
def test_tracing_headers_are_kept_if_printable(name: bytes) -> None:
    assert passed((name, b"00-4bf92f-01")) == [(name, b"00-4bf92f-01")]
    for value in (b"\xff", b"", b"a\tb", b"a" * 1000):
        assert passed((name, value)) == []


def test_all_headers_of_ray_serve_are_known() -> None:
    """A header that a new version of Ray adds must be looked at."""
    named = {
        value.lower().replace("_", "-").encode()
        for name, value in vars(constants).items()
        if name.startswith("SERVE_")
        and isinstance(value, str)
        and ("HEADER" in name or name in ("SERVE_SESSION_ID", "SERVE_MULTIPLEXED_MODEL_ID"))
    }
    assert named == {*CONTROL_HEADERS, ROUTER_PREFIX, b"x-request-id"}


def test_what_has_no_headers_passes() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(scope)

    found: list[Scope] = []
    asyncio.run(DropControlHeaders(app)({"type": "lifespan"}, None, None))  # type: ignore[arg-type]
    assert found == [{"type": "lifespan"}]
