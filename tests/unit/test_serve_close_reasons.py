"""WebSockets that no replica accepts, and those whose replica dies."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from serve.middleware.close_reasons import CloseReasons
from starlette.types import Message, Receive, Scope, Send

STREAM: Scope = {"type": "websocket", "path": "/v1/stream", "headers": [], "subprotocols": []}
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def sent(app: App, scope: Scope = STREAM, gone: type[Exception] | None = None) -> list[Message]:
    """What the caller gets of an application."""
    messages: list[Message] = []

    async def send(message: Message) -> None:
        if gone is not None:
            raise gone
        messages.append(message)

    asyncio.run(CloseReasons(app)(scope, None, send))  # type: ignore[arg-type]
    return messages


def refusing(status: int) -> App:
    """As Ray Serve refuses: with the messages of an HTTP response."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"dropped"})

    return app


def sending(*messages: Message, then: Exception | None = None) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)
        if then:
            raise then

    return app


def ending(messages: list[Message]) -> tuple[dict[str, Any], int]:
    """The problem and the code of the last two messages."""
    text, close = messages[-2:]
    problem = json.loads(text["text"])
    assert (problem["type"], problem["closing"]) == ("problem", True)
    assert close["type"] == "websocket.close"
    assert close["reason"] == problem["detail"]
    return problem, close["code"]


ACCEPT = {"type": "websocket.accept", "subprotocol": None}
FRAMES = {"type": "websocket.send", "text": "frames"}


@pytest.mark.parametrize(
    ("status", "told", "code"),
    [(429, 429, 1013), (503, 503, 1012), (404, 404, 1008), (408, 408, 1008), (499, 500, 1011)],
)
def test_a_refusal_is_one_of_a_stream(status: int, told: int, code: int) -> None:
    messages = sent(refusing(status))
    assert messages[0] == ACCEPT
    problem, closed = ending(messages)
    assert (problem["status"], closed, len(messages)) == (told, code, 3)


def test_browsers_want_the_subprotocol_that_they_offer() -> None:
    offered = {**STREAM, "subprotocols": ["diffusiontalker.v1", "key.secret"]}
    assert sent(refusing(429), offered)[0]["subprotocol"] == "diffusiontalker.v1"


def test_a_stream_that_is_lost_says_so() -> None:
    messages = sent(sending(ACCEPT, FRAMES))
    assert messages[:2] == [ACCEPT, FRAMES]
    assert ending(messages)[1] == 1012
    assert ending(sent(sending()))[1] == 1012


def test_a_fault_is_raised_and_its_stream_ended() -> None:
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    app = CloseReasons(sending(ACCEPT, then=ConnectionError("it died")))
    with pytest.raises(ConnectionError, match="it died"):
        asyncio.run(app(STREAM, None, send))  # type: ignore[arg-type]
    assert ending(messages)[1] == 1012


@pytest.mark.parametrize(
    "last",
    [
        {"type": "websocket.close", "code": 1000},
        {"type": "websocket.http.response.start", "status": 403},
    ],
)
def test_what_a_replica_ends_stays_as_it_is(last: Message) -> None:
    assert sent(sending(ACCEPT, last)) == [ACCEPT, last]


@pytest.mark.parametrize("gone", [OSError, RuntimeError])
def test_whoever_has_gone_needs_no_reason(gone: type[Exception]) -> None:
    assert sent(sending(), gone=gone) == []


def test_requests_pass() -> None:
    request = {"type": "http", "path": "/v1/animate", "headers": []}
    assert [message["type"] for message in sent(refusing(429), request)] == [
        "http.response.start", "http.response.body",
    ]  # fmt: skip
