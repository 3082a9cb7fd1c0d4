"""Clients of an ASGI application, message by message, without a network."""

import asyncio
import json
from collections.abc import Iterable, Sequence

from starlette.types import ASGIApp, Message, Scope


class Peer:
    """A client: its messages are available at once, and it reads everything."""

    def __init__(self, messages: Iterable[Message] = ()) -> None:
        self._messages = iter(messages)
        self._more: asyncio.Queue[Message] = asyncio.Queue()
        self.read, self.got = 0, []
        """Bytes that the application received, and the messages it sent."""

    def say(self, message: Message) -> None:
        """Send a message after the others."""
        self._more.put_nowait(message)

    async def receive(self) -> Message:
        await asyncio.sleep(0)
        message = next(self._messages, None) or await self._more.get()
        self.read += len(message.get("bytes") or message.get("body") or b"")
        return message

    async def send(self, message: Message) -> None:
        self.got.append(message)

    @property
    def status(self) -> int:
        return self.got[0]["status"]

    @property
    def texts(self) -> list[dict]:
        return [json.loads(m["text"]) for m in self.got if m.get("text")]


def scope(kind: str, path: str, query: str = "", key: str = "") -> Scope:
    """The scope of a request (POST) or a WebSocket."""
    headers = [(b"host", b"localhost")]
    if key:
        headers.append((b"authorization", f"Bearer {key}".encode()))
    return {
        "type": kind, "method": "POST", "path": path, "raw_path": path.encode(),
        "query_string": query.encode(), "headers": headers, "client": ("peer", 1),
        "server": ("here", 80), "scheme": "http", "http_version": "1.1", "root_path": "",
        "asgi": {"version": "3.0", "spec_version": "2.3"}, "subprotocols": [],
    }  # fmt: skip


def upload(body: bytes, parts: int = 1) -> Sequence[Message]:
    """A body in so many parts."""
    size = -(-len(body) // parts)
    return [
        {"type": "http.request", "body": body[at : at + size], "more_body": at + size < len(body)}
        for at in range(0, len(body), size)
    ]


async def recording(app: ASGIApp, peer: Peer, key: str = "") -> Peer:
    """POST /v1/animate with what ``peer`` sends; returns after the response."""
    await app(scope("http", "/v1/animate", key=key), peer.receive, peer.send)
    return peer
