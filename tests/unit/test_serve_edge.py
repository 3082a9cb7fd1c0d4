"""What stands before Ray Serve's own code."""

import asyncio
from typing import Any

import pytest
from serve import edge
from starlette.types import Scope


def seen(scope: Scope) -> Scope:
    """What the application behind ``Unwatched`` is given."""
    found: list[Any] = []

    async def app(*given: Any) -> None:
        found.extend(given)

    async def nothing(*_: Any) -> Any:
        return None

    asyncio.run(edge.Unwatched(app)(scope, nothing, nothing))
    assert found[1:] == [nothing, nothing]
    return found[0]


def test_a_stream_is_left_to_itself() -> None:
    scope = {"type": "websocket", "headers": [(b"host", b"here")]}
    assert seen(scope)["headers"] == [
        (b"host", b"here"), (b"x-request-disconnect-disabled", b"?1"),
    ]  # fmt: skip
    assert len(scope["headers"]) == 1  # the server's own is as it was


@pytest.mark.parametrize("kind", ["http", "lifespan"])
def test_all_else_is_watched(kind: str) -> None:
    scope = {"type": kind, "headers": []}
    assert seen(scope) == {"type": kind, "headers": []}


def test_which_stands_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    assert [each.cls for each in edge.middlewares()] == [edge.Again]
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    assert [each.cls for each in edge.middlewares()] == [edge.Unwatched]


def test_ray_serve_reads_the_header_as_we_write_it() -> None:
    from ray.serve._private.http_util import parse_disconnect_disabled_header

    assert parse_disconnect_disabled_header(dict([edge.UNWATCHED]))
