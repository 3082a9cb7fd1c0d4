"""What stands before Ray Serve's own code."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from serve import edge, unread
from serve.endings import Explained
from serve.flow import Flow
from serve.orders import Disobeyed
from serve.unread import claims_more
from starlette.datastructures import Headers
from starlette.types import Message, Receive, Scope, Send


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
    behind = [Flow, Explained, Disobeyed]
    assert [each.cls for each in edge.middlewares()] == [edge.Again, *behind]
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "1")
    assert [each.cls for each in edge.middlewares()] == [edge.Unwatched, *behind]


def test_ray_serve_reads_the_header_as_we_write_it() -> None:
    from ray.serve._private.http_util import parse_disconnect_disabled_header

    assert parse_disconnect_disabled_header(dict([edge.UNWATCHED]))


# asked again

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
    """What Ray Serve says to a caller who has gone, or has for one it cannot serve."""


OURS = answer(503, "application/problem+json", b"ours")
PROXYS = answer(500, "text/plain", b"the proxy's")
DONE = answer(200, "application/json", b"done")


def asked(
    *answers: Answer, body: list[Message] = SPEECH, pauses: tuple[float, ...] = (0.0, 0.0, 0.0),
    patience: float = 10.0,
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

    again = edge.Again(app)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(edge, "PAUSES", pauses)
        patch.setattr(edge, "PATIENCE", patience)
        asyncio.run(again(REQUEST, receive, send))
    assert again._held == 0
    return bodies, bytes(got)


@pytest.mark.parametrize("lost", [died, PROXYS, nothing])
def test_what_a_replica_did_not_answer_is_asked_again(lost: Answer) -> None:
    assert asked(lost, lost, DONE) == ([b"speech"] * 3, b"done")


def test_our_own_refusals_are_answers() -> None:
    assert asked(OURS) == ([b"speech"], b"ours")


@pytest.mark.parametrize(("lost", "said"), [(PROXYS, b"the proxy's"), (nothing, b"")])
def test_the_last_answer_goes_out_whatever_it_is(lost: Answer, said: bytes) -> None:
    assert asked(lost, lost, lost, lost) == ([b"speech"] * 4, said)


def test_nobody_is_asked_again_for_a_caller_who_has_gone() -> None:
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

    asyncio.run(edge.Again(noticed)(REQUEST, receive, send))
    assert len(tries) == 1


def test_half_a_body_is_not_taken_for_a_whole_one() -> None:
    assert asked(DONE, body=SPEECH[:1]) == ([], b"")


def test_a_large_body_and_a_slow_one_pass_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = [SPEECH[0], {**SPEECH[1], "after": 0.05}]
    assert asked(PROXYS, body=slow, patience=0.01)[1] == b"the proxy's"
    for limit in ("MAX_BYTES", "MAX_HELD"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(edge, limit, 3)
            assert asked(PROXYS) == ([b"speech"], b"the proxy's")


# not read

KEYS = "studio=0123456789abcdef-studio"


@pytest.mark.parametrize("path", ["/v1/animate", "/prefix/v1/identities"])
@pytest.mark.parametrize(
    "headers",
    [
        [
            (b"content-length", b"99999999999"),
            (b"authorization", b"Bearer 0123456789abcdef-studio"),
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
    monkeypatch.setenv("DIFFUSIONTALKER_API_KEYS", KEYS)
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
    asyncio.run(edge.Again(proxy)(scope, receive, send))
    assert (sent[0]["status"], sent[1]["body"]) == (401, b"ours")
    # So that what is still on its way is not taken for the next request.
    assert (b"connection", b"close") in sent[0]["headers"]


@pytest.mark.parametrize(
    ("length", "more"),
    [("10", False), ("11", True), ("9" * 5000, True), ("0" * 5000 + "1", False), ("\xb2", False)],
)
def test_what_a_sender_claims_is_read_without_failing(length: str, more: bool) -> None:
    assert claims_more(Headers({"content-length": length}), 10) is more


def test_a_right_key_and_keys_that_the_proxy_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    right = (b"authorization", b"Bearer 0123456789abcdef-studio")
    for keys, headers in ((KEYS, [right]), ("", []), ("broken", [])):
        monkeypatch.setenv("DIFFUSIONTALKER_API_KEYS", keys)
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(REQUEST, "headers", headers)
            assert asked(died, DONE) == ([b"speech"] * 2, b"done")


def test_a_body_that_nobody_refuses_is_read_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica may allow more than a proxy knows of."""
    monkeypatch.setattr(unread, "GRACE", 0.01)
    monkeypatch.setitem(REQUEST, "headers", [(b"content-length", b"99999999999")])
    assert asked(DONE) == ([b"speech"], b"done")
