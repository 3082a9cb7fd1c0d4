"""Middleware in front of Ray Serve: repeated requests, early refusals, and which is used where."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from serve import middleware
from serve.admission.api_keys import VARIABLE
from serve.http.content_length import declares_more_than
from serve.middleware import early_refusal, retries
from serve.middleware.close_reasons import CloseReasons
from serve.middleware.flow_control import FlowControl
from serve.middleware.ray_headers import (
    NO_DISCONNECT_WATCH,
    DropControlHeaders,
    NoDisconnectWatch,
)
from serve.middleware.retries import Retries
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send
from tests.served import KEYS, STUDIO_KEY


def seen(scope: Scope) -> Scope:
    """The scope that the application behind ``NoDisconnectWatch`` gets."""
    found: list[Any] = []

    async def app(*given: Any) -> None:
        found.extend(given)

    async def nothing(*_: Any) -> Any:
        return None

    asyncio.run(NoDisconnectWatch(app)(scope, nothing, nothing))
    assert found[1:] == [nothing, nothing]
    return found[0]


def test_ray_serve_does_not_watch_websockets_for_a_disconnect() -> None:
    scope = {"type": "websocket", "headers": [(b"host", b"here")]}
    assert seen(scope)["headers"] == [
        (b"host", b"here"), (b"x-request-disconnect-disabled", b"?1"),
    ]  # fmt: skip
    assert len(scope["headers"]) == 1  # the server's own is as it was


@pytest.mark.parametrize("kind", ["http", "lifespan"])
def test_other_connections_are_watched(kind: str) -> None:
    scope = {"type": kind, "headers": []}
    assert seen(scope) == {"type": kind, "headers": []}


def test_which_stands_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_SERVE_ENABLE_HA_PROXY", raising=False)
    outer = [FlowControl, CloseReasons, DropControlHeaders]
    assert [each.cls for each in middleware.middlewares()] == [Retries, *outer]
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    assert [each.cls for each in middleware.middlewares()] == [NoDisconnectWatch, *outer]


def test_ray_serve_reads_the_header_as_we_write_it() -> None:
    from ray.serve._private.http_util import parse_disconnect_disabled_header

    assert parse_disconnect_disabled_header(dict([NO_DISCONNECT_WATCH]))


# repeated requests

REQUEST: Scope = {"type": "http", "method": "POST", "path": "/v1/animate", "headers": []}
SPEECH = [
    {"type": "http.request", "body": b"spee", "more_body": True},
    {"type": "http.request", "body": b"ch", "more_body": False},
]
Answer = Callable[[Send], Awaitable[None]]


def answer(status: int, kind: str, body: bytes) -> Answer:
    async def sent(send: Send) -> None:
        headers = [(b"content-type", kind.encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return sent


async def died(send: Send) -> None:
    raise ConnectionError("a replica died")


async def nothing(send: Send) -> None:
    """As Ray Serve answers a caller that has disconnected, or one it cannot serve."""


OURS = answer(503, "application/problem+json", b"ours")
PROXYS = answer(500, "text/plain", b"the proxy's")
DONE = answer(200, "application/json", b"done")


def asked(
    *answers: Answer, body: list[Message] = SPEECH, backoff: tuple[float, ...] = (0.0, 0.0, 0.0),
    buffering: float = 10.0,
) -> tuple[list[bytes], bytes]:  # fmt: skip
    """The bodies that reached the application, one for each try, and what the caller got."""
    left, bodies, got = list(answers), [], bytearray()
    incoming = list(body)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        whole = bytearray()
        while True:
            message = await receive()
            whole += message.get("body", b"")
            if not message.get("more_body"):
                break
        bodies.append(bytes(whole))
        await left.pop(0)(send)

    async def receive() -> Message:
        if not incoming:
            return {"type": "http.disconnect"}
        message = incoming.pop(0)
        await asyncio.sleep(message.get("after", 0.0))
        return message

    async def send(message: Message) -> None:
        got.extend(message.get("body", b""))

    repeating = Retries(app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(retries, "BACKOFF", backoff)
        patch.setattr(retries, "MAX_BUFFERING_SECONDS", buffering)
        asyncio.run(repeating(REQUEST, receive, send))
    assert repeating._buffered_bytes == 0
    return bodies, bytes(got)


@pytest.mark.parametrize("lost", [died, PROXYS, nothing])
def test_a_request_without_an_answer_is_repeated(lost: Answer) -> None:
    assert asked(lost, lost, DONE) == ([b"speech"] * 3, b"done")


def test_problem_details_are_answers() -> None:
    assert asked(OURS) == ([b"speech"], b"ours")


@pytest.mark.parametrize(("lost", "said"), [(PROXYS, b"the proxy's"), (nothing, b"")])
def test_the_last_answer_goes_out_whatever_it_is(lost: Answer, said: bytes) -> None:
    assert asked(lost, lost, lost, lost) == ([b"speech"] * 4, said)


def test_a_request_whose_caller_disconnected_is_not_repeated() -> None:
    async def noticed(scope: Scope, receive: Receive, send: Send) -> None:
        tries.append(scope)
        while (await receive())["type"] != "http.disconnect":
            pass

    tries: list[Scope] = []
    incoming = [*SPEECH, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return incoming.pop(0)

    async def send(message: Message) -> None:
        raise AssertionError("nobody is there")

    asyncio.run(Retries(noticed)(REQUEST, receive, send))
    assert len(tries) == 1


def test_an_incomplete_body_is_not_passed_on() -> None:
    assert asked(DONE, body=SPEECH[:1]) == ([], b"")


def test_a_large_body_and_a_slow_one_are_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [SPEECH[0], {**SPEECH[1], "after": 0.05}]
    assert asked(PROXYS, body=slow, buffering=0.01)[1] == b"the proxy's"
    for limit in ("MAX_BYTES", "MAX_BUFFERED_BYTES"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(retries, limit, 3)
            assert asked(PROXYS) == ([b"speech"], b"the proxy's")


# early refusals


@pytest.mark.parametrize("path", ["/v1/animate", "/prefix/v1/identities"])
@pytest.mark.parametrize(
    "headers",
    [
        [
            (b"content-length", b"99999999999"),
            (b"authorization", f"Bearer {STUDIO_KEY}".encode()),
        ],
        [(b"authorization", b"Bearer 0123456789abcdef-wrong!")],
        [],
    ],
    ids=["too long", "a wrong key", "no key"],
)
def test_a_body_that_will_be_refused_is_not_read(
    path: str, headers: list[tuple[bytes, bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with Ray Serve's proxy, which reads on and on beside what answers."""
    monkeypatch.setenv(VARIABLE, KEYS)
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("it is read")

    async def send(message: Message) -> None:
        sent.append(message)

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        reading = asyncio.create_task(receive())  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        await answer(401, "application/problem+json", b"ours")(send)
        reading.cancel()

    scope = {**REQUEST, "path": path, "headers": headers}
    asyncio.run(Retries(proxy)(scope, receive, send))
    assert (sent[0]["status"], sent[1]["body"]) == (401, b"ours")
    # So that what is still on its way is not taken for the next request.
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize(
    ("length", "more"),
    [("10", False), ("11", True), ("9" * 5000, True), ("0" * 5000 + "1", False), ("\xb2", False)],
)
def test_any_content_length_is_parsed(length: str, more: bool) -> None:
    assert declares_more_than(10, Headers({"content-length": length})) is more


def test_a_valid_key_and_keys_that_the_proxy_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    right = (b"authorization", f"Bearer {STUDIO_KEY}".encode())
    for keys, headers in ((KEYS, [right]), ("", []), ("broken", [])):
        monkeypatch.setenv(VARIABLE, keys)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(REQUEST, "headers", headers)
            assert asked(died, DONE) == ([b"speech"] * 2, b"done")


def test_a_body_that_was_not_refused_is_read_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replica may allow more than a proxy knows of."""
    monkeypatch.setattr(early_refusal, "READ_DELAY", 0.01)
    monkeypatch.setitem(REQUEST, "headers", [(b"content-length", b"99999999999")])
    assert asked(DONE) == ([b"speech"], b"done")
